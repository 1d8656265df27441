"""Our way and the plain way in turns, on the same inputs in one run."""

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
class Measured:
    """One side of a comparison.

    Attributes:
        seconds: Wall-clock time of each turn.
        peak_mib: Most memory that a turn took beyond what was held as it began; None where the
            system cannot tell.
        result: What the last turn returned.
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
) -> dict[str, Measured]:
    """Time every side on all inputs, once a turn, the order reversed from turn to turn.

    What else the machine does then slows all sides, and none is always first.

    Args:
        sides: What to time, by name.
        inputs: What each side is called with.
        turns: How often.
        warm_up: How many of the inputs each side is called with before anything is timed; 0 for
            sides that were called before.

    Raises:
        ValueError: If there is no input or no turn.
    """
    if not inputs or turns < 1:
        raise ValueError(f"got {len(inputs)} inputs and {turns} turns: expected at least 1 of each")
    if warm_up:
        for side in sides.values():
            side(inputs[:warm_up])
    measured: dict[str, list[Measured]] = {name: [] for name in sides}
    for turn in range(turns):
        for name in list(sides)[:: -1 if turn % 2 else 1]:
            measured[name].append(_measure(sides[name], inputs))
    return {
        name: Measured(
            [second for one in found for second in one.seconds],
            max((one.peak_mib for one in found if one.peak_mib is not None), default=None),
            found[-1].result,
        )
        for name, found in measured.items()
    }


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """Seconds that a call takes, and what it returns."""
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def figures(measured: Mapping[str, Measured], *, units: int, unit: str) -> dict[str, Any]:
    """What a comparison of ``ours`` and ``reference`` comes to.

    Args:
        measured: From `take_turns`.
        units: How many units of work a turn does on either side.
        unit: What they are called, in the plural.

    Returns:
        Among others ``ratio``, the reference's time over ours by the median turn: above 1, ours is
        faster.
    """
    ours, reference = measured[OURS], measured[REFERENCE]
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


def _measure(side: Callable[[Sequence[T]], Any], inputs: Sequence[T]) -> Measured:
    _give_back_memory()
    held = reset_peak()
    seconds, result = timed(lambda: side(inputs))
    grown = None if held is None else (peak_bytes() - held) / 2**20
    return Measured([seconds], grown, result)


def _give_back_memory() -> None:
    """Return what was freed to the system: taken from there, memory would look like none."""
    gc.collect()
    # glibc alone keeps it, and alone has the call.
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
