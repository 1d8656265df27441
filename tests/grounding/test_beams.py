import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigrec.grounding.beams import EncodedQueries, combine_beams
from bigrec.types import GeneratedText


def test_top1_takes_the_first_beam() -> None:
    combined, beams = combine_beams(
        np.array([[3.0, 1.0], [0.0, 0.0]]), np.log([0.1, 0.9]), mode="top1"
    )
    np.testing.assert_array_equal(combined, [3.0, 1.0])
    np.testing.assert_array_equal(beams, [0, 0])


def test_all_divides_by_the_beams_probability_and_takes_the_smallest() -> None:
    # p is 0.75 and 0.25, and 1e-6 * 8 is added to every distance first
    combined, beams = combine_beams(
        np.array([[3.0, 6.0], [8.0, 1.0]]), np.log([0.3, 0.1]), mode="all"
    )
    np.testing.assert_allclose(combined, [(3 + 8e-6) / 0.75, (1 + 8e-6) / 0.25])
    np.testing.assert_array_equal(beams, [0, 1])


def test_all_ranks_exact_titles_first_by_probability() -> None:
    # title 2 is the text of beam 1, title 0 of beam 0; titles 1 and 3 are neighbors
    distances = np.array([[0.0, 1.0, 5.0, 9.0], [5.0, 9.0, 0.0, 1.0]])
    combined, _ = combine_beams(distances, np.log([0.6, 0.4]), mode="all")
    np.testing.assert_array_equal(np.argsort(combined), [0, 2, 1, 3])


def test_all_accepts_a_beam_of_probability_practically_0() -> None:
    combined, beams = combine_beams(
        np.array([[1.0, 2.0], [0.0, 0.0]]), np.array([-1.0, -5000.0]), mode="all"
    )
    np.testing.assert_allclose(combined, [1.0 + 2e-6, 2.0 + 2e-6])
    np.testing.assert_array_equal(beams, [0, 0])


def test_all_distances_at_0_stay_0() -> None:
    combined, _ = combine_beams(np.zeros((2, 3)), np.array([-1.0, -2.0]), mode="all")
    np.testing.assert_array_equal(combined, np.zeros(3))


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=8))
def test_with_one_beam_the_modes_are_the_same(distances: list[float]) -> None:
    row, log_probs = np.array([distances]), np.array([-2.0])
    top1 = combine_beams(row, log_probs, mode="top1")
    np.testing.assert_array_equal(combine_beams(row, log_probs, mode="all"), top1)


@given(shift=st.floats(-50, 50))
def test_only_differences_of_log_probabilities_matter(shift: float) -> None:
    distances, log_probs = np.array([[3.0, 6.0], [8.0, 1.0]]), np.array([-1.0, -2.5])
    shifted, unshifted = (
        combine_beams(distances, p, mode="all")[0] for p in (log_probs + shift, log_probs)
    )
    np.testing.assert_allclose(shifted, unshifted)


def test_a_query_without_beams_is_refused() -> None:
    with pytest.raises(ValueError, match=r"0 beams of distances and 0 log-prob.*at least one"):
        combine_beams(np.zeros((0, 3)), np.zeros(0), mode="all")


def test_another_number_of_log_probabilities_is_refused() -> None:
    with pytest.raises(ValueError, match="1 beams of distances and 2 log-probabilities"):
        combine_beams(np.zeros((1, 3)), np.zeros(2), mode="all")


@pytest.mark.parametrize("log_prob", [float("nan"), float("-inf")])
def test_a_log_probability_that_is_no_number_is_refused(log_prob: float) -> None:
    with pytest.raises(ValueError, match="expected finite numbers"):
        combine_beams(np.zeros((1, 3)), np.array([log_prob]), mode="all")


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="Unknown beam mode 'best'; expected 'top1' or 'all'"):
        combine_beams(np.zeros((1, 3)), np.zeros(1), mode="best")  # type: ignore[arg-type]


def test_queries_from_vectors_have_one_beam_each_and_no_texts() -> None:
    queries = EncodedQueries.from_vectors(np.zeros((3, 2)))
    assert len(queries) == 3
    assert queries.has_single_vectors("all")
    assert queries.texts == [[], [], []]


def test_the_first_queries_keep_their_beams_and_texts() -> None:
    texts = [[GeneratedText("a", -1.0), GeneratedText("b", -2.0)], [GeneratedText("a", -3.0)]]
    queries = EncodedQueries(
        vectors=np.zeros((2, 4)),
        vector_rows=np.array([0, 1, 0]),
        log_probs=np.array([-1.0, -2.0, -3.0]),
        offsets=np.array([0, 2, 3]),
        texts=texts,
    )
    first = queries.first(1)
    assert len(first) == 1
    assert first.texts == texts[:1]
    np.testing.assert_array_equal(first.vector_rows, [0, 1])
    np.testing.assert_array_equal(first.log_probs, [-1.0, -2.0])
