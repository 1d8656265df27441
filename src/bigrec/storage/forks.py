"""Forked children, which lack the threads of their parent."""

import os
import re
import sys
from contextlib import suppress
from pathlib import Path

from bigrec.errors import StorageError

_POOL_THREAD = re.compile(r"polars-\d+")
_THREADS = Path("/proc/self/task")


class _State:
    """What was found at the last fork."""

    pool_is_running = False
    pool_is_lost = False


def check_threads() -> None:
    """Refuse to read or write tables where that would wait forever.

    polars starts threads when it first needs them. A fork copies none, but what waits for them.

    Raises:
        StorageError: In a forked child whose parent had used polars' threads.
    """
    if _State.pool_is_lost:
        raise StorageError(
            "this process was forked from one that had used polars, without whose threads tables "
            "can be neither read nor written. Use the start method 'spawn' or 'forkserver' of "
            "multiprocessing, fork before any data is read, or save and load in the parent."
        )


def _before_fork() -> None:
    _State.pool_is_running = False
    # Where there is no such folder, spawning is the rule.
    with suppress(OSError):
        names = [(task / "comm").read_text().strip() for task in _THREADS.iterdir()]
        _State.pool_is_running = any(map(_POOL_THREAD.fullmatch, names))


def _in_child() -> None:
    _State.pool_is_lost = _State.pool_is_lost or _State.pool_is_running
    if "torch" in sys.modules:
        # It would wait for the threads of its parent, too, but can compute without them.
        sys.modules["torch"].set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_in_child)
