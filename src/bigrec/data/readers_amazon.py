"""Readers of the Amazon reviews of 2018 and 2023."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from bigrec.data.tables import SourceTables, first_fields, only_one, scan_table, stem_of
from bigrec.errors import DataError

_META = "meta_"
_KINDS = ("json", "json.gz", "jsonl", "jsonl.gz", "csv", "csv.gz")

_Types = Mapping[str, pl.DataType]


@dataclass(frozen=True)
class _Edition:
    """Fields of one edition, with types: those left out differ in type from line to line."""

    reviews: _Types
    meta: _Types
    columns: Mapping[str, str]


_2018 = _Edition(
    reviews={
        "reviewerID": pl.String(),
        "asin": pl.String(),
        "overall": pl.Float64(),
        "unixReviewTime": pl.Int64(),
    },
    meta={"asin": pl.String(), "title": pl.String(), "category": pl.List(pl.String)},
    columns={
        "user_id": "reviewerID",
        "item_id": "asin",
        "rating": "overall",
        "time": "unixReviewTime",
        "category": "category",
    },
)
_2023 = _Edition(
    reviews={
        "user_id": pl.String(),
        "parent_asin": pl.String(),
        "rating": pl.Float64(),
        "timestamp": pl.Int64(),
    },
    meta={"parent_asin": pl.String(), "title": pl.String(), "categories": pl.List(pl.String)},
    columns={"item_id": "parent_asin", "category": "categories"},
)

LOOKS_FOR_2018 = (
    "one .json or .json.gz file of reviews, with reviewerID and asin in each line, and one "
    "meta_*.json or meta_*.json.gz"
)
LOOKS_FOR_2023 = (
    "one .jsonl or .csv file of reviews (also with .gz), with user_id and parent_asin, and one "
    "meta_*.jsonl or meta_*.jsonl.gz"
)


def read_2018(source: Path, items: Path | None) -> SourceTables | None:
    """Find reviews of 2018; None where there are none.

    Raises:
        DataError: If the file of titles is missing, or there are several files of one kind.
    """
    return _read(source, items, _2018)


def read_2023(source: Path, items: Path | None) -> SourceTables | None:
    """Find reviews of 2023; None where there are none.

    Raises:
        DataError: If the file of titles is missing, or there are several files of one kind.
    """
    return _read(source, items, _2023)


def _read(source: Path, items: Path | None, edition: _Edition) -> SourceTables | None:
    folder = source if source.is_dir() else source.parent
    files = sorted(file for kind in _KINDS for file in folder.glob(f"*.{kind}"))
    found = [file for file in files if not file.name.startswith(_META)]
    needed = {edition.columns.get("user_id", "user_id"), edition.columns["item_id"]}
    reviews = only_one(
        [file for file in (found if source.is_dir() else [source]) if needed <= first_fields(file)],
        what="reviews",
    )
    if reviews is None:
        return None
    items = items or only_one(
        [file for file in files if file.name.startswith(_META)], what="titles (meta)"
    )
    if items is None:
        raise DataError(
            f"there are reviews in {reviews}, but no file of titles beside them: expected "
            f"{_META}*.json or {_META}*.jsonl (also with .gz) in {folder}. Put it there, or give "
            "it as items."
        )
    if edition.columns["item_id"] not in first_fields(items):
        return None
    return SourceTables(
        scan_table(reviews, schema=edition.reviews),
        reviews,
        scan_table(items, schema=edition.meta),
        items,
        name=stem_of(reviews),
        noun="product",
        columns=edition.columns,
    )
