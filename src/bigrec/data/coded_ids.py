"""Columns of ids as numbers: each row holds the position of its id among the different ones."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from bigrec.data.id_columns import id_text, written_text
from bigrec.types import IntArray


@dataclass(frozen=True, eq=False)
class IdTexts:
    """The different ids of a column as they were given, in the order of their first rows.

    Attributes:
        ids: ``[w]`` text as `id_text` reads it, null for a missing one. An id that was written in
            several ways occurs several times.
        respelled: ``[w]`` what was written, where the id differs from it, else null.
    """

    ids: pl.Series
    respelled: pl.Series

    def __len__(self) -> int:
        return len(self.ids)


class IdReader:
    """Reads a column of ids in pieces, each different text once.

    Args:
        name: Name of the column.
        dtype: Its type.
        what: Content of the frame, for messages.

    Raises:
        DataError: If the type is neither text nor numbers.
    """

    def __init__(self, name: str, dtype: pl.DataType, *, what: str) -> None:
        self._what = what
        is_text = isinstance(dtype, pl.String | pl.Categorical | pl.Enum)
        read = id_text(name, dtype, what=what)
        # Text is read when all of it is known, once for many rows.
        self._text = pl.col(name).cast(pl.String) if is_text else read
        self._is_text = is_text
        # The numbers of texts, which polars gives in the order in which it meets them. It forgets
        # them when there is no column of them any more, not even an empty one.
        self._categories = pl.Categorical(pl.Categories.random())
        self._kept = pl.Series([], dtype=self._categories)
        self._codes: list[IntArray] = []

    def add(self, piece: pl.DataFrame) -> None:
        """Read the column of the next rows."""
        texts = piece.select(self._text.alias("id"))["id"]
        codes = texts.cast(self._categories).to_physical()
        self._codes.append(codes.cast(pl.Int32).fill_null(-1).to_numpy())

    def finish(self) -> tuple[IntArray, IdTexts]:
        """The code of every row, ``[m]`` int32, -1 for a missing id, and the ids of the codes."""
        codes = np.concatenate(self._codes) if self._codes else np.zeros(0, dtype=np.int32)
        self._codes.clear()
        n_texts = int(codes.max(initial=-1)) + 1
        numbers = pl.Series("id", np.arange(n_texts, dtype=np.uint32))
        texts = numbers.cat.to(self._categories).cast(pl.String)
        if not self._is_text:
            return codes, IdTexts(texts, texts.clear(n_texts))
        read = texts.to_frame().select(
            id_text("id", pl.String(), what=self._what).alias("id"),
            written_text("id", pl.String(), what=self._what).alias("respelled"),
        )
        return codes, IdTexts(read["id"], read["respelled"])
