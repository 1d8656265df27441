"""Reading of interaction rows in pieces, so that their text is never in memory as a whole."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from bigrec.data.arguments import check_named
from bigrec.data.coded_ids import IdReader, IdTexts
from bigrec.data.columns import (
    Frame,
    column_names,
    lazy_frame,
    plain_text,
    require_columns,
    shown_names,
)
from bigrec.data.id_columns import MISSING, check_exact, check_unrounded
from bigrec.data.times import TimeReader
from bigrec.errors import DataError
from bigrec.types import BoolArray, FloatArray, IntArray

# Default columns that may be absent.
_OPTIONAL = {"time": "timestamp", "rating": "rating", "split": "split"}
_SPLITS = {"train": 0, "valid": 1, "validation": 1, "val": 1, "dev": 1, "test": 2}
_FILE_ORDER = "row"
_WHAT = "interactions"
_PIECE_ROWS = 1 << 18


@dataclass(eq=False)
class InteractionRows:
    """The columns of ``m`` interactions. Whoever uses them up replaces them one by one.

    Attributes:
        columns: ``user`` and ``item`` (int32 positions of their ids, -1 for none) and, if there is
            one, ``split`` (int8), each ``[m]``.
        ratings: ``[m]`` float32, NaN for a missing one; None if the data has none.
        times: ``time`` and ``order``, if there are any, each ``[m]`` whole numbers or null.
        users: Ids of the users.
        items: Ids of the items.
    """

    columns: dict[str, IntArray]
    ratings: FloatArray | None
    times: dict[str, pl.Series]
    users: IdTexts = field(repr=False)
    items: IdTexts = field(repr=False)

    def __len__(self) -> int:
        return len(self.columns["item"])

    def take(self, rows: IntArray | BoolArray) -> None:
        """Keep some rows, in their order, one column after the other."""
        for name in self.columns:
            self.columns[name] = self.columns[name][rows]
        if self.ratings is not None:
            self.ratings = self.ratings[rows]


def read_interactions(
    frame: Frame,
    *,
    user_id: str,
    item_id: str,
    time: str | None,
    order: str | None,
    rating: str | None,
    split: str | None,
) -> InteractionRows:
    """Read the named columns, in the order of the rows.

    Raises:
        DataError: If a column is missing or holds invalid values, or there are no rows.
    """
    names = column_names(frame, what=_WHAT)
    by_row = order == _FILE_ORDER and order not in names
    check_named(user_id=user_id, item_id=item_id)
    named = {
        "user_id": user_id,
        "item_id": item_id,
        "time": time,
        "order": None if by_row else order,
        "rating": rating,
        "split": split,
    }
    selected = {
        option: name
        for option, name in named.items()
        if name is not None and (name in names or _OPTIONAL.get(option) != name)
    }
    require_columns(names, selected, what=_WHAT)
    if not by_row and "time" not in selected and "order" not in selected:
        raise DataError(
            "the interactions have no column that orders them; their columns are: "
            f"{shown_names(names)}. Name a timestamp with time=... or a position in the "
            f"user's history with order=..., or take the order of the rows with "
            f"order={_FILE_ORDER!r}."
        )
    lazy = lazy_frame(frame, selected.values(), what=_WHAT)
    reader = _Reader(selected, lazy.collect_schema())
    for option in ("user_id", "item_id"):
        check_exact(lazy, selected[option], reader.schema[selected[option]], what=_WHAT)
    for piece in _pieces(lazy):
        reader.add(piece)
    rows = reader.finish(lazy)
    if by_row:
        dtype = pl.UInt32 if len(rows) < 1 << 32 else pl.Int64
        rows.times["order"] = pl.int_range(len(rows), dtype=dtype, eager=True)
    return rows


def _pieces(lazy: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    for batch in lazy.collect_batches(chunk_size=_PIECE_ROWS, maintain_order=True):
        yield from batch.iter_slices(_PIECE_ROWS)


class _Reader:
    """Reads pieces of a frame.

    Args:
        selected: Name of the column of every option.
        schema: Types of the columns.

    Raises:
        DataError: If the type of a column is unfit.
    """

    def __init__(self, selected: Mapping[str, str], schema: pl.Schema) -> None:
        self.schema = schema
        self._selected = selected
        self._n_rows = 0
        self._values = {
            option: _Values(kind, selected[option], schema[selected[option]])
            for option, kind in _KINDS.items()
            if option in selected
        }
        self._ids = {
            option: IdReader(selected[option], schema[selected[option]], what=_WHAT)
            for option in ("user_id", "item_id")
        }
        self._times = {
            option: TimeReader(selected[option], schema[selected[option]])
            for option in ("time", "order")
            if option in selected
        }

    def add(self, piece: pl.DataFrame) -> None:
        """Read the next rows."""
        for reader in self._ids.values():
            reader.add(piece)
        for option, times in self._times.items():
            times.add(piece[self._selected[option]])
        for values in self._values.values():
            values.add(piece)
        self._n_rows += piece.height

    def finish(self, lazy: pl.LazyFrame) -> InteractionRows:
        """All rows.

        Args:
            lazy: The frame of the pieces, from which the first of invalid values is read again.

        Raises:
            DataError: If values are invalid, or there are no rows.
        """
        codes, texts = {}, {}
        for option, ids in self._ids.items():
            codes[option], texts[option] = ids.finish()
            check_unrounded(
                texts[option].ids, self._selected[option], what=_WHAT, codes=codes[option]
            )
        if not self._n_rows:
            raise DataError("the interactions have no rows: expected one row for each interaction.")
        times = {
            option: reader.whole(partial(_value, lazy, self._selected[option]))
            for option, reader in self._times.items()
        }
        columns = {"user": codes["user_id"], "item": codes["item_id"]}
        values = {option: reader.finish() for option, reader in self._values.items()}
        ratings = values.pop("rating", None)
        return InteractionRows(
            {**columns, **values}, ratings, times, texts["user_id"], texts["item_id"]
        )


def _value(lazy: pl.LazyFrame, name: str, row: int) -> Any:
    return lazy.select(pl.col(name).slice(row, 1)).collect().item()


def _ratings(ratings: pl.Series) -> "_Read":
    numbers = ratings.cast(pl.Float32, strict=False)
    is_read = numbers.null_count() == ratings.null_count() and not numbers.is_nan().any()
    if ratings.dtype == pl.String and not is_read:
        ratings = ratings.str.strip_chars().replace(dict.fromkeys(MISSING))
        numbers = ratings.cast(pl.Float32, strict=False)
    return _Read(numbers, ratings, ratings.is_not_null())


def _splits(labels: pl.Series) -> "_Read":
    texts = labels.cast(pl.String).fill_null("").str.strip_chars().str.to_lowercase()
    numbers = texts.replace_strict(_SPLITS, default=None, return_dtype=pl.Int8)
    return _Read(numbers, labels, texts.is_not_null())


class _Read(NamedTuple):
    """Values as numbers, as messages show them, and whether there has to be a number."""

    numbers: pl.Series
    written: pl.Series
    required: pl.Series


class _Kind(NamedTuple):
    """How values are read that are each valid or not, and what a message says of wrong ones."""

    read: Callable[[pl.Series], _Read]
    expected: str
    cure: str


_KINDS = {
    "rating": _Kind(
        _ratings, "numbers", "Correct them, name another column with rating=..., or none."
    ),
    "split": _Kind(
        _splits,
        ", ".join(_SPLITS),
        "Correct them, or name another column with split=..., or none.",
    ),
}


class _Values:
    """Reads a column of a kind in pieces.

    Args:
        kind: The kind.
        name: Name of the column.
        dtype: Its type.

    Raises:
        DataError: If the type is unfit.
    """

    def __init__(self, kind: _Kind, name: str, dtype: pl.DataType) -> None:
        self._kind = kind
        self._name = name
        self._column = pl.col(name) if dtype.is_numeric() else plain_text(name, dtype, what=_WHAT)
        self._numbers: list[np.ndarray] = []
        self._first_wrong: tuple[int, Any] | None = None
        self._n_rows = self._n_required = self._n_wrong = 0

    def add(self, piece: pl.DataFrame) -> None:
        """Read the column of the next rows."""
        values = self._kind.read(piece.select(self._column.alias("v"))["v"])
        wrong = (values.numbers.is_null() & values.required).arg_true()
        if len(wrong) and self._first_wrong is None:
            row = int(wrong[0])
            self._first_wrong = self._n_rows + row, values.written[row]
        self._n_rows += piece.height
        self._n_required += int(values.required.sum())
        self._n_wrong += len(wrong)
        self._numbers.append(values.numbers.to_numpy())

    def finish(self) -> np.ndarray:
        """The numbers of all rows, ``[m]``.

        Raises:
            DataError: If a value is wrong. Names the first such row and their number.
        """
        if self._first_wrong is not None:
            row, value = self._first_wrong
            raise DataError(
                f"column {self._name!r} holds {value!r} in row {row + 1}: expected "
                f"{self._kind.expected}. Wrong values: {self._n_wrong} of {self._n_required}. "
                f"{self._kind.cure}"
            )
        joined = np.concatenate(self._numbers)
        self._numbers.clear()
        return joined
