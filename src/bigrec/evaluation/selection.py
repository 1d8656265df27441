"""Choices on validation that a second look does not overturn: the one-standard-error rule."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bigrec.evaluation.clusters import cluster_totals
from bigrec.evaluation.method import MethodId
from bigrec.evaluation.metrics import SELECTION_METRIC, query_values
from bigrec.evaluation.protocol import MethodResult, of_protocol
from bigrec.evaluation.significance import over_seeds
from bigrec.types import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class WindowRow:
    """NDCG@10 of one method on several validation windows.

    Attributes:
        method: The method.
        exclude_seen: Whether seen items are excluded from the ranking.
        figures: NDCG@10 in each window, oldest first, in [0, 1], higher is better.
        mean: Mean over the windows.
        deviation: Sample standard deviation over the windows, at least 0.
        behind: By how much the mean is behind that of the best method, at least 0.
        error: Standard error of that, over users.
        selected: Whether it is the simplest method within one standard error of the best.
    """

    method: MethodId
    exclude_seen: bool
    figures: Sequence[float]
    mean: float
    deviation: float
    behind: float
    error: float
    selected: bool


def window_rows(
    results: Sequence[MethodResult], *, windows: IntArray, users: IntArray
) -> list[WindowRow]:
    """Figures by window, and the simplest method within one standard error of the best.

    A method of fewer signals is simpler; of equally many, the earlier one.

    Args:
        results: One for each method and protocol, over the queries of at least two windows.
        windows: Number of each query's window, ``[q]``.
        users: Number of each query's user, ``[q]``.

    Raises:
        ValueError: If there is one window, or the numbers of queries differ.
    """
    return [
        row
        for exclude_seen in (False, True)
        for row in _window_rows(
            of_protocol(results, exclude_seen=exclude_seen), windows=windows, users=users
        )
    ]


def _window_rows(
    results: Sequence[MethodResult], *, windows: IntArray, users: IntArray
) -> list[WindowRow]:
    if not results:
        return []
    values = np.stack([query_values(result.ranks, SELECTION_METRIC) for result in results], axis=1)
    means = window_weights(windows) @ values
    best = int(means.argmax())
    behind = values[:, [best]] - values
    errors = standard_errors(behind, windows=windows, users=users)
    within = within_one_standard_error(values, values[:, best], windows=windows, users=users)
    by_simplicity = sorted(
        range(len(results)), key=lambda place: len(results[place].method.signals)
    )
    selected = next(place for place in by_simplicity if within[place])
    rows = []
    for place, result in enumerate(results):
        figures = [float(values[windows == number, place].mean()) for number in np.unique(windows)]
        mean, deviation = over_seeds(dict(enumerate(figures)))
        rows.append(
            WindowRow(
                result.method,
                result.exclude_seen,
                figures=tuple(figures),
                mean=mean,
                deviation=deviation,
                behind=float(means[best] - means[place]),
                error=float(errors[place]),
                selected=place == selected,
            )
        )
    return rows


def window_weights(windows: IntArray) -> FloatArray:
    """Weights by which queries sum to the mean over windows of the windows' means, ``[q]``.

    Args:
        windows: Number of each query's window, ``[q]``, at least one.
    """
    numbers, place, counts = np.unique(windows, return_inverse=True, return_counts=True)
    return np.asarray(1.0 / (len(numbers) * counts[place]))


def standard_errors(differences: FloatArray, *, windows: IntArray, users: IntArray) -> FloatArray:
    """Standard errors of mean differences over windows, ``[c]``, with users as clusters.

    The queries of a user depend on each other, in one window and across windows. With ``T`` the
    total of each user's weighted deviations from the mean, the variance is ``u / (u - 1)`` times
    the sum of ``T^2`` over the ``u`` users (Cochran, 1977, Sampling Techniques, section 9A.2).

    Args:
        differences: ``[q, c]``, paired: of the same queries.
        windows: Number of each query's window, ``[q]``.
        users: Number of each query's user, ``[q]``.

    Returns:
        0 for a single user, of whose variation nothing is known.

    Raises:
        ValueError: If there is no query, or not one window and one user for each query.
    """
    if len(windows) != len(differences):
        raise ValueError(
            f"windows has {len(windows)} entries for {len(differences)} queries; expected one each."
        )
    weights = window_weights(windows)[:, None]
    deviations = weights * (differences - (weights * differences).sum(axis=0))
    totals, counts = cluster_totals(deviations, users)
    n_users = len(counts)
    if n_users < 2:
        return np.zeros(differences.shape[1])
    return np.asarray(np.sqrt(n_users / (n_users - 1) * (totals**2).sum(axis=0)))


def within_one_standard_error(
    values: FloatArray, best: FloatArray, *, windows: IntArray, users: IntArray
) -> BoolArray:
    """Whether candidates are at most a standard error of the difference behind the best, ``[c]``.

    Breiman et al. (1984) compare with the standard error of the best figure alone. The difference
    is paired here: what makes a query hard for all candidates is no reason to take a worse one.

    Args:
        values: The candidates' values of each query, ``[q, c]``, higher is better.
        best: The best candidate's, ``[q]``.
        windows: Number of each query's window, ``[q]``.
        users: Number of each query's user, ``[q]``.

    Raises:
        ValueError: As `standard_errors`.
    """
    behind = best[:, None] - values
    errors = standard_errors(behind, windows=windows, users=users)
    return np.asarray((window_weights(windows)[:, None] * behind).sum(axis=0) <= errors)
