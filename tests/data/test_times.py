import datetime as dt
from typing import Any

import polars as pl
import pytest

from bigrec.data.times import days_between, improbable_times, time_unit, whole_times
from bigrec.errors import DataError

DAY_US = 86_400_000_000


def whole(values: list[Any], dtype: Any = None) -> list[int | None]:
    return whole_times(pl.Series("when", values, dtype=dtype)).to_list()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([5, None], [5, None]),
        ([5.0, float("nan"), None], [5, None, None]),
        ([1.5, 2.0], [1_500_000, 2_000_000]),
        ([1404583181.00001, 1404583181.00002], [1404583181000010, 1404583181000020]),
        (["5", " 7 ", ""], [5, 7, None]),
        (["1.5"], [1_500_000]),
        ([None], [None]),
        ([dt.date(1970, 1, 2)], [DAY_US]),
        ([dt.datetime(1970, 1, 2)], [DAY_US]),
        (["1970-01-02"], [DAY_US]),
        (["1970-01-02T00:00"], [DAY_US]),
        (["1970-01-02 00:00:01.5"], [DAY_US + 1_500_000]),
        (["1970-01-02T00:00:00Z"], [DAY_US]),
        (["1970-01-02T02:00:00+02:00"], [DAY_US]),
        (["1970-01-02 02:00:00.5+02", "1970-01-01 21:00-03"], [DAY_US + 500_000, DAY_US]),
        (["1970-01-02t00:00:00z", "1970-01-02 00:00:00 GMT"], [DAY_US, DAY_US]),
        (["1970-01-02T00:00:01,25"], [DAY_US + 1_250_000]),
        (["1970-01-02 02:00:00 +0200", "1970-01-02", None], [DAY_US, DAY_US, None]),
    ],
)
def test_times_of_any_kind_become_whole_numbers(
    values: list[Any], expected: list[int | None]
) -> None:
    assert whole(values) == expected


@pytest.mark.parametrize("scale", [10**3, 10**6])
def test_fractions_of_finer_units_stay_in_order_as_nanoseconds(scale: int) -> None:
    written = [1404583181 * scale + fraction for fraction in (0.25, 0.5, 0.75)]
    read = [time for time in whole(written) if time is not None]
    assert read == sorted(set(read))
    assert read == pytest.approx([time * 10**9 / scale for time in written], rel=1e-15)


ISO = "ISO 8601 text such as 2014-03-01T12:30:00"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            ["2014-03-01", "01/02/2014"],
            f"'01/02/2014' in row 2: expected {ISO}, as in 1 other rows",
        ),
        (["1404583181", "5", "unknown", "", "?"], "'unknown' in row 3: expected a number, as in 2"),
        (["1404583181"] * 2 + ["2014-07-05"], "'2014-07-05' in row 3: expected a number, as in 2"),
        (["2014-07-05"] * 2 + ["1404583181"], f"'1404583181' in row 3: expected {ISO}, as in 2"),
        (["soon", "later"], f"'soon' in row 1: expected a number or {ISO}. Wrong values: 2 of 2."),
        (["1", "9" * 20], f"'{'9' * 20}' in row 2: expected a number from -9223372036854775808"),
        (["1", "inf"], "'inf' in row 2: expected a number"),
        ([1.5, 1e300], "1e+300 in row 2: expected a number from"),
        ([1.5, float("inf")], "inf in row 2: expected a number from"),
        ([1, 2**64 - 1], f"{2**64 - 1} in row 2: expected a number from"),
        ([1404583181] * 3 + [1404583181000], "1404583181000 in row 4: expected seconds, as in 3"),
        (["1404583181000"] * 3 + ["1404583181"], "'1404583181' in row 4: expected milliseconds"),
        ([1404583181.5, 1404583181e3], "1404583181000.0 in row 2: expected seconds, as in 1 other"),
        (["1404583181.5", "1404583181000"], "'1404583181000' in row 2: expected seconds, as in 1"),
        (["1404583181"] * 3 + ["1404583181000"], "'1404583181000' in row 4: expected seconds, as"),
        (["2014-07-05", "2014-07-05T10:00:00+02:99"], "'2014-07-05T10:00:00+02:99' in row 2: "),
        (["2014-07-05", "2014-07-05T10:00,5"], "'2014-07-05T10:00,5' in row 2: expected ISO"),
    ],
)
def test_a_wrong_time_is_told_with_its_row_and_their_number(
    values: list[Any], message: str
) -> None:
    dtype = pl.UInt64 if values[-1] == 2**64 - 1 else None
    with pytest.raises(DataError) as caught:
        whole(values, dtype)
    assert f"column 'when' holds {message}" in str(caught.value)
    assert "Wrong values: " in str(caught.value)


def test_numbers_that_are_no_dates_may_be_of_any_size() -> None:
    assert whole([1, 20_140_705, 1404583181]) == [1, 20_140_705, 1404583181]


def test_words_for_missing_times_are_missing() -> None:
    assert whole(["1", "NaT", " nan", "None"]) == [1, None, None, None]


def test_times_far_from_the_others_are_improbable() -> None:
    times = [1404583181, None, 0, -5, 1404583182, 99_999_999_999, 1404583183]
    assert improbable_times(pl.Series(times)).arg_true().to_list() == [2, 3, 5]
    assert improbable_times(pl.Series([1, 2, 1404583181])).sum() == 0
    dates = whole(["2014-07-05", "1066-10-14", "2014-07-06"])
    assert improbable_times(pl.Series(dates)).to_list() == [False, True, False]


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
