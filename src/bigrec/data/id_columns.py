"""Columns of ids: text from any type, and the ways in which they may be wrong."""

import re

import numpy as np
import polars as pl

from bigrec.data.columns import LARGEST_EXACT
from bigrec.data.repairs import Repairs
from bigrec.errors import DataError
from bigrec.types import BoolArray, IntArray

MISSING = (
    "",
    "nan",
    "NaN",
    "NAN",
    "None",
    "none",
    "NONE",
    "null",
    "NULL",
    "Null",
    "<NA>",
    "NA",
    "N/A",
    "n/a",
    "#N/A",
    "NaT",
    "\\N",
)
"""How other programs write a missing value as text."""

# Values under which a data pipeline may file everybody whom it does not know.
_PLACEHOLDERS = (
    *("-", "--", "?", "-1", "unknown", "missing", "undefined", "anonymous", "guest"),
    *("nan", "nat", "nil", "(null)", "<null>", "<na>", "inf", "-inf"),
    *("#ref!", "#value!", "#name?", "#div/0!", "#num!", "#null!"),
)

_TEXT_TYPES = (pl.String, pl.Categorical, pl.Enum)
_MAY_BE_READ_OTHERWISE = re.compile(r"\A\s|\s\Z|\.0+\Z")
# Whole numbers above are no longer told apart.
_EXACT: dict[type[pl.DataType], int] = {
    pl.Float16: (1 << 11) - 1,
    pl.Float32: (1 << 24) - 1,
    pl.Float64: LARGEST_EXACT,
}
# How programs write such numbers, in one form: one digit before the point and a signed exponent.
_ROUNDED = r"^[+-]?(9\.\d+[eE]\+15|\d(\.\d+)?[eE]\+(1[6-9]|[2-9]\d|\d{3,}))$"
# Six digits of a longer number: spreadsheets write numbers of twelve digits so, such as barcodes,
# and C's %g those of seven. With fewer decimals it may be exact, as R writes 1e+05.
_SIX_DIGITS = r"^[+-]?\d\.\d{5}[eE]\+(0[6-9]|[1-9]\d+)$"


def id_text(name: str, dtype: pl.DataType, *, what: str) -> pl.Expr:
    """A column of ids as text.

    Spaces around an id are removed, 12 and 12.0 become "12" whether they are numbers or text, and
    missing values and the words of `MISSING` null. Leading zeros stay.

    Args:
        name: Name of the column.
        dtype: Type of the column.
        what: Content of the frame, for the message.

    Raises:
        DataError: If the type is neither text nor numbers.
    """
    column = pl.col(name)
    if dtype.is_float():
        # pandas turns a column of whole numbers into floats if a value is missing.
        whole = column.cast(pl.Int64, strict=False)
        text = (
            pl.when(column == whole).then(whole.cast(pl.String)).otherwise(column.cast(pl.String))
        )
        return pl.when(column.is_finite()).then(text)
    if dtype.is_integer() or dtype in {pl.Boolean, pl.Null}:
        return column.cast(pl.String)
    if dtype in _TEXT_TYPES:
        text = column.cast(pl.String).str.strip_chars()
        text = text.str.replace(r"^([+-]?\d+)\.0+$", "${1}")
        return pl.when(~text.is_in(MISSING)).then(text)
    raise DataError(
        f"column {name!r} of the {what} holds {dtype}: expected text or whole numbers as ids. "
        "Choose another column or convert it."
    )


def read_id(text: str) -> str:
    """An id as `id_text` reads it; a word of `MISSING` stays, and text that no data can hold."""
    # Most need no look by polars, which takes a tenth of a millisecond.
    if not _MAY_BE_READ_OTHERWISE.search(text):
        return text
    try:
        frame = pl.DataFrame({"id": [text]})
    except UnicodeEncodeError:
        return text
    read: str | None = frame.select(id_text("id", pl.String(), what="ids")).item()
    return text if read is None else read


def written_text(name: str, dtype: pl.DataType, *, what: str) -> pl.Expr:
    """The text of an id where `id_text` differs from it; else null, as for an empty one."""
    if dtype not in _TEXT_TYPES:
        return pl.lit(None, dtype=pl.String)
    text = pl.col(name).cast(pl.String)
    return pl.when(text.ne_missing(id_text(name, dtype, what=what)) & (text != "")).then(text)


def check_exact(frame: pl.LazyFrame, name: str, dtype: pl.DataType, *, what: str) -> None:
    """Check that ids in a column of floats can be told apart.

    Raises:
        DataError: If a number is infinite or so large that it is rounded. Names the first such row.
    """
    limit = _EXACT.get(type(dtype))
    if limit is None:
        return
    column = pl.col(name)
    wrong = (column.abs() > limit) & column.is_not_nan()
    count, row = (
        frame.select(wrong.sum(), wrong.index_of(element=True).alias("row")).collect().row(0)
    )
    if count:
        value = frame.select(column.slice(row, 1)).collect().item()
        raise _rounded(value, row, count, limit=limit, name=name, what=what)


