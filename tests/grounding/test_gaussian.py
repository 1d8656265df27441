from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from scipy.spatial.distance import cdist

from bigrec.errors import BundleError, DataError
from bigrec.grounding.gaussian import GaussianGrounding, GaussianParameters
from bigrec.grounding.gaussian_statistics import GaussianStatistics
from bigrec.types import FloatArray, IntArray

PARAMETERS = GaussianParameters(
    shrinkage=0.5,
    prior_strength=2,
    ridge=4,
    temperature=2,
    popularity_weight=1,
    popularity_smoothing=1,
)
# Mean (10, -5) and deviations (2, 3). Standardized, item 0 has the states (1, 1) and (1, -1), item
# 1 has (-1, 1) and (-1, -1).
STATES = np.array([[12, -2], [12, -8], [8, -2], [8, -8]], dtype=np.float64)
ITEMS = np.array([0, 0, 1, 1])
# Standardized: 1, -1 and, without pairs, 3.
FEATURES = np.array([[7.0], [3.0], [11.0]])

SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.integers(1, 60)


def collected(states: FloatArray, items: IntArray, *, n_items: int) -> GaussianStatistics:
    statistics = GaussianStatistics.empty(n_items, states.shape[1])
    statistics.partial_fit(states, items)
    return statistics


def pairs(seed: int, size: int, *, n_items: int = 7, dim: int = 3) -> tuple[FloatArray, IntArray]:
    """Pairs in which the last two items never occur."""
    rng = np.random.default_rng(seed)
    items = rng.integers(n_items - 2, size=size)
    return rng.normal(size=(size, dim)) + items[:, None], items


def features(seed: int, *, n_items: int = 7) -> FloatArray:
    return np.random.default_rng(seed).normal(size=(n_items, 4))


def assert_same(actual: GaussianStatistics, expected: GaussianStatistics) -> None:
    np.testing.assert_array_equal(actual.counts, expected.counts)
    np.testing.assert_allclose(actual.sums, expected.sums, rtol=1e-12, atol=1e-11)
    np.testing.assert_allclose(actual.second_moment, expected.second_moment, rtol=1e-12, atol=1e-11)


@given(seed=SEEDS, size=SIZES, chunk=SIZES)
def test_a_stream_in_chunks_equals_one_batch(seed: int, size: int, chunk: int) -> None:
    states, items = pairs(seed, size)
    stream = GaussianStatistics.empty(7, 3)
    for start in range(0, size, chunk):
        stream.partial_fit(states[start : start + chunk], items[start : start + chunk])
    assert_same(stream, collected(states, items, n_items=7))


@given(seed=SEEDS, size=SIZES, first=SIZES)
def test_merging_the_statistics_of_two_parts_equals_those_of_both(
    seed: int, size: int, first: int
) -> None:
    states, items = pairs(seed, size)
    left = collected(states[:first], items[:first], n_items=7)
    right = collected(states[first:], items[first:], n_items=7)
    before = left.counts.copy()
    assert_same(left.merge(right), collected(states, items, n_items=7))
    np.testing.assert_array_equal(left.counts, before)


@given(seed=SEEDS, size=SIZES)
def test_the_order_of_pairs_changes_nothing(seed: int, size: int) -> None:
    states, items = pairs(seed, size)
    order = np.random.default_rng(seed).permutation(size)
    shuffled = collected(states[order], items[order], n_items=7)
    expected = collected(states, items, n_items=7)
    assert_same(shuffled, expected)
    actual, fitted = (
        GaussianGrounding.fit(statistics, features(seed), PARAMETERS).scores(states)
        for statistics in (shuffled, expected)
    )
    np.testing.assert_allclose(actual, fitted, rtol=1e-4, atol=1e-4)


