"""Arguments of functions as callers hand them over."""

from typing import Any

import numpy as np


def check_whole(value: Any, *, name: str) -> None:
    """Refuse what is not a whole number.

    Raises:
        TypeError: If so. A bool is refused too: it is an int to Python, and True would be 1.
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} is {value!r}; expected a whole number.")


def check_least(value: Any, least: int, *, name: str) -> None:
    """Refuse what is not a whole number of a least size.

    Raises:
        TypeError: If it is not a whole number.
        ValueError: If it is smaller.
    """
    check_whole(value, name=name)
    if value < least:
        raise ValueError(f"{name} is {value}; expected at least {least}.")


def check_type(value: Any, expected: type, *, name: str, cure: str) -> None:
    """Refuse an argument of another type.

    Args:
        value: The argument.
        expected: Its type.
        name: Its name.
        cure: What to pass, a sentence.

    Raises:
        TypeError: If it is of another type.
    """
    if not isinstance(value, expected):
        raise TypeError(
            f"{name} is of type {type(value).__name__}; expected {expected.__name__}. {cure}"
        )


def check_named(**columns: str | None) -> None:
    """Refuse a column that has to be named and is not.

    Args:
        columns: Names of columns by option.

    Raises:
        TypeError: If one is None.
    """
    for option, name in columns.items():
        if name is None:
            raise TypeError(f"{option} is None; expected the name of a column.")
