"""Lists of ids or titles as callers hand them over."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from bigrec.errors import DataError


def read_ids(ids: Iterable[str], *, name: str) -> list[str]:
    """Read ids or titles once, from a list, a generator, an array or a series alike.

    Args:
        ids: The ids or titles.
        name: Names them in messages.

    Raises:
        DataError: If they are one text instead of several, or one of them is missing.
        TypeError: If they are no list, or one of them is not text.
    """
    ids = _as_python(ids)
    if isinstance(ids, str | bytes):
        raise DataError(
            f"{name} is {ids!r}: expected a list of ids or titles. Put a single one in a list."
        )
    if hasattr(type(ids), "columns"):
        raise TypeError(
            f"{name} is a {type(ids).__name__}: expected a list of ids or titles. Give one of its "
            "columns."
        )
    try:
        # An array without a dimension is an iterable by its type only.
        iterator = iter(ids)
    except TypeError:
        raise TypeError(f"{name} is {ids!r}: expected a list of ids or titles.") from None
    read: list[Any] = [_as_python(entry) for entry in iterator]
    for position, entry in enumerate(read):
        if isinstance(entry, str):
            continue
        if is_missing(entry):
            raise DataError(
                f"{name} holds {entry!r} at position {position}: expected an id or a title. "
                "Drop missing values."
            )
        raise TypeError(
            f"{name} holds {entry!r} at position {position}, which is of type "
            f"{type(entry).__name__}: expected text, an id or a title."
        )
    return read


def _as_python(value: Any) -> Any:
    """A value of pyarrow as Python's; any other as it is."""
    return value.as_py() if hasattr(type(value), "as_py") else value


def is_missing(entry: Any) -> bool:
    """Whether an entry is None, NaN, or pandas' NA or NaT."""
    if entry is None or type(entry).__name__ in {"NAType", "NaTType"}:
        return True
    return isinstance(entry, float | np.floating) and bool(np.isnan(entry))
