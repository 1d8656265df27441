"""Time of ranking the targets at every gamma, against the published procedure.

The published procedure sorts every query's adjusted distances twice at every gamma. It runs on a
few queries of each chunk, at all 199 gammas of the collaborative grid, and its time for all queries
is that of one query times their number. ``gamma_path_ranks`` runs on all queries. The two take
turns, so that whatever else the machine does slows both.
"""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from bigrec.grounding.fusion.formulas import COLLABORATIVE_GAMMAS, normalised
from bigrec.grounding.fusion.gamma_path import gamma_path_ranks
from bigrec.memory import peak_bytes
from bigrec.types import FloatArray, IntArray

_CHUNK = 250


@dataclass(frozen=True, slots=True)
class Turn:
    """One chunk: seconds per query of either procedure, and whether their ranks agree."""

    ours_s: float
    published_s: float
    agree: bool


def bench_gamma(*, n_queries: int = 5000, n_items: int = 10_681, subset: int = 2) -> dict[str, Any]:
    """Time both procedures chunk by chunk on made-up distances and weights.

    Args:
        n_queries: Queries that ``gamma_path_ranks`` ranks.
        n_items: Items, all with titles of their own.
        subset: Queries of each chunk that the published procedure ranks too.

    Returns:
        Among others ``ratio``, published time over ours by the median query, and ``agree``,
        whether all ranks are the same.
    """
    rng = np.random.default_rng(0)
    sizes = [min(_CHUNK, n_queries - start) for start in range(0, n_queries, _CHUNK)]
    turns = [_turn(size, n_items, subset=subset, rng=rng) for size in sizes]
    ours = float(np.median([turn.ours_s for turn in turns]))
    published = float(np.median([turn.published_s for turn in turns]))
    return {
        "queries": n_queries,
        "items": n_items,
        "gammas": len(COLLABORATIVE_GAMMAS),
        "published_queries": sum(min(subset, size) for size in sizes),
        "ours_s_per_query": ours,
        "published_s_per_query": published,
        "ours_s": sum(turn.ours_s * size for turn, size in zip(turns, sizes, strict=True)),
        "published_extrapolated_s": published * n_queries,
        "ratio": published / ours,
        "agree": all(turn.agree for turn in turns),
        "peak_mib": peak_bytes() / 2**20,
    }


def published_ranks(distances: FloatArray, weights: FloatArray, targets: IntArray) -> IntArray:
    """Ranks ``[q, m]`` of the targets as published: two argsorts for every query and gamma."""
    ranks = np.empty((len(targets), len(COLLABORATIVE_GAMMAS)), dtype=np.int64)
    for query, row in enumerate(normalised(distances)):
        base = 1.0 + weights[query]
        for j, gamma in enumerate(COLLABORATIVE_GAMMAS):
            adjusted = row * np.power(base, -gamma)
            ranks[query, j] = adjusted.argsort().argsort()[targets[query]]
    return ranks


def _turn(size: int, n_items: int, *, subset: int, rng: np.random.Generator) -> Turn:
    # Bell-shaped like distances in many dimensions and like a sequential model's scores. Targets
    # are drawn from all items: the nearer one is, the fewer groups can change sides.
    distances = 10 + rng.standard_normal((size, n_items))
    weights = normalised(rng.standard_normal((size, n_items)))
    targets = rng.integers(n_items, size=size)
    some = slice(min(subset, size))
    start = time.perf_counter()
    ours = gamma_path_ranks(distances, weights, targets, gammas=COLLABORATIVE_GAMMAS)
    between = time.perf_counter()
    published = published_ranks(distances[some], weights[some], targets[some])
    end = time.perf_counter()
    return Turn(
        ours_s=(between - start) / size,
        published_s=(end - between) / len(published),
        agree=np.array_equal(ours[some], published),
    )
