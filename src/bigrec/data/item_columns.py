"""Further columns of items, such as a price: their types, and how they are stored.

A column holds text, lists of texts, true and false, whole numbers or numbers; a missing value is
null. A column without any value has no type.
"""

from collections.abc import Sequence

import polars as pl
from pydantic import TypeAdapter, ValidationError

from bigrec.data.columns import is_pattern
from bigrec.data.id_columns import MISSING
from bigrec.errors import DataError

CATEGORY = "category"
"""The column that segments of a comparison are made of."""

MAX_COLUMNS = 256
"""Most further columns of a catalog."""

FLAT, LIST = "column:", "list:"
"""Start of the names of stored columns: of one value in a row, and of a list as JSON."""

STORED = {
    FLAT: (pl.String, pl.Boolean, pl.Int64, pl.Float64, pl.Null),
    LIST: (pl.String,),
}
"""Types of stored columns by the start of their names."""

_RESERVED = ("id", "item_id", "title")
_MAX_NAME = 200
_TEXT_TYPES = (pl.String, pl.Categorical, pl.Enum, pl.Date, pl.Datetime)
_WIDE = (pl.UInt64, pl.Int128, pl.UInt128)
_TEXTS = pl.List(pl.String)
_STORED_TEXTS = TypeAdapter(list[str])

_WHOLE = r"^-?(0|[1-9][0-9]*)$"
_NUMBER = r"^-?(0|[1-9][0-9]*)?(\.[0-9]+)?([eE][+-]?[0-9]+)?$"
_TRUE_OR_FALSE = r"^(?i:true|false)$"


def check_names(names: Sequence[str]) -> None:
    """Refuse names of further columns that cannot be kept.

    Raises:
        DataError: If a name occurs twice, is empty, too long or that of another part of the
            catalog, or there are too many.
    """
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise DataError(f"the item columns are {names!r}: expected a list of names of columns.")
    for place, name in enumerate(names):
        reason = None
        if name in _RESERVED:
            reason = "which every catalog has"
        elif is_pattern(name):
            reason = "which polars reads as a pattern"
        elif not name or len(name) > _MAX_NAME:
            reason = f"which has {len(name)} characters"
        elif name in names[:place]:
            reason = "which is named twice"
        if reason is not None:
            raise DataError(
                f"an item column is {name[:_MAX_NAME]!r}, {reason}: expected names of further "
                f"columns, each once, of 1 to {_MAX_NAME} characters. Rename or omit it."
            )
    if len(names) > MAX_COLUMNS:
        raise DataError(
            f"there are {len(names)} item columns: expected at most {MAX_COLUMNS}. Omit those "
            "that nothing is selected by."
        )


def check_range(frame: pl.LazyFrame, name: str, dtype: pl.DataType, *, what: str) -> None:
    """Check that whole numbers of a wider type fit into 64 bits.

    Raises:
        DataError: If one does not.
    """
    if dtype not in _WIDE:
        return
    column = pl.col(name)
    too_large = column.cast(pl.Int64, strict=False).is_null() & column.is_not_null()
    found = frame.select(column.filter(too_large).first()).collect().item()
    if found is not None:
        raise DataError(
            f"column {name!r} of the {what} holds {found}: expected whole numbers from {-(2**63)} "
            f"to {2**63 - 1}. Convert it to text or to floats, or omit it from the item columns."
        )


def typed(name: str, dtype: pl.DataType, *, what: str) -> pl.Expr:
    """A column as one of the types; NaN and infinities are missing, and so are nulls in lists.

    Args:
        name: Name of the column.
        dtype: Type of the column. Dates become text, in the order of time.
        what: Content of the frame, for the message.

    Raises:
        DataError: If the type is another one.
    """
    column = pl.col(name)
    if isinstance(dtype, pl.Boolean | pl.Null):
        return column
    if dtype.is_integer():
        return column.cast(pl.Int64)
    if dtype.is_float() or dtype.is_decimal():
        number = column.cast(pl.Float64)
        return pl.when(number.is_finite()).then(number)
    if isinstance(dtype, _TEXT_TYPES):
        return column.cast(pl.String)
    if isinstance(dtype, pl.List) and isinstance(dtype.inner, (*_TEXT_TYPES, pl.Null)):
        return column.cast(_TEXTS).list.drop_nulls()
    raise DataError(
        f"column {name!r} of the {what} holds {dtype}: expected text, numbers, true and false, or "
        "lists of texts. Convert it, or omit it from the item columns."
    )


def parsed(columns: pl.DataFrame) -> pl.DataFrame:
    """Columns of a text file with the types that their values have.

    A column is of numbers, or of true and false, if all its values are; words of `MISSING` aside.
    Numbers with leading zeros are text. Empty text is missing, and so are numbers beyond floats.
    """
    return columns.with_columns(_parsed(columns[name]) for name in columns.columns)


def _parsed(column: pl.Series) -> pl.Series:
    if column.dtype != pl.String:
        return column
    text = column.str.strip_chars()
    known = text.set(text.is_in(MISSING), None)
    if known.null_count() == len(known):
        return pl.Series(column.name, [None] * len(column), dtype=pl.Null)
    for pattern, dtype in ((_WHOLE, pl.Int64), (_NUMBER, pl.Float64)):
        if known.str.contains(pattern).all():
            numbers = known.cast(dtype, strict=False)
            if numbers.null_count() == known.null_count():
                return numbers.set(numbers.is_infinite(), None)
    if known.str.contains(_TRUE_OR_FALSE).all():
        return known.str.to_lowercase() == "true"
    return column.set(text == "", None)


def to_stored(columns: pl.DataFrame) -> pl.DataFrame:
    """The columns as a table holds them: lists as JSON, whose size in memory text limits."""
    stored = {}
    for name in columns.columns:
        column = columns[name]
        if column.dtype == _TEXTS:
            texts = [
                None if row is None else _STORED_TEXTS.dump_json(row.to_list()).decode()
                for row in column
            ]
            stored[LIST + name] = pl.Series(texts, dtype=pl.String)
        else:
            stored[FLAT + name] = column
    return pl.DataFrame(stored)


def from_stored(stored: pl.DataFrame) -> pl.DataFrame:
    """The columns that `to_stored` gave.

    Raises:
        ValueError: If a name or a list is none.
    """
    columns = {}
    for name in stored.columns:
        if name.startswith(LIST):
            columns[name.removeprefix(LIST)] = _lists(stored[name])
        else:
            columns[name.removeprefix(FLAT)] = stored[name]
    if len(columns) < len(stored.columns):
        raise ValueError("two columns have the same name")
    try:
        check_names([name for name in columns if name != CATEGORY])
    except DataError as error:
        raise ValueError(str(error)) from None
    frame = pl.DataFrame(columns)
    return frame.select(typed(name, dtype, what="items") for name, dtype in frame.schema.items())


def _lists(stored: pl.Series) -> pl.Series:
    try:
        rows = [None if text is None else _STORED_TEXTS.validate_json(text) for text in stored]
    except ValidationError:
        raise ValueError(f"column {stored.name!r} holds no lists of texts") from None
    return pl.Series(rows, dtype=_TEXTS)
