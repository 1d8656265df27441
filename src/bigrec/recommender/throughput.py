"""How fast a step processes its units."""

import time

from bigrec.types import ProgressCallback


class Throughput:
    """A `ProgressCallback` that forwards its calls and measures units a second.

    Time counts from the first call to the last, so that loading and the work of an earlier call
    are not in it.

    Args:
        unit: What is counted, in the plural.
        progress: Called with the same.
        units_per_step: Units in each step that progress counts.
    """

    def __init__(self, unit: str, progress: ProgressCallback, *, units_per_step: int = 1) -> None:
        self.unit = unit
        self._progress = progress
        self._units_per_step = units_per_step
        self._first: tuple[int, float] | None = None
        self._last = (0, 0.0)

    def __call__(self, done: int, total: int) -> None:
        """Record units done and units in total."""
        self._last = (done, time.monotonic())
        self._first = self._first or self._last
        self._progress(done, total)

    @property
    def done(self) -> int:
        """Units that were timed."""
        if self._first is None:
            return 0
        return (self._last[0] - self._first[0]) * self._units_per_step

    @property
    def per_s(self) -> float | None:
        """Units a second; None before the second call."""
        if self._first is None or self._last[1] <= self._first[1] or not self.done:
            return None
        return self.done / (self._last[1] - self._first[1])
