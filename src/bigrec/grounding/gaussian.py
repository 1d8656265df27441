"""Gaussian grounding: rank items by the likelihood of a state, with log-popularity as the prior.

Linear discriminant analysis of states, one class for each item, with two regularizations. The
within-item covariance is shrunk towards the identity (Friedman, "Regularized Discriminant
Analysis", 1989; Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance
matrices", 2004). The mean of each item is drawn to a ridge regression of means on item features
(empirical Bayes; Efron and Morris, 1973), so that items without training pairs have a mean, too.
"""

from dataclasses import dataclass, field, fields, replace
from typing import Self

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve, cholesky, solve_triangular

from bigrec.errors import DataError
from bigrec.grounding.gaussian_statistics import GaussianStatistics
from bigrec.types import FloatArray

# A dimension whose deviation is this small against its mean is constant up to rounding.
_CONSTANT = 1e-6


@dataclass(frozen=True, slots=True)
class GaussianParameters:
    """Hyperparameters of `GaussianGrounding`.

    Attributes:
        shrinkage: Share of the identity added to the within-item covariance of standardized
            states, more than 0. Their mean variance is 1.
        prior_strength: Pairs that the mean predicted from an item's features counts as, ``k``,
            more than 0.
        ridge: Penalty of the regression of means on standardized features, more than 0. Each pair
            counts as a row.
        temperature: Weight of the squared distance against log-popularity, ``t``, more than 0.
            1 is Bayes' rule if the states before an item are Gaussian with this covariance.
        popularity_weight: Weight of log-popularity, ``lambda``, at least 0.
        popularity_smoothing: Pairs added to those of every item for its popularity, ``a``, more
            than 0.

    Raises:
        ValueError: If a value is out of range.
    """

    shrinkage: float
    prior_strength: float
    ridge: float
    temperature: float
    popularity_weight: float
    popularity_smoothing: float

    def __post_init__(self) -> None:
        for attribute in fields(self):
            value = getattr(self, attribute.name)
            may_be_zero = attribute.name == "popularity_weight"
            if not (np.isfinite(value) and (value > 0 or (value == 0 and may_be_zero))):
                at_least = "at least" if may_be_zero else "more than"
                raise ValueError(f"{attribute.name} is {value}; expected a number {at_least} 0.")


@dataclass(frozen=True, slots=True, eq=False)
class GaussianGrounding:
    """Scores items for a state ``x [d]`` by Mahalanobis distance and log-popularity.

    With ``c_i`` the pairs of item i, ``m_i`` the mean of its standardized states, ``f_i`` its
    standardized features, and ``R`` the ridge regression of means on features, weighted by ``c``::

        p_i = R f_i
        u_i = (c_i m_i + k p_i) / (c_i + k)
        M = (S_within + shrinkage I)^-1
        score_i = -t/2 (x - u_i)' M (x - u_i) + lambda log(c_i + a) + t/2 x' M x

    The last term is the same for all items: it makes the score an inner product with a bias,
    ``x' t M u_i + b_i``, and changes no ranking. States and features are standardized by mean
    and deviation over the pairs. An item without pairs has ``u_i = p_i`` and no influence on the
    others.

    Attributes:
        parameters: Hyperparameters.
        state_mean: Mean of the states, ``[d]`` float64.
        state_scale: Their deviations, ``[d]`` float64; 1 where they do not vary.
        feature_mean: Mean of the features, ``[f]`` float64, weighted by ``c``.
        feature_scale: Their deviations, ``[f]`` float64; 1 where they do not vary.
        regression: ``R'``, ``[f, d]`` float64.
        factor: Lower Cholesky factor of ``S_within + shrinkage I``, ``[d, d]`` float64.
        weights: ``t M u_i`` of every item, ``[d, n]`` float32.
        bias: ``b_i`` of every item, ``[n]`` float32.
    """

    parameters: GaussianParameters
    state_mean: FloatArray = field(repr=False)
    state_scale: FloatArray = field(repr=False)
    feature_mean: FloatArray = field(repr=False)
    feature_scale: FloatArray = field(repr=False)
    regression: FloatArray = field(repr=False)
    factor: FloatArray = field(repr=False)
    weights: FloatArray = field(repr=False)
    bias: FloatArray = field(repr=False)

    @classmethod
    def fit(
        cls, statistics: GaussianStatistics, features: FloatArray, parameters: GaussianParameters
    ) -> Self:
        """Fit in closed form.

        Args:
            statistics: Statistics of the training pairs.
            features: Features of every item, ``[n, f]``, finite.
            parameters: Hyperparameters.

        Raises:
            DataError: If the statistics hold no pairs.
            ValueError: If ``features`` is not finite or has another number of rows.
        """
        _check_features(features, n_items=statistics.n_items)
        statistics.check_pairs()
        counts = statistics.counts
        n_pairs = counts.sum()
        state_mean = statistics.sums.sum(axis=0) / n_pairs
        state_scale = _scale(
            np.diag(statistics.second_moment) / n_pairs - state_mean**2, state_mean
        )
        # Sums of standardized states.
        sums = (statistics.sums - counts[:, None] * state_mean) / state_scale
        total = statistics.second_moment - n_pairs * np.outer(state_mean, state_mean)
        total /= np.outer(state_scale, state_scale)
        factor = _within_factor(total, sums, counts, shrinkage=parameters.shrinkage)
        feature_mean, feature_scale = _weighted_moments(features, counts)
        standardized = (features - feature_mean) / feature_scale
        regression = _ridge(standardized, sums, counts, ridge=parameters.ridge)
        k = parameters.prior_strength
        means = (sums + k * (standardized @ regression)) / (counts + k)[:, None]
        weights, bias = _discriminants(means, counts, factor, parameters)
        return cls(
            parameters,
            state_mean,
            state_scale,
            feature_mean,
            feature_scale,
            regression,
            factor,
            weights,
            bias,
        )

    @property
    def n_items(self) -> int:
        """Number of items, ``n``."""
        return len(self.bias)

    def extended(self, features: FloatArray) -> Self:
        """The grounding with further items without pairs; the others stay as they are.

        Args:
            features: Features of the new items, ``[new, f]``.

        Raises:
            ValueError: If they are not finite or of another dimension.
        """
        _check_features(features, n_items=len(features))
        means = (features - self.feature_mean) / self.feature_scale @ self.regression
        counts = np.zeros(len(features))
        weights, bias = _discriminants(means, counts, self.factor, self.parameters)
        return replace(
            self,
            weights=np.concatenate([self.weights, weights], axis=1),
            bias=np.concatenate([self.bias, bias]),
        )

    def scores(self, states: FloatArray) -> FloatArray:
        """Score all items for ``q`` states; see the class.

        Args:
            states: ``[q, d]``, finite.

        Returns:
            ``[q, n]`` float32, higher is better; comparable within one row only.

        Raises:
            ValueError: If ``states`` has another shape.
        """
        result: FloatArray = self._standardized(states).astype(np.float32) @ self.weights
        result += self.bias
        return result

    def item_points(self) -> FloatArray:
        """Items as points whose L2 distance to `query_points` ranks as `scores` does.

        With ``S_within + shrinkage I = L L'``, the point of an item is ``L^-1 u_i`` and, as a
        dimension more in which queries are 0, the root of what its log-popularity lacks to the
        highest: ``sqrt(2 lambda / t (max_j log(c_j + a) - log(c_i + a)))``. Then
        ``score_i = -t/2 distance^2 + a constant of the query``.

        Returns:
            ``[n, d + 1]`` float32.
        """
        t = self.parameters.temperature
        points = self.weights.T.astype(np.float64) @ self.factor / t
        popularity = self.bias + t / 2 * np.einsum("id,id->i", points, points)
        lack = np.sqrt(np.maximum(2 / t * (popularity.max() - popularity), 0))
        return np.column_stack([points, lack]).astype(np.float32)

    def query_points(self, states: FloatArray) -> FloatArray:
        """States as points among `item_points`, ``[q, d + 1]`` float32.

        Args:
            states: ``[q, d]``, finite.

        Raises:
            ValueError: If ``states`` has another shape.
        """
        points = solve_triangular(self.factor, self._standardized(states).T, lower=True).T
        return np.pad(points, ((0, 0), (0, 1))).astype(np.float32)

    def _standardized(self, states: FloatArray) -> FloatArray:
        if states.ndim != 2 or states.shape[1] != len(self.state_mean):
            raise ValueError(
                f"states has shape {states.shape}; expected [q, {len(self.state_mean)}]. Encode "
                "queries with the encoder of the training states."
            )
        standardized: FloatArray = (states - self.state_mean) / self.state_scale
        return standardized


