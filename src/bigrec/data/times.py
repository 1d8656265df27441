"""Timestamps as whole numbers."""

import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Any, cast

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
    """Timestamps as int64 in the order of time, as `TimeReader` reads them.

    Args:
        times: Numbers, dates, or text of either, with the name of the column.

    Raises:
        DataError: As `TimeReader.whole`.
    """
    reader = TimeReader(times.name, times.dtype)
    reader.add(times)
    return reader.whole(lambda row: times[row])


class TimeReader:
    """Reads a column of timestamps in pieces, as int64 in the order of time.

    Whole numbers stay unchanged. Numbers with fractions, read as seconds, become microseconds;
    those too large for that are multiplied by 1000. Dates and ISO 8601 text become microseconds
    since 1970, in UTC unless the text has an offset. Missing times stay null.

    Args:
        name: Name of the column.
        dtype: Its type.
    """

    def __init__(self, name: str, dtype: pl.DataType) -> None:
        self._name = name
        self._dtype = dtype
        self._is_text = isinstance(dtype, pl.String | pl.Categorical | pl.Enum)
        self._known: list[pl.Series] = []
        # Of each piece. Text is read as numbers and as dates, since most of the column decide.
        self._numbers: list[pl.Series] = []
        self._moments: list[pl.Series] = []

    def add(self, times: pl.Series) -> None:
        """Read the next rows."""
        if self._is_text:
            self._add_text(times.cast(pl.String))
        elif self._dtype.is_integer():
            self._add(times, times.cast(pl.Int64, strict=False))
        elif self._dtype.is_float():
            self._add(times.fill_nan(None), times)
        elif isinstance(self._dtype, pl.Date | pl.Datetime):
            self._add(times, times.cast(pl.Datetime("us")).to_physical())
        elif self._dtype == pl.Null:
            self._add(times, times.cast(pl.Int64))

    def whole(self, written: Callable[[int], Any]) -> pl.Series:
        """The times of all rows, ``[m]`` int64. The pieces are released.

        Args:
            written: The value of a row as it was given, for messages.

        Raises:
            DataError: If the type is neither number, date nor text, or if a value is not as most
                are: neither a number nor ISO 8601 text, one among the other, out of the range of
                int64, or in another unit. Names the first such row and their number.
        """
        if not self._known:
            raise DataError(
                f"column {self._name!r} holds {self._dtype}: expected numbers, dates or ISO 8601 "
                "text. Choose another column or convert it."
            )
        column = _Written(self._name, _taken(self._known), self._shown(written))
        if self._moments:
            n_moments = sum(piece.count() for piece in self._moments)
            n_numbers = sum(piece.count() for piece in self._numbers)
            if n_moments > n_numbers:
                self._numbers.clear()
                moments = _taken(self._moments)
                column.check(moments, f"{_ISO_EXAMPLE}, as in {n_moments} other rows")
                return moments.alias(self._name)
            self._moments.clear()
            as_others = f", as in {n_numbers} other rows" if n_numbers else f" or {_ISO_EXAMPLE}"
            missing = [piece.is_null() for piece in self._numbers]
            column.refuse_if(
                column.known & pl.concat(missing, rechunk=True), f"a number{as_others}"
            )
        if isinstance(self._dtype, pl.Date | pl.Datetime):
            return _taken(self._numbers).alias(self._name)
        if any(piece.dtype.is_float() for piece in self._numbers):
            return _from_floats(_taken(self._numbers), column).alias(self._name)
        return _in_one_unit(_in_range(_taken(self._numbers), column), column).alias(self._name)

    def _add(self, written: pl.Series, numbers: pl.Series) -> None:
        self._known.append(written.is_not_null())
        self._numbers.append(numbers)

    def _add_text(self, times: pl.Series) -> None:
        known, whole = times, times.cast(pl.Int64, strict=False)
        if whole.null_count() > times.null_count():
            known = _known_text(times)
            whole = known.cast(pl.Int64, strict=False)
        if whole.null_count() == known.null_count():
            self._add(known, whole)
            self._moments.append(_nothing(len(known)))
            return
        numbers = known.cast(pl.Float64, strict=False)
        self._add(known, numbers if numbers.count() else _nothing(len(known)))
        is_read = numbers.null_count() == known.null_count()
        self._moments.append(_nothing(len(known)) if is_read else _from_iso(known))

    def _shown(self, written: Callable[[int], Any]) -> Callable[[int], Any]:
        """Text is shown without the spaces around it."""
        if not self._is_text:
            return written
        return lambda row: _known_text(pl.Series([written(row)], dtype=pl.String))[0]


