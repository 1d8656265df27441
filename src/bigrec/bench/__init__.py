"""Benchmarks: what bigrec does beside what people run today, timed in turns in one run."""

from collections.abc import Callable
from typing import Any

from bigrec.bench.gamma import bench_gamma
from bigrec.bench.prepare import bench_prepare

STAGES: dict[str, Callable[[], dict[str, Any]]] = {
    "prepare": bench_prepare,
    "gamma": bench_gamma,
}