def _check_features(features: FloatArray, *, n_items: int) -> None:
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


def _within_factor(
    total: FloatArray, sums: FloatArray, counts: FloatArray, *, shrinkage: float
) -> FloatArray:
    """Lower Cholesky factor of the shrunk pooled covariance around the items' means, ``[d, d]``.

    Args:
        total: Scatter of standardized states around their mean, ``[d, d]``.
        sums: ``[n, d]`` sums of standardized states.
        counts: ``[n]``.
        shrinkage: See `GaussianParameters`.
    """
    present = counts > 0
    scaled = sums[present] / np.sqrt(counts[present])[:, None]
    within = total - scaled.T @ scaled
    within /= max(counts.sum() - np.count_nonzero(present), 1)
    within[np.diag_indices(len(within))] += shrinkage
    try:
        factor: FloatArray = cholesky(within, lower=True)
    except LinAlgError:
        raise DataError(
            f"The within-item covariance is not positive definite with shrinkage {shrinkage}. "
            "Raise the shrinkage."
        ) from None
    return factor


def _ridge(
    features: FloatArray, sums: FloatArray, counts: FloatArray, *, ridge: float
) -> FloatArray:
    """Coefficients ``[f, d]`` of the regression of means ``sums / counts`` on centered features.

    The intercept is 0, because standardized states have mean 0.
    """
    weighted = np.sqrt(counts)[:, None] * features
    gram = weighted.T @ weighted
    gram[np.diag_indices(len(gram))] += ridge
    coefficients: FloatArray = cho_solve(cho_factor(gram, lower=True), features.T @ sums)
    return coefficients


def _discriminants(
    means: FloatArray, counts: FloatArray, factor: FloatArray, parameters: GaussianParameters
) -> tuple[FloatArray, FloatArray]:
    """Weights ``[d, n]`` and bias ``[n]``, float32, of items with means ``[n, d]``."""
    half = solve_triangular(factor, means.T, lower=True)
    weights = parameters.temperature * solve_triangular(factor, half, lower=True, trans="T")
    popularity = np.log(counts + parameters.popularity_smoothing)
    bias = parameters.popularity_weight * popularity
    bias -= parameters.temperature / 2 * np.einsum("di,di->i", half, half)
    return weights.astype(np.float32), bias.astype(np.float32)
