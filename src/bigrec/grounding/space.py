"""The space in which distances are measured, fitted on the catalog's embeddings.

A space is a deterministic function of its kind and of the stored raw embeddings, so only the kind
is ever saved.
"""

from dataclasses import dataclass, field
from typing import Literal, Self, get_args

import numpy as np

from bigrec.types import FloatArray

SpaceKind = Literal["raw", "centred", "standardised", "whitened"]

# Whitening divides by the square root of an eigenvalue. Below this share of the largest one a
# direction is rounding noise, and dividing by it would let the noise decide the order.
_EIGENVALUE_FLOOR = 1e-5
# A centred vector this short against the mean is what rounding leaves of a zero vector.
_ZERO_LENGTH = 1e-12
_ROWS = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Space:
    """A map from raw embeddings to the points between which distances are measured.

    Attributes:
        kind: ``raw`` changes nothing (published). ``centred`` subtracts the catalog's mean and
            scales to unit length; centring alone would leave L2 distances as they are.
            ``standardised`` gives every dimension mean 0 and variance 1 over the catalog; a
            dimension that never varies becomes 0. ``whitened`` also removes the correlations
            between dimensions (PCA whitening with a floor under small eigenvalues).
    """

    kind: SpaceKind
    _mean: FloatArray = field(repr=False)
    # [d] for standardised, [d, d] for whitened, unused otherwise
    _factor: FloatArray = field(repr=False)

    @classmethod
    def fit(cls, kind: SpaceKind, embeddings: FloatArray) -> Self:
        """Fit a space on the catalog.

        Args:
            kind: Which map.
            embeddings: Raw embeddings of the catalog's titles, ``[g, d]``.

        Raises:
            ValueError: If the kind is unknown or ``embeddings`` is not ``[g, d]`` with ``g >= 1``.
        """
        check_kind(kind)
        if embeddings.ndim != 2 or len(embeddings) == 0:
            raise ValueError(
                f"embeddings has shape {embeddings.shape}; expected [g, d] with at least one row."
            )
        mean = embeddings.mean(axis=0, dtype=np.float64)
        factor: FloatArray = np.ones(0)
        if kind == "standardised":
            deviation = embeddings.std(axis=0, dtype=np.float64)
            varies = np.ptp(embeddings, axis=0) > 0
            factor = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies)
        elif kind == "whitened":
            factor = _whitening(embeddings, mean)
        return cls(kind, mean, factor)

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
        if self.kind == "raw":
            return x.astype(np.float32)
        points = np.empty(x.shape, dtype=np.float32)
        for start in range(0, len(x), _ROWS):
            rows = slice(start, start + _ROWS)
            points[rows] = self._move(x[rows] - self._mean)
        return points

    def _move(self, centred: FloatArray) -> FloatArray:
        if self.kind == "standardised":
            return np.asarray(centred * self._factor)
        if self.kind == "whitened":
            return np.asarray(centred @ self._factor)
        lengths = np.linalg.norm(centred, axis=1, keepdims=True)
        longer = lengths > _ZERO_LENGTH * np.linalg.norm(self._mean)
        return np.asarray(np.divide(centred, lengths, out=np.zeros_like(centred), where=longer))


def check_kind(kind: str) -> None:
    """Refuse a kind of space that does not exist.

    Raises:
        ValueError: If the kind is unknown.
    """
    if kind not in get_args(SpaceKind):
        raise ValueError(
            f"Unknown space {kind!r}; expected one of {', '.join(get_args(SpaceKind))}."
        )


def _whitening(embeddings: FloatArray, mean: FloatArray) -> FloatArray:
    covariance = np.zeros((len(mean), len(mean)))
    for start in range(0, len(embeddings), _ROWS):
        centred = embeddings[start : start + _ROWS] - mean
        covariance += centred.T @ centred
    values, directions = np.linalg.eigh(covariance / len(embeddings))
    floored = np.maximum(values, _EIGENVALUE_FLOOR * values[-1])
    scale = np.divide(1.0, np.sqrt(floored), out=np.zeros_like(floored), where=floored > 0)
    return np.asarray(directions * scale)
