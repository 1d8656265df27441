"""Reading and cleaning of interaction rows, sorted by user and time."""

from collections.abc import Mapping

import numpy as np
import polars as pl

from bigrec.data.arguments import check_named
from bigrec.data.catalog import Catalog
from bigrec.data.columns import (
    Frame,
    column_names,
    lazy_frame,
    plain_text,
    require_columns,
    shown_names,
)
from bigrec.data.id_columns import (
    MISSING,
    check_exact,
    check_unrounded,
    id_text,
    loosened,
    record_placeholders,
    record_similar,
    record_spelling,
    written_text,
)
from bigrec.data.ordering import sort_rows
from bigrec.data.repairs import Repairs
from bigrec.data.times import improbable_times, whole_times
from bigrec.errors import DataError

# Default columns that may be absent.
_OPTIONAL = {"time": "timestamp", "rating": "rating", "split": "split"}
_SPLITS = {"train": 0, "valid": 1, "validation": 1, "val": 1, "dev": 1, "test": 2}
_FILE_ORDER = "row"
_IDS = ("user_id", "item_id")
_WHAT = "interactions"
_SHOWN = 5
_OTHERWISE = (
    "The ids may be written differently, or item_id=... names the wrong column in one of the two."
)


def read_interactions(
    frame: Frame,
    *,
    user_id: str,
    item_id: str,
    time: str | None,
    order: str | None,
    rating: str | None,
    split: str | None,
) -> pl.DataFrame:
    """Select the named columns, in the order of the rows.

    Returns:
        Columns ``user_id`` and ``item_id`` (text), ``written user_id`` and ``written item_id``
        (text of ids that are read otherwise, else null) and, if there are any, ``time`` and
        ``order`` (int64), ``rating`` (float32) and ``split`` (int8). Missing values are null.

    Raises:
        DataError: If a column is missing or holds invalid values, or there are no rows.
    """
    names = column_names(frame, what=_WHAT)
    by_row = order == _FILE_ORDER and order not in names
    check_named(user_id=user_id, item_id=item_id)
    named = {
        "user_id": user_id,
        "item_id": item_id,
        "time": time,
        "order": None if by_row else order,
        "rating": rating,
        "split": split,
    }
    selected = {
        option: name
        for option, name in named.items()
        if name is not None and (name in names or _OPTIONAL.get(option) != name)
    }
    require_columns(names, selected, what=_WHAT)
    if not by_row and "time" not in selected and "order" not in selected:
        raise DataError(
            "the interactions have no column that orders them; their columns are: "
            f"{shown_names(names)}. Name a timestamp with time=... or a position in the "
            f"user's history with order=..., or take the order of the rows with "
            f"order={_FILE_ORDER!r}."
        )
    rows = _collected(frame, selected)
    if rows.is_empty():
        raise DataError("the interactions have no rows: expected one row for each interaction.")
    for option in {"time", "order"} & selected.keys():
        rows = rows.with_columns(whole_times(rows[option].alias(selected[option])).alias(option))
    if by_row:
        rows = rows.with_columns(order=pl.int_range(pl.len(), dtype=pl.Int64))
    return _with_splits(_with_ratings(rows, rating), split)


def _collected(frame: Frame, selected: Mapping[str, str]) -> pl.DataFrame:
    lazy = lazy_frame(frame, selected.values(), what=_WHAT)
    schema = lazy.collect_schema()
    columns = {option: pl.col(name) for option, name in selected.items()}
    for option in {"rating", "split"} & selected.keys():
        name, dtype = selected[option], schema[selected[option]]
        if not dtype.is_numeric():
            columns[option] = plain_text(name, dtype, what=_WHAT)
    for option in _IDS:
        name, dtype = selected[option], schema[selected[option]]
        columns[option] = id_text(name, dtype, what=_WHAT)
        columns[f"written {option}"] = written_text(name, dtype, what=_WHAT)
        check_exact(lazy, name, dtype, what=_WHAT)
    rows = lazy.select(**columns).collect()
    for option in _IDS:
        check_unrounded(rows[option], selected[option], what=_WHAT)
    return rows


def clean_interactions(
    rows: pl.DataFrame,
    catalog: Catalog,
    *,
    min_rating: float | None,
    tie_seed: int,
    repairs: Repairs,
) -> pl.DataFrame:
    """Drop unusable rows, and sort by user, time and position.

    Args:
        rows: As `read_interactions` returns them.
        catalog: The items.
        min_rating: Drop interactions with a lower rating or none.
        tie_seed: Seed of the order of rows that tie.
        repairs: Records every check.

    Returns:
        Columns ``user_id``, ``item`` (number) and, if there are any, ``time``, ``rating`` and
        ``split``. Users are in the order of their first row.

    Raises:
        DataError: If no row remains.
    """
    _record_improbable_times(rows, repairs)
    for option, whose in zip(_IDS, ("user ids", "item ids"), strict=True):
        record_spelling(rows[option], rows[f"written {option}"], whose=whose, repairs=repairs)
    rows = _without_gaps(rows, repairs).drop(f"written {option}" for option in _IDS)
    record_placeholders(rows["user_id"], repairs=repairs)
    rows = _with_item_numbers(rows, catalog, repairs)
    record_similar(rows["user_id"].unique(), whose="user ids", repairs=repairs)
    if min_rating is not None:
        rows = _with_rating_from(rows, min_rating, repairs)
    return sort_rows(rows, catalog, tie_seed=tie_seed, repairs=repairs)


