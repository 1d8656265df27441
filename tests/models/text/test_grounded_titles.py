"""Titles at the means of the states before them, and what catalogs and updates do to them."""

from collections.abc import Sequence

import numpy as np
import pytest

from bigrec.errors import DataError
from bigrec.grounding.gaussian import GaussianParameters
from bigrec.grounding.gaussian_statistics import GaussianStatistics
from bigrec.models.text.grounded_titles import GaussianTitles, GroundedTitles, MeanTitles
from bigrec.types import FloatArray, IntArray

TITLES = ["a", "b", "c", "b"]
# "c" lies between "a" and "b", nearer to "a".
VECTORS = {"a": [1.0, 0.0], "b": [0.0, 1.0], "c": [0.9, 0.1], "d": [0.0, 2.0]}
STATES = np.array([[1.0, 0.0, 0.0], [3.0, 0.0, 0.0], [0.0, 5.0, 0.0]], dtype=np.float32)
PARAMETERS = GaussianParameters(
    shrinkage=0.5,
    prior_strength=1.0,
    ridge=1.0,
    temperature=1.0,
    popularity_weight=1.0,
    popularity_smoothing=1.0,
)


def embed(titles: Sequence[str]) -> FloatArray:
    return np.array([VECTORS[title] for title in titles])


def collect(rows: IntArray, vectors: FloatArray) -> GaussianStatistics:
    """Item 0 came after two states, item 3, which is a "b", after one."""
    statistics = GaussianStatistics.empty(len(vectors), 3)
    statistics.partial_fit(STATES, rows[np.array([0, 0, 3])])
    return statistics


def means(titles: Sequence[str] = TITLES) -> MeanTitles:
    return MeanTitles.fit(titles, embed=embed, collect=collect)


def gaussian() -> GaussianTitles:
    return GaussianTitles.fit(TITLES, PARAMETERS, embed=embed, collect=collect)


def test_a_title_is_at_the_mean_of_the_states_before_its_items() -> None:
    points = means().item_points()
    np.testing.assert_allclose(points[:2], [[2, 0, 0], [0, 5, 0]])
    assert means().rows.tolist() == [0, 1, 2, 1]


def test_a_title_without_states_is_at_the_mean_of_its_neighbors_by_title() -> None:
    point = means().item_points()[2]
    cosines = np.array([0.9, 0.1]) / np.hypot(0.9, 0.1)
    weights = np.exp(10 * cosines) / np.exp(10 * cosines).sum()
    np.testing.assert_allclose(point, weights @ [[2, 0, 0], [0, 5, 0]], rtol=1e-5)


def test_queries_of_means_are_the_states_themselves() -> None:
    np.testing.assert_array_equal(means().query_points(STATES), STATES)


@pytest.mark.parametrize("model", [means(), gaussian()], ids=["means", "gaussian"])
def test_a_new_title_moves_no_other_and_titles_return_as_they_were(
    model: GroundedTitles,
) -> None:
    before = model.item_points()
    more = model.with_titles(["d", *TITLES], embed=embed)
    assert more.rows.tolist() == [3, 0, 1, 2, 1]
    assert more.statistics.n_items == 4
    # "d" has the direction of "b", its only neighbor of weight.
    np.testing.assert_allclose(
        distances(more, STATES)[:, :3], distances(model, STATES), rtol=1e-4, atol=1e-4
    )
    back = more.with_titles(["a"], embed=embed).with_titles(TITLES, embed=embed)
    np.testing.assert_allclose(back.item_points()[:3, :3], before[:, :3], rtol=1e-4)


def distances(model: GroundedTitles, states: FloatArray) -> FloatArray:
    """Squared distances less the least of each query, which popularity cannot change."""
    offsets = model.query_points(states)[:, None] - model.item_points()[None]
    squared = (offsets**2).sum(axis=2)
    return np.asarray(squared - squared.min(axis=1, keepdims=True))


@pytest.mark.parametrize("model", [means(), gaussian()], ids=["means", "gaussian"])
def test_updates_are_as_a_fit_to_all_pairs(model: GroundedTitles) -> None:
    new = np.array([[0.0, 1.0, 4.0], [1.0, 1.0, 1.0]], dtype=np.float32)
    updated = model.updated(new, np.array([2, 1]))

    def collect_all(rows: IntArray, vectors: FloatArray) -> GaussianStatistics:
        statistics = collect(rows, vectors)
        statistics.partial_fit(new, rows[np.array([2, 1])])
        return statistics

    expected: GroundedTitles = (
        MeanTitles.fit(TITLES, embed=embed, collect=collect_all)
        if isinstance(model, MeanTitles)
        else GaussianTitles.fit(TITLES, PARAMETERS, embed=embed, collect=collect_all)
    )
    np.testing.assert_allclose(updated.item_points(), expected.item_points(), rtol=1e-6)
    with pytest.raises(ValueError, match="targets holds 4; expected numbers from 0 to 3"):
        model.updated(new, np.array([4, 0]))


def test_vectors_of_another_dimension_are_refused() -> None:
    def embed_otherwise(titles: Sequence[str]) -> FloatArray:
        return np.ones((len(titles), 3))

    with pytest.raises(ValueError, match="vectors of 3 dimensions; expected 2"):
        means().with_titles(["d"], embed=embed_otherwise)


def test_means_need_pairs() -> None:
    with pytest.raises(DataError, match="at least two interactions"):
        MeanTitles.fit(TITLES, embed=embed, collect=lambda *_: GaussianStatistics.empty(3, 3))
