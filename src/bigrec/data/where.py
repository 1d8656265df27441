"""Conditions on the columns of items, as callers and requests write them."""

import math
import operator
import sys
from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from bigrec.data.catalog import Catalog
from bigrec.types import BoolArray

Where = Mapping[str, Any] | pl.Expr
"""From columns to conditions, all of which must hold, or a polars expression; see `matching`."""

_Check = Callable[[pl.Series, Any, str], pl.Series]

# Columns of every catalog, and its attributes that hold them.
_OF_ALL = {"id": "item_ids", "title": "titles"}
_TEXTS = pl.List(pl.String)
_MAX_VALUES = 1_000_000
_LARGEST = int(sys.float_info.max)


def matching(catalog: Catalog, where: Where) -> BoolArray:
    """Items that satisfy all conditions, ``[n]``.

    A missing value satisfies ``ne``, ``not_in`` and ``is_null`` alone.

    Args:
        catalog: The items. Beside its further columns there are ``id`` and ``title``.
        where: From names of columns to a value, which the item's has to equal; a list of values,
            one of which it has to equal; or a mapping of operators to operands: ``eq`` and ``ne``
            to a value, ``lt``, ``le``, ``gt`` and ``ge`` to a number or text, ``in`` and
            ``not_in`` to a list of values, ``contains`` to a text (a part of the item's, or one of
            its list) or a list of them (all), ``is_null`` to True or False. Or a boolean polars
            expression of the columns.

    Raises:
        TypeError: If it is neither a mapping nor an expression.
        ValueError: If a column or an operator is unknown, or an operand does not fit the column.
    """
    if isinstance(where, pl.Expr):
        return _by_expression(catalog, where)
    if not isinstance(where, Mapping):
        raise TypeError(
            f"where is of type {type(where).__name__}; expected a mapping of columns to "
            "conditions, such as {'price': {'lt': 20}}, or a polars expression."
        )
    holds = pl.repeat(value=True, n=catalog.n_items, eager=True)
    for name, condition in where.items():
        if name in catalog.columns:
            column = catalog.columns[name]
        elif name in _OF_ALL:
            column = pl.Series(getattr(catalog, _OF_ALL[name]), dtype=pl.String)
        else:
            raise ValueError(
                f"where names the column {name!r}, which the catalog lacks. {_existing(catalog)}"
            )
        holds &= _condition(column, condition, f"where[{name!r}]")
    return holds.to_numpy()


def _existing(catalog: Catalog) -> str:
    return f"Its columns are: {', '.join([*_OF_ALL, *catalog.columns.columns])}."


def _by_expression(catalog: Catalog, where: pl.Expr) -> BoolArray:
    of_all = {name: getattr(catalog, attribute) for name, attribute in _OF_ALL.items()}
    frame = pl.DataFrame(of_all).hstack(catalog.columns)
    try:
        holds = frame.select(where.alias("where"))["where"]
    except pl.exceptions.PolarsError as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise ValueError(
            f"where could not be computed for the catalog: {reason}. {_existing(catalog)}"
        ) from None
    if holds.dtype != pl.Boolean or len(holds) != catalog.n_items:
        raise ValueError(
            f"where gives {len(holds)} values of {holds.dtype}; expected true or false for each "
            f"of the {catalog.n_items} items."
        )
    return holds.fill_null(value=False).to_numpy()


def _condition(column: pl.Series, condition: Any, what: str) -> pl.Series:
    """Where a condition on one column holds, without missing values."""
    operations: Mapping[str, Any]
    if isinstance(condition, Mapping):
        operations = condition
    elif isinstance(condition, list | tuple | set | frozenset):
        operations = {"in": condition}
    else:
        operations = {"eq": condition}
    holds = pl.repeat(value=True, n=len(column), eager=True)
    for name, operand in operations.items():
        if name not in _OPERATORS:
            raise ValueError(
                f"{what} has the operator {name!r}; expected some of {', '.join(_OPERATORS)}."
            )
        check, on_missing = _OPERATORS[name]
        holds &= check(column, operand, f"{what}[{name!r}]").fill_null(on_missing)
    return holds


