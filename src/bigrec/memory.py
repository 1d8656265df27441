"""Memory of a process, as the operating system counts it."""

import resource
import sys
from pathlib import Path

# getrusage counts in bytes on macOS and in KiB elsewhere.
_UNIT = 1 if sys.platform == "darwin" else 1024
_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def peak_bytes() -> int:
    """Most memory that this process has held at once, since `reset_peak` where it was called."""
    # What getrusage gives to a process just started includes its parent's peak.
    found = _from_status("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT if found is None else found


def reset_peak() -> int | None:
    """Forget the peak so far.

    Returns:
        Bytes that the process holds now, or None where the system cannot forget (all but Linux).
    """
    try:
        _CLEAR.write_text("5")
    except OSError:
        return None
    return _from_status("VmRSS")


def _from_status(name: str) -> int | None:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    values = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return int(values[0]) * 1024 if values else None
