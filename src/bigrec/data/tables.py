"""Files of tables: opened lazily, their formats detected by name and first line."""

import gzip
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from bigrec.errors import DataError

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_JSON_LINES = (".jsonl", ".ndjson", ".json")
# Rows from which the types of JSON lines are inferred.
_INFERRED = 10_000

_TEXT = (".csv", ".tsv", ".jsonl", ".ndjson")
TABLE_SUFFIXES = (*_TEXT, *(suffix + ".gz" for suffix in _TEXT), ".parquet")


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
    """

    interactions: pl.LazyFrame
    interactions_path: Path
    items: pl.LazyFrame
    items_path: Path
    name: str
    item_type: str
    columns: Mapping[str, str] = field(default_factory=dict)


def suffix_of(path: Path) -> str:
    """The last suffix, ``.gz`` aside: ``.csv`` for ``a.b.csv.gz``."""
    return Path(path.name.removesuffix(".gz")).suffix.lower()


def stem_of(path: Path) -> str:
    """The name without its suffixes: ``Video_Games_5`` for ``Video_Games_5.json.gz``."""
    return Path(path.name.removesuffix(".gz")).stem


def scan_table(path: Path, *, schema: Mapping[str, pl.DataType] | None = None) -> pl.LazyFrame:
    """Open a table without reading it.

    CSV and TSV columns are read as text, which keeps ids such as 007.

    Args:
        path: CSV, TSV, JSON lines (each also ``.gz``) or Parquet.
        schema: Columns of JSON lines to read, with their types; None infers all from the first
            rows.

    Raises:
        DataError: If the suffix is another one.
    """
    suffix = suffix_of(path)
    if suffix in _SEPARATORS:
        return pl.scan_csv(path, separator=_SEPARATORS[suffix], infer_schema=False)
    if suffix in _JSON_LINES:
        known = None if schema is None else pl.Schema(schema)
        return pl.scan_ndjson(path, schema=known, infer_schema_length=_INFERRED)
    if suffix == ".parquet":
        return pl.scan_parquet(path)
    raise DataError(
        f"{path} is not a table of a known format: expected a name that ends in "
        f"{', '.join(TABLE_SUFFIXES)}."
    )


def first_fields(path: Path) -> set[str]:
    """Field names in the first line of a CSV, TSV or JSON lines file; empty for other files."""
    suffix = suffix_of(path)
    line = first_line(path) if suffix in (*_SEPARATORS, *_JSON_LINES) else ""
    if suffix in _SEPARATORS:
        return {name.strip('"') for name in line.split(_SEPARATORS[suffix])}
    try:
        value = json.loads(line)
    except json.JSONDecodeError:
        return set()
    return set(value) if isinstance(value, dict) else set()


def first_line(path: Path) -> str:
    """The first line of a text file, gzipped or not, without its line end.

    Raises:
        DataError: If the file cannot be read.
    """
    with reading(path):
        is_gzipped = path.name.endswith(".gz")
        with gzip.open(path) if is_gzipped else path.open("rb") as stream:
            line: bytes = stream.readline()
        return line.decode("utf-8-sig", errors="replace").rstrip("\r\n")


def read_lines(path: Path) -> list[str]:
    """Non-empty lines of a text file in UTF-8, else in Latin-1, as MovieLens is distributed.

    Raises:
        DataError: If the file cannot be read.
    """
    with reading(path):
        raw = path.read_bytes()
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    # splitlines() would also split at characters that occur within lines of Latin-1 text.
    return [line for line in text.replace("\r\n", "\n").split("\n") if line]


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Name the file in every error of the block.

    Raises:
        DataError: With the path and the reason.
    """
    try:
        yield
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except (OSError, EOFError, pl.exceptions.PolarsError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise DataError(
            f"{path} could not be read: {reason}. Expected an undamaged "
            f"{suffix_of(path).removeprefix('.') or 'text'} file in UTF-8; download or export it "
            "again."
        ) from error


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
