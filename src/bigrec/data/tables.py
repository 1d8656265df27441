"""Files of tables: opened lazily, their formats detected by name and first line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from bigrec.data.csv_rows import Dialect
from bigrec.data.delimited import read_header, scan_delimited
from bigrec.data.files import check_regular, reading, suffix_of
from bigrec.data.json_rows import json_keys, scan_json
from bigrec.data.parquet import scan_parquet
from bigrec.errors import DataError

_DIALECTS = {".csv": Dialect(","), ".tsv": Dialect("\t")}
JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")

_TEXT = (*_DIALECTS, *JSON_SUFFIXES)
_PARQUET = ".parquet"
TABLE_SUFFIXES = (*_TEXT, *(suffix + ".gz" for suffix in _TEXT), _PARQUET)


@dataclass(frozen=True)
class SourceTables:
    """The tables of a dataset, not yet read.

    Attributes:
        interactions: One row for each interaction.
        interactions_path: File of the interactions.
        items: One row for each item.
        items_path: File of the items.
        name: Default name of the dataset.
        item_type: Default name of one item in the prompt.
        columns: Options of `Interactions.from_frame` and `Catalog.from_frame` that differ from
            their defaults in this format.
        item_columns: Further columns of the items that are kept by default.
    """

    interactions: pl.LazyFrame
    interactions_path: Path
    items: pl.LazyFrame
    items_path: Path
    name: str
    item_type: str
    columns: Mapping[str, str] = field(default_factory=dict)
    item_columns: Sequence[str] = ()


def scan_table(path: Path, *, columns: Sequence[str] | None = None) -> pl.LazyFrame:
    """Open a table without reading its rows.

    Columns of text files are read as text, which keeps ids such as 007.

    Args:
        path: CSV, TSV, JSON lines or an array of objects (each also ``.gz``), or Parquet.
        columns: Keys to read of JSON, in the file or not; None takes all of the file.

    Raises:
        DataError: If the suffix is another one, or the file cannot be read.
    """
    suffix = suffix_of(path)
    if suffix not in {*_TEXT, _PARQUET}:
        raise DataError(
            f"{path} is not a table of a known format: expected a name that ends in "
            f"{', '.join(TABLE_SUFFIXES)}."
        )
    with reading(path):
        check_regular(path)
        if suffix in _DIALECTS:
            return scan_delimited(path, _DIALECTS[suffix])
        if suffix in JSON_SUFFIXES:
            return scan_json(path, columns=columns)
        return scan_parquet(path)


def first_fields(path: Path) -> set[str]:
    """Field names of a CSV, TSV or JSON file: the header, or the keys of the first object.

    Returns:
        The empty set for other files and for those that cannot be read.
    """
    try:
        with reading(path):
            return set(_fields(path))
    except DataError:
        return set()


def check_table(path: Path) -> None:
    """Check that the beginning of a table can be read.

    Raises:
        DataError: If not, without the path.
        OSError: If there is no access.
    """
    check_regular(path)
    _fields(path)


def _fields(path: Path) -> list[str]:
    suffix = suffix_of(path)
    if suffix in _DIALECTS:
        return read_header(path, _DIALECTS[suffix])
    return json_keys(path) if suffix in JSON_SUFFIXES else []


def only_one(files: list[Path], *, what: str) -> Path | None:
    """The only file of a list; None if it is empty.

    Args:
        files: Candidates from one folder.
        what: Content of the file, for the message.

    Raises:
        DataError: If there are several files.
    """
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise DataError(
            f"{files[0].parent} holds {len(files)} files of {what}: {names}. Give the file of "
            "interactions as the source and the file of titles as items."
        )
    return files[0] if files else None
