"""Formulas that fuse signals into distances: the paper's product, weighted sums, reciprocal ranks.

Every ``fuse_*`` function takes distances and gives distances, lower is better; ``ranks`` turns them
into ranks.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from bigrec.types import FloatArray


def _grid(*sections: FloatArray) -> FloatArray:
    grid = np.concatenate(sections)
    grid.flags.writeable = False
    return grid


POPULARITY_GAMMAS = _grid(np.arange(100.0))
"""The paper's grid for popularity: 0 to 99 in steps of 1, read-only."""

# Hundredths by division: multiples of 0.01 would miss values such as 0.29 by a rounding.
COLLABORATIVE_GAMMAS = _grid(np.arange(100) / 100, np.arange(1.0, 100.0))
"""The paper's grid for collaborative weights: 0 to 0.99 by 0.01, then 1 to 99, read-only."""

RRF_K = 60
"""Smoothing of the first ranks in reciprocal rank fusion (Cormack et al.)."""


def min_max(values: FloatArray) -> FloatArray:
    """Scale every query's values to [0, 1] by their minimum and maximum.

    >>> min_max(np.array([[2.0, 6.0, 4.0], [3.0, 3.0, 3.0]]))
    array([[0. , 1. , 0.5],
           [0. , 0. , 0. ]])

    Args:
        values: Scores or distances, ``[q, n]`` or ``[q, t]`` with at least one column.

    Returns:
        ``(value - min) / (max - min)`` of every row, in the shape, dtype and order of the values.
        A row of equal values becomes 0.

    Raises:
        ValueError: If ``values`` is not two-dimensional, has no column, or holds NaN or infinity.
    """
    if values.ndim != 2 or values.shape[1] == 0:
        raise ValueError(
            f"values has shape {values.shape}; expected [q, n] with at least one item."
        )
    low = values.min(axis=1, keepdims=True)
    # The span of a row with NaN or infinity is not finite, so no pass over all values is needed.
    with np.errstate(invalid="ignore", over="ignore"):
        span = values.max(axis=1, keepdims=True) - low
    broken = np.flatnonzero(~np.isfinite(span))
    if broken.size:
        raise ValueError(
            f"values of query {broken[0]} hold NaN or infinity, or differ by more than a float "
            "can hold; expected finite numbers."
        )
    return np.asarray((values - low) / np.where(span > 0, span, 1))


def z_score(values: FloatArray) -> FloatArray:
    """Center every query's values on their mean and divide by their standard deviation.

    >>> z_score(np.array([[1.0, 3.0], [2.0, 2.0]]))
    array([[-1.,  1.],
           [ 0.,  0.]])

    Args:
        values: ``[q, t]``, finite.

    Returns:
        ``[q, t]``; a row of equal values becomes 0.
    """
    centered: FloatArray = values - values.mean(axis=1, keepdims=True)
    deviation = np.sqrt(np.square(centered).mean(axis=1, keepdims=True))
    deviation[deviation == 0] = 1.0
    centered /= deviation
    return centered


def discount(weights: FloatArray, *, gamma: float) -> FloatArray:
    """Factor ``(1 + W)^-gamma`` by which the paper's product multiplies a distance.

    Args:
        weights: Any shape, in [0, 1]; not checked.
        gamma: At least 0; at 0 every factor is 1.

    Returns:
        In the shape of ``weights``, in (0, 1], smaller for a larger weight.
    """
    return np.asarray(np.power(np.add(1.0, weights, dtype=np.float64), -gamma))


def fuse_product(
    distances: FloatArray,
    weights: Sequence[FloatArray],
    *,
    gammas: Sequence[float],
    floor: float = 0.0,
) -> FloatArray:
    """Fuse by the product ``(floor + D^) * (1 + W)^-gamma``, one factor for each signal.

    ``D^`` is the min-max normalized distance. With ``floor=0`` and one signal this is the paper's
    formula: the nearest title stays at 0 for every weight, so rank 1 never changes. A positive
    floor lets a title of large weight overtake it.

    Args:
        distances: ``[q, t]``, lower is better; normalized here.
        weights: One array for each signal, ``[q, t]``, or ``[1, t]`` for the same weights in every
            query; in [0, 1], higher is better.
        gammas: Exponent of each signal, at least 0.
        floor: Added to every normalized distance, at least 0.

    Returns:
        Fused distances, ``[q, t]`` float64, lower is better.

    Raises:
        ValueError: If a shape does not fit, a value is out of range, or the numbers of signals and
            gammas differ.
    """
    _check_signals(distances, weights, gammas)
    check_not_negative(floor, name="floor")
    fused = floor + normalized_distances(distances)
    for signal_weights, gamma in zip(weights, gammas, strict=True):
        fused *= discount(signal_weights, gamma=gamma)
    return fused


