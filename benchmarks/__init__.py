"""Benchmarks of bigrec's stages against reference implementations, timed alternately in one run."""

import importlib
from collections.abc import Callable
from typing import Any

from benchmarks.gamma import bench_gamma
from benchmarks.prepare import bench_prepare

DEFAULT_STAGES = ("prepare", "gamma", "train", "generate", "embed", "ground")
"""Stages that run by default, in about twenty minutes."""


def _imported_later(name: str) -> Callable[[], dict[str, Any]]:
    """A stage whose module is imported when the stage runs.

    Importing torch takes seconds, and memory that ``prepare`` would measure in its own process.
    """

    def run() -> dict[str, Any]:
        module = importlib.import_module(f"benchmarks.{name}")
        figures: dict[str, Any] = getattr(module, f"bench_{name}_stage")()
        return figures

    return run


STAGES: dict[str, Callable[[], dict[str, Any]]] = {
    "prepare": bench_prepare,
    "gamma": bench_gamma,
    **{
        name: _imported_later(name)
        for name in (
            *("train", "generate", "embed", "ground", "curve", "growth", "peak", "serve"),
            *("index", "mapped", "stream", "peers"),
        )
    },
}
"""All stages by name. Each returns its figures, JSON-like."""
