from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bigrec.errors import DataError
from bigrec.grounding.gaussian import GaussianGrounding
from bigrec.grounding.gaussian_statistics import GaussianStatistics
from bigrec.models.text import gaussian
from bigrec.models.text.gaussian import GaussianText
from bigrec.types import FloatArray
from tests.models.fakes import N, all_rows, interactions, ring

TITLES = [f"title {item}" for item in range(N)]
VECTORS = np.random.default_rng(0).normal(size=(N, 3))
PARAMETERS: dict[str, float] = {
    "shrinkage": 0.1,
    "prior_strength": 1.0,
    "ridge": 1.0,
    "popularity_weight": 1.0,
    "popularity_smoothing": 1.0,
}


def embed(titles: Sequence[str], vectors: FloatArray = VECTORS) -> FloatArray:
    """Vectors of some of the titles; those of further titles are further away."""
    numbers = [int(title.removeprefix("title ")) for title in titles]
    return np.array([vectors[number % N] + 0.5 * (number // N) for number in numbers])


def fit(*histories: list[int], vectors: FloatArray = VECTORS, **options: Any) -> GaussianText:
    of = interactions(*histories) if histories else ring()
    arguments = {"titles": TITLES, "decay": 0.5, "window": 3, **PARAMETERS, **options}
    return GaussianText.fit(
        of, train=all_rows(of), embed=lambda titles: embed(titles, vectors), **arguments
    )


def direction(*terms: tuple[float, int]) -> Any:
    bag = sum(weight * VECTORS[item] for weight, item in terms)
    return bag / np.linalg.norm(bag)


def test_each_position_is_a_pair_of_its_decayed_history_and_the_item_that_came_next() -> None:
    statistics = fit([0, 3, 1, 4, 2], [5], [6, 7]).statistics
    expected = GaussianStatistics.empty(N, 3)
    states = [
        direction((1, 0)),
        direction((1, 3), (0.5, 0)),
        direction((1, 1), (0.5, 3), (0.25, 0)),
        direction((1, 4), (0.5, 1), (0.25, 3)),
        direction((1, 6)),
    ]
    expected.partial_fit(np.array(states), np.array([3, 1, 4, 2, 7]))
    np.testing.assert_array_equal(statistics.counts, expected.counts)
    np.testing.assert_allclose(statistics.sums, expected.sums, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        statistics.second_moment, expected.second_moment, rtol=1e-5, atol=1e-6
    )


def test_scores_are_the_groundings_for_the_decayed_history() -> None:
    model = fit()
    state = direction((1, 2), (0.5, 1), (0.25, 6))
    np.testing.assert_allclose(
        model.scores([np.array([0, 4, 6, 1, 2])]),
        model.grounding.scores(state[None]),
        rtol=1e-4,
        atol=1e-5,
    )


def test_a_window_counts_items_without_padding() -> None:
    model = fit(window=2)
    padded, bare = model.scores([np.array([0, 4, -1, 6, -1]), np.array([4, 6])])
    np.testing.assert_array_equal(padded, bare)


def test_the_next_item_of_the_ring_is_found() -> None:
    model = fit(shrinkage=0.01, ridge=0.01)
    scores = model.scores([np.array([item]) for item in range(N)])
    np.testing.assert_array_equal(scores.argmax(axis=1), (np.arange(N) + 1) % N)


def test_blocks_of_positions_give_the_statistics_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = fit().statistics
    monkeypatch.setattr(gaussian, "_POSITIONS", 5)
    actual = fit().statistics
    np.testing.assert_array_equal(actual.counts, expected.counts)
    np.testing.assert_allclose(actual.sums, expected.sums, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(actual.second_moment, expected.second_moment, rtol=1e-6, atol=1e-6)


def test_a_stream_of_updates_equals_a_fit_on_all() -> None:
    everything = fit([0, 1, 2, 3, 4], [3, 5, 6])
    model = fit([0, 1, 2], [3, 5])
    before = model.scores([np.array([0, 1])])
    updated = model.updated([np.array([0, 1, 2]), np.array([3, 5])], np.array([3, 6]))
    updated = updated.updated([np.array([1, 2, 3]), np.zeros(0, int)], np.array([4, 7]))
    histories = [np.array([item]) for item in range(N)]
    np.testing.assert_allclose(
        updated.scores(histories), everything.scores(histories), rtol=1e-3, atol=1e-3
    )
    np.testing.assert_array_equal(updated.statistics.counts, everything.statistics.counts)
    np.testing.assert_array_equal(model.scores([np.array([0, 1])]), before)


def test_other_parameters_are_fitted_to_the_same_statistics() -> None:
    model = fit()
    parameters = replace(model.grounding.parameters, shrinkage=0.25, ridge=10)
    histories = [np.array([1, 2])]
    np.testing.assert_array_equal(
        next(model.variants([parameters])).scores(histories),
        fit(shrinkage=0.25, ridge=10).scores(histories),
    )


def test_a_new_title_is_scored_as_when_it_was_there_from_the_start() -> None:
    model = fit()
    new = f"title {N}"
    extended = model.with_titles([new, *TITLES], old_titles=TITLES, embed=embed)
    assert (model.n_items, extended.n_items) == (N, N + 1)
    histories = [np.array([1, 2]), np.array([3])]
    moved = [history + 1 for history in histories]
    np.testing.assert_array_equal(extended.scores(moved)[:, 1:], model.scores(histories))
    assert np.isfinite(extended.scores([np.array([0])])).all()
    refitted = fit(titles=[*TITLES, new])
    np.testing.assert_allclose(
        np.roll(extended.scores(moved), -1, axis=1),
        refitted.scores(histories),
        rtol=1e-4,
        atol=1e-4,
    )
    assert extended.updated([np.array([2])], np.array([0])).statistics.counts[N] == 1


def test_titles_that_leave_and_return_score_as_before() -> None:
    model = fit()
    embedded: list[str] = []

    def count(titles: Sequence[str]) -> FloatArray:
        embedded.extend(titles)
        return embed(titles)

    few = model.with_titles(TITLES[2:5], old_titles=TITLES, embed=count)
    assert few.n_items == 3
    np.testing.assert_array_equal(
        few.scores([np.array([0])]), model.scores([np.array([2])])[:, 2:5]
    )
    back = few.with_titles(TITLES[::-1], old_titles=TITLES[2:5], embed=count)
    history = np.array([1, 4])
    np.testing.assert_array_equal(back.scores([N - 1 - history])[:, ::-1], model.scores([history]))
    assert embedded == []


def test_items_of_equal_title_are_one_title() -> None:
    twins = [*TITLES, TITLES[2]]
    model = fit([0, 1, N, 3, 4], [1, 2, 3, 5], titles=twins)
    merged = fit([0, 1, 2, 3, 4], [1, 2, 3, 5])
    scores = model.scores([np.array([1, N])])
    np.testing.assert_array_equal(scores[:, :N], merged.scores([np.array([1, 2])]))
    np.testing.assert_array_equal(scores[:, N], scores[:, 2])


def test_a_history_without_items_scores_all_alike() -> None:
    model = fit()
    assert not model.scores([np.array([-1, -1])]).any()
    assert not model.states([np.zeros(0, int)]).any()


def test_updates_that_do_not_fit_are_refused() -> None:
    model = fit()
    with pytest.raises(ValueError, match="targets has 2 entries for 1 histories"):
        model.updated([np.array([0])], np.array([1, 2]))
    with pytest.raises(ValueError, match="targets holds -1; expected numbers from 0 to 7"):
        model.updated([np.array([0])], np.array([-1]))


def test_a_cold_item_is_scored_by_the_mean_that_its_title_predicts() -> None:
    model = fit([0, 1, 2, 3, 4], [2, 3, 4, 5])
    grounding = model.grounding
    cold = 7
    assert not model.statistics.counts[cold]
    standardized = (model.vectors[cold] - grounding.feature_mean) / grounding.feature_scale
    mean = standardized @ grounding.regression
    weights = np.linalg.solve(grounding.factor @ grounding.factor.T, mean)
    np.testing.assert_allclose(grounding.weights[:, cold], weights, rtol=1e-4)


def test_a_zero_vector_is_a_state_without_direction() -> None:
    vectors = VECTORS.copy()
    vectors[0] = 0
    assert np.isfinite(fit(vectors=vectors).scores([np.array([0])])).all()


def test_single_interactions_are_refused() -> None:
    with pytest.raises(DataError, match="a user has at least two interactions"):
        fit([0], [1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decay": 0.0}, "decay is 0.0"),
        ({"decay": 1.5}, "decay is 1.5"),
        ({"window": 0}, "window is 0; expected at least 1"),
        ({"ridge": 0.0}, "ridge is 0.0"),
        ({"vectors": VECTORS * np.nan}, "vectors holds NaN|expected finite"),
        ({"vectors": VECTORS[:, 0]}, r"vectors has shape \(8,\)"),
    ],
)
def test_arguments_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(**options)


def test_the_grounding_is_that_of_the_statistics() -> None:
    model = fit()
    grounding = GaussianGrounding.fit(model.statistics, model.vectors, model.grounding.parameters)
    np.testing.assert_array_equal(grounding.weights, model.grounding.weights)
