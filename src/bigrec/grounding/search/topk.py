"""The smallest values of many rows, all rows at once."""

from collections.abc import Sequence

import numpy as np

from bigrec.types import BoolArray, FloatArray, IntArray

# With so many times k parts of a row, the k-th of their minima is near the k-th of the row.
_PARTS_PER_VALUE = 6
_MIN_PARTS = 64


def kth_bound(values: FloatArray, k: int) -> FloatArray:
    """A value that at least ``k`` of each row ``[q, w]`` do not exceed, ``[q]``.

    The ``k``-th smallest of the minima of parts of the row: near the ``k``-th smallest of the row,
    and far cheaper than a partition of the row.
    """
    return np.asarray(np.partition(part_minima(values, k), k - 1, axis=1)[:, k - 1])


def part_minima(values: FloatArray, k: int) -> FloatArray:
    """Minima of at least ``k`` parts of each row ``[q, w]``; the row itself if it is short."""
    width = values.shape[1]
    part_size = max(1, width // max(_MIN_PARTS, _PARTS_PER_VALUE * k))
    if part_size == 1:
        return values
    n_parts = width // part_size
    # A part takes every n_parts-th column, so that the minimum runs over contiguous rows.
    parts = values[:, : part_size * n_parts].reshape(len(values), part_size, n_parts)
    return np.asarray(parts.min(axis=1))


def empty_lists(q: int, *, k: int) -> tuple[FloatArray, IntArray]:
    """Values, infinite, and numbers, -1, of ``q`` empty lists of ``k``."""
    return np.full((q, k), np.inf), np.full((q, k), -1, dtype=np.int64)


def merge_smallest(
    values: FloatArray, numbers: IntArray, *, row: IntArray, value: FloatArray, number: IntArray
) -> tuple[FloatArray, IntArray]:
    """Merge candidates into the ascending lists of their rows.

    Args:
        values: The smallest values so far, ``[q, k]``, padded with infinity.
        numbers: The numbers of these values, ``[q, k]``, padded with -1.
        row: Row of each candidate, ascending, ``[p]``.
        value: Value of each candidate, ``[p]``.
        number: Number of each candidate, ascending in a row and larger than any in its list,
            ``[p]``.

    Returns:
        The ``values`` and ``numbers`` of the ``k`` smallest, ties in order of their numbers.
    """
    q, k = values.shape
    if not row.size:
        return values, numbers
    counts = np.bincount(row, minlength=q)
    column = k + np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    all_values, all_numbers = empty_lists(q, k=k + int(counts.max()))
    all_values[:, :k], all_numbers[:, :k] = values, numbers
    all_values[row, column], all_numbers[row, column] = value, number
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


def count_rows(mask: BoolArray) -> IntArray:
    """Number of true values in each row of ``[q, w]``, ``[q]``."""
    # One row at a time: only in one dimension does numpy count without summing integers.
    return np.fromiter(map(np.count_nonzero, mask), dtype=np.int64, count=len(mask))
