"""Statistics put into distances: the published injection, and fusions that can change rank 1.

Everything here takes and gives distances, lower is better; ``ranks`` turns them into ranks.
"""

from collections.abc import Sequence

import numpy as np

from bigrec.types import FloatArray


def _grid(*pieces: FloatArray) -> FloatArray:
    grid = np.concatenate(pieces)
    grid.flags.writeable = False
    return grid


POPULARITY_GAMMAS = _grid(np.arange(100.0))
"""Published grid for popularity: 0 to 99 in steps of 1, read-only."""

# Hundredths by division: multiples of 0.01 would miss values such as 0.29 by a rounding.
COLLABORATIVE_GAMMAS = _grid(np.arange(100) / 100, np.arange(1.0, 100.0))
"""Published grid for collaborative weights: 0 to 0.99 by 0.01, then 1 to 99, read-only."""


def normalised(distances: FloatArray) -> FloatArray:
    """Scale every query's distances to [0, 1] by its minimum and maximum.

    >>> normalised(np.array([[2.0, 4.0, 3.0]]))
    array([[0. , 1. , 0.5]])

    Args:
        distances: ``[q, g]``, lower is better, finite.

    Returns:
        ``[q, g]`` float64; 0 in a row whose distances are all equal. Distances that are normalised
        already come back unchanged.

    Raises:
        ValueError: If ``distances`` is not ``[q, g]`` with ``g >= 1`` or holds NaN or infinity.
    """
    if distances.ndim != 2 or distances.shape[1] == 0:
        raise ValueError(
            f"distances has shape {distances.shape}; expected [q, g], one column for each group."
        )
    low = distances.min(axis=1, keepdims=True).astype(np.float64)
    high = distances.max(axis=1, keepdims=True).astype(np.float64)
    # NaN and infinity show in the minimum or maximum, so the rows need no look of their own.
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise ValueError(
            "distances holds NaN or infinity; expected finite numbers. Look for them in the "
            "embeddings, and leave groups out with exclude instead."
        )
    spread = high - low
    spread[spread == 0] = 1.0
    scaled: FloatArray = distances - low
    scaled /= spread
    return scaled


def discount(weights: FloatArray, *, gamma: float) -> FloatArray:
    """Factor ``(1 + W)^-gamma`` that the published injection multiplies a distance by.

    Args:
        weights: Any shape, in [0, 1]; not checked.
        gamma: At least 0; at 0 every factor is 1.

    Returns:
        In the shape of ``weights``, in (0, 1], smaller for a larger weight.
    """
    return np.asarray(np.power(np.add(1.0, weights, dtype=np.float64), -gamma))


def inject(
    distances: FloatArray, weights: FloatArray, *, gamma: float, eps: float = 0.0
) -> FloatArray:
    """Put one signal into distances: ``(eps + D^) * (1 + W)^-gamma``, as published at ``eps=0``.

    At ``eps=0`` the nearest group stays at 0 whatever its weight, so rank 1 never changes. A
    positive ``eps`` lets a heavy group overtake it.

    Args:
        distances: ``[q, g]``, lower is better; normalised here.
        weights: ``[q, g]``, or ``[1, g]`` for all queries alike, in [0, 1], higher is better.
        gamma: How much the signal counts, at least 0.
        eps: Added to every normalised distance, at least 0.

    Returns:
        Adjusted distances, ``[q, g]``, lower is better.

    Raises:
        ValueError: If a shape does not fit or a value is out of range.
    """
    return inject_all(distances, [weights], gammas=[gamma], eps=eps)


def inject_all(
    distances: FloatArray,
    weights: Sequence[FloatArray],
    *,
    gammas: Sequence[float],
    eps: float = 0.0,
) -> FloatArray:
    """Put several signals into distances: ``(eps + D^)`` times every signal's ``discount``.

    Args:
        distances: ``[q, g]``, lower is better; normalised here.
        weights: One array for each signal, as in ``inject``.
        gammas: One exponent for each signal, at least 0.
        eps: Added to every normalised distance, at least 0.

    Returns:
        Adjusted distances, ``[q, g]``, lower is better.

    Raises:
        ValueError: If a shape does not fit, a value is out of range, or there is not one gamma for
            each signal.
    """
    _check_signals(distances, weights, gammas)
    check_not_negative(eps, name="eps")
    adjusted = eps + normalised(distances)
    for of_signal, gamma in zip(weights, gammas, strict=True):
        adjusted *= discount(of_signal, gamma=gamma)
    return adjusted


