"""Full ranking under both protocols: baselines' ranks, summaries with intervals, text shares."""

from collections.abc import Sequence, Set
from dataclasses import dataclass, field

import numpy as np

from bigrec.evaluation.bootstrap import bootstrap_intervals
from bigrec.evaluation.metrics import KS, query_values, target_ranks
from bigrec.types import FloatArray, IntArray

_ROWS = 256


@dataclass(frozen=True, slots=True, eq=False)
class MethodResult:
    """Where one method put every target.

    Attributes:
        name: The method, as it is to appear in tables.
        exclude_seen: Whether the history's items were taken out of the ranking. The published
            protocol keeps them.
        ranks: 0-based rank of each query's target, ``[q]``.
    """

    name: str
    exclude_seen: bool
    ranks: IntArray = field(repr=False)


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """One metric of one method.

    Attributes:
        method: The method's name.
        exclude_seen: As in ``MethodResult``.
        metric: ``hr@10``, ``ndcg@10``, ... or ``mrr``.
        value: Mean over the queries, in [0, 1], higher is better.
        low: Lower end of the 95 % bootstrap interval of the mean.
        high: Its upper end.
    """

    method: str
    exclude_seen: bool
    metric: str
    value: float
    low: float
    high: float


def summarise(
    results: Sequence[MethodResult], *, seed: int, ks: Sequence[int] = KS
) -> list[SummaryRow]:
    """HR@K, NDCG@K and MRR of every method, with intervals.

    All methods are judged on the same resamples of the queries.

    Args:
        results: One for each method and protocol, over the same queries.
        seed: Fixes the resamples.
        ks: List lengths.

    Raises:
        ValueError: If a result is empty, or the results differ in their number of queries.
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
    low, high = bootstrap_intervals(values, seed=seed)
    means = values.mean(axis=0)
    return [
        SummaryRow(
            result.name,
            result.exclude_seen,
            name,
            float(means[column]),
            float(low[column]),
            float(high[column]),
        )
        for column, (result, name) in enumerate(columns)
    ]


def random_ranks(
    n_groups: int, q: int, *, seed: int, excluded_counts: IntArray | None = None
) -> IntArray:
    """Ranks that a random order of the whole catalog gives, the floor of every table.

    Args:
        n_groups: Groups in the catalog.
        q: Queries.
        seed: Fixes the ranks.
        excluded_counts: How many groups are taken out for each query, ``[q]``; none by default.
            The target is taken to be among those that stay.

    Returns:
        ``[q]``, uniform from 0 to the number of remaining groups, which is never reached.

    Raises:
        ValueError: If ``excluded_counts`` has another length or leaves no group for a query.
    """
    excluded = np.zeros(q, dtype=np.int64) if excluded_counts is None else excluded_counts
    if len(excluded) != q:
        raise ValueError(f"excluded_counts has {len(excluded)} entries; expected {q}, one a query.")
    remaining = n_groups - excluded
    if (remaining < 1).any():
        raise ValueError(
            f"A query has {excluded.max()} of {n_groups} groups excluded; expected at least one "
            "that remains."
        )
    return np.random.default_rng(seed).integers(remaining, size=q)


def score_ranks(
    scores: FloatArray, targets: IntArray, *, exclude: Sequence[IntArray] | None = None
) -> IntArray:
    """Target ranks of a method that scores groups.

    Args:
        scores: ``[q, g]``, or ``[1, g]`` for a method that scores all histories alike. Higher is
            better.
        targets: Group number of each query's target, ``[q]``.
        exclude: For each query the groups taken out of the ranking; none by default.

    Returns:
        0-based ranks, ``[q]``. Ties count against the target: a constant scorer gets the worst
        rank. A target that is excluded itself gets rank ``g``.

    Raises:
        ValueError: If a score is NaN, a group is out of range or lengths differ.
    """
    q = len(targets)
    if scores.ndim != 2 or len(scores) not in {1, q}:
        raise ValueError(f"scores has shape {scores.shape}; expected [{q}, g] or [1, g].")
    if exclude is not None and len(exclude) != q:
        raise ValueError(f"exclude has {len(exclude)} entries; expected {q}, one for each query.")
    ranks = np.empty(q, dtype=np.int64)
    for start in range(0, q, _ROWS):
        rows = slice(start, min(start + _ROWS, q))
        block = -scores if len(scores) == 1 else -scores[rows]
        distances = np.broadcast_to(block, (rows.stop - start, scores.shape[1]))
        gone = None if exclude is None else exclude[rows]
        ranks[rows] = target_ranks(distances, targets[rows], exclude=gone)
    return ranks


def text_shares(
    texts: Sequence[Sequence[str]], catalog_titles: Set[str], *, histories: Sequence[Sequence[str]]
) -> dict[str, float]:
    """What the generated texts are like, as shares in [0, 1].

    Args:
        texts: Each query's generated texts, most probable first, at least one.
        catalog_titles: The catalog's titles.
        histories: Titles of each query's history.

    Returns:
        ``first_is_title`` and ``all_are_titles``: texts that equal a catalog title, among the
        first and among all; ``first_in_history``: first texts that repeat a title of the history;
        ``first_distinct``: different first texts per query.

    Raises:
        ValueError: If there is no query, a query has no text, or the lengths differ.
    """
    if len(texts) == 0 or len(texts) != len(histories) or not all(texts):
        raise ValueError(
            f"Got the texts of {len(texts)} queries, {sum(not beams for beams in texts)} of them "
            f"empty, and {len(histories)} histories; expected as many of each, at least one, and "
            "at least one text for each query."
        )
    first = [beams[0] for beams in texts]
    every = [text for beams in texts for text in beams]
    repeats = [text in history for text, history in zip(first, histories, strict=True)]
    return {
        "first_is_title": sum(text in catalog_titles for text in first) / len(first),
        "all_are_titles": sum(text in catalog_titles for text in every) / len(every),
        "first_in_history": sum(repeats) / len(first),
        "first_distinct": len(set(first)) / len(first),
    }
