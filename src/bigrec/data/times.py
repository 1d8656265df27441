"""Timestamps as whole numbers."""

from typing import NoReturn, cast

import numpy as np
import polars as pl

from bigrec.data.id_columns import MISSING
from bigrec.errors import DataError

# Date alone, or with a time, or with a time and an offset from UTC, such as that of databases, +02.
_ISO = (
    r"^(?<date>\d{4}-\d{2}-\d{2})"
    r"(?:[Tt ](?<clock>\d{2}:\d{2})(?:(?<seconds>:\d{2})(?:[.,](?<part>\d{1,9}))?)?"
    r" ?(?:[Zz]|UTC|GMT|(?<hours>[+-]\d{2}):?(?<minutes>\d{2})?)?)?$"
)
_ISO_EXAMPLE = "ISO 8601 text such as 2014-03-01T12:30:00"

# Seconds of 1990 and of 2100, between which interactions are expected. In any two units these
# ranges do not meet.
_EARLIEST, _LATEST = 631_152_000, 4_102_444_800
# Of seconds, years beyond 290,000; of milliseconds, year 2262.
_LARGEST_WITH_MICROSECONDS = 2**63 / 10**6
_UNITS = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}


def whole_times(times: pl.Series) -> pl.Series:
    """Timestamps as int64 in the order of time; missing ones stay null.

    Whole numbers stay unchanged. Numbers with fractions, read as seconds, become microseconds;
    those too large for that are multiplied by 1000. Dates and ISO 8601 text become microseconds
    since 1970, in UTC unless the text has an offset.

    Args:
        times: Numbers, dates, or text of either, with the name of the column.

    Raises:
        DataError: If the type is neither number, date nor text, or if a value is not as most are:
            neither a number nor ISO 8601 text, one among the other, out of the range of int64, or
            in another unit. Names the first such row and their number.
    """
    dtype = times.dtype
    if isinstance(dtype, pl.String | pl.Categorical | pl.Enum):
        return _from_text(times.cast(pl.String))
    if dtype.is_integer():
        return _in_one_unit(_in_range(times.cast(pl.Int64, strict=False), times), times)
    if dtype.is_float():
        return _from_floats(times, times.fill_nan(None))
    if dtype == pl.Null:
        return times.cast(pl.Int64)
    if isinstance(dtype, pl.Date | pl.Datetime):
        return times.cast(pl.Datetime("us")).to_physical()
    raise DataError(
        f"column {times.name!r} holds {dtype}: expected numbers, dates or ISO 8601 text. Choose "
        "another column or convert it."
    )


def time_unit(latest: int) -> str:
    """Unit of timestamps by their magnitude, in NumPy's names: s, ms, us or ns.

    Args:
        latest: The largest timestamp. Seconds stay below 1e11 until the year 5138.
    """
    limits = {"s": 10**11, "ms": 10**14, "us": 10**17}
    return next((unit for unit, limit in limits.items() if abs(latest) < limit), "ns")


def improbable_times(times: pl.Series) -> pl.Series:
    """Whether a time is before 1990 or after 2100 where most are not, ``[m]`` bool.

    Args:
        times: Int64, of one unit. Where most are in no unit's range they are no dates, and none is
            improbable.
    """
    probable = _probable(times)
    return times.is_not_null() & ~probable & are_dates(times)


def are_dates(times: pl.Series) -> bool:
    """Whether at least half of the times are between 1990 and 2100 in a unit of Unix time."""
    return bool(2 * _probable(times).sum() >= times.count())


def days_between(first: int, last: int) -> tuple[str, str, int]:
    """The dates of two timestamps and the number of days between them."""
    moments = np.array([first, last]).astype(f"datetime64[{time_unit(last)}]")
    start, end = moments.astype("datetime64[D]")
    return str(start), str(end), int((end - start).astype(int))


