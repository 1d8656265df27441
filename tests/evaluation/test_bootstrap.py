import numpy as np
import pytest

from bigrec.evaluation.bootstrap import bootstrap_intervals
from bigrec.types import FloatArray

COLUMN = np.random.default_rng(0).random((30, 1))


def ends(values: FloatArray, *, seed: int, level: float = 0.95) -> tuple[float, float]:
    """The interval of one metric, with 2,000 resamples."""
    low, high = bootstrap_intervals(values, seed=seed, level=level)
    return low.item(), high.item()


def test_a_constant_has_no_width() -> None:
    assert ends(np.ones((50, 1)), seed=0) == (1.0, 1.0)


def test_the_interval_of_a_share_is_about_two_standard_errors_to_each_side() -> None:
    # 100 hits of 400: the standard error is sqrt(0.25 * 0.75 / 400) = 0.0217
    values = np.repeat([1.0, 0.0], [100, 300])[:, None]
    low, high = bootstrap_intervals(values, seed=1, resamples=4000)
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
    low, high = bootstrap_intervals(values, seed=3)
    for column in range(2):
        alone = ends(values[:, [column]], seed=3)
        np.testing.assert_allclose((low[column], high[column]), alone)


def test_many_queries_are_resampled_in_blocks() -> None:
    # the mean of 0, 1, ..., 299,999 is 149,999.5 with a standard error of 158
    low, high = bootstrap_intervals(np.arange(300_000.0)[:, None], seed=0, resamples=20)
    assert 149_000 < low < 149_999.5 < high < 151_000


@pytest.mark.parametrize("shape", [(0, 1), (3,)])
def test_no_queries_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected at least one query"):
        bootstrap_intervals(np.zeros(shape), seed=0)


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_a_level_out_of_range_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match=f"level is {level}; expected a share between 0 and 1"):
        bootstrap_intervals(np.ones((3, 1)), seed=0, level=level)


def test_no_resamples_are_refused() -> None:
    with pytest.raises(ValueError, match="resamples is 0; expected at least 1"):
        bootstrap_intervals(np.ones((3, 1)), seed=0, resamples=0)
