"""Full ranking under both protocols: ranks of baselines, and metrics with intervals."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np

from bigrec.evaluation.bootstrap import bootstrap_intervals
from bigrec.evaluation.method import MethodId
from bigrec.evaluation.metrics import KS, query_values
from bigrec.types import IntArray

PROTOCOL_LABELS: Mapping[bool, str] = {
    False: "seen items included, as in the paper",
    True: "seen items excluded",
}
"""Names of the two protocols in tables and plots, by ``exclude_seen``."""


@dataclass(frozen=True, slots=True, eq=False)
class MethodResult:
    """Target ranks of one method under one protocol.

    Attributes:
        method: The method.
        exclude_seen: Whether the ranking excludes the user's full history. The paper's protocol
            includes it.
        ranks: 0-based rank of each query's target, ``[q]``.
    """

    method: MethodId
    exclude_seen: bool
    ranks: IntArray = field(repr=False)


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """One metric of one method.

    Attributes:
        method: The method.
        exclude_seen: As in ``MethodResult``.
        metric: ``hr@10``, ``ndcg@10``, ... or ``mrr``.
        value: Mean over the queries, in [0, 1], higher is better.
        low: Lower end of the 95 % bootstrap interval of the mean, over users.
        high: Its upper end.
    """

    method: MethodId
    exclude_seen: bool
    metric: str
    value: float
    low: float
    high: float


class _Row(Protocol):
    @property
    def exclude_seen(self) -> bool: ...


_AnyRow = TypeVar("_AnyRow", bound=_Row)


def of_protocol(rows: Iterable[_AnyRow], *, exclude_seen: bool) -> list[_AnyRow]:
    """The rows of one protocol."""
    return [row for row in rows if row.exclude_seen == exclude_seen]


def summarize(
    results: Sequence[MethodResult], *, users: IntArray, seed: int, ks: Sequence[int] = KS
) -> list[SummaryRow]:
    """HR@K, NDCG@K and MRR of every method, with intervals.

    All intervals come from the same resamples of the users.

    Args:
        results: One for each method and protocol, over the same queries.
        users: Number of each query's user, ``[q]``; see ``number_users``.
        seed: Fixes the resamples.
        ks: List lengths.

    Raises:
        ValueError: If a result is empty, or results and users differ in their number of queries.
    """
    sizes = {len(result.ranks) for result in results}
    if len(sizes) > 1:
        raise ValueError(
            f"The results have {' and '.join(map(str, sorted(sizes)))} queries; expected the same "
            "queries for every method."
        )
    names = [f"hr@{k}" for k in ks] + [f"ndcg@{k}" for k in ks] + ["mrr"]
    if not results:
        return []
    columns = [(result, name) for result in results for name in names]
    values = np.stack([query_values(result.ranks, name) for result, name in columns], axis=1)
    low, high = bootstrap_intervals(values, clusters=users, seed=seed)
    means = values.mean(axis=0)
    return [
        SummaryRow(
            result.method,
            result.exclude_seen,
            name,
            float(means[column]),
            float(low[column]),
            float(high[column]),
        )
        for column, (result, name) in enumerate(columns)
    ]


def random_ranks(
    n_titles: int, q: int, *, seed: int, excluded_counts: IntArray | None = None
) -> IntArray:
    """Target ranks of a random order of the catalog, the lower bound of every table.

    Args:
        n_titles: Distinct titles of the catalog.
        q: Queries.
        seed: Fixes the ranks.
        excluded_counts: Number of titles excluded for each query, ``[q]``; none by default. The
            target is assumed to be among the others.

    Returns:
        ``[q]``, uniform from 0 to below the number of titles that are not excluded.

    Raises:
        ValueError: If ``excluded_counts`` has another length or covers all titles for a query.
    """
    excluded = np.zeros(q, dtype=np.int64) if excluded_counts is None else excluded_counts
    if len(excluded) != q:
        raise ValueError(f"excluded_counts has {len(excluded)} entries; expected {q}, one a query.")
    remaining = n_titles - excluded
    if (remaining < 1).any():
        raise ValueError(
            f"A query has {excluded.max()} of {n_titles} titles excluded; expected at least one "
            "that remains."
        )
    return np.random.default_rng(seed).integers(remaining, size=q)
