"""Find vectors that are equal to stored ones."""

from collections.abc import Iterator

import numpy as np

from bigrec.types import FloatArray, IntArray


class EqualRows:
    """Finds the first of the stored rows that a vector is equal to.

    Args:
        stored: ``[m, d]`` float32.
    """

    def __init__(self, stored: FloatArray) -> None:
        self._stored = stored
        self._first_rows: dict[int, int] = {}
        for row, key in enumerate(_keys(stored)):
            self._first_rows.setdefault(key, row)

    def find(self, vectors: FloatArray) -> tuple[IntArray, IntArray]:
        """Positions of the vectors ``[q, d]`` that are stored, and the first row of each."""
        matches = [
            (position, row)
            for position, key in enumerate(_keys(vectors))
            if (row := self._first_rows.get(key)) is not None
            and np.array_equal(vectors[position], self._stored[row])
        ]
        positions, rows = np.array(matches, dtype=np.int64).reshape(-1, 2).T
        return positions, rows


def _keys(vectors: FloatArray) -> Iterator[int]:
    for vector in vectors:
        # 0 is added because -0 is equal to it but has other bytes.
        yield hash((vector.astype(np.float32) + 0).tobytes())
