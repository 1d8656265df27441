"""Readers of the Amazon reviews of 2014, 2018 and 2023."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from bigrec.data.files import reading, stem_of
from bigrec.data.id_columns import id_text
from bigrec.data.lazy import lazy_source
from bigrec.data.tables import SourceTables, first_fields, only_one, scan_table
from bigrec.errors import DataError

_META = "meta_"
_SUFFIXES = ("json", "json.gz", "jsonl", "jsonl.gz", "csv", "csv.gz")


@dataclass(frozen=True)
class _Edition:
    """Fields of one edition.

    Attributes:
        reviews: Fields of a review.
        meta: Fields of a product, those that may be kept as item columns among them.
        columns: Options of `SourceTables`.
    """

    reviews: tuple[str, ...]
    meta: tuple[str, ...]
    columns: Mapping[str, str]


# 2014 differs from 2018 in the name of the categories, and its products are Python literals.
_CATEGORY_2014 = "categories"
_2018 = _Edition(
    reviews=("reviewerID", "asin", "overall", "unixReviewTime"),
    meta=("asin", "title", "category", _CATEGORY_2014, "brand", "price"),
    columns={
        "user_id": "reviewerID",
        "item_id": "asin",
        "rating": "overall",
        "time": "unixReviewTime",
        "category": "category",
    },
)
_2023 = _Edition(
    reviews=("user_id", "parent_asin", "rating", "timestamp"),
    meta=("parent_asin", "title", "categories", "main_category", "store", "price"),
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
    """Find reviews of 2014 or 2018; None if there are none.

    Raises:
        DataError: If the file of titles is missing, or there are several of reviews or titles.
    """
    return _read(source, items, _2018)


def read_2023(source: Path, items: Path | None) -> SourceTables | None:
    """Find reviews of 2023; None if there are none.

    Raises:
        DataError: If the file of titles is missing, or there are several of reviews or titles.
    """
    return _read(source, items, _2023)


def _read(source: Path, items: Path | None, edition: _Edition) -> SourceTables | None:
    folder = source if source.is_dir() else source.parent
    files = sorted(file for suffix in _SUFFIXES for file in folder.glob(f"*.{suffix}"))
    not_meta = [file for file in files if not file.name.startswith(_META)]
    candidates = not_meta if source.is_dir() else [source]
    required = {edition.columns.get("user_id", "user_id"), edition.columns["item_id"]}
    reviews = only_one(
        [file for file in candidates if required <= first_fields(file)], what="reviews"
    )
    if reviews is None:
        return None
    items = items or only_one(
        [file for file in files if file.name.startswith(_META)], what="titles (meta)"
    )
    if items is None:
        raise DataError(
            f"there are reviews in {reviews}, but no file of titles beside them: expected "
            f"{_META}*.json or {_META}*.jsonl (also with .gz) in {folder}. Add it there, or name "
            "it with items=..."
        )
    if edition.columns["item_id"] not in first_fields(items):
        return None
    item_id, category = edition.columns["item_id"], edition.columns["category"]
    interactions = scan_table(reviews, columns=edition.reviews)
    with reading(reviews):
        reviewed = interactions.select(_id(item_id).unique()).collect()[item_id].drop_nulls()
    titles = scan_table(items, columns=edition.meta)
    if _CATEGORY_2014 in edition.meta and category != _CATEGORY_2014:
        titles = titles.with_columns(pl.coalesce(category, _CATEGORY_2014).alias(category))
    return SourceTables(
        interactions,
        reviews,
        _reviewed_only(titles, reviewed, item_id),
        items,
        name=stem_of(reviews),
        item_type="product",
        columns=edition.columns,
    )


def _reviewed_only(titles: pl.LazyFrame, reviewed: pl.Series, item_id: str) -> pl.LazyFrame:
    """The products that are reviewed, as in the paper: its catalog is those of the 5-core reviews.

    The files of titles list every product of the shop.
    """

    def batches(selected: Sequence[str]) -> Iterator[pl.DataFrame]:
        frame = titles.select(list(dict.fromkeys([*selected, item_id]))).collect()
        kept = frame.filter(_id(item_id).is_in(reviewed.implode()))
        if kept.is_empty() and not frame.is_empty() and len(reviewed):
            raise DataError(
                f"none of its {frame.height} products is reviewed: the reviews name products such "
                f"as {reviewed[0]!r}, this file such as {frame[item_id][0]!r}. Expected the "
                "reviews and the titles of one category, with ids written alike."
            )
        yield kept.select(selected)

    return lazy_source(titles.collect_schema(), batches)


def _id(name: str) -> pl.Expr:
    return id_text(name, pl.String(), what="products")
