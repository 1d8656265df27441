"""Columns of frames from outside: names and types."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from bigrec.errors import DataError

Frame = pl.DataFrame | pl.LazyFrame | Any
"""A polars frame, lazy or not, or a pandas frame."""

_ID_TYPES = (pl.String, pl.Categorical, pl.Enum, pl.Boolean)


def lazy_frame(frame: Frame, *, what: str) -> pl.LazyFrame:
    """A polars or pandas frame as a lazy polars frame.

    Args:
        frame: A polars or pandas frame.
        what: Content of the frame, for the message.

    Raises:
        TypeError: If it is of another type.
    """
    if isinstance(frame, pl.LazyFrame):
        return frame
    if isinstance(frame, pl.DataFrame):
        return frame.lazy()
    # By name: pandas is optional, and its import would take seconds.
    if type(frame).__module__.partition(".")[0] == "pandas" and hasattr(frame, "columns"):
        return pl.from_pandas(frame).lazy()
    raise TypeError(f"the {what} are a {type(frame).__name__}: expected a polars or pandas frame.")


def require_columns(schema: Mapping[str, Any], named: Mapping[str, str], *, what: str) -> None:
    """Check that columns exist.

    Args:
        schema: The columns of the frame.
        named: Required column by option.
        what: Content of the frame, for the message.

    Raises:
        DataError: Naming the missing columns, the existing ones and the options.
    """
    missing = {option: name for option, name in named.items() if name not in schema}
    if not missing:
        return
    names = ", ".join(repr(name) for name in missing.values())
    options = ", ".join(f"{option}=..." for option in missing)
    raise DataError(
        f"the {what} have no column {names}. Their columns are: {', '.join(schema) or 'none'}. "
        f"Name the right ones with {options}"
    )


def id_text(name: str, dtype: pl.DataType, *, what: str) -> pl.Expr:
    """A column of ids as text: 12 and 12.0 become "12", missing and empty ids null.

    Args:
        name: Name of the column.
        dtype: Type of the column.
        what: Content of the frame, for the message.

    Raises:
        DataError: If the type is neither text nor numbers.
    """
    column = pl.col(name)
    if dtype.is_float():
        # pandas turns a column of whole numbers into floats if a value is missing.
        whole = column.cast(pl.Int64, strict=False)
        text = (
            pl.when(column == whole).then(whole.cast(pl.String)).otherwise(column.cast(pl.String))
        )
        return pl.when(column.is_finite()).then(text)
    if dtype.is_integer() or dtype in _ID_TYPES:
        filled = column.cast(pl.String)
        return pl.when(filled != "").then(filled)
    if dtype == pl.Null:
        return column.cast(pl.String)
    raise DataError(
        f"column {name!r} of the {what} holds {dtype}: expected text or whole numbers as ids. "
        "Choose another column or convert it."
    )