@dataclass(frozen=True, eq=False)
class _Written:
    """A column of timestamps as it was given.

    Attributes:
        name: Its name.
        known: Whether a row has a value, ``[m]`` bool.
        value: The value of a row.
    """

    name: str
    known: pl.Series
    value: Callable[[int], Any]

    def check(self, read: pl.Series, expected: str) -> None:
        """Refuse values that are there and could not be read."""
        self.refuse_if(self.known & read.is_null(), expected)

    def refuse_if(self, wrong: pl.Series, expected: str) -> None:
        """Refuse the rows that are wrong, ``[m]`` bool, if any.

        Raises:
            DataError: With the first and their number.
        """
        rows = wrong.arg_true()
        if not len(rows):
            return
        row, n_known = int(rows[0]), self.known.sum()
        raise DataError(
            f"column {self.name!r} holds {self.value(row)!r} in row {row + 1}: expected "
            f"{expected}. Wrong values: {len(rows)} of {n_known}. Correct or remove them, or "
            "choose another column."
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


def _nothing(n_rows: int) -> pl.Series:
    """Missing values, which take no memory."""
    return pl.repeat(None, n_rows, dtype=pl.Null, eager=True)


def _taken(pieces: list[pl.Series]) -> pl.Series:
    """The pieces as one, floats if some are. The list is empty afterwards."""
    types = [piece.dtype for piece in pieces if piece.dtype != pl.Null] or [pl.Int64()]
    dtype = next((dtype for dtype in types if dtype.is_float()), types[0])
    joined = pl.concat([piece.cast(dtype) for piece in pieces], rechunk=True)
    pieces.clear()
    return joined


def _from_floats(times: pl.Series, written: _Written) -> pl.Series:
    finite = times.to_frame("t").select(pl.when(pl.col("t").is_finite()).then("t")).to_series()
    scaled = finite
    if (finite != finite.floor()).any():
        is_small = cast("float", finite.abs().max()) < _LARGEST_WITH_MICROSECONDS
        scaled = (finite * (10**6 if is_small else 10**3)).round()
    whole = _in_range(scaled.cast(pl.Int64, strict=False), written)
    _in_one_unit(finite, written)
    return whole


def _known_text(times: pl.Series) -> pl.Series:
    """Text without the spaces around it; words for missing values are null."""
    text = times.str.strip_chars().to_frame("t")
    return text.select(pl.when(~pl.col("t").is_in(MISSING)).then("t")).to_series()


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


def _in_range(whole: pl.Series, written: _Written) -> pl.Series:
    written.check(whole, f"a number from {-(2**63)} to {2**63 - 1}")
    return whole


def _in_one_unit(times: pl.Series, written: _Written) -> pl.Series:
    """Check that dates in seconds are not mixed with dates in milliseconds, say."""
    by_unit = _by_unit(times)
    counts = {unit: int(is_in_unit.sum()) for unit, is_in_unit in by_unit.items()}
    main = max(counts, key=lambda unit: counts[unit])
    if 2 * sum(counts.values()) >= times.count():
        wrong = _any(by_unit[unit] for unit in counts if unit != main)
        written.refuse_if(wrong, f"{main}, as in {counts[main]} other rows")
    return times


def _probable(times: pl.Series) -> pl.Series:
    """Whether a time is between 1990 and 2100 in any unit, ``[m]`` bool."""
    return _any(_by_unit(times).values())


def _any(conditions: Iterable[pl.Series]) -> pl.Series:
    return reduce(operator.or_, conditions)


def _by_unit(times: pl.Series) -> dict[str, pl.Series]:
    """Whether each timestamp is a date between 1990 and 2100 in a unit."""
    return {
        unit: times.is_between(_EARLIEST * scale, _LATEST * scale, closed="left").fill_null(False)
        for unit, scale in _UNITS.items()
    }
