import numpy as np

from bigrec.grounding.search.duplicates import EqualRows

STORED = np.array([[1.0, 2.0], [0.0, 3.0], [1.0, 2.0]], dtype=np.float32)


def test_an_equal_vector_is_found_in_its_first_row() -> None:
    positions, rows = EqualRows(STORED).find(np.array([[9.0, 9.0], [1.0, 2.0]], dtype=np.float32))
    np.testing.assert_array_equal(positions, [1])
    np.testing.assert_array_equal(rows, [0])


def test_minus_0_is_equal_to_0() -> None:
    positions, rows = EqualRows(STORED).find(np.array([[-0.0, 3.0]], dtype=np.float32))
    np.testing.assert_array_equal(positions, [0])
    np.testing.assert_array_equal(rows, [1])


def test_a_float64_vector_that_only_rounds_to_a_stored_one_is_another() -> None:
    positions, _ = EqualRows(STORED).find(np.array([[1.0, 2.0 + 1e-12]]))
    assert positions.size == 0


def test_nothing_is_found_among_no_vectors() -> None:
    positions, rows = EqualRows(STORED).find(STORED[:0])
    assert positions.shape == rows.shape == (0,)
