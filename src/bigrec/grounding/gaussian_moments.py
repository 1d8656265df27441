"""Moments of states and features that fits of the Gaussian model with any hyperparameters share."""

from dataclasses import dataclass, field
from typing import Self

import numpy as np

from bigrec.grounding.gaussian_statistics import GaussianStatistics
from bigrec.types import FloatArray

# A dimension whose deviation is this small against its mean is constant up to rounding.
_CONSTANT = 1e-6


@dataclass(frozen=True, eq=False)
class GaussianMoments:
    """Standardized sums, features and products of the training pairs, all float64.

    Attributes:
        counts: Pairs of every item, ``[n]``.
        state_mean: Mean of the states, ``[d]``.
        state_scale: Their deviations, ``[d]``; 1 where they do not vary.
        feature_mean: Mean of the features, ``[f]``, weighted by ``counts``.
        feature_scale: Their deviations, ``[f]``; 1 where they do not vary.
        sums: Sums of the standardized states of every item, ``[n, d]``.
        within: Pooled covariance of standardized states around their item's mean, ``[d, d]``.
        features: Standardized features, ``[n, f]``.
        gram: Second moment of the standardized features, weighted by ``counts``, ``[f, f]``.
        cross: Products of standardized features and ``sums``, ``[f, d]``.
    """

    counts: FloatArray = field(repr=False)
    state_mean: FloatArray = field(repr=False)
    state_scale: FloatArray = field(repr=False)
    feature_mean: FloatArray = field(repr=False)
    feature_scale: FloatArray = field(repr=False)
    sums: FloatArray = field(repr=False)
    within: FloatArray = field(repr=False)
    features: FloatArray = field(repr=False)
    gram: FloatArray = field(repr=False)
    cross: FloatArray = field(repr=False)

    @classmethod
    def of(cls, statistics: GaussianStatistics, features: FloatArray) -> Self:
        """Compute them.

        Args:
            statistics: Statistics of the training pairs.
            features: Features of every item, ``[n, f]``, finite.

        Raises:
            DataError: If the statistics hold no pairs.
            ValueError: If ``features`` is not finite or has another number of rows.
        """
        check_features(features, n_items=statistics.n_items)
        statistics.check_pairs()
        counts = statistics.counts
        n_pairs = counts.sum()
        mean = statistics.sums.sum(axis=0) / n_pairs
        scale = _scale(np.diag(statistics.second_moment) / n_pairs - mean**2, mean)
        sums = (statistics.sums - counts[:, None] * mean) / scale
        total = statistics.second_moment - n_pairs * np.outer(mean, mean)
        total /= np.outer(scale, scale)
        feature_mean, feature_scale = _weighted_moments(features, counts)
        standardized = (features - feature_mean) / feature_scale
        weighted = np.sqrt(counts)[:, None] * standardized
        return cls(
            counts,
            mean,
            scale,
            feature_mean,
            feature_scale,
            sums,
            _within(total, sums, counts),
            standardized,
            weighted.T @ weighted,
            standardized.T @ sums,
        )


def check_features(features: FloatArray, *, n_items: int) -> None:
    """Refuse features that are not finite or have another number of rows.

    Raises:
        ValueError: If so.
    """
    if features.ndim != 2 or len(features) != n_items or not np.isfinite(features).all():
        raise ValueError(
            f"features has shape {features.shape}; expected finite numbers of shape [{n_items}, f],"
            " a row for each item."
        )


def _scale(variance: FloatArray, mean: FloatArray) -> FloatArray:
    """Standard deviations ``[d]``; 1 where the values are constant up to rounding."""
    deviation = np.sqrt(np.maximum(variance, 0))
    return np.where(deviation > _CONSTANT * np.abs(mean), deviation, 1.0)


def _weighted_moments(features: FloatArray, counts: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean and deviation of the features ``[n, f]`` with weights ``[n]``, each ``[f]`` float64."""
    shares = counts / counts.sum()
    mean = shares @ features
    return mean, _scale(shares @ (features - mean) ** 2, mean)


def _within(total: FloatArray, sums: FloatArray, counts: FloatArray) -> FloatArray:
    """Pooled covariance around the items' means, ``[d, d]``.

    Args:
        total: Scatter of standardized states around their mean, ``[d, d]``.
        sums: ``[n, d]`` sums of standardized states.
        counts: ``[n]``.
    """
    present = counts > 0
    scaled = sums[present] / np.sqrt(counts[present])[:, None]
    within: FloatArray = total - scaled.T @ scaled
    within /= max(counts.sum() - np.count_nonzero(present), 1)
    return within
