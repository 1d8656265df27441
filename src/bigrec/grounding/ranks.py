"""From distances to ranks: the best groups chosen, the targets' places counted.

Nothing outside of ``bigrec.grounding`` turns a distance into a rank.
"""

from collections.abc import Sequence

import numpy as np

from bigrec.grounding.search.l2 import blocks, pairs_of
from bigrec.grounding.search.topk import (
    count_rows,
    empty_lists,
    flat_pairs,
    kth_bound,
    merge_smallest,
)
from bigrec.types import FloatArray, IntArray

# Rows are looked at so many distances at a time, which stay in the processor's cache.
_DISTANCES_PER_BLOCK = 1 << 18
# In place of negative infinity, whose differences are not numbers.
_FIRST = -1e300


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
    best = np.empty((len(distances), k), dtype=np.int64)
    for rows in _row_blocks(distances):
        remaining = distances[rows]
        row, group = flat_pairs(exclude[rows])
        if row.size:
            remaining = remaining.copy()
            remaining[row, group] = np.inf
        # Everything up to the bound, so that ties at the end of the list are cut by group number.
        near = remaining <= kth_bound(remaining, k)[:, None]
        near &= remaining < np.inf
        row, group = pairs_of(near)
        _, best[rows] = merge_smallest(
            *empty_lists(len(remaining), k=k), row=row, value=remaining[row, group], number=group
        )
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
    for rows in _row_blocks(distances):
        block = distances[rows]
        # The smallest of a row is NaN if anything in it is.
        if np.isnan(block.min(axis=1)).any():
            raise ValueError(
                "distances holds NaN; expected numbers. Look for NaN in the embeddings or scores."
            )
        of_target = np.take_along_axis(block, targets[rows, None], axis=1)
        ahead = block <= of_target
        if exclude is not None:
            ahead[flat_pairs(exclude[rows])] = False
        # The target is as near as itself, unless it is excluded.
        listed = np.take_along_axis(ahead, targets[rows, None], axis=1)[:, 0]
        ranks[rows] = np.where(listed, count_rows(ahead) - 1, n_groups)
    return ranks


def ranks_along(
    base: FloatArray,
    slope: FloatArray,
    targets: IntArray,
    *,
    gammas: Sequence[float],
    exclude: Sequence[IntArray] | None = None,
) -> IntArray:
    """`target_ranks` of ``base - gamma * slope`` at every gamma, for little more than one of them.

    A group is ahead of the target where what it is behind by in ``base`` is at most gamma times
    what it is ahead by in ``slope``: both are computed once, and block by block, so that they stay
    in the processor's cache for all gammas.

    Args:
        base: ``[q, g]``, lower is better, not NaN. Negative infinity stays ahead of all else.
        slope: ``[q, g]``, finite, higher is better.
        targets: Group number of each query's target, ``[q]``.
        gammas: At least 0, finite, ``m`` of them.
        exclude: For each query groups that are never ahead; none by default.

    Returns:
        0-based ranks, ``[q, m]``; ties and excluded targets as in `target_ranks`. Groups that are
        tied but for rounding may come out on either side of the target.

    Raises:
        ValueError: If lengths differ or a target is out of range.
    """
    count, n_groups = base.shape
    check_queries(base, targets, exclude)
    ranks = np.empty((count, len(gammas)), dtype=np.int64)
    for rows in _row_blocks(base):
        of_target = targets[rows, None]
        behind = np.maximum(base[rows], _FIRST)
        behind -= np.take_along_axis(behind, of_target, axis=1)
        ahead_by = slope[rows] - np.take_along_axis(slope[rows], of_target, axis=1)
        # What is infinitely near is so at every gamma.
        ahead_by[base[rows] == -np.inf] = 0
        if exclude is not None:
            behind[flat_pairs(exclude[rows])] = np.inf
        listed = np.take_along_axis(behind, of_target, axis=1)[:, 0] == 0
        for place, gamma in enumerate(gammas):
            ahead = count_rows(behind <= gamma * ahead_by)
            ranks[rows, place] = np.where(listed, ahead - 1, n_groups)
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


def excluded_groups(
    exclude: Sequence[IntArray] | None, group: IntArray, *, count: int
) -> list[IntArray]:
    """The groups, each once, of the items that each of ``count`` queries excludes.

    Args:
        exclude: Item numbers for each query; -1 is padding. None to exclude nothing.
        group: Group number of every item, ``[n]``.
        count: Number of queries.

    Raises:
        ValueError: If there is not one entry for each query or an item is out of range.
    """
    if exclude is None:
        return [np.zeros(0, dtype=np.int64)] * count
    if len(exclude) != count:
        raise ValueError(
            f"exclude has {len(exclude)} entries for {count} queries; expected one array of item "
            "numbers for each query."
        )
    groups = []
    for items in exclude:
        real = items[items != -1]
        check_range(real, len(group), name="exclude")
        groups.append(np.unique(group[real]))
    return groups


def _row_blocks(distances: FloatArray) -> list[slice]:
    count, n_groups = distances.shape
    return blocks(count, max(1, _DISTANCES_PER_BLOCK // max(1, n_groups)))
