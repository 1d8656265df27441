"""Accuracy of a full ranking with one target per query, from the targets' 0-based ranks."""

import numpy as np

from bigrec.types import FloatArray, IntArray

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
    _check(ranks, k=k)
    return (ranks < k).astype(np.float64)


def ndcg_per_query(ranks: IntArray, *, k: int) -> FloatArray:
    """NDCG@k of each query, ``[q]`` in [0, 1]: ``1 / log2(rank + 2)`` for a hit, otherwise 0.

    With a single target the ideal gain is 1, so the gain needs no division.

    Args:
        ranks: 0-based ranks, ``[q]``.
        k: At least 1.

    Raises:
        ValueError: If ``k`` or a rank is out of range or there is no rank.
    """
    return np.asarray(hit_per_query(ranks, k=k) / np.log2(ranks + 2.0))


def reciprocal_ranks(ranks: IntArray) -> FloatArray:
    """``1 / (rank + 1)`` of each query, over the whole ranking, ``[q]`` in (0, 1].

    Args:
        ranks: 0-based ranks, ``[q]``.

    Raises:
        ValueError: If a rank is negative or there is no rank.
    """
    _check(ranks)
    return 1 / (ranks + 1.0)


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


def _check(ranks: IntArray, *, k: int = 1) -> None:
    if k < 1:
        raise ValueError(f"k is {k}; expected at least 1.")
    if ranks.ndim != 1 or ranks.size == 0:
        raise ValueError(f"ranks has shape {ranks.shape}; expected [q] with at least one query.")
    if ranks.min() < 0:
        raise ValueError(f"ranks holds {ranks.min()}; expected 0-based ranks, 0 for the best.")


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
