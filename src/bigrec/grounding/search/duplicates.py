"""Which of the stored vectors another vector is equal to."""

from collections.abc import Iterator

import numpy as np

from bigrec.types import FloatArray, IntArray


class EqualRows:
    """Finds vectors among stored ones, by the first of those that are equal.

    Args:
        stored: ``[g, d]`` float32.
    """

    def __init__(self, stored: FloatArray) -> None:
        self._stored = stored
        self._first: dict[int, int] = {}
        for row, key in enumerate(_keys(stored)):
            self._first.setdefault(key, row)

    def find(self, vectors: FloatArray) -> tuple[IntArray, IntArray]:
        """Which vectors ``[q, d]`` are stored, and in which row first."""
        found = [
            (place, row)
            for place, key in enumerate(_keys(vectors))
            if (row := self._first.get(key)) is not None
            and np.array_equal(vectors[place], self._stored[row])
        ]
        places, rows = np.array(found, dtype=np.int64).reshape(-1, 2).T
        return places, rows


def _keys(vectors: FloatArray) -> Iterator[int]:
    for vector in vectors:
        # 0 is added because -0 is equal to it but has other bytes.
        yield hash((vector.astype(np.float32) + 0).tobytes())