def fuse_additive(
    distances: FloatArray, weights: Sequence[FloatArray], *, gammas: Sequence[float]
) -> FloatArray:
    """Take signals off the normalised distances: ``D^ - sum of gamma * W``; can change rank 1.

    Not in the paper, whose product leaves the nearest group first.

    Args:
        distances: ``[q, g]``, lower is better; normalised here.
        weights: One array for each signal, as in ``inject``.
        gammas: How much each signal counts, at least 0. At 1 a full weight makes up for the
            largest distance.

    Returns:
        Fused distances, ``[q, g]``, lower is better, 1 at most; may be negative.

    Raises:
        ValueError: If a shape does not fit, a value is out of range, or there is not one gamma for
            each signal.
    """
    _check_signals(distances, weights, gammas)
    fused = normalised(distances)
    for of_signal, gamma in zip(weights, gammas, strict=True):
        fused -= gamma * of_signal
    return fused


def fuse_standardised(
    distances: FloatArray, weights: Sequence[FloatArray], *, gammas: Sequence[float]
) -> FloatArray:
    """Take signals off the distances, each in standard deviations: ``z(D) - sum of gamma * z(W)``.

    Not in the paper. Minimum and maximum hang on one item each; mean and deviation over all items
    say how far a score stands out, so that sources of different shapes weigh alike.

    Args:
        distances: ``[q, g]``, lower is better, finite.
        weights: One array for each signal, as in ``inject``.
        gammas: How much each signal counts, at least 0. At 1 it counts as much as the distances.

    Returns:
        Fused distances, ``[q, g]``, lower is better; may be negative.

    Raises:
        ValueError: If a shape does not fit, a value is out of range, or there is not one gamma for
            each signal.
    """
    _check_signals(distances, weights, gammas)
    fused = standardised(normalised(distances))
    for of_signal, gamma in zip(weights, gammas, strict=True):
        fused -= gamma * standardised(of_signal)
    return fused


def standardised(values: FloatArray) -> FloatArray:
    """Every query's values less their mean, in standard deviations.

    >>> standardised(np.array([[1.0, 3.0], [2.0, 2.0]]))
    array([[-1.,  1.],
           [ 0.,  0.]])

    Args:
        values: ``[q, g]``, finite.

    Returns:
        ``[q, g]``; 0 in a row whose values are all equal.
    """
    centred: FloatArray = values - values.mean(axis=1, keepdims=True)
    deviation = np.sqrt(np.square(centred).mean(axis=1, keepdims=True))
    deviation[deviation == 0] = 1.0
    centred /= deviation
    return centred


def fuse_reciprocal_rank(
    distances: FloatArray, weights: Sequence[FloatArray], *, k: int = 60
) -> FloatArray:
    """Reciprocal rank fusion (Cormack et al., SIGIR 2009) of distances and signals.

    The score ``sum of 1 / (k + rank)`` over the distances and every signal, negated. Only orders
    count, so it needs neither normalisation nor a gamma, and it can change rank 1.

    Args:
        distances: ``[q, g]``, lower is better, finite.
        weights: One array for each signal, as in ``inject``.
        k: Evens out the first ranks, at least 1.

    Returns:
        Fused distances, ``[q, g]``, negative, lower is better. The 1-based rank of tied groups is
        that of the last of them, so a constant signal changes no order.

    Raises:
        ValueError: If a shape does not fit or a value is out of range.
    """
    if k < 1:
        raise ValueError(f"k is {k}; expected at least 1 (published: 60).")
    check_weights(weights, distances.shape)
    fused = -1.0 / (k + _ranks(normalised(distances)))
    for of_signal in weights:
        fused -= 1.0 / (k + _ranks(-of_signal))
    return fused


def check_weights(weights: Sequence[FloatArray], shape: tuple[int, ...]) -> None:
    """Refuse weights that do not fit distances of ``shape`` or are not in [0, 1].

    Raises:
        ValueError: If a shape does not fit or a weight is NaN or out of range.
    """
    if len(shape) != 2:
        raise ValueError(f"distances has shape {shape}; expected [q, g].")
    for of_signal in weights:
        if of_signal.shape not in {shape, (1, shape[1])}:
            raise ValueError(
                f"weights has shape {of_signal.shape} for distances of shape {shape}; expected "
                f"{shape}, or {(1, shape[1])} for the same weights in every query."
            )
        # Written so that NaN fails too.
        if of_signal.size and not (of_signal.min() >= 0 and of_signal.max() <= 1):
            raise ValueError(
                f"weights holds values from {of_signal.min()} to {of_signal.max()}; expected 0 to "
                "1. Scale the signal's scores by minimum and maximum."
            )


def check_not_negative(value: float, *, name: str) -> None:
    """Refuse a number that is negative, NaN or infinite.

    Raises:
        ValueError: If it is.
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


def _ranks(values: FloatArray) -> FloatArray:
    """1-based ranks by ascending value within each row; ties get the last of their ranks."""
    ranks = [np.searchsorted(np.sort(row), row, side="right") for row in values]
    return np.array(ranks, dtype=np.float64).reshape(values.shape)
