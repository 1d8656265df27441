"""Temporary names of writes, and how they take the final name.

A temporary file or folder is locked while its process lives, so that those of killed processes are
told apart and removed. The system drops the lock with the process.
"""

import ctypes
import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from bigrec.storage import interrupts

_CAN_LOCK = find_spec("fcntl") is not None  # not on Windows
if _CAN_LOCK:
    import fcntl

TEMPORARY = ".tmp-bigrec-"
"""Start of the name of everything that is being written."""

_RETIRED = ".old-bigrec-"
_RENAME_EXCHANGE = 2
_AT_FDCWD = -100
# What a system or a file system without the exchange answers.
_NO_EXCHANGE = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM}
_ATTEMPTS = 5


@contextmanager
def temporary_file(parent: Path, *, suffix: str) -> Iterator[Path]:
    """An empty file in a folder, locked within the block and removed after it."""

    def make() -> Path:
        descriptor, name = tempfile.mkstemp(prefix=TEMPORARY, suffix=suffix, dir=parent)
        os.close(descriptor)
        return Path(name)

    with _locked(make) as path:
        yield path


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """An empty folder in a folder, locked within the block and removed after it."""
    with _locked(lambda: Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=parent))) as path:
        yield path


def put_folder(temporary: Path, path: Path) -> None:
    """Give a folder its final name; what had it before may remain under the temporary one.

    At each instant the old or the new folder has the name, or `recover_folder` gives it back.
    """
    for _ in range(_ATTEMPTS):
        if not os.path.lexists(path):
            temporary.replace(path)
            return
        if _exchange(temporary, path):
            return
        retired = _retired(path)
        remove(retired)
        path.replace(retired)
        with suppress(OSError):  # a reader recovered the old one in between
            temporary.replace(path)
            remove(retired)
            return
    raise OSError(errno.EBUSY, "other processes use the folder")


def recover_folder(path: Path) -> None:
    """Give a folder its name back if a process was killed while it was replaced."""
    # The working directory is there, and "." is no name to derive another from.
    if os.path.lexists(path) or not path.name:
        return
    retired = _retired(path)
    if retired.exists():
        with suppress(OSError):  # another process was faster, or the disk is read-only
            retired.replace(path)


def remove_leftovers(folder: Path, *, recursive: bool = False) -> None:
    """Remove what killed processes left of their writes; what is being written stays.

    Args:
        folder: Searched; need not exist.
        recursive: Search the folders below it, too.
    """
    search = folder.rglob if recursive else folder.glob
    for retired in list(search(f"{_RETIRED}*")):
        path = retired.with_name(retired.name.removeprefix(_RETIRED))
        recover_folder(path)
        remove(retired)
    for path in list(search(f"{TEMPORARY}*")):
        with suppress(OSError):
            descriptor = _lock(path, wait=False)
            if descriptor is not None:
                remove(path)
                os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder, or as much of it as can be removed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Have a file or folder written to the disk.

    Without it a power cut after a rename can leave an empty file under the final name.
    """
    if path.is_dir() and os.name == "nt":
        return  # folders cannot be opened there
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _locked(make: Callable[[], Path]) -> Iterator[Path]:
    path, descriptor = make(), None
    try:
        descriptor = _lock(path, wait=True)
        while descriptor is None and _CAN_LOCK:
            # Taken for a leftover before it was locked.
            path = make()
            descriptor = _lock(path, wait=True)
        yield path
    finally:
        with interrupts.deferred():
            remove(path)
            if descriptor is not None:
                os.close(descriptor)


def _lock(path: Path, *, wait: bool) -> int | None:
    """A descriptor that holds a lock of a path, or None if it is locked or gone."""
    if not _CAN_LOCK:
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        if os.path.samestat(os.fstat(descriptor), path.lstat()):
            return descriptor
    except OSError as error:
        # A file system without locks: what is written there is not taken for a leftover either.
        if wait and not isinstance(error, FileNotFoundError):
            return descriptor
    os.close(descriptor)
    return None


def _retired(path: Path) -> Path:
    return path.with_name(_RETIRED + path.name)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two names in one step; False where the system cannot."""
    call = _exchange_call()
    if call is None:
        return False
    if call(os.fsencode(first), os.fsencode(second)) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NO_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), str(second))


@cache
def _exchange_call() -> Callable[[bytes, bytes], int] | None:
    """The C library's exchange of two names: Linux's ``renameat2``, macOS' ``renamex_np``."""
    with suppress(AttributeError, OSError, TypeError):
        library = ctypes.CDLL(None, use_errno=True)
        if hasattr(library, "renamex_np"):
            return lambda first, second: library.renamex_np(first, second, _RENAME_EXCHANGE)
        rename = library.renameat2
        return lambda first, second: rename(
            _AT_FDCWD, first, _AT_FDCWD, second, ctypes.c_uint(_RENAME_EXCHANGE)
        )
    return None