@given(seed=SEEDS, size=SIZES)
def test_further_items_leave_the_others_as_they_are(seed: int, size: int) -> None:
    states, items = pairs(seed, size)
    statistics = collected(states, items, n_items=7)
    of_items, of_new = features(seed), features(seed + 1, n_items=2)
    fitted = GaussianGrounding.fit(statistics, of_items, PARAMETERS)
    extended = fitted.extended(of_new)
    assert (fitted.n_items, extended.n_items) == (7, 9)
    np.testing.assert_array_equal(extended.weights[:, :7], fitted.weights)
    np.testing.assert_array_equal(extended.bias[:7], fitted.bias)
    refitted = GaussianGrounding.fit(
        statistics.extended(9), np.concatenate([of_items, of_new]), PARAMETERS
    )
    np.testing.assert_allclose(
        extended.scores(states), refitted.scores(states), rtol=1e-4, atol=1e-4
    )


@given(seed=SEEDS, size=SIZES)
def test_score_differences_are_those_of_mahalanobis_distances_and_log_popularity(
    seed: int, size: int
) -> None:
    states, items = pairs(seed, size)
    of_items = features(seed)
    fitted = GaussianGrounding.fit(collected(states, items, n_items=7), of_items, PARAMETERS)
    scale = np.where(states.std(axis=0) > 0, states.std(axis=0), 1)
    x = (states - states.mean(axis=0)) / scale
    counts = np.bincount(items, minlength=7)
    means = np.array(
        [x[items == item].mean(axis=0) if counts[item] else 0 * x[0] for item in range(7)]
    )
    rest = x - means[items]
    within = rest.T @ rest / max(size - np.count_nonzero(counts), 1) + 0.5 * np.eye(3)
    f = of_items[items] - of_items[items].mean(axis=0)
    deviation = np.where(np.ptp(f, axis=0) > 0, f.std(axis=0), 1)
    f /= deviation
    regression = np.linalg.inv(f.T @ f + 4 * np.eye(4)) @ f.T @ x
    prior = (of_items - of_items[items].mean(axis=0)) / deviation @ regression
    u = (counts[:, None] * means + 2 * prior) / (counts + 2)[:, None]
    from_means = x[:, None] - u
    distances = np.einsum("qid,de,qie->qi", from_means, np.linalg.inv(within), from_means)
    expected = -distances + np.log(counts + 1)
    actual = fitted.scores(states)
    np.testing.assert_allclose(
        actual - actual[:, :1], expected - expected[:, :1], rtol=1e-3, atol=1e-3
    )


def test_two_dimensions_match_values_derived_by_hand() -> None:
    # Means of items 0 and 1: (1, 0) and (-1, 0). Scatter within items diag(0, 4), over 4 - 2 pairs:
    # S_within = diag(0, 2), M = diag(1/0.5, 1/2.5) = diag(2, 0.4).
    # R = (4 / (4 + 4), 0) = (0.5, 0). u_0 = (2 * (1, 0) + 2 * (0.5, 0)) / 4 = (0.75, 0), u_1 is its
    # negative. u_2 = 3 R = (1.5, 0).
    # Weights are t M u, the bias -t/2 u' M u + log(c + 1).
    fitted = GaussianGrounding.fit(collected(STATES, ITEMS, n_items=3), FEATURES, PARAMETERS)
    np.testing.assert_allclose(fitted.weights, [[3, -3, 6], [0, 0, 0]], atol=1e-6)
    bias = [np.log(3) - 1.125, np.log(3) - 1.125, -4.5]
    np.testing.assert_allclose(fitted.bias, bias, rtol=1e-6)
    # The state (11, 7) is (0.5, 4) standardized.
    expected = [[np.log(3) + 0.375, np.log(3) - 2.625, -1.5]]
    actual = fitted.scores(np.array([[11.0, 7.0]]))
    np.testing.assert_allclose(actual, expected, rtol=1e-6)
    assert actual.dtype == np.float32


def test_an_item_without_pairs_has_the_mean_that_its_features_predict() -> None:
    parameters = replace(PARAMETERS, prior_strength=1e9)
    statistics = collected(STATES, ITEMS, n_items=3)
    strong = GaussianGrounding.fit(statistics, FEATURES, parameters)
    weak = GaussianGrounding.fit(statistics, FEATURES, PARAMETERS)
    np.testing.assert_array_equal(weak.weights[:, 2], strong.weights[:, 2])
    # A strong prior makes all means p_i = R f_i, proportional to the features 1, -1 and 3.
    np.testing.assert_allclose(strong.weights[0], [2, -2, 6], rtol=1e-6)


