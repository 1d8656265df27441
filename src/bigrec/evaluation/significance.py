"""Methods compared on the same queries: differences, intervals, corrected p-values, seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bigrec.evaluation.bootstrap import bootstrap_intervals
from bigrec.evaluation.clusters import cluster_totals
from bigrec.evaluation.method import MethodId
from bigrec.evaluation.metrics import query_values
from bigrec.evaluation.protocol import MethodResult
from bigrec.types import FloatArray, IntArray

_NUMBERS_PER_BLOCK = 1 << 21
# Share of the sum of the absolute differences within which two sums are equal: the same numbers
# added with other signs differ by rounding, and a tie counts.
_TIE = 1e-12


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    """One metric of one method against another, on the same queries.

    Attributes:
        method: The method.
        reference: The method that it is compared with.
        exclude_seen: As in ``MethodResult``, for both.
        metric: ``hr@10``, ``ndcg@10``, ... or ``mrr``.
        difference: Mean of method minus reference, in [-1, 1]; above 0 the method is better.
        low: Lower end of the 95 % bootstrap interval over users.
        high: Its upper end.
        p_value: Two-sided, in (0, 1]; see ``randomization_p_values``.
        p_corrected: Corrected for all rows of the same call, in (0, 1]; see ``holm``.
    """

    method: MethodId
    reference: MethodId
    exclude_seen: bool
    metric: str
    difference: float
    low: float
    high: float
    p_value: float
    p_corrected: float


@dataclass(frozen=True, slots=True, eq=False)
class PairedDifferences:
    """Mean differences of ``c`` comparisons over the same queries.

    Attributes:
        difference: Mean of method minus reference, ``[c]``.
        low: Lower ends of the 95 % bootstrap intervals over clusters, ``[c]``.
        high: Their upper ends, ``[c]``.
        p_value: Two-sided, uncorrected, in (0, 1], ``[c]``.
    """

    difference: FloatArray
    low: FloatArray = field(repr=False)
    high: FloatArray = field(repr=False)
    p_value: FloatArray


def compare_to_reference(
    results: Sequence[MethodResult],
    *,
    reference: MethodId,
    users: IntArray,
    seed: int,
    metrics: Sequence[str] = ("hr@10", "ndcg@10"),
) -> list[ComparisonRow]:
    """Differences of every method to one reference, under the protocol of each result.

    Args:
        results: One for each method and protocol, over the same queries, the reference's included.
        reference: The method to compare with, under every protocol among the results.
        users: Number of each query's user, ``[q]``; see ``number_users``.
        seed: Fixes the resamples and the sign flips.
        metrics: ``hr@K``, ``ndcg@K`` or ``mrr``.

    Returns:
        As `compare_pairs`, one row for each other result and metric.

    Raises:
        ValueError: As `compare_pairs`.
    """
    others = dict.fromkeys(result.method for result in results if result.method != reference)
    return compare_pairs(
        results,
        references=dict.fromkeys(others, reference),
        users=users,
        seed=seed,
        metrics=metrics,
    )


def compare_pairs(
    results: Sequence[MethodResult],
    *,
    references: Mapping[MethodId, MethodId],
    users: IntArray,
    seed: int,
    metrics: Sequence[str] = ("hr@10", "ndcg@10"),
) -> list[ComparisonRow]:
    """Differences of some methods, each to its own reference, under the protocol of each result.

    The correction is for all rows together. Pass only the methods and metrics that are reported:
    every further one raises the corrected p-values of the others.

    Args:
        results: One for each method and protocol, over the same queries, references included.
        references: Reference of each method.
        users: Number of each query's user, ``[q]``; see ``number_users``.
        seed: Fixes the resamples and the sign flips.
        metrics: ``hr@K``, ``ndcg@K`` or ``mrr``.

    Returns:
        One row for each result that has a reference and each metric, in their order.

    Raises:
        ValueError: If a reference is missing, a method is there twice under one protocol, the
            numbers of queries and users differ or a metric is unknown.
    """
    by_key = _by_key(results)
    pairs = [
        (result, _reference(by_key, result, references[result.method]))
        for result in results
        if result.method in references
    ]
    return _compare(pairs, users=users, seed=seed, metrics=metrics)


def compare_to_shuffled(
    results: Sequence[MethodResult],
    shuffled: Sequence[MethodResult],
    *,
    users: IntArray,
    seed: int,
    metrics: Sequence[str] = ("hr@10", "ndcg@10"),
) -> list[ComparisonRow]:
    """Differences of methods to themselves with the histories in random order.

    What a method gains by the order of a history shows whether it is more than a set to it.

    Args:
        results: One for each method and protocol, over the same queries.
        shuffled: The same with shuffled histories, of some of the methods and protocols.
        users: Number of each query's user, ``[q]``; see ``number_users``.
        seed: Fixes the resamples and the sign flips.
        metrics: ``hr@K``, ``ndcg@K`` or ``mrr``.

    Returns:
        As `compare_pairs`, with each method as its own reference; above 0 the order helps.

    Raises:
        ValueError: As `compare_pairs`, for a shuffled method that is not among the results.
    """
    by_key = _by_key(results)
    pairs = [(_reference(by_key, other, other.method), other) for other in shuffled]
    return _compare(pairs, users=users, seed=seed, metrics=metrics)


def _compare(
    pairs: Sequence[tuple[MethodResult, MethodResult]],
    *,
    users: IntArray,
    seed: int,
    metrics: Sequence[str],
) -> list[ComparisonRow]:
    """A row for each result with its reference and each metric, corrected together."""
    columns = [(*pair, metric) for pair in pairs for metric in metrics]
    if not columns:
        return []
    values = [query_values(result.ranks, metric) for result, _, metric in columns]
    reference = [query_values(other.ranks, metric) for _, other, metric in columns]
    paired = paired_differences(
        np.stack(values, axis=1), np.stack(reference, axis=1), clusters=users, seed=seed
    )
    numbers = np.stack(
        [paired.difference, paired.low, paired.high, paired.p_value, holm(paired.p_value)], axis=1
    )
    return [
        ComparisonRow(result.method, other.method, result.exclude_seen, metric, *row)
        for (result, other, metric), row in zip(columns, numbers.tolist(), strict=True)
    ]


def paired_differences(
    values: FloatArray, reference: FloatArray, *, clusters: IntArray, seed: int
) -> PairedDifferences:
    """Mean differences, intervals and p-values of several comparisons.

    A resample draws clusters, each with the values of both methods. The difficulty of a query
    cancels out, so the interval is narrower than two separate intervals suggest.

    Args:
        values: The methods' values of each query, ``[q, c]``, higher is better.
        reference: The reference's for the same queries, ``[q, c]``.
        clusters: Number of each query's user, ``[q]``.
        seed: Fixes the resamples and the sign flips.

    Raises:
        ValueError: If the shapes differ, there is no query, or not one cluster for each query.
    """
    if values.shape != reference.shape:
        raise ValueError(
            f"values has shape {values.shape} and reference {reference.shape}; expected [q, c] "
            "for both, over the same queries."
        )
    differences = values - reference
    low, high = bootstrap_intervals(differences, clusters=clusters, seed=seed)
    p_value = randomization_p_values(differences, clusters=clusters, seed=seed)
    return PairedDifferences(differences.mean(axis=0), low, high, p_value)


def randomization_p_values(
    differences: FloatArray, *, clusters: IntArray, seed: int, resamples: int = 10_000
) -> FloatArray:
    """Two-sided p-values of mean differences by paired randomization (Fisher's sign flips).

    Under the null hypothesis both signs of each cluster's summed difference are equally likely; the
    differences of one user depend on each other and change their sign together. With ``s``
    resamples at least as far from 0 as the observed mean, ``p`` is ``(s + 1) / (resamples + 1)``.
    The observed mean counts as one of the equally likely outcomes, so ``p`` is never 0 (Phipson
    and Smyth, 2010).

    Args:
        differences: Method minus reference, ``[q, c]``. All columns share the sign flips.
        clusters: Number of each query's user, ``[q]``.
        seed: Fixes the sign flips.
        resamples: At least 1; the smallest possible p-value is ``1 / (resamples + 1)``.

    Returns:
        ``[c]`` in (0, 1]; 1 where all differences are 0.

    Raises:
        ValueError: If there is no query or no resample, or not one cluster for each query.
    """
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}; expected at least 1.")
    of_cluster, counts = cluster_totals(differences, clusters)
    rng = np.random.default_rng(seed)
    sums = of_cluster.sum(axis=0)
    limit = np.abs(sums) - _TIE * np.abs(differences).sum(axis=0)
    reached = np.zeros(differences.shape[1], dtype=np.int64)
    step = max(1, _NUMBERS_PER_BLOCK // len(counts))
    for start in range(0, resamples, step):
        size = (min(step, resamples - start), len(counts))
        kept = rng.integers(2, size=size, dtype=np.int8)
        # Kept minus flipped sum: twice the kept sum minus the total.
        flipped = 2 * (kept.astype(np.float64) @ of_cluster) - sums
        reached += np.count_nonzero(np.abs(flipped) >= limit, axis=0)
    return (reached + 1.0) / (resamples + 1)


def holm(p_values: FloatArray) -> FloatArray:
    """p-values corrected for multiple comparisons by Holm's step-down Bonferroni method.

    The smallest of ``c`` is multiplied by ``c``, the next by ``c - 1``, and so on; none becomes
    less than the one before it. Rejections below 0.05 then have a family-wise error rate below
    0.05 under any dependence between the comparisons.

    Args:
        p_values: In [0, 1], ``[c]``.

    Returns:
        ``[c]`` in [0, 1], each at least the p-value it came from, in the order of the argument.

    Raises:
        ValueError: If a p-value is out of range.
    """
    if not ((p_values >= 0) & (p_values <= 1)).all():
        raise ValueError(f"p_values is {p_values}; expected numbers from 0 to 1.")
    order = np.argsort(p_values, kind="stable")
    raised = p_values[order] * np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(np.maximum.accumulate(raised), 1)
    return corrected


def over_seeds(values_by_seed: Mapping[int, float]) -> tuple[float, float]:
    """Mean and sample standard deviation (divisor ``seeds - 1``) over training runs.

    The deviation shows the variation of training, which intervals over users do not contain.

    Args:
        values_by_seed: A metric for each seed.

    Raises:
        ValueError: If there are fewer than two seeds.
    """
    if len(values_by_seed) < 2:
        raise ValueError(
            f"values_by_seed has {len(values_by_seed)} entries; expected at least two seeds. Train "
            "with another seed, or report the single value."
        )
    values = np.array(list(values_by_seed.values()), dtype=np.float64)
    return float(values.mean()), float(values.std(ddof=1))


_Key = tuple[MethodId, bool]


def _by_key(results: Sequence[MethodResult]) -> dict[_Key, MethodResult]:
    """The results by method and protocol; each pair must be unique."""
    by_key: dict[_Key, MethodResult] = {}
    for result in results:
        key = result.method, result.exclude_seen
        if key in by_key:
            raise ValueError(
                f"{result.method.label!r} is there twice with exclude_seen={result.exclude_seen}; "
                "expected each method once under each protocol."
            )
        by_key[key] = result
    return by_key


def _reference(
    by_key: Mapping[_Key, MethodResult], result: MethodResult, method: MethodId
) -> MethodResult:
    """The reference's result under the protocol of ``result``, over as many queries."""
    reference = by_key.get((method, result.exclude_seen))
    if reference is None:
        labels = [other.label for other, seen in by_key if seen == result.exclude_seen]
        raise ValueError(
            f"The reference {method.label!r} has no result with exclude_seen="
            f"{result.exclude_seen}; there are {', '.join(labels)}. Add it, or name one of these."
        )
    if len(result.ranks) != len(reference.ranks):
        raise ValueError(
            f"{result.method.label!r} has {len(result.ranks)} queries and the reference "
            f"{method.label!r} {len(reference.ranks)}; expected the same queries for every method."
        )
    return reference
