"""Keys and values on disk, while a program needs them: more of them than fit into memory, in the order of the keys."""

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import rocksdict

from streams.kafka.errors import SpoolBroken

_UNLOGGED = rocksdict.WriteOptions()
_UNLOGGED.disable_wal = True


class Spool:
    """The latest value of each key, in a temporary folder that is deleted when the block ends.

    Its memory is at most some 150 MB, however many keys it has. On disk it takes what they take, and at times twice that.

    Args:
        beside: the folder in which the temporary folder is made; None: the system's (`TMPDIR`).
    """

    def __init__(self, beside: Path | None = None) -> None:
        self._beside = beside

    def __enter__(self) -> Self:
        options = rocksdict.Options(raw_mode=True)
        options.create_if_missing(True)
        self._folder = tempfile.TemporaryDirectory(prefix=".regulars-", dir=self._beside)
        self._database = rocksdict.Rdict(str(Path(self._folder.name) / "spool"), options)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, at: TracebackType | None
    ) -> None:
        self._database.close()
        self._folder.cleanup()

    def put(self, items: Iterable[tuple[bytes, bytes | None]]) -> None:
        """The latest values of these keys; None deletes a key.

        Raises:
            SpoolBroken: the disk is full or failing.
        """
        batch = rocksdict.WriteBatch(raw_mode=True)
        for key, value in items:
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        try:
            self._database.write(batch, _UNLOGGED)
        except Exception as exc:  # rocksdict has no class of its own
            raise SpoolBroken(f"{self._folder.name}: {exc}") from exc

    def pages(self, size: int) -> Iterator[list[tuple[bytes, bytes]]]:
        """Every key with its value, in byte order of the keys, `size` of them at a time.

        Raises:
            SpoolBroken: the disk is failing.
        """
        iterator = self._database.iter()  # Rdict.items() ends silently at a damaged block
        iterator.seek_to_first()
        page: list[tuple[bytes, bytes]] = []
        try:
            while iterator.valid():
                page.append((iterator.key(), iterator.value()))
                iterator.next()
                if len(page) == size:
                    yield page
                    page = []
            if page:
                yield page
            try:
                iterator.status()
            except Exception as exc:
                raise SpoolBroken(f"{self._folder.name}: {exc}") from exc
        finally:
            del iterator  # a live iterator keeps the database open
