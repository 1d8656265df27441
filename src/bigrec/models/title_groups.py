"""Scores of items as scores of groups of same-titled items."""

import numpy as np

from bigrec.types import FloatArray, IntArray


def group_scores(scores: FloatArray, group: IntArray, *, n_groups: int) -> FloatArray:
    """Give every group the score of its best item.

    A hit counts for any item of the target's title, so a group stands where its best item does.

    Args:
        scores: ``[..., n]``, higher is better.
        group: Group number of every item, ``[n]``.
        n_groups: How many groups there are.

    Returns:
        ``[..., g]``. A NaN in a group makes its score NaN.

    Raises:
        ValueError: If the lengths differ, a group number is out of range or a group has no item.
    """
    if scores.shape[-1] != len(group):
        raise ValueError(
            f"scores has shape {scores.shape} and group has {len(group)} items; expected one score "
            "for each item in the last dimension."
        )
    present = np.unique(group)
    if not np.array_equal(present, np.arange(n_groups)):
        raise ValueError(
            f"group holds {len(present)} different numbers; expected each of 0 to {n_groups - 1} "
            "at least once."
        )
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(n_groups))
    return np.asarray(np.maximum.reduceat(scores[..., order], starts, axis=-1))
