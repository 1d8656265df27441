"""Time and memory of the Gaussian model's statistics over a long stream of pairs.

States, items and features of titles are synthetic: what they hold changes neither time nor memory.
"""

import multiprocessing
import time
from functools import reduce
from typing import Any

import numpy as np

from bigrec.grounding.gaussian import GaussianGrounding, GaussianParameters
from bigrec.grounding.gaussian_statistics import GaussianStatistics
from bigrec.memory import peak_bytes
from bigrec.types import FloatArray, IntArray

_SHARDS = 4
_BLOCK = 10_000
_UPDATE = 1_000
_PARAMETERS = GaussianParameters(
    shrinkage=0.01,
    prior_strength=100.0,
    ridge=3000.0,
    temperature=1.0,
    popularity_weight=1.0,
    popularity_smoothing=1.0,
)


def bench_stream_stage() -> dict[str, Any]:
    """Ten million pairs, with the titles of Video Games and the encoder's 384 dimensions."""
    return bench_stream(n_pairs=10_000_000)


def bench_stream(*, n_pairs: int, n_items: int = 16_863, dim: int = 384) -> dict[str, Any]:
    """Collect the statistics of a stream in a new process, whose peak memory is that of it.

    Args:
        n_pairs: Pairs of a state and an item, at least 1.
        n_items: Titles.
        dim: Dimensions of states and features.

    Returns:
        Processor seconds of the stream and of an update by 1,000 pairs, alone and with the new fit;
        peak memory in MiB; the largest difference of four shards' sums to those of one pass, as a
        share of the largest sum.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(collect, (n_pairs, n_items, dim))


def collect(n_pairs: int, n_items: int, dim: int) -> dict[str, Any]:
    """Collect and measure, in a process without other work. See `bench_stream`."""
    rng = np.random.default_rng(0)
    whole = GaussianStatistics.empty(n_items, dim)
    shards = [GaussianStatistics.empty(n_items, dim) for _ in range(_SHARDS)]
    seconds = 0.0
    for number, start in enumerate(range(0, n_pairs, _BLOCK)):
        states, items = _pairs(rng, min(_BLOCK, n_pairs - start), n_items, dim)
        started = time.process_time()
        whole.partial_fit(states, items)
        seconds += time.process_time() - started
        shards[number % _SHARDS].partial_fit(states, items)
    merged = reduce(GaussianStatistics.merge, shards)
    apart = max(
        float(np.abs(merged.sums - whole.sums).max() / np.abs(whole.sums).max()),
        float(np.abs(merged.second_moment - whole.second_moment).max() / whole.second_moment.max()),
    )
    features = rng.standard_normal((n_items, dim), dtype=np.float32)
    states, items = _pairs(rng, _UPDATE, n_items, dim)
    started = time.process_time()
    whole.partial_fit(states, items)
    added = time.process_time()
    GaussianGrounding.fit(whole, features, _PARAMETERS)
    fitted = time.process_time()
    return {
        "pairs": n_pairs,
        "stream_s": round(seconds, 1),
        "peak_mib": round(peak_bytes() / 2**20),
        "shards_apart": apart,
        "update_s": round(added - started, 3),
        "update_and_fit_s": round(fitted - started, 2),
    }


def _pairs(
    rng: np.random.Generator, count: int, n_items: int, dim: int
) -> tuple[FloatArray, IntArray]:
    states: FloatArray = rng.standard_normal((count, dim), dtype=np.float32)
    return states, rng.integers(n_items, size=count)
