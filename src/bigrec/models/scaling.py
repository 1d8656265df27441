"""From scores of any size to weights in [0, 1]."""

import numpy as np

from bigrec.types import FloatArray


def minmax(scores: FloatArray) -> FloatArray:
    """Scale the scores of every query to [0, 1], as published for collaborative weights.

    >>> minmax(np.array([[2.0, 6.0, 4.0], [3.0, 3.0, 3.0]]))
    array([[0. , 1. , 0.5],
           [0. , 0. , 0. ]])

    Args:
        scores: ``[q, n]``, higher is better, ``n >= 1``.

    Returns:
        ``(score - min) / (max - min)`` of every row, ``[q, n]``, higher is better, in the dtype of
        the scores. A row of equal scores says nothing and becomes 0.

    Raises:
        ValueError: If ``scores`` is not ``[q, n]`` or holds NaN or infinity.
    """
    if scores.ndim != 2 or scores.shape[1] == 0:
        raise ValueError(
            f"scores has shape {scores.shape}; expected [q, n] with at least one item."
        )
    low = scores.min(axis=1, keepdims=True)
    # The span of a row with NaN or infinity is not finite, so no pass over all scores is needed.
    with np.errstate(invalid="ignore", over="ignore"):
        span = scores.max(axis=1, keepdims=True) - low
    broken = np.flatnonzero(~np.isfinite(span))
    if broken.size:
        raise ValueError(
            f"scores of query {broken[0]} hold NaN or infinity, or differ by more than a float "
            "can hold; expected finite numbers."
        )
    return np.asarray((scores - low) / np.where(span > 0, span, 1))
