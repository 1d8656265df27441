"""Parquet files that bigrec wrote, read with their size checked first."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from bigrec.data.parquet import no_panic_shown
from bigrec.data.parquet_pages import check_pages
from bigrec.errors import BundleError, DataError
from bigrec.storage.forks import check_threads

# Distinct ids take at least a third of a byte each, however they are compressed.
_ROWS_PER_BYTE = 8
_FEW_ROWS = 10_000
# A text that is repeated takes its place once in the file and in every row afterwards.
_BYTES_PER_ROW = 1 << 12
_FEW_BYTES = 1 << 24
_MAX_COLUMNS = 300
# Of a number, where each of an expected number of rows may be the same one.
_BYTES_PER_NUMBER = 8
_CURE = "Write it again with the command that made it."


def read_table(
    path: Path,
    columns: Mapping[str, type[pl.DataType]],
    *,
    optional: Mapping[str, type[pl.DataType]] | None = None,
    prefixed: Mapping[str, Sequence[type[pl.DataType]]] | None = None,
    n_rows: int | None = None,
    what: str = "a table",
) -> pl.DataFrame:
    """Read a table whose types and number of rows are checked before its values are read.

    Args:
        path: A Parquet file.
        columns: Types of the columns by name.
        optional: Those of columns that may be missing.
        prefixed: Possible types of any further columns by the start of their names.
        n_rows: Expected number of rows; None if every row has another id, which limits how many a
            file can hold.
        what: What the table is, for the message.

    Returns:
        The columns; of the required ones, none holds a missing value.

    Raises:
        BundleError: If the file is missing, damaged, of other columns or has too many rows.
    """
    check_threads()
    if not path.is_file():
        raise damaged_table(path, "it is missing", what=what)
    try:
        check_pages(path, further_bytes=(n_rows or 0) * _BYTES_PER_NUMBER * len(columns))
        with no_panic_shown():
            table = pl.scan_parquet(path, glob=False, hive_partitioning=False)
            schema = table.collect_schema()
            further = _prefixed_types(schema, prefixed or {})
            _check_schema(path, schema, columns, {**(optional or {}), **further}, what=what)
            rows = int(table.select(pl.len()).collect().item())
            _check_rows(path, rows, n_rows, what=what)
            frame = table.collect()
    except (OSError, DataError, pl.exceptions.PolarsError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise damaged_table(path, reason, what=what) from None
    _check_values(path, frame, columns, what=what)
    return frame


def damaged_table(path: Path, reason: str, *, what: str) -> BundleError:
    """The error of a stored table that cannot be used."""
    return BundleError(f"{path} could not be read as {what}: {reason}. {_CURE}")


def _prefixed_types(
    schema: pl.Schema, prefixed: Mapping[str, Sequence[type[pl.DataType]]]
) -> dict[str, type[pl.DataType]]:
    """Expected types of the columns whose names begin with a prefix."""
    return {
        name: next((known for known in types if dtype == known), types[0])
        for prefix, types in prefixed.items()
        for name, dtype in schema.items()
        if name.startswith(prefix)
    }


def _check_schema(
    path: Path,
    schema: pl.Schema,
    columns: Mapping[str, type[pl.DataType]],
    optional: Mapping[str, type[pl.DataType]],
    *,
    what: str,
) -> None:
    known = {**columns, **optional}
    if len(schema) > _MAX_COLUMNS:
        raise damaged_table(path, f"it has {len(schema):,} columns", what=what)
    for name in {**columns, **schema}:
        if name not in schema:
            raise damaged_table(path, f"it has no column {name!r}", what=what)
        if name not in known:
            raise damaged_table(
                path, f"it has a column {name[:100]!r}, which nothing reads", what=what
            )
        if schema[name] != known[name]:
            expected = known[name].__name__
            raise damaged_table(
                path, f"column {name!r} holds {schema[name]}; expected {expected}", what=what
            )


def _check_rows(path: Path, rows: int, n_rows: int | None, *, what: str) -> None:
    if n_rows is not None and rows != n_rows:
        raise damaged_table(path, f"it has {rows:,} rows; expected {n_rows:,}", what=what)
    size = path.stat().st_size
    if n_rows is None and rows > _FEW_ROWS + _ROWS_PER_BYTE * size:
        raise damaged_table(
            path,
            f"it has {rows:,} rows in {size:,} bytes, more than so many different ids can take",
            what=what,
        )


def _check_values(
    path: Path, frame: pl.DataFrame, columns: Mapping[str, type[pl.DataType]], *, what: str
) -> None:
    """Refuse missing values, and texts that take far more memory than they take in the file."""
    size = 0
    for name in frame.columns:
        values = frame[name]
        if name in columns and values.null_count():
            raise damaged_table(path, f"{values.null_count():,} rows have no {name}", what=what)
        if values.dtype == pl.String:
            size += int(values.str.len_bytes().sum() or 0)
            if size > _FEW_BYTES + _BYTES_PER_ROW * len(frame):
                raise damaged_table(
                    path, f"up to column {name[:100]!r} it holds {size:,} bytes of text", what=what
                )
