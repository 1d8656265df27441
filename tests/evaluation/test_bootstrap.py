import numpy as np
import pytest

from bigrec.evaluation.bootstrap import bootstrap_interval, bootstrap_intervals


def test_a_constant_has_no_width() -> None:
    assert bootstrap_interval(np.ones(50), seed=0) == (1.0, 1.0)


def test_the_interval_of_a_share_is_about_two_standard_errors_to_each_side() -> None:
    # 100 hits of 400: the standard error is sqrt(0.25 * 0.75 / 400) = 0.0217
    values = np.repeat([1.0, 0.0], [100, 300])
    low, high = bootstrap_interval(values, seed=1, resamples=4000)
    assert low == pytest.approx(0.25 - 1.96 * 0.02165, abs=0.004)
    assert high == pytest.approx(0.25 + 1.96 * 0.02165, abs=0.004)


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(0).random(30)
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
    assert bootstrap_interval(values, seed=3) != bootstrap_interval(values, seed=4)


def test_a_higher_level_is_wider() -> None:
    values = np.random.default_rng(0).random(30)
    narrow, wide = (bootstrap_interval(values, seed=3, level=level) for level in (0.5, 0.99))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_several_metrics_share_their_resamples() -> None:
    values = np.random.default_rng(0).random((30, 2))
    low, high = bootstrap_intervals(values, seed=3)
    for column in range(2):
        alone = bootstrap_interval(values[:, column], seed=3)
        np.testing.assert_allclose((low[column], high[column]), alone)


def test_many_queries_are_resampled_in_blocks() -> None:
    # the mean of 0, 1, ..., 299,999 is 149,999.5 with a standard error of 158
    low, high = bootstrap_interval(np.arange(300_000.0), seed=0, resamples=20)
    assert 149_000 < low < 149_999.5 < high < 151_000


def test_no_queries_are_refused() -> None:
    with pytest.raises(ValueError, match="expected at least one query"):
        bootstrap_interval(np.zeros(0), seed=0)


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_a_level_out_of_range_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match=f"level is {level}; expected a share between 0 and 1"):
        bootstrap_interval(np.ones(3), seed=0, level=level)


def test_no_resamples_are_refused() -> None:
    with pytest.raises(ValueError, match="resamples is 0; expected at least 1"):
        bootstrap_interval(np.ones(3), seed=0, resamples=0)
