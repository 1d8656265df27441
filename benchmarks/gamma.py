"""Time of ranking the targets at every gamma, against the paper's procedure.

The paper's procedure sorts every query's fused distances twice at every gamma. It runs on a few
queries of each chunk, at all 199 gammas of the collaborative grid, and its time for all queries is
extrapolated. ``gamma_path_ranks`` runs on all queries. The two alternate, so that other load on the
machine slows both.
"""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from bigrec.grounding.fusion.formulas import COLLABORATIVE_GAMMAS, min_max
from bigrec.grounding.fusion.gamma_path import gamma_path_ranks
from bigrec.memory import peak_bytes
from bigrec.types import FloatArray, IntArray

_CHUNK = 250


@dataclass(frozen=True, slots=True)
class Turn:
    """One chunk: seconds per query of each procedure, and whether their ranks agree."""

    ours_s: float
    paper_s: float
    agree: bool


def bench_gamma(*, n_queries: int = 5000, n_items: int = 10_681, subset: int = 2) -> dict[str, Any]:
    """Time both procedures chunk by chunk on synthetic distances and weights.

    Args:
        n_queries: Queries that ``gamma_path_ranks`` ranks.
        n_items: Items, each with another title.
        subset: Queries of each chunk that the paper's procedure ranks as well.

    Returns:
        Among others ``ratio``, the paper's median time per query over ours, and ``agree``, whether
        all ranks are equal.
    """
    rng = np.random.default_rng(0)
    sizes = [min(_CHUNK, n_queries - start) for start in range(0, n_queries, _CHUNK)]
    turns = [_turn(size, n_items, subset=subset, rng=rng) for size in sizes]
    ours = float(np.median([turn.ours_s for turn in turns]))
    paper = float(np.median([turn.paper_s for turn in turns]))
    return {
        "queries": n_queries,
        "items": n_items,
        "gammas": len(COLLABORATIVE_GAMMAS),
        "paper_queries": sum(min(subset, size) for size in sizes),
        "ours_s_per_query": ours,
        "paper_s_per_query": paper,
        "ours_s": sum(turn.ours_s * size for turn, size in zip(turns, sizes, strict=True)),
        "paper_extrapolated_s": paper * n_queries,
        "ratio": paper / ours,
        "agree": all(turn.agree for turn in turns),
        "peak_mib": peak_bytes() / 2**20,
    }


def paper_ranks(distances: FloatArray, weights: FloatArray, targets: IntArray) -> IntArray:
    """Ranks ``[q, m]`` of the targets as in the paper: two argsorts for every query and gamma."""
    ranks = np.empty((len(targets), len(COLLABORATIVE_GAMMAS)), dtype=np.int64)
    for query, row in enumerate(min_max(distances)):
        base = 1.0 + weights[query]
        for j, gamma in enumerate(COLLABORATIVE_GAMMAS):
            fused = row * np.power(base, -gamma)
            ranks[query, j] = fused.argsort().argsort()[targets[query]]
    return ranks


def _turn(size: int, n_items: int, *, subset: int, rng: np.random.Generator) -> Turn:
    # Bell-shaped like distances in many dimensions and like a sequential model's scores. Targets
    # are drawn from all items: the nearer a target, the fewer titles can change sides.
    distances = 10 + rng.standard_normal((size, n_items))
    weights = min_max(rng.standard_normal((size, n_items)))
    targets = rng.integers(n_items, size=size)
    first = slice(min(subset, size))
    start = time.perf_counter()
    ours = gamma_path_ranks(distances, weights, targets, gammas=COLLABORATIVE_GAMMAS)
    between = time.perf_counter()
    paper = paper_ranks(distances[first], weights[first], targets[first])
    end = time.perf_counter()
    return Turn(
        ours_s=(between - start) / size,
        paper_s=(end - between) / len(paper),
        agree=np.array_equal(ours[first], paper),
    )
