"""Large arrays that the processes of a service hold once: files that each of them maps.

A file has an array's bytes, and its name is their digest. A process maps what equals to the bit
what it had read or computed itself, so that no result changes. The files are copies that nothing
else writes, so that a bundle may be overwritten in place while it is served.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from bigrec.printable import get_logger
from bigrec.storage.temporaries import temporary_file

_CAN_LOCK = find_spec("fcntl") is not None  # not on Windows, where no mapped file can be removed
if _CAN_LOCK:
    import fcntl

logger = get_logger(__name__)

_SUFFIX, _LOCK = ".array", ".lock"
# Smaller ones are not worth a file.
_LEAST_BYTES = 1 << 18
_folder: ContextVar[Path | None] = ContextVar("folder", default=None)

_Value = TypeVar("_Value", bound=np.generic)


@contextmanager
def sharing_arrays(folder: Path | None) -> Iterator[None]:
    """Within the block, `shared` keeps this thread's arrays in a folder.

    Args:
        folder: Of the processes that share, on one machine; made with the first array. None shares
            nothing.
    """
    token = _folder.set(folder)
    try:
        yield
    finally:
        _folder.reset(token)


def shared(array: NDArray[_Value]) -> NDArray[_Value]:
    """An array that other processes with equal bytes hold, too.

    Args:
        array: Of any shape. It is not to be written to afterwards.

    Returns:
        Equal to the bit and in the same order of memory, mapped from a file and read-only. The
        array itself outside of `sharing_arrays`, if it is small or not in one piece, or if its file
        cannot be written, which is logged.
    """
    folder = _folder.get()
    is_whole = array.flags.c_contiguous or array.flags.f_contiguous
    if folder is None or array.nbytes < _LEAST_BYTES or not is_whole or array.dtype.hasobject:
        return array
    content = array.ravel(order="K").view(np.uint8)
    digest = hashlib.sha256(content.data).hexdigest()
    path = folder / f"{digest}{_SUFFIX}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Of workers that load at the same time, one writes and the others wait for it.
        with FileLock(folder / _LOCK):
            if not path.is_file():
                with temporary_file(folder, suffix=_SUFFIX) as temporary:
                    content.tofile(temporary)
                    temporary.replace(path)
            mapped = _mapped(path, array.nbytes)
    except (OSError, ValueError) as error:
        logger.warning("an array is not shared with other processes: %s", error)
        return array
    if hashlib.sha256(mapped.data).hexdigest() != digest:
        logger.warning("an array is not shared with other processes: %s is damaged", path)
        return array
    result: NDArray[_Value] = np.ndarray(
        array.shape, dtype=array.dtype, buffer=mapped, strides=array.strides
    )
    result.flags.writeable = False
    return result


def _mapped(path: Path, n_bytes: int) -> NDArray[Any]:
    """The bytes of a file, which is locked while they are in use.

    What is written to them by mistake stays in this process.

    Raises:
        OSError: If it cannot be opened or locked.
        ValueError: If it is shorter.
    """
    with path.open("rb") as stream:
        if _CAN_LOCK:
            # The mapping keeps a descriptor of the same open file, and with it the lock.
            fcntl.flock(stream, fcntl.LOCK_SH)
        return np.memmap(stream, mode="c", shape=(n_bytes,)).view(np.ndarray)


def remove_unused(folder: Path) -> None:
    """Remove the files of a folder of `sharing_arrays` that no process maps."""
    with suppress(OSError), FileLock(folder / _LOCK):
        for path in folder.glob(f"*{_SUFFIX}"):
            with suppress(OSError):
                _remove_if_unused(path)


def _remove_if_unused(path: Path) -> None:
    """Remove a file.

    Raises:
        OSError: If a process maps it.
    """
    if not _CAN_LOCK:
        path.unlink()
        return
    with path.open("rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
