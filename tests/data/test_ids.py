"""Ids or titles in any iterable."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from bigrec.data.ids import read_ids
from bigrec.errors import DataError

IDS = ["12", "Heat (1995)", "7"]

ITERABLES: list[Callable[[], Iterable[Any]]] = [
    lambda: IDS,
    lambda: tuple(IDS),
    lambda: map(str, IDS),
    lambda: (id_ for id_ in IDS),
    lambda: iter(IDS),
    lambda: dict.fromkeys(IDS).keys(),
    lambda: dict.fromkeys(IDS),
    lambda: np.array(IDS),
    lambda: np.array(IDS, dtype=object),
    lambda: pd.Series(IDS),
    lambda: pd.Series(IDS, index=[5, 5, 2]),
    lambda: pd.Series(IDS, dtype="category"),
    lambda: pd.Index(IDS),
    lambda: pd.array(IDS),
    lambda: pl.Series(IDS),
    lambda: pl.Series(IDS, dtype=pl.Categorical),
    lambda: pl.Series(IDS).to_arrow(),
    lambda: list(pl.Series(IDS).to_arrow()),
    lambda: pl.Series([IDS]).to_arrow()[0],
]


@pytest.mark.parametrize("make", ITERABLES)
def test_any_iterable_is_read_in_its_order(make: Callable[[], Iterable[Any]]) -> None:
    assert read_ids(make(), name="items") == IDS


def test_an_iterator_is_read_once() -> None:
    iterator = iter(IDS)
    assert read_ids(iterator, name="items") == IDS
    assert read_ids(iterator, name="items") == []


@pytest.mark.parametrize("text", ["12", "", b"12", np.str_("12")])
def test_a_single_text_is_refused(text: Any) -> None:
    with pytest.raises(DataError, match=r"items is .*: expected a list of ids or titles\. Put a"):
        read_ids(text, name="items")


@pytest.mark.parametrize("value", [None, 12, 1.5, True, np.array("12"), object()])
def test_what_is_no_list_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match=r"items is .*: expected a list of ids or titles"):
        read_ids(value, name="items")


@pytest.mark.parametrize("missing", [None, float("nan"), np.nan, np.float32("nan"), pd.NA, pd.NaT])
def test_a_missing_entry_is_named_with_its_position(missing: Any) -> None:
    with pytest.raises(DataError, match=r"items holds .* at position 1: .* Drop missing values"):
        read_ids(["12", missing], name="items")


@pytest.mark.parametrize("series", [pd.Series(["12", None]), pl.Series(["12", None])])
def test_a_missing_value_of_a_series_is_told(series: Any) -> None:
    with pytest.raises(DataError, match="at position 1: expected an id or a title"):
        read_ids(series, name="items")


@pytest.mark.parametrize("entry", [12, np.int64(12), 12.0, True, b"12", ["12"], np.array(["12"])])
def test_an_entry_that_is_not_text_is_named_with_its_type(entry: Any) -> None:
    with pytest.raises(TypeError, match=r"items holds .* at position 0, which is of type \w+:"):
        read_ids([entry], name="items")


@pytest.mark.parametrize(
    "frame", [pd.DataFrame({"12": IDS}), pl.DataFrame({"12": IDS}), pl.LazyFrame({"12": IDS})]
)
def test_a_frame_is_no_list_of_the_names_of_its_columns(frame: Any) -> None:
    with pytest.raises(TypeError, match=r"items is a \w+Frame: expected a list of ids or titles"):
        read_ids(frame, name="items")


def test_rows_of_a_table_are_no_ids() -> None:
    with pytest.raises(TypeError, match="which is of type ndarray"):
        read_ids(np.array([IDS]), name="items")
