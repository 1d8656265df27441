import numpy as np
import pytest

from bigrec.models.text import TextKNN
from bigrec.types import FloatArray

# At 0, 90, 180 and 45 degrees, of different lengths.
VECTORS = np.array([[2, 0], [0, 5], [-1, 0], [3, 3]])
ROOT = np.sqrt(0.5)


def scores(*history: int, decay: float = 0.5, vectors: FloatArray = VECTORS) -> FloatArray:
    return np.asarray(TextKNN.fit(vectors, decay=decay).scores([np.array(history)])[0])


def test_one_item_scores_the_cosine_with_each_item() -> None:
    np.testing.assert_allclose(scores(0), [1, 0, -1, ROOT], atol=1e-6)


def test_older_items_of_the_history_count_less() -> None:
    # The history's vector is (0, 1) + 0.5 * (1, 0), of length sqrt(1.25).
    expected = np.array([0.5, 1, -0.5, 1.5 * ROOT]) / np.sqrt(1.25)
    np.testing.assert_allclose(scores(0, 1), expected, atol=1e-6)
    # Two steps of age: (0, 1) + 0.09 * (1, 0).
    expected = np.array([0.09, 1, -0.09, 1.09 * ROOT]) / np.sqrt(1.0081)
    np.testing.assert_allclose(scores(0, -1, 1, decay=0.09), expected, atol=1e-6)


def test_padding_does_not_age_an_item() -> None:
    np.testing.assert_array_equal(scores(0, -1, -1, 1), scores(0, 1))


def test_without_decay_the_order_does_not_matter() -> None:
    np.testing.assert_allclose(scores(0, 3, 1, decay=1), scores(1, 0, 3, decay=1), atol=1e-6)


def test_an_item_that_comes_twice_in_the_history_counts_twice() -> None:
    # 1.25 * (1, 0) + 0.5 * (0, 1)
    expected = np.array([1.25, 0.5, -1.25, 1.75 * ROOT]) / np.hypot(1.25, 0.5)
    np.testing.assert_allclose(scores(0, 1, 0), expected, atol=1e-6)


def test_a_history_whose_vectors_cancel_scores_all_items_0() -> None:
    np.testing.assert_array_equal(scores(0, 2, decay=1), np.zeros(4))


def test_a_zero_vector_scores_0() -> None:
    vectors = np.array([[1.0, 0], [0, 0]])
    np.testing.assert_array_equal(scores(0, vectors=vectors), [1, 0])
    np.testing.assert_array_equal(scores(1, vectors=vectors), [0, 0])


def test_items_with_equal_vectors_get_equal_scores() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((301, 47))
    copies = np.concatenate([vectors, vectors])
    actual = TextKNN.fit(copies, decay=0.7).scores([rng.integers(0, 301, 9) for _ in range(33)])
    assert actual.dtype == np.float32
    np.testing.assert_array_equal(actual[:, :301], actual[:, 301:])


def test_the_vectors_stay_unchanged() -> None:
    vectors = VECTORS.astype(np.float32)
    vectors.flags.writeable = False
    TextKNN.fit(vectors, decay=0.5)
    np.testing.assert_array_equal(vectors, VECTORS)


def test_a_catalog_that_grows_keeps_the_scores_of_old_items() -> None:
    model = TextKNN.fit(VECTORS, decay=0.5)
    grown = model.with_vectors(np.concatenate([VECTORS, [[4, 0]]]))
    assert (model.n_items, grown.n_items, grown.decay) == (4, 5, 0.5)
    histories = [np.array([0, 1]), np.array([3])]
    np.testing.assert_array_equal(grown.scores(histories)[:, :4], model.scores(histories))
    np.testing.assert_array_equal(grown.scores(histories)[:, 4], model.scores(histories)[:, 0])


def test_vectors_of_another_dimension_are_refused() -> None:
    with pytest.raises(ValueError, match="vectors has 3 dimensions; expected 2"):
        TextKNN.fit(VECTORS, decay=0.5).with_vectors(np.ones((4, 3)))


@pytest.mark.parametrize("vectors", [np.ones(3), np.array([[1, np.nan]]), np.array([[np.inf]])])
def test_vectors_that_are_no_finite_matrix_are_refused(vectors: FloatArray) -> None:
    with pytest.raises(ValueError, match=r"expected finite numbers of shape \[n, d\]"):
        TextKNN.fit(vectors, decay=0.5)


@pytest.mark.parametrize("decay", [0, -0.1, 1.1])
def test_a_decay_out_of_range_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match="expected more than 0 and at most 1"):
        TextKNN.fit(VECTORS, decay=decay)
