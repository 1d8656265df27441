import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bigrec.evaluation.metrics import hr_at, mrr, ndcg_at
from bigrec.grounding.ranked_lists import best_titles
from bigrec.grounding.ranks import ranks_along, target_ranks
from bigrec.types import UNRANKED, FloatArray, IntArray

NONE = np.zeros(0, dtype=np.int64)
# few different values, so that ties are common
DISTANCES = arrays(np.float64, (3, 6), elements=st.integers(0, 4).map(float))
EXCLUDED = st.lists(
    st.sets(st.integers(0, 5), max_size=5).map(lambda ids: np.array(sorted(ids), dtype=int)),
    min_size=3,
    max_size=3,
)


def test_the_nearest_titles_come_first() -> None:
    lists = best_titles(np.array([[3.0, 1.0, 2.0, 0.5]]), k=3, exclude=[NONE])
    np.testing.assert_array_equal(lists, [[3, 1, 2]])


def test_ties_go_to_the_smaller_title_id_also_at_the_end_of_the_list() -> None:
    lists = best_titles(np.array([[2.0, 1.0, 2.0, 1.0, 2.0]]), k=3, exclude=[NONE])
    np.testing.assert_array_equal(lists, [[1, 3, 0]])


def test_excluded_titles_are_not_listed() -> None:
    lists = best_titles(np.array([[3.0, 1.0, 2.0]]), k=2, exclude=[np.array([1])])
    np.testing.assert_array_equal(lists, [[2, 0]])


def test_a_list_is_padded_where_too_few_titles_remain() -> None:
    lists = best_titles(np.array([[3.0, 1.0, 2.0]]), k=3, exclude=[np.array([0, 1])])
    np.testing.assert_array_equal(lists, [[2, -1, -1]])


@pytest.mark.parametrize("k", [0, 4])
def test_a_length_out_of_range_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match=f"k is {k}; expected 1 to 3, the number of different"):
        best_titles(np.zeros((1, 3)), k=k, exclude=[NONE])


@given(distances=DISTANCES, k=st.integers(1, 6), exclude=EXCLUDED)
def test_lists_are_those_of_a_full_stable_sort(
    distances: FloatArray, k: int, exclude: list[IntArray]
) -> None:
    lists = best_titles(distances, k=k, exclude=exclude)
    for row, excluded, title_ids in zip(distances, exclude, lists, strict=True):
        order = np.argsort(row, kind="stable")
        expected = [title_id for title_id in order if title_id not in excluded][:k]
        np.testing.assert_array_equal(title_ids, expected + [-1] * (k - len(expected)))


def test_ties_count_against_the_target() -> None:
    ranks = target_ranks(np.array([[0.5, 0.1, 0.5, 0.9]]), np.array([0]))
    np.testing.assert_array_equal(ranks, [2])


def test_a_constant_scorer_gets_the_worst_ranks() -> None:
    np.testing.assert_array_equal(target_ranks(np.zeros((2, 5)), np.array([0, 4])), [4, 4])


def test_excluded_titles_are_not_ahead() -> None:
    distances = np.array([[3.0, 1.0, 2.0, 4.0]])
    ranks = target_ranks(distances, np.array([0]), exclude=[np.array([1, 1, 3])])
    np.testing.assert_array_equal(ranks, [1])


def test_an_excluded_target_misses_at_every_k() -> None:
    ranks = target_ranks(np.array([[3.0, 1.0, 2.0]]), np.array([1]), exclude=[np.array([1, 2])])
    np.testing.assert_array_equal(ranks, [UNRANKED])


