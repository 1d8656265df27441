"""The few smallest numbers of many rows, all rows at once."""

from collections.abc import Sequence

import numpy as np

from bigrec.types import BoolArray, FloatArray, IntArray

# So many times k parts of a row have minima among which the k-th is near the k-th of the row.
_PARTS_PER_PLACE = 6
_FEWEST_PARTS = 64


def kth_bound(values: FloatArray, k: int) -> FloatArray:
    """A value that at least ``k`` of each row ``[q, w]`` do not exceed, ``[q]``.

    The ``k``-th smallest of the minima of parts of the row: near the ``k``-th smallest of the row,
    and far cheaper than to partition it.
    """
    return np.asarray(np.partition(part_minima(values, k), k - 1, axis=1)[:, k - 1])


def part_minima(values: FloatArray, k: int) -> FloatArray:
    """Minima of at least ``k`` parts of each row ``[q, w]``; the row itself if it is short."""
    width = values.shape[1]
    each = max(1, width // max(_FEWEST_PARTS, _PARTS_PER_PLACE * k))
    if each == 1:
        return values
    parts = width // each
    return np.asarray(values[:, : each * parts].reshape(len(values), each, parts).min(axis=1))


def empty_lists(q: int, *, k: int) -> tuple[FloatArray, IntArray]:
    """Values, infinite, and numbers, -1, of ``q`` lists of ``k`` with nothing in them yet."""
    return np.full((q, k), np.inf), np.full((q, k), -1, dtype=np.int64)


def merge_smallest(
    values: FloatArray, numbers: IntArray, *, row: IntArray, value: FloatArray, number: IntArray
) -> tuple[FloatArray, IntArray]:
    """Put candidates into the ascending lists of their rows.

    Args:
        values: The smallest values so far, ``[q, k]``, padded with infinity.
        numbers: Which they are, ``[q, k]``, padded with -1.
        row: Row of each candidate, ascending, ``[p]``.
        value: Of each candidate, ``[p]``.
        number: Which it is, ascending in a row and larger than any in its list, ``[p]``.

    Returns:
        The ``values`` and ``numbers`` of the ``k`` smallest, ties in order of their numbers.
    """
    q, k = values.shape
    if not row.size:
        return values, numbers
    counts = np.bincount(row, minlength=q)
    place = k + np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    all_values, all_numbers = empty_lists(q, k=k + int(counts.max()))
    all_values[:, :k], all_numbers[:, :k] = values, numbers
    all_values[row, place], all_numbers[row, place] = value, number
    # Stable, and numbers ascend from left to right among equal values.
    order = np.argsort(all_values, axis=1, kind="stable")[:, :k]
    return (
        np.take_along_axis(all_values, order, axis=1),
        np.take_along_axis(all_numbers, order, axis=1),
    )


def flat_pairs(lists: Sequence[IntArray]) -> tuple[IntArray, IntArray]:
    """Row and number of every entry of the lists of consecutive rows."""
    row = np.repeat(np.arange(len(lists)), [len(numbers) for numbers in lists])
    return row, np.concatenate([np.zeros(0, dtype=np.int64), *lists])


def count_rows(chosen: BoolArray) -> IntArray:
    """How many of each row ``[q, w]`` are chosen, ``[q]``."""
    # One row at a time: only in one dimension does numpy count without summing integers.
    return np.fromiter(map(np.count_nonzero, chosen), dtype=np.int64, count=len(chosen))
