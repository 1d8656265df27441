"""Accuracy of a full ranking with one target per query, from the targets' 0-based ranks.

A target that is excluded from its ranking has rank `UNRANKED`: no hit at any K, reciprocal rank 0.
"""

import numpy as np

from bigrec.grounding.ranks import check_length
from bigrec.types import UNRANKED, FloatArray, IntArray

KS = (1, 3, 5, 10, 20, 50)
"""List lengths of the reported metrics."""

SELECTION_METRIC = "ndcg@10"
"""The validation metric by which rules, gammas and checkpoints are selected."""


def hit_per_query(ranks: IntArray, *, k: int) -> FloatArray:
    """Whether each target is among the first ``k``, as 0.0 or 1.0, ``[q]``.

    Args:
        ranks: 0-based ranks, ``[q]``.
        k: At least 1.

    Raises:
        ValueError: If ``k`` or a rank is out of range or there is no rank.
    """
    check_length(k)
    ranks = _checked(ranks)
    return np.asarray((ranks < k) & (ranks != UNRANKED), dtype=np.float64)


def ndcg_per_query(ranks: IntArray, *, k: int) -> FloatArray:
    """NDCG@k of each query, ``[q]`` in [0, 1]: ``1 / log2(rank + 2)`` for a hit, otherwise 0.

    With a single target the ideal gain is 1, so the gain needs no division.

    Args:
        ranks: 0-based ranks, ``[q]``.
        k: At least 1.

    Raises:
        ValueError: If ``k`` or a rank is out of range or there is no rank.
    """
    hits = hit_per_query(ranks, k=k)
    return np.asarray(hits / np.log2(np.asarray(ranks) + 2.0))


def reciprocal_ranks(ranks: IntArray) -> FloatArray:
    """``1 / (rank + 1)`` of each query, over the whole ranking, ``[q]`` in [0, 1].

    It is 0 for a target that is not ranked.

    Args:
        ranks: 0-based ranks, ``[q]``.

    Raises:
        ValueError: If a rank is negative or there is no rank.
    """
    ranks = _checked(ranks)
    return np.where(ranks == UNRANKED, 0.0, 1 / (ranks + 1.0))


def hr_at(ranks: IntArray, *, k: int) -> float:
    """Hit rate, the share of targets among the first ``k``; see ``hit_per_query``."""
    return float(hit_per_query(ranks, k=k).mean())


def ndcg_at(ranks: IntArray, *, k: int) -> float:
    """Mean NDCG@k; see ``ndcg_per_query``."""
    return float(ndcg_per_query(ranks, k=k).mean())


def mrr(ranks: IntArray) -> float:
    """Mean reciprocal rank; see ``reciprocal_ranks``."""
    return float(reciprocal_ranks(ranks).mean())


_AT_K = {"hr": hit_per_query, "ndcg": ndcg_per_query}


def query_values(ranks: IntArray, metric: str) -> FloatArray:
    """A metric of each query, ``[q]`` in [0, 1], higher is better; its mean is the metric.

    Args:
        ranks: 0-based ranks, ``[q]``.
        metric: ``hr@K``, ``ndcg@K`` or ``mrr``.

    Raises:
        ValueError: If the metric is unknown, or ``K`` or a rank is out of range.
    """
    name, _, k = metric.partition("@")
    if name in _AT_K and k.isdecimal():
        return _AT_K[name](ranks, k=int(k))
    if metric != "mrr":
        raise ValueError(
            f"Unknown metric {metric!r}; expected one such as 'hr@10', 'ndcg@5', 'mrr'."
        )
    return reciprocal_ranks(ranks)


def _checked(ranks: IntArray) -> IntArray:
    ranks = np.asarray(ranks)
    if ranks.ndim != 1 or ranks.size == 0:
        raise ValueError(f"ranks has shape {ranks.shape}; expected [q] with at least one query.")
    if ranks.dtype.kind not in "iu":
        raise ValueError(f"ranks are {ranks.dtype}; expected whole numbers, 0 for the best.")
    if ranks.min() < 0:
        raise ValueError(f"ranks holds {ranks.min()}; expected 0-based ranks, 0 for the best.")
    return ranks


def metric_value(ranks: IntArray, metric: str) -> float:
    """A metric by its name over all queries; see ``query_values``."""
    return float(query_values(ranks, metric).mean())


def selection_metric(ranks: IntArray) -> float:
    """`SELECTION_METRIC` over all queries.

    Args:
        ranks: 0-based ranks, ``[q]``.

    Raises:
        ValueError: If a rank is negative or there is no rank.
    """
    return metric_value(ranks, SELECTION_METRIC)
