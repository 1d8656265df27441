"""Gaussian grounding: rank items by the likelihood of a state, with log-popularity as the prior.

Linear discriminant analysis of states, one class for each item, with two regularizations. The
within-item covariance is shrunk towards the identity (Friedman, "Regularized Discriminant
Analysis", 1989; Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance
matrices", 2004). The mean of each item is drawn to a ridge regression of means on item features
(empirical Bayes; Efron and Morris, 1973), so that items without training pairs have a mean, too.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from typing import NamedTuple, Self

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve, cholesky, solve_triangular

from bigrec.errors import DataError
from bigrec.grounding.gaussian_moments import GaussianMoments, check_features
from bigrec.grounding.gaussian_statistics import GaussianStatistics
from bigrec.types import FloatArray


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
        return next(cls.variants(GaussianMoments.of(statistics, features), [parameters]))

    @classmethod
    def variants(
        cls, moments: GaussianMoments, parameters: Iterable[GaussianParameters]
    ) -> Iterator[Self]:
        """Fit with several hyperparameters; what they have in common is computed once.

        Args:
            moments: Of the training pairs.
            parameters: Hyperparameters of each fit.

        Yields:
            The fits, in their order.
        """
        solved: dict[GaussianParameters, _Solution] = {}
        for each in parameters:
            # Popularity is a bias alone.
            key = replace(each, popularity_weight=0.0, popularity_smoothing=1.0)
            if key not in solved:
                solved[key] = _solve(moments, key)
            solution = solved[key]
            yield cls(
                each,
                moments.state_mean,
                moments.state_scale,
                moments.feature_mean,
                moments.feature_scale,
                solution.regression,
                solution.factor,
                solution.weights,
                _bias(solution.norms, moments.counts, each),
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
        check_features(features, n_items=len(features))
        means = (features - self.feature_mean) / self.feature_scale @ self.regression
        weights, norms = _weights(means, self.factor, self.parameters)
        bias = _bias(norms, np.zeros(len(features)), self.parameters)
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


class _Solution(NamedTuple):
    """The part of a fit that does not depend on popularity.

    Attributes:
        regression: See `GaussianGrounding`.
        factor: See there.
        weights: See there.
        norms: ``u_i' M u_i`` of every item, ``[n]`` float64.
    """

    regression: FloatArray
    factor: FloatArray
    weights: FloatArray
    norms: FloatArray


def _solve(moments: GaussianMoments, parameters: GaussianParameters) -> _Solution:
    factor = _within_factor(moments.within, shrinkage=parameters.shrinkage)
    regression = _ridge(moments.gram, moments.cross, ridge=parameters.ridge)
    counts, k = moments.counts, parameters.prior_strength
    means = (moments.sums + k * (moments.features @ regression)) / (counts + k)[:, None]
    return _Solution(regression, factor, *_weights(means, factor, parameters))


def _within_factor(within: FloatArray, *, shrinkage: float) -> FloatArray:
    """Lower Cholesky factor of the shrunk within-item covariance, ``[d, d]``.

    Args:
        within: The covariance, ``[d, d]``.
        shrinkage: See `GaussianParameters`.
    """
    shrunk = within + shrinkage * np.eye(len(within))
    try:
        factor: FloatArray = cholesky(shrunk, lower=True)
    except LinAlgError:
        raise DataError(
            f"The within-item covariance is not positive definite with shrinkage {shrinkage}. "
            "Raise the shrinkage."
        ) from None
    return factor


def _ridge(gram: FloatArray, cross: FloatArray, *, ridge: float) -> FloatArray:
    """Coefficients ``[f, d]`` of the regression of items' means on standardized features.

    The intercept is 0, because standardized states have mean 0.
    """
    penalized = gram + ridge * np.eye(len(gram))
    coefficients: FloatArray = cho_solve(cho_factor(penalized, lower=True), cross)
    return coefficients


def _weights(
    means: FloatArray, factor: FloatArray, parameters: GaussianParameters
) -> tuple[FloatArray, FloatArray]:
    """Weights ``[d, n]`` float32 of items with means ``[n, d]``, and ``u_i' M u_i``, ``[n]``."""
    half = solve_triangular(factor, means.T, lower=True)
    weights = parameters.temperature * solve_triangular(factor, half, lower=True, trans="T")
    return weights.astype(np.float32), np.einsum("di,di->i", half, half)


def _bias(norms: FloatArray, counts: FloatArray, parameters: GaussianParameters) -> FloatArray:
    """Bias ``[n]`` float32 of items with ``u_i' M u_i`` and pairs ``counts``, each ``[n]``."""
    bias: FloatArray = parameters.popularity_weight * np.log(
        counts + parameters.popularity_smoothing
    )
    bias -= parameters.temperature / 2 * norms
    return bias.astype(np.float32)
