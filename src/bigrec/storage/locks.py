"""One run at a time in a folder."""

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bigrec.errors import StorageError
from bigrec.storage import storage_errors
from bigrec.storage.temporaries import remove_leftovers

_LOCK = ".bigrec.lock"
_HOLDER = ".bigrec.lock.json"

# Folders that this process holds, and how many blocks are in each.
_held: dict[Path, int] = {}
_guard = threading.Lock()


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold a folder within the block, and remove what killed runs left in it.

    A lock is released by the system when its process ends, however that happens. Blocks of one
    process may be nested. Of several processes that `accelerate launch` started, the first locks
    for all.

    Raises:
        StorageError: If another process holds the folder, or it cannot be written to.
    """
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    key = folder.resolve()
    with _guard:
        is_held = key in _held
        _held[key] = _held.get(key, 0) + 1
    try:
        if is_held:
            yield
        else:
            with _lock(folder):
                remove_leftovers(folder, recursive=True)
                yield
    finally:
        with _guard:
            _held[key] -= 1
            if not _held[key]:
                del _held[key]


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    is_new = not folder.exists()
    holder = folder / _HOLDER
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / _LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise StorageError(_in_use(folder, holder)) from None
        holder.write_text(json.dumps(_this_process()), encoding="utf-8")
    try:
        yield
    finally:
        with suppress(OSError):
            holder.unlink(missing_ok=True)
            # While it is locked: another process sees that the file it opened is gone.
            (folder / _LOCK).unlink(missing_ok=True)
            if is_new:
                folder.rmdir()  # fails where something was written
        lock.release()


def _this_process() -> dict[str, Any]:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": since}


def _in_use(folder: Path, holder: Path) -> str:
    by = "another process"
    # The holder may be about to write it.
    with suppress(OSError, ValueError, KeyError, TypeError):
        content = json.loads(holder.read_text(encoding="utf-8"))
        by = f"process {content['pid']} on {content['host']} since {content['since']}"
    return (
        f"{folder} is in use by {by}. Wait until it ends, stop it, or choose another folder for "
        "this run."
    )
