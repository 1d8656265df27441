from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigrec.evaluation.bootstrap import bootstrap_intervals
from bigrec.types import FloatArray, IntArray

COLUMN = np.random.default_rng(0).random((30, 1))
EIGHTHS = st.integers(0, 8).map(lambda value: value / 8)
QUERIES = st.lists(st.tuples(st.integers(0, 5), EIGHTHS), min_size=1, max_size=20)
"""The user and the value of each query; sums of eighths are exact."""


def by_query(
    values: FloatArray, *, seed: int, **options: float | int
) -> tuple[FloatArray, FloatArray]:
    """Intervals of queries that are each by another user."""
    arguments: dict[str, Any] = {"clusters": np.arange(len(values)), **options}
    return bootstrap_intervals(values, seed=seed, **arguments)


def ends(values: FloatArray, *, seed: int, level: float = 0.95) -> tuple[float, float]:
    """The interval of one metric, with 2,000 resamples."""
    low, high = by_query(values, seed=seed, level=level)
    return low.item(), high.item()


def columns(queries: list[tuple[int, float]]) -> tuple[FloatArray, IntArray]:
    users, values = zip(*queries, strict=True)
    return np.array(values)[:, None], np.array(users)


def test_a_constant_has_no_width() -> None:
    assert ends(np.ones((50, 1)), seed=0) == (1.0, 1.0)


def test_the_interval_of_a_share_is_about_two_standard_errors_to_each_side() -> None:
    # 100 hits of 400: the standard error is sqrt(0.25 * 0.75 / 400) = 0.0217
    values = np.repeat([1.0, 0.0], [100, 300])[:, None]
    low, high = by_query(values, seed=1, resamples=4000)
    assert low == pytest.approx(0.25 - 1.96 * 0.02165, abs=0.004)
    assert high == pytest.approx(0.25 + 1.96 * 0.02165, abs=0.004)


def test_the_same_seed_gives_the_same_interval() -> None:
    assert ends(COLUMN, seed=3) == ends(COLUMN, seed=3)
    assert ends(COLUMN, seed=3) != ends(COLUMN, seed=4)


def test_a_higher_level_is_wider() -> None:
    narrow, wide = (ends(COLUMN, seed=3, level=level) for level in (0.5, 0.99))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_several_metrics_share_their_resamples() -> None:
    values = np.random.default_rng(0).random((30, 2))
    low, high = by_query(values, seed=3)
    for column in range(2):
        alone = ends(values[:, [column]], seed=3)
        np.testing.assert_allclose((low[column], high[column]), alone)


def test_many_queries_are_resampled_in_blocks() -> None:
    # the mean of 0, 1, ..., 299,999 is 149,999.5 with a standard error of 158
    low, high = by_query(np.arange(300_000.0)[:, None], seed=0, resamples=20)
    assert 149_000 < low < 149_999.5 < high < 151_000


@pytest.mark.parametrize("shape", [(0, 1), (3,)])
def test_no_queries_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least one query"):
        by_query(np.zeros(shape), seed=0)


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_a_level_out_of_range_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match=f"level is {level}; expected a share between 0 and 1"):
        by_query(np.ones((3, 1)), seed=0, level=level)


def test_no_resamples_are_refused() -> None:
    with pytest.raises(ValueError, match="resamples is 0; expected at least 1"):
        by_query(np.ones((3, 1)), seed=0, resamples=0)


def test_a_drawn_user_brings_all_queries() -> None:
    # Users a with 1, 1, 1 and b with 0. Two draws give a and a (mean 1), a and b (3/4), or b and b
    # (0) with the chances 1/4, 1/2 and 1/4, so the middle half lies at 3/4.
    values, clusters = np.array([[1.0], [1.0], [0.0], [1.0]]), np.array([4, 4, 9, 4])
    for level, expected in ((0.4, [0.75, 0.75]), (0.95, [0, 1])):
        interval = bootstrap_intervals(values, clusters=clusters, seed=0, level=level)
        np.testing.assert_array_equal(np.ravel(interval), expected)


def test_intervals_are_those_of_resamples_drawn_one_by_one() -> None:
    rng = np.random.default_rng(7)
    values, clusters = rng.random((40, 2)), rng.integers(0, 9, size=40)
    users = np.unique(clusters)
    draws = np.random.default_rng(5).integers(len(users), size=(300, len(users)))
    means = [
        np.concatenate([values[clusters == users[user]] for user in drawn]).mean(axis=0)
        for drawn in draws
    ]
    expected = np.quantile(means, [0.05, 0.95], axis=0)
    found = bootstrap_intervals(values, clusters=clusters, seed=5, level=0.9, resamples=300)
    np.testing.assert_allclose(found, expected)


def test_a_user_for_each_query_gives_the_resamples_of_queries() -> None:
    draws = np.random.default_rng(5).integers(30, size=(300, 30))
    expected = np.quantile(COLUMN[:, 0][draws].mean(axis=1), [0.025, 0.975])
    np.testing.assert_allclose(np.ravel(by_query(COLUMN, seed=5, resamples=300)), expected)


def test_equal_queries_of_a_user_do_not_narrow_the_interval() -> None:
    # Each of 20 users has 50 queries of one value: by query, the width would be 1 / sqrt(50).
    values = np.repeat(np.random.default_rng(0).random((20, 1)), 50, axis=0)
    low, high = bootstrap_intervals(values, clusters=np.arange(1000) // 50, seed=0)
    one_each = by_query(values[::50], seed=0)
    np.testing.assert_allclose([low, high], one_each)
    narrow = by_query(values, seed=0)
    assert (high - low).item() > 5 * (narrow[1] - narrow[0]).item()


@given(QUERIES, st.randoms(use_true_random=False))
def test_the_order_of_the_queries_does_not_matter(
    queries: list[tuple[int, float]], random: Any
) -> None:
    values, clusters = columns(queries)
    expected = bootstrap_intervals(values, clusters=clusters, seed=0, resamples=50)
    random.shuffle(queries)
    values, clusters = columns(queries)
    shuffled = bootstrap_intervals(values, clusters=clusters, seed=0, resamples=50)
    np.testing.assert_array_equal(shuffled, expected)


@given(QUERIES, st.integers(2, 5))
def test_repeating_every_query_of_every_user_does_not_matter(
    queries: list[tuple[int, float]], times: int
) -> None:
    values, clusters = columns(queries)
    expected = bootstrap_intervals(values, clusters=clusters, seed=0, resamples=50)
    values, clusters = columns(queries * times)
    repeated = bootstrap_intervals(values, clusters=clusters, seed=0, resamples=50)
    np.testing.assert_allclose(repeated, expected)
