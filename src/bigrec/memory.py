"""Memory of this process, as reported by the operating system."""

import ctypes
import gc
import resource
import sys
from pathlib import Path

# getrusage counts in bytes on macOS and in KiB elsewhere.
_UNIT = 1 if sys.platform == "darwin" else 1024
_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
# Of control groups, versions 2 and 1; without a limit the first holds "max", the second 2**63.
_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def peak_bytes() -> int:
    """Peak resident memory of this process in bytes, since the last `reset_peak` if any."""
    # Preferred to getrusage, which includes the parent's peak in a process just started.
    peak = _from_status("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT if peak is None else peak


def release_freed() -> None:
    """Give memory that was freed back to the system; nothing where the C library is not glibc."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def settle() -> None:
    """Take all that is in memory as permanent: Python does not look for cycles in it any more.

    It would look at every object of a large model, for a third of a second, after each few thousand
    requests that a service answers. Called again, what is not used any more is freed first.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    release_freed()


def reset_peak() -> int | None:
    """Reset the peak to the current memory.

    Returns:
        Current resident memory in bytes; None if the system cannot reset the peak (all but Linux).
    """
    try:
        _CLEAR.write_text("5")
    except OSError:
        return None
    return _from_status("VmRSS")


def limit_bytes() -> int | None:
    """Memory in bytes that the container allows; None without a container's limit."""
    for path in _LIMITS:
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        return int(text) if text.isdecimal() else None
    return None


def _from_status(name: str) -> int | None:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    values = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return int(values[0]) * 1024 if values else None
