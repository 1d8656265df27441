"""How fast a step processes its units, and how long it still takes."""

import time
from collections import deque

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


class TimeLeft:
    """Estimates the time left of a step from its recent rate, once that means something.

    The first units of a step may take a thousand times as long as the others: caches fill, memory
    is mapped. No estimate is given before the rate was observed for `MIN_SECONDS`, over
    `MIN_REPORTS` reports or a `MIN_SHARE` of what was left, and while the rates of all reports and
    of their second half differ by more than `MAX_DRIFT` times.
    """

    MIN_SECONDS = 10.0
    MIN_REPORTS = 5
    MIN_SHARE = 0.05
    MAX_DRIFT = 2.0

    # At most one in a second: the last two minutes, and more where reports are rare.
    _SAMPLES = 120
    _EVERY_S = 1.0

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque(maxlen=self._SAMPLES)
        self._reports = 0

    def update(self, done: int, total: int, *, now: float) -> float | None:
        """Record progress.

        Args:
            done: Units done; those of the first call may be of an earlier run.
            total: Units in total.
            now: Time of a clock, in seconds.

        Returns:
            Seconds left, or None where nothing can be said.
        """
        samples = self._samples
        if not samples or now - samples[-1][0] >= self._EVERY_S:
            samples.append((now, done))
            self._reports += len(samples) > 1 and done > samples[-2][1]
        first_time, first_done = samples[0]
        elapsed, progressed = now - first_time, done - first_done
        left = total - done
        if left <= 0 or progressed <= 0 or elapsed < self.MIN_SECONDS:
            return None
        if self._reports < self.MIN_REPORTS and progressed < self.MIN_SHARE * (left + progressed):
            return None
        rate = progressed / elapsed
        half_time, half_done = samples[(len(samples) - 1) // 2]
        recent = (done - half_done) / (now - half_time)
        if not rate / self.MAX_DRIFT <= recent <= rate * self.MAX_DRIFT:
            return None
        return left / rate