@pytest.mark.parametrize("exclude", [[0], [0, 1], [0, 1, 2]])
def test_no_metric_counts_an_excluded_target_however_small_the_catalog(exclude: list[int]) -> None:
    # The second query's target is ranked: nearest of what is left.
    distances = np.array([[3.0, 1.0, 2.0], [1.0, 2.0, 3.0]])
    excluded = [np.array(exclude), NONE]
    targets = np.array([0, 0])
    along = ranks_along(distances, np.zeros((2, 3)), targets, gammas=[0.0, 1.0], exclude=excluded)
    ranks = target_ranks(distances, targets, exclude=excluded)
    np.testing.assert_array_equal(along, np.stack([ranks, ranks], axis=1))
    assert [hr_at(ranks, k=k) for k in (1, 3, 4, 10**6)] == [0.5] * 4
    assert [ndcg_at(ranks, k=k) for k in (1, 3, 4, 10**6)] == [0.5] * 4
    assert mrr(ranks) == 0.5


@given(distances=DISTANCES)
def test_ranks_do_not_change_under_a_strictly_monotone_change_of_distances(
    distances: FloatArray,
) -> None:
    targets = np.array([0, 3, 5])
    np.testing.assert_array_equal(
        target_ranks(np.expm1(distances) * 7, targets), target_ranks(distances, targets)
    )


@given(distances=DISTANCES, exclude=EXCLUDED)
def test_excluding_equals_removing_the_titles(
    distances: FloatArray, exclude: list[IntArray]
) -> None:
    targets = np.array([0, 3, 5])
    ranks = target_ranks(distances, targets, exclude=exclude)
    for row, target, excluded, rank in zip(distances, targets, exclude, ranks, strict=True):
        others = [d for title, d in enumerate(row) if title not in excluded and title != target]
        expected = UNRANKED if target in excluded else sum(d <= row[target] for d in others)
        assert rank == expected


@given(distances=DISTANCES, target=st.integers(0, 5))
def test_a_target_without_ties_is_listed_at_its_rank(distances: FloatArray, target: int) -> None:
    distances[:, target] += 0.5
    ranks = target_ranks(distances, np.full(3, target))
    lists = best_titles(distances, k=6, exclude=[NONE] * 3)
    np.testing.assert_array_equal(lists[np.arange(3), ranks], np.full(3, target))


@given(base=DISTANCES, slope=DISTANCES, exclude=EXCLUDED, exact=st.sets(st.integers(0, 5)))
def test_ranks_along_a_line_are_those_of_every_point_of_it(
    base: FloatArray, slope: FloatArray, exclude: list[IntArray], exact: set[int]
) -> None:
    # Whole numbers and halves, so that nothing is rounded; ties and -inf as logarithms give them.
    base[:, list(exact)] = -np.inf
    targets, gammas = np.array([0, 2, 5]), [0.0, 0.5, 1.0, 4.0]
    np.testing.assert_array_equal(
        ranks_along(base, slope, targets, gammas=gammas, exclude=exclude).T,
        [target_ranks(base - gamma * slope, targets, exclude=exclude) for gamma in gammas],
    )


def test_many_queries_give_what_each_gives_alone() -> None:
    distances = np.random.default_rng(0).normal(size=(600, 5))
    targets = np.arange(600) % 5
    alone = [target_ranks(distances[i : i + 1], targets[i : i + 1])[0] for i in range(600)]
    np.testing.assert_array_equal(target_ranks(distances, targets), alone)


def test_a_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="distances holds NaN; expected numbers"):
        target_ranks(np.array([[0.5, np.nan]]), np.array([0]))


def test_another_number_of_targets_is_refused() -> None:
    with pytest.raises(ValueError, match="2 rows of distances, 1 targets and 2 exclusions"):
        target_ranks(np.zeros((2, 3)), np.array([0]))


def test_another_number_of_exclusions_is_refused() -> None:
    with pytest.raises(ValueError, match="1 rows of distances, 1 targets and 2 exclusions"):
        target_ranks(np.zeros((1, 3)), np.array([0]), exclude=[NONE, NONE])


@pytest.mark.parametrize("target", [-1, 3])
def test_a_target_out_of_range_is_refused(target: int) -> None:
    with pytest.raises(ValueError, match=f"targets holds {target}; expected numbers from 0 to 2"):
        target_ranks(np.zeros((1, 3)), np.array([target]))