def test_popularity_is_weighed_and_smoothed() -> None:
    statistics = collected(STATES, np.array([0, 0, 0, 1]), n_items=3)
    fit = GaussianGrounding.fit
    without = fit(statistics, FEATURES, replace(PARAMETERS, popularity_weight=0))
    weighed = replace(PARAMETERS, popularity_weight=0.5, popularity_smoothing=2)
    difference = fit(statistics, FEATURES, weighed).bias - without.bias
    np.testing.assert_allclose(difference, 0.5 * np.log([5, 3, 2]), rtol=1e-5)


def test_dimensions_and_features_that_do_not_vary_count_for_nothing() -> None:
    constant = np.full((4, 1), 0.3)
    states = np.concatenate([STATES, constant], axis=1)
    of_items = np.concatenate([FEATURES, constant[:3]], axis=1)
    fitted = GaussianGrounding.fit(collected(states, ITEMS, n_items=3), of_items, PARAMETERS)
    expected = GaussianGrounding.fit(collected(STATES, ITEMS, n_items=3), FEATURES, PARAMETERS)
    np.testing.assert_allclose(fitted.scores(states), expected.scores(STATES), rtol=1e-5)


def test_inputs_stay_unchanged() -> None:
    states, of_items = STATES.copy(), FEATURES.copy()
    states.flags.writeable = of_items.flags.writeable = False
    GaussianGrounding.fit(collected(states, ITEMS, n_items=3), of_items, PARAMETERS).scores(states)
    np.testing.assert_array_equal(states, STATES)


def test_saved_statistics_are_loaded_bit_for_bit(tmp_path: Path) -> None:
    statistics = collected(*pairs(0, 20), n_items=7)
    path = tmp_path / "statistics.safetensors"
    statistics.save(path)
    loaded = GaussianStatistics.load(path)
    assert (loaded.n_items, loaded.dim) == (7, 3)
    for name in ("counts", "sums", "second_moment"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(statistics, name))
    loaded.partial_fit(*pairs(1, 5))
    assert loaded.counts.sum() == 25


def test_damaged_statistics_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "statistics.safetensors"
    with pytest.raises(BundleError, match=r"cannot be used: .*Collect the statistics again"):
        GaussianStatistics.load(path)
    collected(STATES, ITEMS, n_items=3).save(path)
    stored = load_file(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BundleError, match="cannot be used"):
        GaussianStatistics.load(path)
    save_file({**stored, "format": np.array(0)}, path)
    with pytest.raises(BundleError, match="has format 0; this bigrec reads format 1"):
        GaussianStatistics.load(path)
    del stored["sums"]
    save_file(stored, path)
    with pytest.raises(BundleError, match="it lacks sums"):
        GaussianStatistics.load(path)
    del stored["format"]
    save_file(stored, path)
    with pytest.raises(BundleError, match="has format None"):
        GaussianStatistics.load(path)


@pytest.mark.parametrize(
    ("states", "items", "message"),
    [
        (STATES[:, :1], ITEMS, r"shape \(4, 1\).*expected \[m, 2\]"),
        (STATES[:3], ITEMS, r"states has shape \(3, 2\) and items \(4,\)"),
        (STATES, ITEMS[:, None], r"items \(4, 1\); expected"),
        (np.where(STATES > 10, np.nan, STATES), ITEMS, "NaN or infinity"),
        (STATES, ITEMS + 2, "numbers from 2 to 3; expected 0 to 2. Extend the statistics"),
        (STATES, ITEMS - 1, "numbers from -1 to 0"),
    ],
    ids=["dimensions", "rows", "items", "finite", "new item", "negative"],
)
def test_pairs_that_do_not_fit_are_refused_and_change_nothing(
    states: FloatArray, items: IntArray, message: str
) -> None:
    statistics = GaussianStatistics.empty(3, 2)
    with pytest.raises(ValueError, match=message):
        statistics.partial_fit(states, items)
    assert not statistics.counts.any()
    assert not statistics.second_moment.any()


