"""A process that counts its storage operations, and gets a signal before one of them."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from bigrec.storage import temporaries

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_EVENTS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate"}


class Countdown:
    """Counts the storage operations below a folder, and sends a signal before one of them.

    Args:
        folder: Operations elsewhere do not count.
        kill_at: Number of the operation, from 1; None counts only.
        record: Holds the count.
        number: The signal. Only SIGKILL also cuts what is about to be flushed.
    """

    def __init__(
        self,
        folder: Path,
        *,
        kill_at: int | None,
        record: Path,
        number: signal.Signals = signal.SIGKILL,
    ) -> None:
        self._folder = folder.resolve()
        self._kill_at = kill_at
        self._record = record
        self._number = number
        self._count = 0
        # Bytes of files, by their inode, that a kill cannot take back.
        self._flushed: dict[int, int] = {}
        self._fsync = os.fsync
        self._exchange = temporaries._exchange

    def watch(self) -> None:
        """Begin; cannot be undone in this process."""
        os.fsync = self._flushing
        temporaries._exchange = self._exchanging
        sys.addaudithook(self._audit)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in _EVENTS or (event == "open" and arguments[2] & _WRITING):
            self._operation(arguments[0])

    def _flushing(self, fd: Any) -> None:
        path = Path(f"/proc/self/fd/{fd}").readlink()
        self._operation(path, cut=path.is_file())
        self._fsync(fd)
        status = os.fstat(fd)
        self._flushed[status.st_ino] = status.st_size

    def _exchanging(self, first: Path, second: Path) -> bool:
        self._operation(second)
        return self._exchange(first, second)

    def _operation(self, path: Any, *, cut: bool = False) -> None:
        if not isinstance(path, str | Path) or self._folder not in Path(path).absolute().parents:
            return
        self._count += 1
        if self._count != self._kill_at:
            if self._kill_at is None:
                self._note()
            return
        if cut and self._number == signal.SIGKILL:
            descriptor = os.open(path, os.O_WRONLY)
            status = os.fstat(descriptor)
            flushed = self._flushed.get(status.st_ino, 0)
            os.ftruncate(descriptor, flushed + (status.st_size - flushed) // 2)
        os.kill(os.getpid(), self._number)

    def _note(self) -> None:
        self._record.write_text(str(self._count))
