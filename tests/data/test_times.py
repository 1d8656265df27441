import datetime as dt
from typing import Any

import polars as pl
import pytest

from bigrec.data.times import days_between, time_unit, whole_times
from bigrec.errors import DataError

DAY_US = 86_400_000_000


def whole(values: list[Any], dtype: Any = None) -> list[int | None]:
    return whole_times(pl.Series("when", values, dtype=dtype)).to_list()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([5, None], [5, None]),
        ([5.0, float("nan"), None], [5, None, None]),
        ([1.5, 2.0], [1500, 2000]),
        (["5", " 7 ", ""], [5, 7, None]),
        (["1.5"], [1500]),
        ([None], [None]),
        ([dt.date(1970, 1, 2)], [DAY_US]),
        ([dt.datetime(1970, 1, 2)], [DAY_US]),
        (["1970-01-02"], [DAY_US]),
        (["1970-01-02T00:00"], [DAY_US]),
        (["1970-01-02 00:00:01.5"], [DAY_US + 1_500_000]),
        (["1970-01-02T00:00:00Z"], [DAY_US]),
        (["1970-01-02T02:00:00+02:00"], [DAY_US]),
        (["1970-01-02 02:00:00 +0200", "1970-01-02", None], [DAY_US, DAY_US, None]),
    ],
)
def test_times_of_any_kind_become_whole_numbers(
    values: list[Any], expected: list[int | None]
) -> None:
    assert whole(values) == expected


def test_text_that_is_no_time_is_reported_with_its_row() -> None:
    with pytest.raises(DataError, match=r"column 'when' holds '01/02/2014' in row 2 \(1 such rows"):
        whole(["2014-03-01", "01/02/2014"])


def test_a_date_that_does_not_exist_is_refused() -> None:
    with pytest.raises(DataError, match="holds '2014-02-30' in row 1"):
        whole(["2014-02-30"])


def test_a_column_of_another_type_is_refused() -> None:
    with pytest.raises(DataError, match="column 'when' holds Boolean: expected numbers, dates"):
        whole([True])


@pytest.mark.parametrize(
    ("latest", "unit"),
    [(881_250_949, "s"), (881_250_949_000, "ms"), (881_250_949 * 10**6, "us"), (10**18, "ns")],
)
def test_the_unit_follows_from_the_magnitude(latest: int, unit: str) -> None:
    assert time_unit(latest) == unit


def test_days_are_counted_between_dates() -> None:
    assert days_between(0, 86_400 * 3 + 5) == ("1970-01-01", "1970-01-04", 3)
