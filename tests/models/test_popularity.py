import numpy as np
import pytest

from bigrec.errors import DataError
from bigrec.models.popularity import Popularity
from tests.models.fakes import all_rows, interactions

HISTORIES = [np.array([0, 1]), np.array([2])]


def test_scores_are_the_counts() -> None:
    scores = Popularity.fit(np.array([2, 6, 4])).scores(HISTORIES)
    np.testing.assert_array_equal(scores, [[2.0, 6.0, 4.0], [2.0, 6.0, 4.0]])


def test_every_history_gets_the_same_row_without_copying_it() -> None:
    assert Popularity.fit(np.array([2, 6, 4])).scores(HISTORIES).strides[0] == 0


def test_later_changes_of_the_counts_have_no_effect() -> None:
    counts = np.array([2, 6, 4])
    popularity = Popularity.fit(counts)
    counts[:] = 0
    np.testing.assert_array_equal(popularity.scores(HISTORIES[:1]), [[2.0, 6.0, 4.0]])


@pytest.mark.parametrize("shape", [(0,), (2, 2)])
def test_counts_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \[n\], one count for each item"):
        Popularity.fit(np.zeros(shape, dtype=int))


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(ValueError, match="counts holds -1; expected finite counts of at least 0"):
        Popularity.fit(np.array([3, -1]))


def recent(
    times: list[int], *, half_life_days: float = 1.0, train: list[bool] | None = None
) -> Popularity:
    """Popularity of items 0, 1, 2, ..., each interacted with once, at these times."""
    of = interactions(range(len(times)), times=times)
    mask = all_rows(of) if train is None else np.array(train)
    return Popularity.fit_recent(of, train=mask, n_items=len(times), half_life_days=half_life_days)


@pytest.mark.parametrize("ticks_a_second", [1, 10**3, 10**6, 10**9])
def test_an_interaction_counts_half_after_each_half_life(ticks_a_second: int) -> None:
    # 4, 2 and 0 days before the last one, with a half-life of 2 days
    days = [19_000 + day for day in (0, 2, 4)]
    model = recent([day * 86_400 * ticks_a_second for day in days], half_life_days=2)
    np.testing.assert_allclose(model.counts, [0.25, 0.5, 1.0])


def test_recent_interactions_of_one_item_add_up() -> None:
    of = interactions([0, 1], [0], times=[0, 86_400, 86_400])
    model = Popularity.fit_recent(of, train=all_rows(of), n_items=3, half_life_days=1)
    np.testing.assert_allclose(model.counts, [1.5, 1.0, 0.0])


def test_ages_are_measured_from_the_last_training_interaction() -> None:
    model = recent([0, 86_400, 10 * 86_400], train=[True, True, False])
    np.testing.assert_allclose(model.counts, [0.5, 1.0, 0.0])


def test_the_name_tells_the_half_life() -> None:
    assert Popularity.fit(np.array([1])).name == "popularity"
    assert recent([0], half_life_days=30).name == "popularity, half-life 30 days"


@pytest.mark.parametrize("half_life_days", [0.0, -1.0, float("nan"), float("inf")])
def test_a_half_life_that_is_not_positive_is_refused(half_life_days: float) -> None:
    with pytest.raises(ValueError, match=f"half_life_days is {half_life_days}; expected a number"):
        recent([0], half_life_days=half_life_days)


def test_a_half_life_without_timestamps_is_refused() -> None:
    of = interactions([0])
    with pytest.raises(DataError, match="needs timestamps, and these interactions have only an or"):
        Popularity.fit_recent(of, train=all_rows(of), n_items=1, half_life_days=1)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_counts_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"counts holds .*; expected finite counts of at least 0"):
        Popularity.fit(np.array([1.0, value]))
