"""Progress of long steps on the error stream."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from bigrec.printable import printable
from bigrec.recommender.throughput import TimeLeft
from bigrec.storage import interrupts
from bigrec.types import ProgressFactory

_LINE_EVERY_S = 30.0


@contextmanager
def progress() -> Iterator[ProgressFactory]:
    """Progress of long steps with the time left, on the error stream.

    A terminal shows bars. Any other stream, which would show them only at the end, gets a line at
    most every 30 s.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda name: _Lines(name, console)
        return
    bars = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
        console=console,
    )
    with bars:
        yield lambda name: _Bar(name, bars)


class _Bar:
    """Progress as a bar of a terminal."""

    def __init__(self, name: str, bars: Progress) -> None:
        self._name = name
        self._bars = bars
        self._left = TimeLeft()
        self._task: TaskID | None = None

    def __call__(self, done: int, total: int) -> None:
        interrupts.check()
        left = _left(self._left.update(done, total, now=time.monotonic()))
        if self._task is None:
            self._task = self._bars.add_task(printable(self._name), total=total, left=left)
        self._bars.update(self._task, completed=done, total=total, left=left)


class _Lines:
    """Progress as lines, at most one in `_LINE_EVERY_S`."""

    def __init__(self, name: str, console: Console) -> None:
        self._name = name
        self._console = console
        self._last_line = time.monotonic()
        self._left = TimeLeft()

    def __call__(self, done: int, total: int) -> None:
        interrupts.check()
        now = time.monotonic()
        left = _left(self._left.update(done, total, now=now))
        if done < total and now - self._last_line < _LINE_EVERY_S:
            return
        self._last_line = now
        line = f"{self._name}: {done} of {total}"
        self._console.print(Text(printable(f"{line}, {left}" if left else line)))


def _left(seconds: float | None) -> str:
    return "" if seconds is None else f"{timedelta(seconds=round(seconds))} left"
