"""Methods compared on the same queries: differences, intervals, corrected p-values, seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bigrec.evaluation.bootstrap import bootstrap_intervals
from bigrec.evaluation.metrics import query_values
from bigrec.evaluation.protocol import MethodResult
from bigrec.types import FloatArray

_NUMBERS_PER_BLOCK = 1 << 21
# Share of the sum of the absolute differences within which two sums are equal: the same numbers
# added with other signs differ by rounding, and a tie counts.
_TIE = 1e-12


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    """One metric of one method against another, on the same queries.

    Attributes:
        method: The method's name.
        reference: The other's.
        exclude_seen: As in ``MethodResult``, for both.
        metric: ``hr@10``, ``ndcg@10``, ... or ``mrr``.
        difference: Mean of method minus reference, in [-1, 1]; above 0 the method is better.
        low: Lower end of the 95 % bootstrap interval of the difference.
        high: Its upper end.
        p_value: Two-sided, in (0, 1]; see ``randomization_p_values``.
        p_corrected: Corrected for all rows of the same call, in (0, 1]; see ``holm``.
    """

    method: str
    reference: str
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
        low: Lower ends of the 95 % bootstrap intervals, ``[c]``.
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
    reference: str,
    seed: int,
    metrics: Sequence[str] = ("hr@10", "ndcg@10"),
) -> list[ComparisonRow]:
    """Every method's difference to one reference, under the protocol of each result.

    Args:
        results: One for each method and protocol, over the same queries, the reference's included.
        reference: Name of the method to compare with, under every protocol among the results.
        seed: Fixes the resamples and the sign flips.
        metrics: ``hr@K``, ``ndcg@K`` or ``mrr``.

    Returns:
        As `compare_pairs`, one row for each other result and metric.

    Raises:
        ValueError: As `compare_pairs`.
    """
    names = dict.fromkeys(result.name for result in results if result.name != reference)
    return compare_pairs(
        results, references=dict.fromkeys(names, reference), seed=seed, metrics=metrics
    )


def compare_pairs(
    results: Sequence[MethodResult],
    *,
    references: Mapping[str, str],
    seed: int,
    metrics: Sequence[str] = ("hr@10", "ndcg@10"),
) -> list[ComparisonRow]:
    """Some methods' differences, each to a reference of its own, under the protocol of each result.

    The correction is for all rows together, so ask only for the methods and metrics that are
    reported: each one more makes every other harder to show.

    Args:
        results: One for each method and protocol, over the same queries, references included.
        references: By method, the method that it is compared with.
        seed: Fixes the resamples and the sign flips.
        metrics: ``hr@K``, ``ndcg@K`` or ``mrr``.

    Returns:
        One row for each result that has a reference and each metric, in their order.

    Raises:
        ValueError: If a reference is missing, a method is there twice under one protocol, the
            numbers of queries differ or a metric is unknown.
    """
    by_key = _by_key(results)
    columns = [
        (result, _reference(by_key, result, references[result.name]), metric)
        for result in results
        if result.name in references
        for metric in metrics
    ]
    if not columns:
        return []
    ours = [query_values(result.ranks, metric) for result, _, metric in columns]
    theirs = [query_values(other.ranks, metric) for _, other, metric in columns]
    found = paired_differences(np.stack(ours, axis=1), np.stack(theirs, axis=1), seed=seed)
    numbers = np.stack(
        [found.difference, found.low, found.high, found.p_value, holm(found.p_value)], axis=1
    )
    return [
        ComparisonRow(result.name, other.name, result.exclude_seen, metric, *row)
        for (result, other, metric), row in zip(columns, numbers.tolist(), strict=True)
    ]


def paired_differences(
    values: FloatArray, reference: FloatArray, *, seed: int
) -> PairedDifferences:
    """Mean differences, intervals and p-values of several comparisons.

    A resample draws queries, and with each its values of both methods: what makes a query easy for
    both cancels out, and the interval is narrower than two separate ones suggest.

    Args:
        values: The methods' values of each query, ``[q, c]``, higher is better.
        reference: The reference's for the same queries, ``[q, c]``.
        seed: Fixes the resamples and the sign flips.

    Raises:
        ValueError: If the shapes differ or there is no query.
    """
    if values.shape != reference.shape:
        raise ValueError(
            f"values has shape {values.shape} and reference {reference.shape}; expected [q, c] "
            "for both, over the same queries."
        )
    differences = values - reference
    low, high = bootstrap_intervals(differences, seed=seed)
    p_value = randomization_p_values(differences, seed=seed)
    return PairedDifferences(differences.mean(axis=0), low, high, p_value)


def randomization_p_values(
    differences: FloatArray, *, seed: int, resamples: int = 10_000
) -> FloatArray:
    """Two-sided p-values of mean differences by paired randomization (Fisher's sign flips).

    If the two methods were alike, each query's difference might as well have the other sign. With
    ``s`` of the resamples at least as far from 0 as what was observed, ``p`` is
    ``(s + 1) / (resamples + 1)``: what was observed is one of the equally likely outcomes, so ``p``
    is never 0 (Phipson and Smyth, 2010).

    Args:
        differences: Method minus reference, ``[q, c]``. All columns share the sign flips.
        seed: Fixes the sign flips.
        resamples: At least 1; the smallest possible p-value is ``1 / (resamples + 1)``.

    Returns:
        ``[c]`` in (0, 1]; 1 where all differences are 0.

    Raises:
        ValueError: If there is no query or no resample.
    """
    if differences.ndim != 2 or len(differences) == 0:
        raise ValueError(
            f"differences has shape {differences.shape}; expected [q, c] with at least one query."
        )
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}; expected at least 1.")
    rng = np.random.default_rng(seed)
    q = len(differences)
    sums = differences.sum(axis=0)
    limit = np.abs(sums) - _TIE * np.abs(differences).sum(axis=0)
    reached = np.zeros(differences.shape[1], dtype=np.int64)
    step = max(1, _NUMBERS_PER_BLOCK // q)
    for start in range(0, resamples, step):
        kept = rng.integers(2, size=(min(step, resamples - start), q), dtype=np.int8)
        # Kept minus flipped: twice what is kept, minus everything.
        flipped = 2 * (kept.astype(np.float64) @ differences) - sums
        reached += np.count_nonzero(np.abs(flipped) >= limit, axis=0)
    return (reached + 1.0) / (resamples + 1)


def holm(p_values: FloatArray) -> FloatArray:
    """p-values corrected for their number by Holm's step-down form of Bonferroni's method.

    The smallest of ``c`` is multiplied by ``c``, the next by ``c - 1``, and so on; none becomes
    less than one before it. Rejecting what stays below 0.05 keeps the chance of even one false
    rejection below 0.05, whatever the dependence between the comparisons.

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

    This is how much training varies; intervals over queries do not show it.

    Args:
        values_by_seed: A metric for each seed.

    Raises:
        ValueError: If there are fewer than two seeds: one run says nothing about the variation.
    """
    if len(values_by_seed) < 2:
        raise ValueError(
            f"values_by_seed has {len(values_by_seed)} entries; expected at least two seeds. Train "
            "with another seed, or report the single value."
        )
    values = np.array(list(values_by_seed.values()), dtype=np.float64)
    return float(values.mean()), float(values.std(ddof=1))


_Key = tuple[str, bool]


def _by_key(results: Sequence[MethodResult]) -> dict[_Key, MethodResult]:
    """The results by method and protocol, each of which is there once."""
    keys = [(result.name, result.exclude_seen) for result in results]
    twice = [key for key in keys if keys.count(key) > 1]
    if twice:
        raise ValueError(
            f"{twice[0][0]!r} is there twice with exclude_seen={twice[0][1]}; expected each method "
            "once under each protocol."
        )
    return dict(zip(keys, results, strict=True))


def _reference(
    by_key: Mapping[_Key, MethodResult], result: MethodResult, name: str
) -> MethodResult:
    """The reference's result under the protocol of a result, over as many queries."""
    found = by_key.get((name, result.exclude_seen))
    if found is None:
        names = [one for one, exclude_seen in by_key if exclude_seen == result.exclude_seen]
        raise ValueError(
            f"The reference {name!r} has no result with exclude_seen={result.exclude_seen}; there "
            f"are {', '.join(names)}. Add it, or name one of these."
        )
    if len(result.ranks) != len(found.ranks):
        raise ValueError(
            f"{result.name!r} has {len(result.ranks)} queries and the reference {name!r} "
            f"{len(found.ranks)}; expected the same queries for every method."
        )
    return found