def _value(column: pl.Series, value: Any, what: str) -> Any:
    """A value that the column's may be compared with.

    Raises:
        ValueError: If it is of another type.
    """
    expected = None
    if column.dtype == _TEXTS:
        expected = "another operator: the column holds lists, which have 'contains' and 'is_null'"
    elif value is None:
        expected = "a value; a missing one is found by {'is_null': true}"
    elif column.dtype == pl.Boolean:
        expected = None if isinstance(value, bool) else "true or false, as the column holds"
    elif column.dtype == pl.String:
        expected = None if isinstance(value, str) else "text, as the column holds"
    elif column.dtype.is_numeric():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        # A larger one would overflow, and is as any other beyond all values.
        if is_number and (isinstance(value, int) or math.isfinite(value)):
            return value if abs(value) < 2**62 else float(max(-_LARGEST, min(value, _LARGEST)))
        expected = "a finite number, as the column holds"
    if expected is not None:
        raise ValueError(f"{what} is {value!r:.100}; expected {expected}.")
    return value


def _values(column: pl.Series, values: Any, what: str) -> list[Any]:
    if not isinstance(values, list | tuple | set | frozenset) or len(values) > _MAX_VALUES:
        raise ValueError(
            f"{what} is {values!r:.100}; expected a list of at most {_MAX_VALUES:,} values."
        )
    return [_value(column, value, what) for value in values]


def _equal(column: pl.Series, value: Any, what: str) -> pl.Series:
    equal: pl.Series = column == _value(column, value, what)
    return equal


def _compared(compare: Callable[[pl.Series, Any], pl.Series]) -> _Check:
    def check(column: pl.Series, value: Any, what: str) -> pl.Series:
        if column.dtype == pl.Boolean:
            raise ValueError(
                f"{what} compares true and false; expected 'eq' or 'ne', or a column of numbers or "
                "text."
            )
        return compare(column, _value(column, value, what))

    return check


def _within(column: pl.Series, values: Any, what: str) -> pl.Series:
    checked = _values(column, values, what)
    if column.dtype.is_integer() and not all(isinstance(value, int) for value in checked):
        column = column.cast(pl.Float64)
    return column.is_in(pl.Series(checked, dtype=column.dtype))


def _containing(column: pl.Series, texts: Any, what: str) -> pl.Series:
    wanted = texts if isinstance(texts, list | tuple) else [texts]
    if not all(isinstance(text, str) for text in wanted):
        raise ValueError(f"{what} is {texts!r:.100}; expected a text, or a list of texts.")
    if column.dtype not in (_TEXTS, pl.String):
        raise ValueError(
            f"{what} looks into {column.dtype}; expected a column of text or of lists of texts."
        )
    holds = column.is_not_null()
    for text in wanted:
        if column.dtype == pl.String:
            holds &= column.str.contains(text, literal=True)
        else:
            holds &= column.list.contains(text)
    return holds


def _missing(column: pl.Series, is_missing: Any, what: str) -> pl.Series:
    if not isinstance(is_missing, bool):
        raise ValueError(f"{what} is {is_missing!r:.100}; expected true or false.")
    return column.is_null() == is_missing


def _on_known(check: _Check) -> _Check:
    """The check of a column that may have no type because it has no value."""

    def checked(column: pl.Series, operand: Any, what: str) -> pl.Series:
        if column.dtype == pl.Null:
            return pl.repeat(None, len(column), dtype=pl.Boolean, eager=True)
        return check(column, operand, what)

    return checked


# The check, and whether it holds for a missing value.
_OPERATORS: Mapping[str, tuple[_Check, bool]] = {
    "eq": (_on_known(_equal), False),
    "ne": (_on_known(lambda column, value, what: ~_equal(column, value, what)), True),
    "lt": (_on_known(_compared(operator.lt)), False),
    "le": (_on_known(_compared(operator.le)), False),
    "gt": (_on_known(_compared(operator.gt)), False),
    "ge": (_on_known(_compared(operator.ge)), False),
    "in": (_on_known(_within), False),
    "not_in": (_on_known(lambda column, values, what: ~_within(column, values, what)), True),
    "contains": (_on_known(_containing), False),
    "is_null": (_missing, False),
}
