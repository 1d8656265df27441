"""Ctrl-C: one flag for all stages, which no library can swallow.

Python raises KeyboardInterrupt between any two instructions. Raised within a finalizer, a callback
of compiled code or an ``except`` of a library it is lost; raised within a rename it leaves things
half done. Here the first Ctrl-C sets a flag that stays set. It is raised at once, but within
`deferred` at the end of the block, and once more wherever work is reported or written (`check`).
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

EXIT_CODE = 130
"""Exit code after Ctrl-C, as in any shell."""

# A terminal and a launcher may both send the signal of one key press.
_SAME_PRESS_S = 0.2
_SHOW_CURSOR = "\x1b[?25h"

_Handler = Callable[[int, FrameType | None], object] | int | None


class _State:
    """The flag, and what it depends on."""

    def __init__(self) -> None:
        self.requested = False
        self.watched = False
        self.depth = 0
        self.message = ""


_state = _State()


def requested() -> bool:
    """Whether Ctrl-C was pressed, within `watched` or `deferred`."""
    return _state.requested


def check() -> None:
    """Raise the Ctrl-C that a library swallowed.

    Raises:
        KeyboardInterrupt: If Ctrl-C was pressed and nothing defers it.
    """
    if _state.requested and _state.depth == 0:
        raise KeyboardInterrupt


@contextmanager
def deferred(message: str = "") -> Iterator[None]:
    """Within the block, Ctrl-C is raised only at its end; a second one at once.

    Args:
        message: Printed on the error stream at Ctrl-C.

    Raises:
        KeyboardInterrupt: At the end, if Ctrl-C was pressed.
    """
    if not _can_handle():
        yield
        return
    outer, outer_message = signal.getsignal(signal.SIGINT), _state.message
    _state.depth += 1
    # Signals are handled at calls. The last of them stands in the inner block, so that none is
    # handled while the flags change.
    try:
        try:
            _state.message = message or outer_message
            signal.signal(signal.SIGINT, _handle)
            yield
        finally:
            signal.signal(signal.SIGINT, outer)
    finally:
        _state.depth -= 1
        _state.message = outer_message
        if _state.depth == 0 and _state.requested:
            # Without `watched`, the program may catch this and continue.
            _state.requested = _state.watched
            raise KeyboardInterrupt


@contextmanager
def watched() -> Iterator[None]:
    """Within the block, the first Ctrl-C sets the flag and the second ends the process at once.

    Another thread sees the second, also while the main one is in compiled code.
    """
    if not _can_handle():
        yield
        return
    outer = signal.getsignal(signal.SIGINT)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    outer_descriptor = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.signal(signal.SIGINT, _handle)
    _state.requested, _state.watched = False, True
    threading.Thread(target=_exit_at_second, args=(reading,), daemon=True).start()
    try:
        yield
    finally:
        _state.requested = _state.watched = False
        signal.signal(signal.SIGINT, outer)
        signal.set_wakeup_fd(outer_descriptor)
        os.close(writing)


def _can_handle() -> bool:
    """Whether signals come to this thread, and are not ignored as in a job of the background."""
    is_main = threading.current_thread() is threading.main_thread()
    return is_main and callable(signal.getsignal(signal.SIGINT))


def _handle(_signal: int, _frame: FrameType | None) -> None:
    is_second, _state.requested = _state.requested, True
    if is_second and _state.watched:
        return  # `_exit_at_second` decides
    if _state.depth == 0 or is_second:
        raise KeyboardInterrupt
    if _state.message:
        _tell(_state.message)


def _exit_at_second(descriptor: int) -> None:
    """End the process at the second SIGINT whose number is written to a pipe."""
    pressed: float | None = None
    with suppress(OSError):
        while number := os.read(descriptor, 1):
            now = time.monotonic()
            if number[0] != signal.SIGINT:
                continue
            if pressed is not None and now - pressed > _SAME_PRESS_S:
                _tell("Stopped at once." + (_SHOW_CURSOR if sys.stderr.isatty() else ""))
                os._exit(EXIT_CODE)
            pressed = now if pressed is None else pressed
    os.close(descriptor)


def _tell(message: str) -> None:
    # Not through a buffer: the signal may have interrupted a write to it.
    with suppress(OSError):
        os.write(2, f"\n{message}\n".encode())
