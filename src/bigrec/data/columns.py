"""Columns of frames from outside: names, and values of any type as text."""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl

from bigrec.errors import DataError, reason_of

Frame = pl.DataFrame | pl.LazyFrame | Any
"""A polars frame, lazy or not, or a pandas frame."""

LARGEST_EXACT = (1 << 53) - 1
"""The largest whole number up to which floats of 64 bits are told apart: 2**53 + 1 is 2**53."""

_SCALARS = (str, bool, int, float, np.bool_, np.integer, np.floating, Decimal, date)


def column_names(frame: Frame, *, what: str) -> list[str]:
    """Names of the columns of a polars or pandas frame.

    Args:
        frame: A polars or pandas frame.
        what: Content of the frame, for the message.

    Raises:
        TypeError: If it is of another type.
    """
    if isinstance(frame, pl.LazyFrame | pl.DataFrame):
        return frame.collect_schema().names()
    # By name: pandas is optional, and its import would take seconds.
    for base in type(frame).__mro__:
        if base.__name__ == "DataFrame" and base.__module__.partition(".")[0] == "pandas":
            return list(frame.columns)
    raise TypeError(f"the {what} are a {type(frame).__name__}: expected a polars or pandas frame.")


def lazy_frame(frame: Frame, columns: Iterable[str], *, what: str) -> pl.LazyFrame:
    """Some columns of a polars or pandas frame, lazily.

    A pandas column of mixed types becomes text.

    Args:
        frame: A polars or pandas frame.
        columns: Names of its columns, possibly repeated.
        what: Content of the frame, for the message.

    Raises:
        DataError: If several pandas columns have the name, or one holds values that are no text,
            numbers, dates or lists of them.
    """
    names = list(dict.fromkeys(columns))
    if isinstance(frame, pl.LazyFrame | pl.DataFrame):
        return frame.lazy().select(names)
    return pl.DataFrame({name: _from_pandas(frame[name], name, what) for name in names}).lazy()


@contextmanager
def collecting(what: str) -> Iterator[None]:
    """Name a frame in errors of reading it, which a lazy one does only now.

    Args:
        what: Content of the frame, for the message.

    Raises:
        DataError: With the reason. Its cause is the error of reading.
    """
    try:
        yield
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = reason_of(error)
        raise DataError(
            f"the {what} could not be read: {reason}. Check what the lazy frame reads and "
            "computes, or give its collect()."
        ) from error


def require_columns(names: Iterable[str], named: Mapping[str, str], *, what: str) -> None:
    """Check that columns exist.

    Args:
        names: The columns of the frame.
        named: Required column by option.
        what: Content of the frame, for the message.

    Raises:
        DataError: Naming the missing columns, the existing ones and the options; or one whose name
            is a pattern.
    """
    names = list(names)
    for option, name in named.items():
        if is_pattern(name):
            raise DataError(
                f"{option} is the column {name!r} of the {what}, a name that polars reads as a "
                "pattern. Rename the column."
            )
    missing = {option: name for option, name in named.items() if name not in names}
    if not missing:
        return
    absent = ", ".join(repr(name) for name in missing.values())
    options = ", ".join(f"{option}=..." for option in missing)
    raise DataError(
        f"the {what} have no column {absent}. Their columns are: "
        f"{shown_names(names)}. Name the right ones with {options}"
    )


def is_pattern(name: Any) -> bool:
    """Whether polars takes the name of a column for a pattern of names."""
    return isinstance(name, str) and re.fullmatch(r"\*|\^.*\$", name, re.DOTALL) is not None


def shown_names(names: Iterable[Any]) -> str:
    """Names of columns for a message, in quotes where their ends or characters are hard to see."""
    return ", ".join(name if _is_clear(name) else repr(name) for name in names) or "none"


def _is_clear(name: Any) -> bool:
    return isinstance(name, str) and re.fullmatch(r"[^\s,](?:[^,]*[^\s,])?", name) is not None


def plain_text(name: str, dtype: pl.DataType, *, what: str) -> pl.Expr:
    """A column of text, numbers or dates as text; a list of them is joined to "a > b".

    Args:
        name: Name of the column.
        dtype: Type of the column.
        what: Content of the frame, for the message.

    Raises:
        DataError: If the column is of another type.
    """
    if isinstance(dtype, pl.List) and _is_plain(dtype.inner):
        return pl.col(name).cast(pl.List(pl.String)).list.join(" > ", ignore_nulls=True)
    if _is_plain(dtype):
        return pl.col(name).cast(pl.String)
    raise DataError(
        f"column {name!r} of the {what} holds {dtype}: expected text or numbers. Choose another "
        "column or convert it."
    )


def as_text(value: Any) -> str | None:
    """A value as text; None and NaN are missing.

    Lists become "a > b", lists of lists "a > b, c", other nested values JSON. A float that is
    rounded to whole numbers has an exponent, and so has infinity, 1e+999: neither can be an id.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool | np.bool_):
        return str(value).lower()
    if isinstance(value, float | np.floating):
        return _float_text(float(value))
    if isinstance(value, list | tuple | np.ndarray):
        is_nested = len(value) > 0 and all(isinstance(part, list | tuple) for part in value)
        return (", " if is_nested else " > ").join(filter(None, map(as_text, value)))
    return str(value) if isinstance(value, _SCALARS) else json.dumps(value, default=str)


def _float_text(value: float) -> str | None:
    if math.isnan(value):
        return None
    if math.isinf(value):
        return "1e+999" if value > 0 else "-1e+999"
    text = str(value or 0.0)  # not -0.0
    return f"{value:.16e}" if abs(value) > LARGEST_EXACT and "e" not in text else text


def _is_plain(dtype: Any) -> bool:
    return isinstance(
        dtype,
        pl.String | pl.Categorical | pl.Enum | pl.Boolean | pl.Null | pl.Date | pl.Datetime,
    ) or bool(dtype.is_numeric())


def _from_pandas(column: Any, name: str, what: str) -> pl.Series:
    if column.ndim != 1:
        raise DataError(
            f"several columns of the {what} are named {name!r}. Rename or drop all but one."
        )
    try:
        return pl.Series(name, pl.from_pandas(column))
    except (ValueError, TypeError, OverflowError, NotImplementedError):
        # What pyarrow raises for types that have no common one.
        return pl.Series(name, _texts(column, name, what), dtype=pl.String)


def _is_encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _texts(column: Any, name: str, what: str) -> list[str | None]:
    texts: list[str | None] = []
    for row, (value, is_missing) in enumerate(zip(column, column.isna(), strict=True), start=1):
        if isinstance(value, str) and not _is_encodable(value):
            raise DataError(
                f"column {name!r} of the {what} holds {value!r:.40} in row {row}, which has half a "
                "character (a lone surrogate). Read the source again with errors='replace'."
            )
        if not is_missing and not isinstance(value, (*_SCALARS, list, tuple, np.ndarray)):
            raise DataError(
                f"column {name!r} of the {what} holds {value!r:.40} in row {row}, of type "
                f"{type(value).__name__}: expected text, numbers or dates. Choose another column "
                "or convert it."
            )
        texts.append(None if is_missing else as_text(value))
    return texts
