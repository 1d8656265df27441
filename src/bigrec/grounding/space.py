"""The space in which distances are measured, fitted on the catalog's embeddings.

A space is a deterministic function of its normalization and of the stored raw embeddings, so only
the normalization is saved.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Self, get_args

import numpy as np

from bigrec.types import FloatArray

Normalization = Literal["none", "center", "standardize", "whiten"]
"""Map from raw embeddings to the space of distances; see `Space`."""

# Whitening divides by the square root of an eigenvalue. Below this share of the largest one a
# direction is rounding noise, and dividing by it would let the noise decide the order.
_EIGENVALUE_FLOOR = 1e-5
# A centered vector this short against the mean is what rounding leaves of a zero vector.
_ZERO_LENGTH = 1e-12
_ROWS = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Space:
    """A map from raw embeddings to the points between which distances are measured.

    Attributes:
        normalization: ``none`` changes nothing, as in the paper. ``center`` subtracts the catalog's
            mean and scales to unit length; centering alone would leave L2 distances unchanged.
            ``standardize`` gives every dimension mean 0 and variance 1 over the catalog; a constant
            dimension becomes 0. ``whiten`` also removes the correlations between dimensions (PCA
            whitening with a floor under small eigenvalues).
    """

    normalization: Normalization
    _mean: FloatArray = field(repr=False)
    # [d] for standardize, [d, d] for whiten, unused otherwise
    _factor: FloatArray = field(repr=False)

    @classmethod
    def fit(cls, normalization: Normalization, embeddings: FloatArray) -> Self:
        """Fit a space on the catalog.

        Args:
            normalization: Kind of map.
            embeddings: Raw embeddings of the catalog's titles, ``[t, d]``.

        Raises:
            ValueError: If the normalization is unknown or ``embeddings`` is not ``[t, d]`` with
                ``t >= 1``.
        """
        check_normalization(normalization)
        if embeddings.ndim != 2 or len(embeddings) == 0:
            raise ValueError(
                f"embeddings has shape {embeddings.shape}; expected [t, d] with at least one row."
            )
        mean = embeddings.mean(axis=0, dtype=np.float64)
        factor: FloatArray = np.ones(0)
        if normalization == "standardize":
            deviation = embeddings.std(axis=0, dtype=np.float64)
            varies = np.ptp(embeddings, axis=0) > 0
            factor = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies)
        elif normalization == "whiten":
            factor = whitening_matrix(embeddings, mean, divisors=_floored_deviations)
        return cls(normalization, mean, factor)

    def transform(self, x: FloatArray) -> FloatArray:
        """Map raw embeddings ``[q, d]`` to points ``[q, d]`` float32; a zero vector stays zero.

        Raises:
            ValueError: If ``x`` is not two-dimensional with the catalog's ``d``.
        """
        if x.ndim != 2 or x.shape[1] != len(self._mean):
            raise ValueError(
                f"Embeddings have shape {x.shape}; expected [q, {len(self._mean)}], the size of "
                "the catalog's embeddings. Embed queries with the model of the catalog."
            )
        if self.normalization == "none":
            return x.astype(np.float32)
        points = np.empty(x.shape, dtype=np.float32)
        for start in range(0, len(x), _ROWS):
            rows = slice(start, start + _ROWS)
            points[rows] = self._transform_centered(x[rows] - self._mean)
        return points

    def _transform_centered(self, centered: FloatArray) -> FloatArray:
        if self.normalization == "standardize":
            return np.asarray(centered * self._factor)
        if self.normalization == "whiten":
            return np.asarray(centered @ self._factor)
        lengths = np.linalg.norm(centered, axis=1, keepdims=True)
        is_nonzero = lengths > _ZERO_LENGTH * np.linalg.norm(self._mean)
        return np.asarray(
            np.divide(centered, lengths, out=np.zeros_like(centered), where=is_nonzero)
        )


def check_normalization(normalization: str) -> None:
    """Refuse an unknown normalization.

    Raises:
        ValueError: If the normalization is unknown.
    """
    if normalization not in get_args(Normalization):
        raise ValueError(
            f"Unknown normalization {normalization!r}; expected one of "
            f"{', '.join(get_args(Normalization))}."
        )


def whitening_matrix(
    embeddings: FloatArray,
    mean: FloatArray,
    *,
    divisors: Callable[[FloatArray], FloatArray],
) -> FloatArray:
    """Matrix that maps centered embeddings to principal components of regularized unit variance.

    Args:
        embeddings: ``[t, d]``.
        mean: Their mean, ``[d]``; subtracted in its own precision.
        divisors: From the variances along the principal components, ascending, ``[d]``, to the
            regularized deviations that the components are divided by, ``[d]``. Rounding can make
            the smallest variances negative. A component with divisor 0 is mapped to 0.

    Returns:
        ``[d, d]`` float64, one column for each component, ascending by variance.
    """
    covariance = np.zeros((len(mean), len(mean)))
    for start in range(0, len(embeddings), _ROWS):
        centered = (embeddings[start : start + _ROWS] - mean).astype(np.float64, copy=False)
        covariance += centered.T @ centered
    variances, directions = np.linalg.eigh(covariance / len(embeddings))
    divided_by = divisors(variances)
    scale = np.divide(1.0, divided_by, out=np.zeros_like(divided_by), where=divided_by > 0)
    return np.asarray(directions * scale)


def _floored_deviations(variances: FloatArray) -> FloatArray:
    floor = max(_EIGENVALUE_FLOOR * variances[-1], 0)
    return np.asarray(np.sqrt(np.maximum(variances, floor)))
