"""Timestamps as whole numbers."""

import numpy as np
import polars as pl

from bigrec.errors import DataError

# Date alone, or with a time, or with a time and an offset from UTC.
_ISO = (
    r"^(?<date>\d{4}-\d{2}-\d{2})"
    r"(?:[T ](?<clock>\d{2}:\d{2})(?<seconds>:\d{2}(?:\.\d{1,9})?)?"
    r" ?(?<offset>Z|UTC|[+-]\d{2}:?\d{2})?)?$"
)


def whole_times(times: pl.Series) -> pl.Series:
    """Timestamps as int64 in the order of time; missing ones stay null.

    Whole numbers stay unchanged; numbers with fractions, read as seconds, become milliseconds.
    Dates and ISO 8601 text become microseconds since 1970, in UTC unless the text has an offset.

    Args:
        times: Numbers, dates, or text of either, with the name of the column.

    Raises:
        DataError: If text is neither a number nor ISO 8601, or the type is neither number, date
            nor text.
    """
    dtype = times.dtype
    if dtype == pl.String:
        return _from_text(times)
    if dtype.is_integer():
        return times.cast(pl.Int64, strict=False)
    if dtype.is_float():
        return _from_floats(times)
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


def _from_floats(times: pl.Series) -> pl.Series:
    known = times.to_frame("t").select(pl.when(pl.col("t").is_finite()).then("t")).to_series()
    fractions = (known != known.floor()).any()
    scaled = (known * 1000).round() if fractions else known
    return scaled.cast(pl.Int64, strict=False).alias(times.name)


def _from_text(times: pl.Series) -> pl.Series:
    text = times.str.strip_chars()
    text = text.to_frame("t").select(pl.when(pl.col("t") != "").then("t")).to_series()
    whole = text.cast(pl.Int64, strict=False)
    if whole.null_count() == text.null_count():
        return whole.alias(times.name)
    numbers = text.cast(pl.Float64, strict=False)
    if numbers.null_count() == text.null_count():
        return _from_floats(numbers.alias(times.name))
    moments = _from_iso(text)
    wrong = (moments.is_null() & text.is_not_null()).arg_true()
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"column {times.name!r} holds {times[row]!r} in row {row + 1} ({len(wrong)} such rows "
            "in all): expected a number or ISO 8601 text such as 2014-03-01T12:30:00. Choose "
            "another column or convert it."
        )
    return moments.alias(times.name)


def _from_iso(text: pl.Series) -> pl.Series:
    parts = text.to_frame("t").select(pl.col("t").str.extract_groups(_ISO)).unnest("t")
    canonical = pl.concat_str(
        pl.col("date"),
        pl.lit("T"),
        pl.col("clock").fill_null("00:00"),
        pl.col("seconds").fill_null(":00"),
        pl.col("offset").replace(["Z", "UTC"], "+00:00").fill_null("+00:00"),
    )
    moment = canonical.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%z", time_unit="us", strict=False)
    return parts.select(moment.to_physical()).to_series()


def days_between(first: int, last: int) -> tuple[str, str, int]:
    """The dates of two timestamps and the number of days between them."""
    moments = np.array([first, last]).astype(f"datetime64[{time_unit(last)}]")
    start, end = moments.astype("datetime64[D]")
    return str(start), str(end), int((end - start).astype(int))
