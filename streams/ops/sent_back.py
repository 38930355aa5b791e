"""Which dead letters were sent back: remembered in Kafka, by one consumer group per reason (`replay_group`).

Per partition of `dead-letters`, the committed offset says that every letter below it was sent, or cannot be sent. The
commit's metadata names the sent letters beyond it, as ranges of offsets: `12-40 57-57`. Kafka forgets such a group after a
week (`offsets.retention.minutes`). This writes: it commits.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from aiokafka import TopicPartition
from aiokafka.errors import GroupCoordinatorNotAvailableError

from schemas.topics import DEAD_LETTERS
from streams.kafka.clients import admin_client, committing_consumer, started
from streams.settings import Settings

# Kafka takes 4,096 bytes of metadata (offset.metadata.max.bytes). Further ranges are forgotten, and sent again.
METADATA_CHARS = 4000


class SentLetters(NamedTuple):
    """Which letters of one reason were sent back in one partition of `dead-letters`."""

    until: int = 0  # every letter below was sent
    ranges: tuple[tuple[int, int], ...] = ()  # first and last offset of each sent range beyond, in order

    def holds(self, at: int) -> bool:
        """Whether the letter at offset `at` was sent.

        >>> sent = SentLetters(5, ((8, 9), (12, 12)))
        >>> [at for at in range(14) if sent.holds(at)]
        [0, 1, 2, 3, 4, 8, 9, 12]
        """
        if at < self.until:
            return True
        place = bisect_right(self.ranges, at, key=lambda each: each[0]) - 1
        return place >= 0 and at <= self.ranges[place][1]

    @property
    def metadata(self) -> str:
        """The ranges as text for a commit, as many as it takes."""
        text = " ".join(f"{first}-{last}" for first, last in self.ranges)
        return text if len(text) <= METADATA_CHARS else text[:METADATA_CHARS].rpartition(" ")[0]


def sent_of(letters: Iterable[tuple[int, bool]]) -> SentLetters:
    """Which letters were sent, of all letters as (offset, whether it was sent) in order of offsets.

    >>> sent_of([(3, True), (4, False), (6, True), (8, True), (9, False), (11, True)])
    SentLetters(until=4, ranges=((6, 8), (11, 11)))
    """
    until = 0
    ranges: list[tuple[int, int]] = []
    is_beyond = continues = False
    for at, is_sent in letters:
        if not is_sent:
            is_beyond, continues = True, False
        elif not is_beyond:
            until = at + 1
        else:
            ranges[len(ranges) - continues :] = [(ranges[-1][0] if continues else at, at)]
            continues = True
    return SentLetters(until, tuple(ranges))


def parse(offset: int, metadata: str) -> SentLetters:
    """The letters that a commit names.

    >>> parse(7, SentLetters(7, ((9, 9), (12, 40))).metadata)
    SentLetters(until=7, ranges=((9, 9), (12, 40)))
    """
    ranges = (part.partition("-") for part in metadata.split())
    return SentLetters(max(0, offset), tuple((int(first), int(last)) for first, _, last in ranges))


def replay_group(settings: Settings, reason: str) -> str:
    """The consumer group that remembers which letters of a reason were sent back."""
    return f"{settings.consumer_group}-replayed-{reason}"


async def remembered(settings: Settings, reasons: Iterable[str]) -> dict[tuple[str, int], SentLetters]:
    """Which letters were sent back, by reason and partition of `dead-letters`.

    Raises:
        KafkaError: Kafka refuses the request.
    """
    topic = settings.topic(DEAD_LETTERS)
    sent = {}
    async with started(admin_client(settings), settings) as admin:
        for reason in reasons:
            try:
                commits = await admin.list_consumer_group_offsets(replay_group(settings, reason))
            except GroupCoordinatorNotAvailableError:  # a cluster on which no group has ever committed
                continue
            for tp, commit in commits.items():
                if tp.topic == topic:
                    sent[reason, tp.partition] = parse(commit.offset, commit.metadata)
    return sent


async def remember(settings: Settings, reason: str, letters: Mapping[int, SentLetters]) -> None:
    """Commits, by partition of `dead-letters`, which letters of the reason were sent back.

    Raises:
        KafkaError: Kafka refuses the request.
    """
    if not letters:
        return
    topic = settings.topic(DEAD_LETTERS)
    async with started(committing_consumer(settings, replay_group(settings, reason)), settings) as consumer:
        commits = {TopicPartition(topic, partition): (sent.until, sent.metadata) for partition, sent in letters.items()}
        consumer.assign(list(commits))
        await consumer.commit(commits)
