"""Which dead letters were sent back: remembered in Kafka, by one consumer group a reason (`replay_group`).

In each partition of `dead-letters` the committed offset says up to where all letters of the reason were sent, or can't be,
and the commit's metadata which ones beyond it were, as ranges of offsets: `12-40 57-57`. Kafka forgets such a group after
a week (`offsets.retention.minutes`).
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError

from streams.kafka.security import kafka_options, telling
from streams.settings import Settings

# Kafka takes 4,096 bytes of metadata (offset.metadata.max.bytes). Ranges beyond are forgotten, and sent again.
METADATA_CHARS = 4000


class Sent(NamedTuple):
    """What of one reason was sent back in one partition of `dead-letters`."""

    until: int = 0  # every letter below is through
    ranges: tuple[tuple[int, int], ...] = ()  # first and last offset of those beyond, in order

    def holds(self, at: int) -> bool:
        """Whether the letter at offset `at` is through.

        >>> sent = Sent(5, ((8, 9), (12, 12)))
        >>> [at for at in range(14) if sent.holds(at)]
        [0, 1, 2, 3, 4, 8, 9, 12]
        """
        if at < self.until:
            return True
        place = bisect_right(self.ranges, at, key=lambda found: found[0]) - 1
        return place >= 0 and at <= self.ranges[place][1]

    @property
    def metadata(self) -> str:
        """The ranges as a commit carries them, as many as it takes."""
        text = " ".join(f"{first}-{last}" for first, last in self.ranges)
        return text if len(text) <= METADATA_CHARS else text[:METADATA_CHARS].rpartition(" ")[0]


def sent(letters: Iterable[tuple[int, bool]]) -> Sent:
    """What is through, of all letters as (offset, whether it is through) in order of offsets.

    >>> sent([(3, True), (4, False), (6, True), (8, True), (9, False), (11, True)])
    Sent(until=4, ranges=((6, 8), (11, 11)))
    """
    until = 0
    ranges: list[tuple[int, int]] = []
    hole = joined = False
    for at, through in letters:
        if not through:
            hole, joined = True, False
        elif not hole:
            until = at + 1
        else:
            ranges[len(ranges) - joined :] = [(ranges[-1][0] if joined else at, at)]
            joined = True
    return Sent(until, tuple(ranges))


def parse(offset: int, metadata: str) -> Sent:
    """What a commit says.

    >>> parse(7, Sent(7, ((9, 9), (12, 40))).metadata)
    Sent(until=7, ranges=((9, 9), (12, 40)))
    """
    found = (part.partition("-") for part in metadata.split())
    return Sent(max(0, offset), tuple((int(first), int(last)) for first, _, last in found))


def replay_group(settings: Settings, reason: str) -> str:
    """The consumer group that remembers which letters of a reason were sent back."""
    return f"{settings.app_id}-replayed-{reason}"


async def remembered(settings: Settings, reasons: Iterable[str]) -> dict[tuple[str, int], Sent]:
    """What was sent back, by reason and partition of `dead-letters`.

    Raises:
        KafkaError: Kafka refuses.
    """
    topic = settings.topic("dead-letters")
    found = {}
    admin = AIOKafkaAdminClient(**kafka_options(settings))
    try:
        async with telling(settings):
            await admin.start()
        for reason in reasons:
            try:
                commits = await admin.list_consumer_group_offsets(replay_group(settings, reason))
            except GroupCoordinatorNotAvailableError:  # a cluster on which no group has ever committed
                continue
            for tp, commit in commits.items():
                if tp.topic == topic:
                    found[reason, tp.partition] = parse(commit.offset, commit.metadata)
    finally:
        await admin.close()
    return found


async def remember(settings: Settings, reason: str, letters: Mapping[int, Sent]) -> None:
    """Remembers, by partition of `dead-letters`, which letters of the reason were sent back.

    Raises:
        KafkaError: Kafka refuses.
    """
    if not letters:
        return
    topic = settings.topic("dead-letters")
    consumer = AIOKafkaConsumer(
        **kafka_options(settings),
        group_id=replay_group(settings, reason),
        enable_auto_commit=False,
    )
    async with telling(settings):
        await consumer.start()
    try:
        commits = {TopicPartition(topic, partition): (of.until, of.metadata) for partition, of in letters.items()}
        consumer.assign(list(commits))
        await consumer.commit(commits)
    finally:
        await consumer.stop()
