"""Which chunks made the job fail, remembered over restarts, so that one bad record cannot stop a partition for good.

A worker whose job raises ends, and its supervisor starts it again at the same records. The third time, `fault_search` halves
the chunk until the record is alone. The file lies beside the local stores: each worker counts its own starts.

    {"3": {"count": 2, "first": {"purchases": 1041}}}     partition -> failures, first offset of each topic
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from aiokafka.structs import ConsumerRecord

from streams.kafka.errors import InfrastructureFailure

# The machine may cause a first failure (memory, a signal). When the same records fail twice, a record is the cause.
MOST_STARTS = 2


class JobFailed(Exception):
    """The job raised while it decoded or stepped records: a defect, of the job or of a record that it does not expect.

    Attributes:
        cause: what the job raised.
    """

    def __init__(self, cause: Exception) -> None:
        super().__init__(f"the job raised {type(cause).__name__}: {cause}")
        self.cause = cause


def as_job_failure(exc: Exception) -> Exception:
    """What the job raised as a JobFailed; broken infrastructure stays what it is."""
    return exc if isinstance(exc, InfrastructureFailure) else JobFailed(exc)


class Failures:
    """The file of failed chunks, read once; `folder` need not exist yet."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "failed-chunks.json"
        self._noted: dict[str, dict[str, object]] | None = None  # None: not read yet

    def is_suspect(self, partition: int, records: Sequence[ConsumerRecord]) -> bool:
        """Whether a chunk of these records made the job fail in two starts."""
        if not self._all():  # the usual case, at every chunk
            return False
        count, first = self._read(partition)
        return count >= MOST_STARTS and _overlap(first, records)

    def note(self, partition: int, records: Sequence[ConsumerRecord]) -> None:
        """Remembers that the job failed at these records; call it before the process ends."""
        count, first = self._read(partition)
        if not _overlap(first, records):
            count, first = 0, {}
            for record in records:
                first.setdefault(record.topic, record.offset)
        self._write(partition, {"count": count + 1, "first": first})

    def clear(self, partition: int) -> None:
        """Forgets the partition: its records are done."""
        self._write(partition, None)

    def _all(self) -> dict[str, dict[str, object]]:
        if self._noted is None:
            try:
                noted = json.loads(self._path.read_text("utf-8"))
            except (OSError, ValueError):
                noted = {}
            self._noted = noted if isinstance(noted, dict) else {}
        return self._noted

    def _read(self, partition: int) -> tuple[int, dict[str, int]]:
        match self._all().get(str(partition)):
            case {"count": int(count), "first": dict(first)}:
                return count, first
        return 0, {}

    def _write(self, partition: int, noted: dict[str, object] | None) -> None:
        every = self._all()
        every.pop(str(partition), None)
        if noted is not None:
            every[str(partition)] = noted
        with suppress(OSError):  # a full disk has an error of its own
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps(every), "utf-8")


def _overlap(first: Mapping[str, int], records: Sequence[ConsumerRecord]) -> bool:
    """Whether the records hold the first one, of any topic, of those that failed before."""
    return any(record.offset == first.get(record.topic) for record in records)
