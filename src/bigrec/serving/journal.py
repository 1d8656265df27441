"""An append-only file of entries that are on the disk before they count."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, ValidationError

from bigrec.errors import BundleError
from bigrec.serving.entries import ENTRY, Entry
from bigrec.storage import first_problems, storage_errors
from bigrec.storage.temporaries import flush

_FORMAT = 1


class _Header(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    format: int


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
        # Bytes of complete lines that were read or written.
        self._position = 0
        self._n_lines = 0

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

    def read_new(self) -> list[Entry]:
        """Entries that were written since the last call, by this process or another.

        Raises:
            BundleError: If a complete line is damaged, or the file is shorter than before.
        """
        if not self.path.exists():
            return []
        with self.path.open("rb") as stream:
            if os.fstat(stream.fileno()).st_size < self._position:
                raise BundleError(
                    f"{self.path} is shorter than it was: expected a file that only grows. Restart "
                    "the service."
                )
            stream.seek(self._position)
            content = stream.read()
        complete = content[: content.rfind(b"\n") + 1]
        lines = complete.splitlines()
        entries = [self._entry(line, self._n_lines + 1 + n) for n, line in enumerate(lines)]
        self._position += len(complete)
        self._n_lines += len(lines)
        return [entry for entry in entries if entry is not None]

    def append(self, entries: Sequence[Entry]) -> None:
        """Write entries to the disk; call it within `writing`, after `read_new`.

        Raises:
            StorageError: If they cannot be written. Then none of them counts.
        """
        is_new = self._position == 0
        lines = [_Header(format=_FORMAT).model_dump_json()] if is_new else []
        lines += [entry.model_dump_json() for entry in entries]
        content = "".join(f"{line}\n" for line in lines).encode()
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

    def _entry(self, line: bytes, number: int) -> Entry | None:
        """The entry of a line; None for the header."""
        try:
            if number == 1:
                if _Header.model_validate_json(line).format != _FORMAT:
                    raise BundleError(
                        f"{self.path} has another format; this bigrec reads format {_FORMAT}. "
                        "Move it away to start without its changes."
                    )
                return None
            return ENTRY.validate_json(line)
        except ValidationError as error:
            raise BundleError(
                f"{self.path} is damaged in line {number}: {first_problems(error)}. Remove the "
                "line, or move the file away to start without its changes."
            ) from None
