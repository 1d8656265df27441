"""Arithmetic on columns of many rows, a block of rows at a time, so that copies stay small."""

from collections.abc import Iterator, Sequence

import numpy as np

from bigrec.types import BoolArray, IntArray

_BLOCK_ROWS = 1 << 20
_BITS = 63


def blocks_of(n_rows: int) -> Iterator[slice]:
    """Slices of a million rows."""
    for start in range(0, n_rows, _BLOCK_ROWS):
        yield slice(start, min(start + _BLOCK_ROWS, n_rows))


def counts_of(codes: IntArray, n_codes: int, *, mask: BoolArray | None = None) -> IntArray:
    """Number of rows of each code, ``[n_codes]`` int64; negative codes count for none.

    Args:
        codes: ``[m]`` codes.
        n_codes: Number of different codes.
        mask: ``[m]`` rows that count; by default all.
    """
    counts = np.zeros(n_codes, dtype=np.int64)
    for rows in blocks_of(len(codes)):
        of_block = codes[rows] if mask is None else codes[rows][mask[rows]]
        counts += np.bincount(of_block + 1, minlength=n_codes + 1)[1:]
    return counts


def first_rows(codes: IntArray, n_codes: int, *, mask: BoolArray | None = None) -> IntArray:
    """First row of each code, ``[n_codes]`` int64; ``m`` for codes without a row.

    Args:
        codes: ``[m]`` codes, -1 for none.
        n_codes: Number of different codes.
        mask: ``[m]`` rows that count; by default all.
    """
    # Rows without a code are written to the last place.
    first = np.full(n_codes + 1, len(codes), dtype=np.int64)
    # Of several rows of a code the last one that is written stays: the first comes last.
    for rows in reversed(list(blocks_of(len(codes)))):
        numbers = np.arange(rows.start, rows.stop)
        of_block = codes[rows]
        if mask is not None:
            numbers, of_block = numbers[mask[rows]], of_block[mask[rows]]
        first[of_block[::-1]] = numbers[::-1]
    return first[:-1]


def recode(codes: IntArray, new_codes: IntArray) -> None:
    """Replace each code in place.

    Args:
        codes: ``[m]`` codes, -1 for none, which stays.
        new_codes: ``[n_codes]`` new code of every code.
    """
    table = np.append(new_codes, -1).astype(codes.dtype)
    for rows in blocks_of(len(codes)):
        codes[rows] = table[codes[rows]]


def lexsorted(keys: Sequence[IntArray], *, rows: IntArray | None = None) -> IntArray:
    """Rows by the last key, then by those before it; equal rows stay in their order.

    As ``np.lexsort``, but several times as fast where the ranges of keys and rows have 63 bits
    together: those are sorted as one number.

    Args:
        keys: ``[m]`` whole numbers each.
        rows: ``[r]`` ascending row numbers; by default all.

    Returns:
        Row numbers, ``[r]`` int64.
    """
    n_rows = len(keys[0]) if rows is None else len(rows)
    if not n_rows:
        return np.zeros(0, dtype=np.int64)
    lowest = [int(key.min()) for key in keys]
    widths = [(int(key.max()) - low).bit_length() for key, low in zip(keys, lowest, strict=True)]
    row_width = (len(keys[0]) - 1).bit_length()
    if sum(widths) + row_width > _BITS:
        if rows is None:
            return np.lexsort(tuple(keys))
        return rows[np.lexsort(tuple(key[rows] for key in keys))]
    packed = np.zeros(n_rows, dtype=np.int64)
    for block in blocks_of(n_rows):
        numbers = np.arange(block.start, block.stop) if rows is None else rows[block]
        of_block = packed[block]
        for key, low, width in zip(reversed(keys), reversed(lowest), reversed(widths), strict=True):
            of_block <<= width
            of_block += key[block if rows is None else numbers].astype(np.int64) - low
        of_block <<= row_width
        of_block += numbers
    packed.sort()
    packed &= (1 << row_width) - 1
    return packed
