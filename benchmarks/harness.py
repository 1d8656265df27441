"""Alternating timing of bigrec and reference implementations on the same inputs."""

import ctypes
import gc
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from bigrec.memory import peak_bytes, reset_peak

T = TypeVar("T")

OURS, REFERENCE = "ours", "reference"


@dataclass(frozen=True, slots=True, eq=False)
class Timing:
    """Time and memory of one side of a comparison.

    Attributes:
        seconds: Wall-clock time of each turn.
        peak_mib: Peak memory of a turn beyond the memory at its start, the largest of all turns;
            None if the system does not report it.
        result: Return value of the last turn.
    """

    seconds: list[float]
    peak_mib: float | None
    result: Any

    @property
    def median_s(self) -> float:
        """Seconds of the median turn."""
        return float(np.median(self.seconds))


def take_turns(
    sides: Mapping[str, Callable[[Sequence[T]], Any]],
    inputs: Sequence[T],
    *,
    turns: int,
    warm_up: int,
) -> dict[str, Timing]:
    """Time every side on all inputs once a turn, in an order that reverses from turn to turn.

    Other load on the machine then slows all sides, and no side is always first.

    Args:
        sides: Functions to time, by name.
        inputs: Inputs of each side.
        turns: Number of turns.
        warm_up: Number of inputs that each side is called with before the timing; 0 for none.

    Raises:
        ValueError: If there are no inputs or no turns.
    """
    if not inputs or turns < 1:
        raise ValueError(
            f"got {len(inputs)} inputs and {turns} turns: expected at least 1 of each."
        )
    if warm_up:
        for side in sides.values():
            side(inputs[:warm_up])
    timings: dict[str, list[Timing]] = {name: [] for name in sides}
    for turn in range(turns):
        for name in list(sides)[:: -1 if turn % 2 else 1]:
            timings[name].append(_time(sides[name], inputs))
    return {
        name: Timing(
            [second for turn in of_side for second in turn.seconds],
            max((turn.peak_mib for turn in of_side if turn.peak_mib is not None), default=None),
            of_side[-1].result,
        )
        for name, of_side in timings.items()
    }


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """Seconds of a call, and its return value."""
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def figures(timings: Mapping[str, Timing], *, units: int, unit: str) -> dict[str, Any]:
    """Summarize a comparison of ``ours`` and ``reference``.

    Args:
        timings: Result of `take_turns`.
        units: Units of work in a turn of either side.
        unit: Name of a unit, in the plural.

    Returns:
        Among others ``ratio``, the median of the reference's time over ours, turn by turn. Above 1,
        ours is faster.
    """
    ours, reference = timings[OURS], timings[REFERENCE]
    ratios = np.divide(reference.seconds, ours.seconds)
    return {
        unit: units,
        "turns": len(ratios),
        "ratio": float(np.median(ratios)),
        "ratio_min": float(ratios.min()),
        "ratio_max": float(ratios.max()),
        f"ours_{unit}_per_s": units / ours.median_s,
        f"reference_{unit}_per_s": units / reference.median_s,
        "ours_peak_mib": ours.peak_mib,
        "reference_peak_mib": reference.peak_mib,
    }


def _time(side: Callable[[Sequence[T]], Any], inputs: Sequence[T]) -> Timing:
    _release_memory()
    start_bytes = reset_peak()
    seconds, result = timed(lambda: side(inputs))
    peak_mib = None if start_bytes is None else (peak_bytes() - start_bytes) / 2**20
    return Timing([seconds], peak_mib, result)


def _release_memory() -> None:
    """Return freed memory to the system: reusing it would not raise the peak."""
    gc.collect()
    # Only glibc keeps freed memory, and only glibc has the call.
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