def fuse_weighted_sum(
    distances: FloatArray,
    weights: Sequence[FloatArray],
    *,
    gammas: Sequence[float],
    normalization: Literal["min_max", "z_score"] = "min_max",
) -> FloatArray:
    """Fuse by the difference ``D^ - sum of gamma * W``, which can change rank 1.

    Not in the paper. Minimum and maximum depend on one item each. With ``z_score``, distances and
    weights are measured in standard deviations over all titles, so sources of different shapes
    weigh alike.

    Args:
        distances: ``[q, t]``, lower is better; normalized here.
        weights: One array for each signal, as in ``fuse_product``.
        gammas: Factor of each signal, at least 0. At 1 a full weight offsets the largest distance
            (``min_max``), or a signal counts as much as the distances (``z_score``).
        normalization: Of the distances; ``z_score`` is applied to the weights too.

    Returns:
        Fused distances, ``[q, t]`` float64, lower is better; may be negative.

    Raises:
        ValueError: If a shape does not fit, a value is out of range, or the numbers of signals and
            gammas differ.
    """
    _check_signals(distances, weights, gammas)
    by_deviation = normalization == "z_score"
    fused = normalized_distances(distances)
    if by_deviation:
        fused = z_score(fused)
    for signal_weights, gamma in zip(weights, gammas, strict=True):
        fused -= gamma * (z_score(signal_weights) if by_deviation else signal_weights)
    return fused


def fuse_rrf(
    distances: FloatArray,
    weights: Sequence[FloatArray],
    *,
    gammas: Sequence[float] | None = None,
    k: int = RRF_K,
) -> FloatArray:
    """Fuse by reciprocal ranks (Cormack et al., SIGIR 2009): ``-sum of gamma / (k + rank)``.

    The sum runs over the distances, whose gamma is 1, and every signal. Only orders count, so
    no normalization is needed, and rank 1 can change.

    Args:
        distances: ``[q, t]``, lower is better, finite.
        weights: One array for each signal, as in ``fuse_product``.
        gammas: Factor of each signal, at least 0; 1 by default, as in the article.
        k: Smoothing of the first ranks, at least 1.

    Returns:
        Fused distances, ``[q, t]`` float64, negative, lower is better. Ranks are 1-based, and tied
        titles share the last of their ranks, so a constant signal changes no order.

    Raises:
        ValueError: If a shape does not fit or a value is out of range.
    """
    if k < 1:
        raise ValueError(f"k is {k}; expected at least 1 (Cormack et al.: 60).")
    gammas = [1.0] * len(weights) if gammas is None else gammas
    _check_signals(distances, weights, gammas)
    fused = -1.0 / (k + ranks(normalized_distances(distances)))
    for signal_weights, gamma in zip(weights, gammas, strict=True):
        fused -= gamma / (k + ranks(-signal_weights))
    return fused


def check_weights(weights: Sequence[FloatArray], shape: tuple[int, ...]) -> None:
    """Refuse weights that do not fit distances of ``shape`` or are not in [0, 1].

    Raises:
        ValueError: If a shape does not fit or a weight is NaN or out of range.
    """
    if len(shape) != 2:
        raise ValueError(f"distances has shape {shape}; expected [q, t].")
    for signal_weights in weights:
        if signal_weights.shape not in {shape, (1, shape[1])}:
            raise ValueError(
                f"weights has shape {signal_weights.shape} for distances of shape {shape}; "
                f"expected {shape}, or {(1, shape[1])} for the same weights in every query."
            )
        # Written so that NaN fails too.
        if signal_weights.size and not (signal_weights.min() >= 0 and signal_weights.max() <= 1):
            raise ValueError(
                f"weights holds values from {signal_weights.min()} to {signal_weights.max()}; "
                "expected 0 to 1. Scale the signal's scores with min_max."
            )


def check_not_negative(value: float, *, name: str) -> None:
    """Refuse a number that is negative, NaN or infinite.

    Raises:
        ValueError: If the number is out of range.
    """
    if not 0 <= value < np.inf:
        raise ValueError(f"{name} is {value}; expected a finite number of at least 0.")


def _check_signals(
    distances: FloatArray, weights: Sequence[FloatArray], gammas: Sequence[float]
) -> None:
    if len(weights) != len(gammas):
        raise ValueError(
            f"Got {len(weights)} signals and {len(gammas)} gammas; expected one gamma for each."
        )
    for gamma in gammas:
        check_not_negative(gamma, name="gamma")
    check_weights(weights, distances.shape)


def normalized_distances(distances: FloatArray) -> FloatArray:
    """Min-max normalized distances in float64: float32 would tie products that differ."""
    return min_max(distances.astype(np.float64, copy=False))


def ranks(values: FloatArray) -> FloatArray:
    """1-based ranks by ascending value within each row; ties get the last of their ranks."""
    ranks = [np.searchsorted(np.sort(row), row, side="right") for row in values]
    return np.array(ranks, dtype=np.float64).reshape(values.shape)
