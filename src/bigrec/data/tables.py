"""Files of tables: opened lazily, told apart by their names and first lines."""

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
# Rows looked at to tell the types of JSON lines.
_INFERRED = 10_000

_TEXT = (".csv", ".tsv", ".jsonl", ".ndjson")
TABLE_SUFFIXES = (*_TEXT, *(suffix + ".gz" for suffix in _TEXT), ".parquet")


@dataclass(frozen=True)
class SourceTables:
    """What a reader found: two tables that are not read yet, and what is in them.

    Attributes:
        interactions: One row for each interaction.
        interactions_path: The file it is read from.
        items: One row for each item.
        items_path: The file it is read from.
        name: What the dataset is called unless the caller says otherwise.
        noun: What one title is called unless the caller says otherwise.
        columns: Options of `Interactions.from_frame` and `Catalog.from_frame` where the format
            differs from their defaults.
    """

    interactions: pl.LazyFrame
    interactions_path: Path
    items: pl.LazyFrame
    items_path: Path
    name: str
    noun: str
    columns: Mapping[str, str] = field(default_factory=dict)


def suffix_of(path: Path) -> str:
    """The last suffix, ``.gz`` aside: ``.csv`` for ``a.b.csv.gz``."""
    return Path(path.name.removesuffix(".gz")).suffix.lower()


def stem_of(path: Path) -> str:
    """The name without its suffixes: ``Video_Games_5`` for ``Video_Games_5.json.gz``."""
    return Path(path.name.removesuffix(".gz")).stem


def scan_table(path: Path, *, schema: Mapping[str, pl.DataType] | None = None) -> pl.LazyFrame:
    """Open a table without reading it.

    CSV and TSV columns are text, so that ids such as 007 stay as they are.

    Args:
        path: CSV, TSV, JSON lines (each also ``.gz``) or Parquet.
        schema: Columns of JSON lines and their types; others are left out. By default told from
            the first rows.

    Raises:
        DataError: If the suffix is of none of them.
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
        f"{path} is of no known kind of table: expected a name that ends in "
        f"{', '.join(TABLE_SUFFIXES)}."
    )


def first_fields(path: Path) -> set[str]:
    """Names in the first line of a CSV, TSV or JSON lines file; empty where it is none of them."""
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
    """The first line of a text file, packed with gzip or not, without its end.

    Raises:
        DataError: If the file cannot be read.
    """
    with reading(path):
        is_packed = path.name.endswith(".gz")
        with gzip.open(path) if is_packed else path.open("rb") as stream:
            line: bytes = stream.readline()
        return line.decode("utf-8-sig", errors="replace").rstrip("\r\n")


def read_lines(path: Path) -> list[str]:
    """All lines of a text file, in UTF-8 or else Latin-1, the encodings MovieLens comes in.

    Raises:
        DataError: If the file cannot be read.
    """
    with reading(path):
        raw = path.read_bytes()
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    # Not splitlines(): it also splits at characters that Latin-1 text may hold inside a line.
    return [line for line in text.replace("\r\n", "\n").split("\n") if line]


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Tell every error of the block as an error of this file.

    Raises:
        DataError: Naming the file.
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
    """The file, None where there is none.

    Raises:
        DataError: If there are several.
    """
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise DataError(
            f"{files[0].parent} holds {len(files)} files of {what}: {names}. Give the file of "
            "interactions as the source and the file of titles as items."
        )
    return files[0] if files else None