def _from_floats(times: pl.Series, written: pl.Series) -> pl.Series:
    finite = times.to_frame("t").select(pl.when(pl.col("t").is_finite()).then("t")).to_series()
    scaled = finite
    if (finite != finite.floor()).any():
        is_small = cast("float", finite.abs().max()) < _LARGEST_WITH_MICROSECONDS
        scaled = (finite * (10**6 if is_small else 10**3)).round()
    whole = _in_range(scaled.cast(pl.Int64, strict=False).alias(times.name), written)
    _in_one_unit(finite, written)
    return whole


def _from_text(times: pl.Series) -> pl.Series:
    text = times.str.strip_chars()
    known = text.to_frame("t").select(pl.when(~pl.col("t").is_in(MISSING)).then("t")).to_series()
    known = known.alias(times.name)
    numbers = known.cast(pl.Float64, strict=False)
    n_numbers = len(numbers) - numbers.null_count()
    moments = known.clear(len(known)) if n_numbers == known.count() else _from_iso(known)
    n_moments = moments.count()
    if n_moments > n_numbers:
        _check(known, moments, f"{_ISO_EXAMPLE}, as in {n_moments} other rows")
        return moments.alias(times.name)
    as_others = f", as in {n_numbers} other rows" if n_numbers else f" or {_ISO_EXAMPLE}"
    _check(known, numbers, f"a number{as_others}")
    whole = known.cast(pl.Int64, strict=False)
    if whole.null_count() > known.null_count():
        return _from_floats(numbers, known)
    return _in_one_unit(whole, known)


def _from_iso(text: pl.Series) -> pl.Series:
    parts = text.to_frame("t").select(pl.col("t").str.extract_groups(_ISO)).unnest("t")
    canonical = pl.concat_str(
        pl.col("date"),
        pl.lit("T"),
        pl.col("clock").fill_null("00:00"),
        pl.col("seconds").fill_null(":00"),
        pl.lit("."),
        pl.col("part").fill_null("0"),
        pl.col("hours").fill_null("+00"),
        pl.col("minutes").fill_null("00"),
    )
    moment = canonical.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%z", time_unit="us", strict=False)
    return parts.select(moment.to_physical()).to_series()


def _in_range(whole: pl.Series, written: pl.Series) -> pl.Series:
    _check(written, whole, f"a number from {-(2**63)} to {2**63 - 1}")
    return whole


def _in_one_unit(times: pl.Series, written: pl.Series) -> pl.Series:
    """Check that dates in seconds are not mixed with dates in milliseconds, say.

    Args:
        times: Numbers.
        written: The same as they were given, for the message.
    """
    by_unit = _by_unit(times)
    counts = {unit: int(is_in_unit.sum()) for unit, is_in_unit in by_unit.items()}
    main = max(counts, key=lambda unit: counts[unit])
    if 2 * sum(counts.values()) >= times.count():
        wrong = pl.Series(np.any([by_unit[unit] for unit in counts if unit != main], axis=0))
        if wrong.any():
            _refuse(written, wrong.arg_true(), f"{main}, as in {counts[main]} other rows")
    return times


def _probable(times: pl.Series) -> pl.Series:
    """Whether a time is between 1990 and 2100 in any unit, ``[m]`` bool."""
    return pl.Series(np.any(list(_by_unit(times).values()), axis=0))


def _by_unit(times: pl.Series) -> dict[str, pl.Series]:
    """Whether each timestamp is a date between 1990 and 2100 in a unit."""
    return {
        unit: times.is_between(_EARLIEST * scale, _LATEST * scale, closed="left").fill_null(False)
        for unit, scale in _UNITS.items()
    }


def _check(written: pl.Series, read: pl.Series, expected: str) -> None:
    """Refuse values that are there and could not be read."""
    wrong = (written.is_not_null() & read.is_null()).arg_true()
    if len(wrong):
        _refuse(written, wrong, expected)


def _refuse(times: pl.Series, wrong: pl.Series, expected: str) -> NoReturn:
    row = int(wrong[0])
    raise DataError(
        f"column {times.name!r} holds {times[row]!r} in row {row + 1}: expected {expected}. "
        f"Wrong values: {len(wrong)} of {times.count()}. Correct or remove them, or choose another "
        "column."
    )