def test_a_size_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="n_items is -1 and dim is 2"):
        GaussianStatistics.empty(-1, 2)
    with pytest.raises(ValueError, match="dim is 0; expected"):
        GaussianStatistics.empty(3, 0)
    with pytest.raises(ValueError, match="n_items is 2; expected at least 3"):
        GaussianStatistics.empty(3, 2).extended(2)


def test_statistics_of_other_items_are_not_merged() -> None:
    with pytest.raises(ValueError, match=r"shape \(4, 2\); expected \(3, 2\)\. Extend"):
        GaussianStatistics.empty(3, 2).merge(GaussianStatistics.empty(4, 2))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("shrinkage", 0.0, "shrinkage is 0.0; expected a number more than 0"),
        ("prior_strength", -1.0, "prior_strength is -1.0"),
        ("ridge", float("nan"), "ridge is nan"),
        ("temperature", float("inf"), "temperature is inf"),
        ("popularity_weight", -0.5, "popularity_weight is -0.5; expected a number at least 0"),
        ("popularity_smoothing", 0.0, "popularity_smoothing is 0.0"),
    ],
)
def test_parameters_out_of_range_are_refused(name: str, value: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(PARAMETERS, **{name: value})


def test_no_pairs_are_refused() -> None:
    with pytest.raises(DataError, match="no pairs of a state and an item"):
        GaussianGrounding.fit(GaussianStatistics.empty(3, 2), FEATURES, PARAMETERS)


def test_a_shrinkage_lost_in_rounding_is_refused() -> None:
    # All values are exact: S_within is 1 everywhere.
    states = np.array([1.0, 1, 1, -1, -1, -1, -1, 1])[:, None].repeat(2, axis=1)
    statistics = collected(states, np.repeat([0, 1], 4), n_items=3)
    with pytest.raises(DataError, match=r"not positive definite with shrinkage 1e-300\. Raise"):
        GaussianGrounding.fit(statistics, FEATURES, replace(PARAMETERS, shrinkage=1e-300))


@pytest.mark.parametrize("wrong", [FEATURES[:2], FEATURES[:, 0], FEATURES * np.inf])
def test_features_that_do_not_fit_are_refused(wrong: FloatArray) -> None:
    statistics = collected(STATES, ITEMS, n_items=3)
    with pytest.raises(ValueError, match=r"expected finite numbers of shape \[3, f\]"):
        GaussianGrounding.fit(statistics, wrong, PARAMETERS)


def test_states_of_another_dimension_are_refused() -> None:
    fitted = GaussianGrounding.fit(collected(STATES, ITEMS, n_items=3), FEATURES, PARAMETERS)
    with pytest.raises(ValueError, match=r"states has shape \(4, 1\); expected \[q, 2\]"):
        fitted.scores(STATES[:, :1])


@pytest.mark.parametrize(
    ("temperature", "popularity_weight"), [(1.0, 1.0), (0.25, 3.0), (2.0, 0.0)]
)
def test_points_are_as_far_apart_as_scores_say(
    temperature: float, popularity_weight: float
) -> None:
    rng = np.random.default_rng(3)
    states, items = rng.normal(size=(60, 4)), rng.integers(0, 6, 60)
    statistics = GaussianStatistics.empty(7, 4)
    statistics.partial_fit(states, items)
    parameters = GaussianParameters(0.1, 2.0, 1.0, temperature, popularity_weight, 0.5)
    grounding = GaussianGrounding.fit(statistics, rng.normal(size=(7, 3)), parameters)
    queries = rng.normal(size=(5, 4))
    distances = cdist(grounding.query_points(queries), grounding.item_points())
    differences = grounding.scores(queries) + temperature / 2 * distances**2
    np.testing.assert_allclose(differences - differences[:, :1], 0, atol=1e-4)
