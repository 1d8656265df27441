"""From distances to ranks of targets.

Only ``bigrec.grounding`` turns a distance into a rank.
"""

from collections.abc import Sequence

import numpy as np

from bigrec.data.arguments import check_least, check_whole
from bigrec.grounding.search.l2 import blocks
from bigrec.grounding.search.topk import (
    count_rows,
    flat_pairs,
)
from bigrec.types import UNRANKED, FloatArray, IntArray

# Distances that are processed at a time, few enough for the processor's cache.
_DISTANCES_PER_BLOCK = 1 << 18
# In place of negative infinity, whose differences are not numbers.
_LOWEST = -1e300


def target_ranks(
    distances: FloatArray, targets: IntArray, *, exclude: Sequence[IntArray] | None = None
) -> IntArray:
    """Rank of each query's target among all titles, 0 for the best.

    >>> target_ranks(np.array([[0.5, 0.1, 0.5, 0.9]]), np.array([0]))
    array([2])

    Args:
        distances: ``[q, t]``, lower is better. Columns may be items instead of titles.
        targets: Title id of each query's target, ``[q]``.
        exclude: Title ids that are never ahead of the target, for each query; none by default.

    Returns:
        0-based ranks, ``[q]``. A title tied with the target counts as ahead of it, so a constant
        scorer gets the worst metric instead of the best. A target that is itself excluded gets
        `UNRANKED`, a miss at every K.

    Raises:
        ValueError: If a distance is NaN, which would otherwise rank as a hit, or if the lengths
            differ or a target is out of range.
    """
    q = len(distances)
    check_queries(distances, targets, exclude)
    ranks = np.empty(q, dtype=np.int64)
    for rows in row_blocks(distances):
        block = distances[rows]
        # The minimum of a row is NaN if any value is.
        if np.isnan(block.min(axis=1)).any():
            raise ValueError(
                "distances holds NaN; expected numbers. Look for NaN in the embeddings or scores."
            )
        target_distances = np.take_along_axis(block, targets[rows, None], axis=1)
        is_ahead = block <= target_distances
        if exclude is not None:
            is_ahead[flat_pairs(exclude[rows])] = False
        # The target is as near as itself, unless it is excluded.
        is_ranked = np.take_along_axis(is_ahead, targets[rows, None], axis=1)[:, 0]
        ranks[rows] = np.where(is_ranked, count_rows(is_ahead) - 1, UNRANKED)
    return ranks


def ranks_along(
    base: FloatArray,
    slope: FloatArray,
    targets: IntArray,
    *,
    gammas: Sequence[float],
    exclude: Sequence[IntArray] | None = None,
) -> IntArray:
    """`target_ranks` of ``base - gamma * slope`` at every gamma, at about the cost of one gamma.

    A title is ahead of the target where its lag in ``base`` is at most gamma times its lead in
    ``slope``. Both are computed once for all gammas, block by block, so that they stay in the
    processor's cache.

    Args:
        base: ``[q, t]``, lower is better, not NaN. Negative infinity stays ahead of finite values.
        slope: ``[q, t]``, finite, higher is better.
        targets: Title id of each query's target, ``[q]``.
        gammas: At least 0, finite, ``m`` of them.
        exclude: Title ids that are never ahead of the target, for each query; none by default.

    Returns:
        0-based ranks, ``[q, m]``; ties and excluded targets as in `target_ranks`. Titles tied up
        to rounding may come out on either side of the target.

    Raises:
        ValueError: If lengths differ or a target is out of range.
    """
    q = len(base)
    check_queries(base, targets, exclude)
    ranks = np.empty((q, len(gammas)), dtype=np.int64)
    for rows in row_blocks(base):
        target_columns = targets[rows, None]
        lag = np.maximum(base[rows], _LOWEST)
        lag -= np.take_along_axis(lag, target_columns, axis=1)
        lead = slope[rows] - np.take_along_axis(slope[rows], target_columns, axis=1)
        # Negative infinity stays so at every gamma.
        lead[base[rows] == -np.inf] = 0
        if exclude is not None:
            lag[flat_pairs(exclude[rows])] = np.inf
        is_ranked = np.take_along_axis(lag, target_columns, axis=1)[:, 0] == 0
        for column, gamma in enumerate(gammas):
            n_ahead = count_rows(lag <= gamma * lead)
            ranks[rows, column] = np.where(is_ranked, n_ahead - 1, UNRANKED)
    return ranks


def check_length(k: int, n_titles: int | None = None) -> None:
    """Refuse a list length outside of ``1 <= k <= n_titles``.

    Args:
        k: The length.
        n_titles: The largest length; by default there is none.

    Raises:
        TypeError: If ``k`` is not a whole number.
        ValueError: If ``k`` is out of range.
    """
    if n_titles is None:
        check_least(k, 1, name="k")
        return
    check_whole(k, name="k")
    if not 1 <= k <= n_titles:
        raise ValueError(
            f"k is {k}; expected 1 to {n_titles}, the number of different titles in the catalog."
        )


def check_queries(
    distances: FloatArray, targets: IntArray, exclude: Sequence[IntArray] | None
) -> None:
    """Refuse targets or exclusions that do not fit the rows of distances.

    Raises:
        ValueError: If the lengths differ or a target is out of range.
    """
    q, n_titles = distances.shape
    if len(targets) != q or (exclude is not None and len(exclude) != q):
        raise ValueError(
            f"Got {q} rows of distances, {len(targets)} targets and "
            f"{q if exclude is None else len(exclude)} exclusions; expected as many of each."
        )
    check_range(targets, n_titles, name="targets")


def check_range(numbers: IntArray, count: int, *, name: str) -> None:
    """Refuse numbers outside of ``0 <= number < count``; a negative one would count from the end.

    Raises:
        ValueError: If a number is out of range.
    """
    invalid = numbers[(numbers < 0) | (numbers >= count)]
    if invalid.size:
        raise ValueError(f"{name} holds {invalid[0]}; expected numbers from 0 to {count - 1}.")


def excluded_titles(
    exclude: Sequence[IntArray] | None, title_ids: IntArray, *, n_queries: int
) -> list[IntArray]:
    """Title ids of the items that each query excludes, each id once.

    Args:
        exclude: Item numbers for each query; -1 is padding. None to exclude nothing.
        title_ids: Title id of every item, ``[n]``.
        n_queries: Number of queries.

    Raises:
        ValueError: If there is not one entry for each query or an item is out of range.
    """
    if exclude is None:
        return [np.zeros(0, dtype=np.int64)] * n_queries
    if len(exclude) != n_queries:
        raise ValueError(
            f"exclude has {len(exclude)} entries for {n_queries} queries; expected one array of "
            "item numbers for each query."
        )
    excluded = []
    for padded in exclude:
        items = padded[padded != -1]
        check_range(items, len(title_ids), name="exclude")
        excluded.append(np.unique(title_ids[items]))
    return excluded


def row_blocks(distances: FloatArray) -> list[slice]:
    """Rows of ``[q, t]`` distances that fit in the processor's cache together."""
    q, n_titles = distances.shape
    return blocks(q, max(1, _DISTANCES_PER_BLOCK // max(1, n_titles)))
