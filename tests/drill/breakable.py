"""`regulars ...` with switches for faults that no outside hand can make: an encoder that hangs, a chunk that hangs.

    REGULARS_... python -m tests.drill.breakable FOLDER worker --data-dir ...

A switch is a file in FOLDER; the fault lasts while it is there. Everything else is the product's own code.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

CHUNK_HANGS = "chunk-hangs"  # the next chunk, and every one after it, never gets Kafka's answer; it outlasts the switch
ENCODER_HANGS = "encoder-hangs"  # a batch of texts does not end
ENCODER_SLOW = "encoder-slow"  # a batch of texts takes SLOW_S longer
SLOW_S = 45.0
WITH_TEXTS = (
    "with-texts"  # must be there at the start if the encoder is to be broken later: it costs the import of torch
)
POISON = b"drill-poison"  # a record whose value has these bytes makes the job fail, as a defect would
POLL_S = 0.2


def _make_encoder_breakable(folder: Path) -> None:
    from models.text.encoder import Encoder

    forward: Callable[..., Any] = Encoder.forward

    def breakable(self: Encoder, *arguments: Any) -> Any:
        while (folder / ENCODER_HANGS).exists():
            time.sleep(POLL_S)
        if (folder / ENCODER_SLOW).exists():
            time.sleep(SLOW_S)
        return forward(self, *arguments)

    Encoder.forward = breakable  # type: ignore[method-assign]


def _make_chunks_breakable(folder: Path) -> None:
    from streams.plane import crash

    def watch() -> None:
        while not (folder / CHUNK_HANGS).exists():
            time.sleep(POLL_S)
        crash.arm("between_changelog_and_ack", 1, 0)

    Thread(target=watch, daemon=True).start()


def _make_job_breakable() -> None:
    from streams.worker.scoring import ScoringJob

    decode: Callable[..., Any] = ScoringJob.decode

    def breakable(self: ScoringJob, partition: int, records: Any, *further: Any) -> Any:
        if any(POISON in (record.value or b"") for record in records):
            raise ArithmeticError("the drill's defect")
        return decode(self, partition, records, *further)

    ScoringJob.decode = breakable  # type: ignore[method-assign]


def main() -> None:
    """The command line."""
    folder = Path(sys.argv[1])
    if (folder / WITH_TEXTS).exists():
        _make_encoder_breakable(folder)
    _make_chunks_breakable(folder)
    _make_job_breakable()

    from streams.cli import main as regulars

    regulars(sys.argv[2:])


if __name__ == "__main__":
    main()
