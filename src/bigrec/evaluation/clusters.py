"""Users of the queries: queries of one user depend on each other, users do not."""

from collections.abc import Sequence

import numpy as np

from bigrec.types import FloatArray, IntArray


def number_users(user_ids: Sequence[str]) -> IntArray:
    """A number for each query's user, ``[q]``: 0 for the first user, 1 for the next new one."""
    numbers = {user: number for number, user in enumerate(dict.fromkeys(user_ids))}
    return np.array([numbers[user] for user in user_ids], dtype=np.int64)


def cluster_totals(values: FloatArray, clusters: IntArray) -> tuple[FloatArray, FloatArray]:
    """Sum of the values and number of the queries of each cluster.

    Args:
        values: ``[q, c]``.
        clusters: Number of each query's cluster, ``[q]``. Any integers; equal ones are one cluster.

    Returns:
        Sums ``[clusters, c]`` and counts ``[clusters]``, ascending by the cluster's number.

    Raises:
        ValueError: If there is no query, or not one cluster for each query.
    """
    if values.ndim != 2 or len(values) == 0:
        raise ValueError(
            f"values has shape {values.shape}; expected [q, c] with at least one query."
        )
    if clusters.shape != values.shape[:1]:
        raise ValueError(
            f"clusters has shape {clusters.shape} for {len(values)} queries; expected the number "
            "of one cluster for each query."
        )
    _, places, counts = np.unique(clusters, return_inverse=True, return_counts=True)
    sums = np.empty((len(counts), values.shape[1]))
    for column in range(values.shape[1]):
        sums[:, column] = np.bincount(places, weights=values[:, column], minlength=len(counts))
    return sums, counts.astype(np.float64)


def effective_number(counts: IntArray) -> float:
    """Number of equally large clusters that would give a mean of the same variance.

    Kish (1965), Survey Sampling: ``(sum of n)^2 / sum of n^2`` for clusters of ``n`` queries, if
    clusters are independent and queries of one cluster are equal. It is the number of clusters
    where all are equally large, and less otherwise.

    Args:
        counts: Queries of each cluster, at least 0.

    Returns:
        At least 1, at most the number of clusters with queries.

    Raises:
        ValueError: If a count is negative or all are 0.
    """
    if counts.min(initial=0) < 0 or not counts.any():
        raise ValueError(f"counts is {counts}; expected counts of at least 0, not all of them 0.")
    queries = counts.astype(np.float64)
    return float(queries.sum() ** 2 / (queries**2).sum())


def describe_users(users: IntArray) -> str:
    """Number of queries, of users, and the effective number of users, in words.

    Args:
        users: Number of each query's user, ``[q]``, at least one.

    Raises:
        ValueError: If there is no query.
    """
    counts = np.unique(users, return_counts=True)[1]
    effective = effective_number(counts)
    return f"{len(users):,} queries of {len(counts):,} users, effectively {effective:,.0f}"