def check_unrounded(
    ids: pl.Series, name: str, *, what: str, first_row: int = 1, codes: IntArray | None = None
) -> None:
    """Check that no id is the text of a float that is infinite or rounded, such as 9.78014E+12.

    Args:
        ids: Ids as `id_text` reads them.
        name: Name of the column.
        what: Content of the frame, for the message.
        first_row: Number of the first row.
        codes: Position among the ids of every row, -1 for none; by default each id has one row.

    Raises:
        DataError: If one is. Names the first such row.
    """
    # All such texts have it; few others do.
    if not ids.str.contains("+", literal=True).any():
        return
    codes = np.arange(len(ids)) if codes is None else codes
    wrong = _rows_matching(ids, _ROUNDED, codes)
    if len(wrong):
        row = int(wrong[0])
        value = float(ids[int(codes[row])])
        raise _rounded(
            value, row + first_row - 1, len(wrong), limit=LARGEST_EXACT, name=name, what=what
        )
    wrong = _rows_matching(ids, _SIX_DIGITS, codes)
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"column {name!r} of the {what} holds {ids[int(codes[row])]!r} in row "
            f"{row + first_row}: six digits of a longer number, as spreadsheets write it, so that "
            f"different ids become one. Wrong values: {len(wrong)}. Format the column as text or "
            "as whole numbers and export it again."
        )


def _rows_matching(ids: pl.Series, pattern: str, codes: IntArray) -> IntArray:
    matches: BoolArray = ids.str.contains(pattern).fill_null(value=False).to_numpy()
    # The last value is that of rows without an id.
    return np.flatnonzero(np.append(matches, False)[codes])


def _rounded(value: float, row: int, count: int, *, limit: int, name: str, what: str) -> DataError:
    return DataError(
        f"column {name!r} of the {what} holds the number {value} in row {row + 1}: floats above "
        f"{limit} are rounded, so that different ids become one. Wrong values: {count}. Read the "
        "column as text or whole numbers, and write it as such."
    )


def loosened(ids: pl.Series) -> pl.Series:
    """Ids without the differences that other programs make.

    These are case, white space, leading zeros and whole numbers written as 1E+05.
    """
    text = ids.str.normalize("NFKC").str.to_lowercase().str.replace_all(r"[\s\u200b\ufeff]", "")
    plain = text.str.replace(r"^0+(.)", "${1}")
    scientific = plain.str.contains(r"^\d+(\.\d+)?e\+?\d+$")
    if not scientific.any():
        return plain
    numbers = plain.cast(pl.Float64, strict=False).cast(pl.Int64, strict=False).cast(pl.String)
    return numbers.zip_with(scientific & numbers.is_not_null(), plain)


def record_spelling(
    ids: pl.Series,
    written: pl.Series,
    *,
    whose: str,
    repairs: Repairs,
    counts: IntArray | None = None,
    total: int | None = None,
) -> None:
    """Record ids that were written with spaces around them or as 12.0.

    Args:
        ids: As `id_text` reads them.
        written: As `written_text` does.
        whose: "user ids", "item ids" or "catalog ids".
        repairs: Records the check.
        counts: Rows of each id; by default one.
        total: Number of rows; by default that of the ids.
    """
    changed = written.is_not_null() & ids.is_not_null()
    pairs = pl.DataFrame([written.alias("written"), ids.alias("id")]).filter(changed)
    examples = pairs.unique(maintain_order=True).head(5).iter_rows()
    repairs.add(
        f"{whose} respelled",
        pairs.height if counts is None else int(counts[changed.to_numpy()].sum()),
        total=len(ids) if total is None else total,
        examples=(f"{text!r} -> {read!r}" for text, read in examples),
        done="Read without spaces around them and without .0.",
    )


def record_similar(ids: pl.Series, *, whose: str, repairs: Repairs) -> None:
    """Record different ids that may be the same one.

    Args:
        ids: Distinct ids.
        whose: "user ids" or "item ids".
        repairs: Records the check.
    """
    frame = pl.DataFrame([ids.alias("id"), loosened(ids).alias("loose")])
    groups = frame.filter(pl.col("loose").is_duplicated())
    examples = groups.group_by("loose", maintain_order=True).agg("id").head(5)["id"]
    repairs.add(
        f"similar {whose}",
        groups.height,
        total=len(ids),
        examples=(" and ".join(map(repr, alike)) for alike in examples),
        done="Kept as different ids; they differ in case, spaces or leading zeros alone.",
    )


def are_placeholders(ids: pl.Series) -> pl.Series:
    """Whether an id may stand for users who are not known."""
    return ids.str.to_lowercase().is_in(_PLACEHOLDERS).fill_null(value=False)