def _record_improbable_times(rows: pl.DataFrame, repairs: Repairs) -> None:
    if "time" not in rows:
        return
    found = improbable_times(rows["time"]).arg_true()
    examples = [f"row {row + 1}: {rows['time'][row]}" for row in found[:_SHOWN]]
    repairs.add(
        "times before 1990 or after 2100",
        len(found),
        total=rows.height,
        examples=examples,
        done="Kept, at an end of histories and of a split by time. 0 may stand for a missing one.",
    )


def _with_ratings(rows: pl.DataFrame, name: str | None) -> pl.DataFrame:
    if "rating" not in rows:
        return rows
    ratings = rows["rating"]
    if ratings.dtype == pl.String:
        ratings = ratings.str.strip_chars().replace(dict.fromkeys(MISSING))
    numbers = ratings.cast(pl.Float32, strict=False)
    wrong = (numbers.is_null() & ratings.is_not_null()).arg_true()
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"column {name!r} holds {ratings[row]!r} in row {row + 1}: expected numbers. "
            f"Wrong values: {len(wrong)} of {ratings.count()}. Correct them, name another column "
            "with rating=..., or none."
        )
    return rows.with_columns(rating=numbers)


def _with_splits(rows: pl.DataFrame, name: str | None) -> pl.DataFrame:
    if "split" not in rows:
        return rows
    labels = rows["split"].cast(pl.String).fill_null("").str.strip_chars().str.to_lowercase()
    numbers = labels.replace_strict(_SPLITS, default=None, return_dtype=pl.Int8)
    wrong = numbers.is_null().arg_true()
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"column {name!r} holds {rows['split'][row]!r} in row {row + 1}: expected "
            f"{', '.join(_SPLITS)}. Wrong values: {len(wrong)} of {rows.height}. Correct them, or "
            "name another column with split=..., or none."
        )
    return rows.with_columns(split=numbers)


def _without_gaps(rows: pl.DataFrame, repairs: Repairs) -> pl.DataFrame:
    required = {"user_id": "a user", "item_id": "an item", "time": "a time", "order": "a position"}
    total = rows.height
    for column, what in required.items():
        if column not in rows:
            continue
        if rows[column].null_count() == rows.height:
            raise DataError(
                f"no interaction has {what}: all {rows.height} values are missing. Name another "
                f"column with {column}=..."
            )
        kept = rows.filter(pl.col(column).is_not_null())
        if column != "order" or kept.height < rows.height:
            dropped = rows.filter(pl.col(column).is_null())
            repairs.add(
                f"interactions without {what}",
                dropped.height,
                total=total,
                examples=_missing_words(dropped, column),
                done="Dropped.",
            )
        rows = kept
    return rows


def _missing_words(dropped: pl.DataFrame, column: str) -> list[str]:
    """How the missing ids are written, where they are not empty, and how often."""
    if column not in _IDS:
        return []
    words = dropped[f"written {column}"].drop_nulls().value_counts(sort=True)
    return [f"{word!r}, {count} times" for word, count in words.iter_rows()]


def _with_item_numbers(rows: pl.DataFrame, catalog: Catalog, repairs: Repairs) -> pl.DataFrame:
    numbers = pl.DataFrame(
        {"item_id": catalog.item_ids, "item": np.arange(catalog.n_items, dtype=np.int32)},
        schema_overrides={"item_id": pl.String},
    )
    joined = rows.join(numbers, on="item_id", how="left", maintain_order="left")
    unknown = joined.filter(pl.col("item").is_null())["item_id"]
    kept = joined.filter(pl.col("item").is_not_null()).drop("item_id")
    alike = _written_otherwise(unknown, catalog)
    if kept.is_empty():
        raise DataError(
            f"no interaction is with an item of the catalog: the interactions name items such as "
            f"{unknown[0]!r}, the catalog such as {catalog.item_ids[0]!r}. "
            f"{alike or _OTHERWISE}"
        )
    repairs.add(
        "interactions with unknown items",
        len(unknown),
        total=rows.height,
        examples=unknown.unique(maintain_order=True).head(_SHOWN),
        done=f"Dropped: the catalog has no item with the id. {alike}".strip(),
    )
    return kept


def _written_otherwise(unknown: pl.Series, catalog: Catalog) -> str:
    """How many unknown ids the catalog writes in another way, a sentence; else empty."""
    known = pl.Series("known", catalog.item_ids, dtype=pl.String)
    pairs = pl.DataFrame([known, loosened(known).alias("loose")]).unique("loose", keep="first")
    found = pl.DataFrame([unknown.alias("unknown"), loosened(unknown).alias("loose")]).join(
        pairs, on="loose", maintain_order="left"
    )
    if found.is_empty():
        return ""
    first, other = found.select("unknown", "known").row(0)
    return (
        f"{found.height} of {len(unknown)} would be known but for case, spaces or leading zeros, "
        f"such as {first!r}, which the catalog writes {other!r}: write ids alike in both files."
    )


def _with_rating_from(rows: pl.DataFrame, min_rating: float, repairs: Repairs) -> pl.DataFrame:
    if "rating" not in rows:
        raise DataError(
            f"min_rating is {min_rating}, but the interactions have no ratings. Name their column "
            "with rating=..., or omit min_rating."
        )
    kept = rows.filter(pl.col("rating") >= min_rating, pl.col("rating").is_not_nan())
    if kept.is_empty():
        highest = rows["rating"].fill_nan(None).max()
        raise DataError(
            "no interaction has a rating: all are missing. Name their column with rating=..., or "
            "omit min_rating."
            if highest is None
            else f"no interaction is rated {min_rating} or higher: the highest rating is "
            f"{highest!r}. Lower min_rating."
        )
    repairs.add(
        f"interactions rated below {min_rating}",
        rows.height - kept.height,
        total=rows.height,
        done="Dropped because of min_rating.",
    )
    return kept
