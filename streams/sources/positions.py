"""The position of a replay, so that the same command continues from there: a small file in the cache folder."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import xxhash
from aiokafka import TopicPartition

from streams.kafka.clients import admin_client, started
from streams.kafka.cluster import layout_of
from streams.kafka.errors import TopicsNotReady
from streams.kafka.readers import reader
from streams.settings import Settings

# The file is rewritten at most this often: after a crash, one second of events is sent again under the same event ids.
SAVE_EVERY_S = 1.0
# Part of every key: after a change of the events' order or encoding, no replay continues from an old position.
FORMAT = 1


class Reached(NamedTuple):
    """A partition's items below index `below` are in it; the last of them has `offset`."""

    below: int
    offset: int


class ReplayPosition:
    """How much of one replay was acked. `key` stands for the file, the options and the cluster.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> first = ReplayPosition(folder, "some-key")
    >>> first.acked("purchases", 0, below=7, offset=41)
    >>> first.save()
    >>> ReplayPosition(folder, "some-key").done("purchases", 0), ReplayPosition(folder, "another").done("purchases", 0)
    (7, 0)
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._file = folder / f"{key}.json"
        self._reached: dict[tuple[str, int], Reached] = {}
        self._saved_s = 0.0
        if self._file.exists():
            rows = json.loads(self._file.read_text())
            self._reached = {(topic, number): Reached(below, offset) for topic, number, below, offset in rows}

    @property
    def reached(self) -> Mapping[tuple[str, int], Reached]:
        """By (topic, partition)."""
        return self._reached

    def done(self, topic: str, partition: int) -> int:
        """Items below this index need not be sent again."""
        reached = self._reached.get((topic, partition))
        return 0 if reached is None else reached.below

    def acked(self, topic: str, partition: int, below: int, offset: int) -> None:
        """The partition acked its items below `below`; the last one got `offset`."""
        self._reached[topic, partition] = Reached(below, offset)
        if time.monotonic() - self._saved_s > SAVE_EVERY_S:
            self.save()

    def save(self) -> None:
        """Writes the file whole or not at all."""
        self._saved_s = time.monotonic()
        self._file.parent.mkdir(parents=True, exist_ok=True)
        rows = [[topic, number, *reached] for (topic, number), reached in sorted(self._reached.items())]
        partial = self._file.with_suffix(".partial")
        partial.write_text(json.dumps(rows))
        partial.replace(self._file)

    def clear(self) -> None:
        """Forgets everything: the next replay starts at the beginning."""
        self._reached.clear()
        self._file.unlink(missing_ok=True)


async def open_position(settings: Settings, identity: Mapping[str, object]) -> ReplayPosition:
    """The position of the replay that `identity` names, on the cluster that `settings` names.

    It is empty for a new replay. It is also emptied if the topics hold less than was acked: they were made anew since.
    """
    key = await _key(settings, identity)
    position = ReplayPosition(settings.cache_dir / "replays", key)
    if position.reached and not await _still_there(settings, position):
        position.clear()
    return position


def file_digest(path: Path) -> str:
    """xxh3 of the file's bytes, in hex."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


async def _key(settings: Settings, identity: Mapping[str, object]) -> str:
    async with started(admin_client(settings), settings) as admin:
        cluster = (await admin.describe_cluster()).get("cluster_id") or settings.bootstrap_servers
    whole = {**identity, "cluster": cluster, "prefix": settings.topic_prefix, "format": FORMAT}
    return xxhash.xxh3_128_hexdigest(json.dumps(whole, sort_keys=True, default=str).encode())


async def _still_there(settings: Settings, position: ReplayPosition) -> bool:
    tps = {TopicPartition(topic, number): reached for (topic, number), reached in position.reached.items()}
    try:
        here = await layout_of(settings, sorted({tp.topic for tp in tps}))
    except TopicsNotReady:
        return False
    if not tps.keys() <= here.keys():
        return False
    async with reader(settings) as consumer:
        ends = await consumer.end_offsets(list(tps))
    return all(ends[tp] > reached.offset for tp, reached in tps.items())
