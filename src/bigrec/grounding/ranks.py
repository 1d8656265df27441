"""From distances to ranks: the best groups chosen, the targets' places counted.

Nothing outside of ``bigrec.grounding`` turns a distance into a rank.
"""

from collections.abc import Sequence

import numpy as np

from bigrec.types import FloatArray, IntArray

_ROWS = 256


def best_groups(distances: FloatArray, *, k: int, exclude: Sequence[IntArray]) -> IntArray:
    """The ``k`` nearest groups of every query, nearest first.

    Args:
        distances: ``[q, g]``, lower is better, finite.
        k: Length of the lists, from 1 to ``g``.
        exclude: For each query the groups, each once, that must not be listed.

    Returns:
        Group numbers ``[q, k]``; ties go to the smaller number; -1 where fewer than ``k`` remain.

    Raises:
        ValueError: If ``k`` is out of range.
    """
    n_groups = distances.shape[1]
    check_length(k, n_groups)
    best = np.full((len(distances), k), -1, dtype=np.int64)
    for query, row in enumerate(distances):
        excluded = exclude[query]
        remaining = row.copy()
        remaining[excluded] = np.inf
        limit = np.partition(remaining, k - 1)[k - 1]
        # Everything up to the limit, so that ties at the end of the list are cut by group number.
        near = np.flatnonzero(remaining <= limit)
        order = near[np.argsort(remaining[near], kind="stable")]
        length = min(k, n_groups - len(excluded))
        best[query, :length] = order[:length]
    return best


def target_ranks(
    distances: FloatArray, targets: IntArray, *, exclude: Sequence[IntArray] | None = None
) -> IntArray:
    """Rank of each query's target among all groups, 0 for the best.

    >>> target_ranks(np.array([[0.5, 0.1, 0.5, 0.9]]), np.array([0]))
    array([2])

    Args:
        distances: ``[q, g]``, lower is better. Items in place of groups do as well.
        targets: Group number of each query's target, ``[q]``.
        exclude: For each query groups that are never ahead; none by default.

    Returns:
        0-based ranks, ``[q]``. A group tied with the target counts as ahead of it, so a constant
        scorer gets the worst score instead of the best. A target that is itself excluded gets
        rank ``g``, a miss at every K.

    Raises:
        ValueError: If a distance is NaN, which would otherwise rank as a hit, or if the lengths
            differ or a target is out of range.
    """
    count, n_groups = distances.shape
    check_queries(distances, targets, exclude)
    ranks = np.empty(count, dtype=np.int64)
    for start in range(0, count, _ROWS):
        rows = slice(start, start + _ROWS)
        block = distances[rows]
        if np.isnan(block).any():
            raise ValueError(
                "distances holds NaN; expected numbers. Look for NaN in the embeddings or scores."
            )
        of_target = np.take_along_axis(block, targets[rows, None], axis=1)
        ranks[rows] = np.count_nonzero(block <= of_target, axis=1) - 1
    for query, groups in enumerate(exclude or ()):
        target = targets[query]
        gone = np.unique(groups)
        ahead = distances[query, gone] <= distances[query, target]
        ranks[query] = n_groups if target in gone else ranks[query] - np.count_nonzero(ahead)
    return ranks


def check_length(k: int, n_groups: int) -> None:
    """Refuse a list length outside of ``1 <= k <= n_groups``.

    Raises:
        ValueError: If ``k`` is out of range.
    """
    if not 1 <= k <= n_groups:
        raise ValueError(
            f"k is {k}; expected 1 to {n_groups}, the number of different titles in the catalog."
        )


def check_queries(
    distances: FloatArray, targets: IntArray, exclude: Sequence[IntArray] | None
) -> None:
    """Refuse targets or exclusions that do not fit the rows of distances.

    Raises:
        ValueError: If the lengths differ or a target is out of range.
    """
    count, n_groups = distances.shape
    if len(targets) != count or (exclude is not None and len(exclude) != count):
        raise ValueError(
            f"Got {count} rows of distances, {len(targets)} targets and "
            f"{count if exclude is None else len(exclude)} exclusions; expected as many of each."
        )
    check_range(targets, n_groups, name="targets")


def check_range(numbers: IntArray, count: int, *, name: str) -> None:
    """Refuse numbers outside of ``0 <= number < count``; a negative one would count from the end.

    Raises:
        ValueError: If a number is out of range.
    """
    wrong = numbers[(numbers < 0) | (numbers >= count)]
    if wrong.size:
        raise ValueError(f"{name} holds {wrong[0]}; expected numbers from 0 to {count - 1}.")
