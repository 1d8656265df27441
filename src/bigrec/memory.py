"""Memory of a process, as the operating system counts it."""

import resource
import sys

# getrusage counts in bytes on macOS and in KiB elsewhere.
_UNIT = 1 if sys.platform == "darwin" else 1024


def peak_bytes() -> int:
    """Most memory that this process has held at once."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT
