import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigrec.data import row_blocks
from bigrec.data.row_blocks import blocks_of, counts_of, first_rows, lexsorted, recode


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_blocks, "_BLOCK_ROWS", 3)


def test_blocks_cover_all_rows_once() -> None:
    assert [(rows.start, rows.stop) for rows in blocks_of(7)] == [(0, 3), (3, 6), (6, 7)]
    assert list(blocks_of(0)) == []


def test_rows_are_counted_for_each_code() -> None:
    codes = np.array([2, 0, -1, 2, 2, -1, 0], dtype=np.int32)
    np.testing.assert_array_equal(counts_of(codes, 4), [2, 0, 3, 0])
    mask = np.array([True, False, True, True, False, True, True])
    np.testing.assert_array_equal(counts_of(codes, 4, mask=mask), [1, 0, 2, 0])


def test_the_first_row_of_each_code_is_found() -> None:
    codes = np.array([2, 0, -1, 2, 2, -1, 0], dtype=np.int32)
    np.testing.assert_array_equal(first_rows(codes, 4), [1, 7, 0, 7])
    mask = np.array([False, False, True, True, False, True, True])
    np.testing.assert_array_equal(first_rows(codes, 4, mask=mask), [6, 7, 3, 7])


def test_codes_are_replaced_in_place() -> None:
    codes = np.array([2, 0, -1, 2], dtype=np.int32)
    recode(codes, np.array([5, 6, -1]))
    np.testing.assert_array_equal(codes, [-1, 5, -1, -1])
    assert codes.dtype == np.int32


# Small ranges are packed into one number, large ones are not.
KEYS = st.one_of(st.integers(-2, 2), st.integers(-(2**62), 2**62))


@given(st.lists(st.tuples(KEYS, st.integers(0, 3)), min_size=0, max_size=20))
def test_rows_are_sorted_as_numpy_sorts_them(rows: list[tuple[int, int]]) -> None:
    first, second = (np.array([row[n] for row in rows], dtype=np.int64) for n in (0, 1))
    expected = np.lexsort((first, second))
    np.testing.assert_array_equal(lexsorted([first, second]), expected)
    np.testing.assert_array_equal(lexsorted([second]), np.argsort(second, kind="stable"))
    some = np.flatnonzero(second > 0)
    np.testing.assert_array_equal(
        lexsorted([first, second], rows=some), [row for row in expected if second[row] > 0]
    )


def test_unsigned_numbers_are_sorted() -> None:
    key = np.array([3, 0, 2**32 - 1], dtype=np.uint32)
    np.testing.assert_array_equal(lexsorted([key]), [1, 0, 2])
