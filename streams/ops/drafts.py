"""Files that appear whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def draft_of(out: Path) -> Iterator[Path]:
    """Where to write: it becomes `out` when the block ends, and is deleted when the block raises."""
    draft = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        yield draft
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    draft.replace(out)
