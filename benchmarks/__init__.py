"""Benchmarks: what bigrec does beside what people run today, timed in turns in one run."""

import importlib
from collections.abc import Callable
from typing import Any

from benchmarks.gamma import bench_gamma
from benchmarks.prepare import bench_prepare

DEFAULT_STAGES = ("prepare", "gamma", "train", "generate", "embed", "ground")
"""What runs where no stage is named, some twenty minutes."""


def _later(name: str) -> Callable[[], dict[str, Any]]:
    """A stage whose module is loaded when it runs.

    Torch takes seconds, and memory that ``prepare`` would count in its own process.
    """

    def run() -> dict[str, Any]:
        module = importlib.import_module(f"benchmarks.{name}")
        found: dict[str, Any] = getattr(module, f"bench_{name}_stage")()
        return found

    return run


STAGES: dict[str, Callable[[], dict[str, Any]]] = {
    "prepare": bench_prepare,
    "gamma": bench_gamma,
    **{
        name: _later(name)
        for name in ("train", "generate", "embed", "ground", "curve", "growth", "peak")
    },
}
