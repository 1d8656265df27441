"""An append-only file of entries that are on the disk before they count."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, ValidationError

from bigrec.errors import BundleError
from bigrec.serving.entries import ENTRY, Entry
from bigrec.storage import atomic_file, first_problems, storage_errors
from bigrec.storage.temporaries import flush

_FORMAT = 2
# The first format knew no compaction.
_READ = (1, _FORMAT)


class Header(BaseModel):
    """The first line.

    Attributes:
        format: Version of the file's layout.
        compactions: How often the file was written anew.
        n_entries: Entries that the last compaction wrote.
        skipped: Earlier entries that they stand for, less their number.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: int = _FORMAT
    compactions: int = 0
    n_entries: int = 0
    skipped: int = 0

    @property
    def revision(self) -> int:
        """Number of entries that the last compaction stands for."""
        return self.skipped + self.n_entries


class Journal:
    """JSON lines that several processes may read and append to.

    A line counts once it is complete. What a process left of a line when it was killed is removed
    by the next one that writes.

    Args:
        path: The file; made when the first entry is written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(path.with_name(path.name + ".lock"))
        self.header = Header()
        # Bytes of complete lines that were read or written.
        self._position = 0
        self._n_lines = 0

    @property
    def n_bytes(self) -> int:
        """Size of what was read or written."""
        return self._position

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Keep other processes from writing within the block.

        Raises:
            StorageError: If the folder cannot be written to.
        """
        with storage_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        try:
            yield
        finally:
            self._lock.release()

    def read_new(self) -> tuple[list[Entry], bool]:
        """Entries that were written since the last call, by this process or another.

        Returns:
            The entries; and whether another process compacted the file, so that they are all.

        Raises:
            BundleError: If a complete line is damaged, or the file is shorter than before.
        """
        if not self.path.exists():
            return [], False
        with self.path.open("rb") as stream:
            first = stream.readline()
            header = self._read_header(first) if first.endswith(b"\n") else Header()
            is_compacted = self._n_lines > 0 and header.compactions != self.header.compactions
            if is_compacted:
                self._position = self._n_lines = 0
            if os.fstat(stream.fileno()).st_size < self._position:
                raise BundleError(
                    f"{self.path} is shorter than it was: expected a file that only grows. Restart "
                    "the service."
                )
            stream.seek(self._position)
            content = stream.read()
        complete = content[: content.rfind(b"\n") + 1]
        lines = complete.splitlines()
        start = self._n_lines + 1
        entries = [
            self._entry(line, number) for number, line in enumerate(lines, start) if number > 1
        ]
        self.header = header
        self._position += len(complete)
        self._n_lines += len(lines)
        return entries, is_compacted

    def append(self, entries: Sequence[Entry]) -> None:
        """Write entries to the disk; call it within `writing`, after `read_new`.

        Raises:
            StorageError: If they cannot be written. Then none of them counts.
        """
        is_new = self._position == 0
        lines = _lines(self.header if is_new else None, entries)
        content = b"".join(lines)
        # Unbuffered: what could not be written must not be written later, when it is closed.
        with storage_errors(self.path), self.path.open("ab", buffering=0) as stream:
            # What a killed process left of a line.
            stream.truncate(self._position)
            try:
                rest = memoryview(content)
                while rest:
                    rest = rest[stream.write(rest) :]
                os.fsync(stream.fileno())
                if is_new:
                    flush(self.path.parent)
            except OSError:
                stream.truncate(self._position)
                raise
        self._position += len(content)
        self._n_lines += len(lines)

    def compact(self, entries: Sequence[Entry], *, revision: int) -> None:
        """Write the file anew, at once; call it within `writing`, after `read_new`.

        Args:
            entries: From which the same follows as from all so far.
            revision: Number of all entries so far.

        Raises:
            StorageError: If it cannot be written. Then the present file stays.
        """
        header = Header(
            compactions=self.header.compactions + 1,
            n_entries=len(entries),
            skipped=revision - len(entries),
        )
        lines = _lines(header, entries)
        # Behind a link, the file is replaced and not the link.
        with atomic_file(self.path.resolve()) as temporary:
            temporary.write_bytes(b"".join(lines))
        self.header = header
        self._position = sum(map(len, lines))
        self._n_lines = len(lines)

    def _read_header(self, line: bytes) -> Header:
        try:
            header = Header.model_validate_json(line)
        except ValidationError as error:
            raise self._damaged(1, error) from None
        if header.format not in _READ:
            raise BundleError(
                f"{self.path} has another format; this bigrec reads format {_FORMAT}. Move it away "
                "to start without its changes."
            )
        return header

    def _entry(self, line: bytes, number: int) -> Entry:
        try:
            return ENTRY.validate_json(line)
        except ValidationError as error:
            raise self._damaged(number, error) from None

    def _damaged(self, number: int, error: ValidationError) -> BundleError:
        return BundleError(
            f"{self.path} is damaged in line {number}: {first_problems(error)}. Remove the line, "
            "or move the file away to start without its changes."
        )


def _lines(header: Header | None, entries: Sequence[Entry]) -> list[bytes]:
    models = [*([] if header is None else [header]), *entries]
    return [f"{model.model_dump_json()}\n".encode() for model in models]
