"""Cleaning of interaction rows, sorted by user and time."""

import numpy as np
import polars as pl

from bigrec.data.catalog import Catalog
from bigrec.data.columns import Frame, id_text, lazy_frame, require_columns
from bigrec.data.repairs import Repairs
from bigrec.data.times import whole_times
from bigrec.errors import DataError
from bigrec.types import BoolArray, IntArray

# Default columns that may be absent.
_OPTIONAL = {"time": "timestamp", "rating": "rating", "split": "split"}
_SPLITS = {"train": 0, "valid": 1, "validation": 1, "val": 1, "dev": 1, "test": 2}
_FILE_ORDER = "row"


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
        Columns ``user_id`` and ``item_id`` (text) and, if there are any, ``time`` and ``order``
        (int64), ``rating`` (float32) and ``split`` (int8). Missing values are null.

    Raises:
        DataError: If a column is missing or holds invalid values, or there are no rows.
    """
    lazy = lazy_frame(frame, what="interactions")
    schema = lazy.collect_schema()
    by_row = order == _FILE_ORDER and order not in schema
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
        if name is not None and (name in schema or _OPTIONAL.get(option) != name)
    }
    require_columns(schema, selected, what="interactions")
    if not by_row and "time" not in selected and "order" not in selected:
        raise DataError(
            "the interactions have no column that orders them; their columns are: "
            f"{', '.join(schema)}. Name a timestamp with time=... or a position in the user's "
            f"history with order=..., or take the order of the rows with order={_FILE_ORDER!r}."
        )
    columns = {option: pl.col(name) for option, name in selected.items()}
    for option in ("user_id", "item_id"):
        columns[option] = id_text(selected[option], schema[selected[option]], what="interactions")
    rows = lazy.select(**columns).collect()
    if rows.is_empty():
        raise DataError("the interactions have no rows: expected one row for each interaction.")
    for option in {"time", "order"} & selected.keys():
        rows = rows.with_columns(whole_times(rows[option].alias(selected[option])).alias(option))
    if by_row:
        rows = rows.with_columns(order=pl.int_range(pl.len(), dtype=pl.Int64))
    return _with_splits(_with_ratings(rows, rating), split)


def clean_interactions(
    rows: pl.DataFrame, catalog: Catalog, *, min_rating: float | None, repairs: Repairs
) -> pl.DataFrame:
    """Drop unusable rows, and sort by user, time and input order.

    Args:
        rows: As `read_interactions` returns them.
        catalog: The items.
        min_rating: Drop interactions with a lower rating or none.
        repairs: Records every check.

    Returns:
        The rows with the item number ``item`` instead of ``item_id``, and without ``order``. Users
        are in the order of their first row.

    Raises:
        DataError: If no row remains.
    """
    rows = _without_gaps(rows, repairs)
    rows = _with_item_numbers(rows, catalog, repairs)
    if min_rating is not None:
        rows = _with_rating_from(rows, min_rating, repairs)
    return _sorted(rows, catalog, repairs)


def _with_ratings(rows: pl.DataFrame, name: str | None) -> pl.DataFrame:
    if "rating" not in rows:
        return rows
    numbers = rows["rating"].cast(pl.Float32, strict=False)
    wrong = numbers.is_null() & rows["rating"].is_not_null()
    if wrong.any():
        raise DataError(
            f"column {name!r} holds {rows['rating'].filter(wrong)[0]!r}: expected numbers as "
            "ratings. Name another column with rating=..., or none."
        )
    return rows.with_columns(rating=numbers)


def _with_splits(rows: pl.DataFrame, name: str | None) -> pl.DataFrame:
    if "split" not in rows:
        return rows
    labels = rows["split"].cast(pl.String).fill_null("").str.strip_chars().str.to_lowercase()
    numbers = labels.replace_strict(_SPLITS, default=None, return_dtype=pl.Int8)
    if numbers.null_count():
        raise DataError(
            f"column {name!r} holds {rows['split'].filter(numbers.is_null())[0]!r}: expected "
            f"{', '.join(_SPLITS)}. Correct it, or name another column with split=..., or none."
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
            repairs.add(
                f"interactions without {what}",
                rows.height - kept.height,
                total=total,
                done="Dropped.",
            )
        rows = kept
    return rows


def _with_item_numbers(rows: pl.DataFrame, catalog: Catalog, repairs: Repairs) -> pl.DataFrame:
    numbers = pl.DataFrame(
        {"item_id": catalog.item_ids, "item": np.arange(catalog.n_items, dtype=np.int32)},
        schema_overrides={"item_id": pl.String},
    )
    joined = rows.join(numbers, on="item_id", how="left", maintain_order="left")
    unknown = joined.filter(pl.col("item").is_null())["item_id"].unique(maintain_order=True)
    kept = joined.filter(pl.col("item").is_not_null()).drop("item_id")
    if kept.is_empty():
        raise DataError(
            f"no interaction is with an item of the catalog: the interactions name items such as "
            f"{unknown[0]!r}, the catalog such as {catalog.item_ids[0]!r}. The ids may be written "
            "differently, or item_id=... names the wrong column in one of the two."
        )
    repairs.add(
        "interactions with unknown items",
        rows.height - kept.height,
        total=rows.height,
        examples=unknown.head(5),
        done="Dropped: the catalog has no item with the id.",
    )
    return kept


def _with_rating_from(rows: pl.DataFrame, min_rating: float, repairs: Repairs) -> pl.DataFrame:
    if "rating" not in rows:
        raise DataError(
            f"min_rating is {min_rating}, but the interactions have no ratings. Name their column "
            "with rating=..., or omit min_rating."
        )
    kept = rows.filter(pl.col("rating") >= min_rating, pl.col("rating").is_not_nan())
    if kept.is_empty():
        raise DataError(
            f"no interaction is rated {min_rating} or higher: the highest rating is "
            f"{rows['rating'].fill_nan(None).max()!r}. Lower min_rating."
        )
    repairs.add(
        f"interactions rated below {min_rating}",
        rows.height - kept.height,
        total=rows.height,
        done="Dropped because of min_rating.",
    )
    return kept


def _sorted(rows: pl.DataFrame, catalog: Catalog, repairs: Repairs) -> pl.DataFrame:
    ids = rows["user_id"].unique(maintain_order=True)
    numbers = pl.DataFrame({"user_id": ids, "user": np.arange(len(ids), dtype=np.int32)})
    joined = rows.select("user_id").join(numbers, on="user_id", how="left", maintain_order="left")
    users = joined["user"].to_numpy()
    keys = [rows[name].to_numpy() for name in ("order", "time") if name in rows]
    _record_disorder(users, keys[-1], repairs)
    order = np.lexsort((*keys, users))
    rows = rows[order]
    items, moments, users = rows["item"].to_numpy(), keys[-1][order], users[order]
    is_repeat = _repeats(users, moments, items)
    repairs.add(
        "duplicate interactions",
        int(is_repeat.sum()),
        total=rows.height,
        examples=(
            f"user {ids[int(users[row])]}, item {catalog.item_ids[items[row]]}, {moments[row]}"
            for row in np.flatnonzero(is_repeat)
        ),
        done="Dropped, except the first of the same user, item and time.",
    )
    kept = rows.filter(~is_repeat) if is_repeat.any() else rows
    return kept.select(pl.exclude("order"))


def _record_disorder(users: IntArray, moments: IntArray, repairs: Repairs) -> None:
    order = np.argsort(users, kind="stable")
    same_user = users[order][1:] == users[order][:-1]
    earlier = moments[order][1:] < moments[order][:-1]
    repairs.add(
        "interactions out of order",
        int((same_user & earlier).sum()),
        total=len(users),
        done="Sorted: the row is earlier in time than the user's preceding row.",
    )


def _repeats(users: IntArray, moments: IntArray, items: IntArray) -> BoolArray:
    """Whether a row repeats the user, moment and item of an earlier one, ``[m]``.

    Rows are sorted by user and moment.
    """
    new_moment = np.ones(len(users), dtype=bool)
    new_moment[1:] = (users[1:] != users[:-1]) | (moments[1:] != moments[:-1])
    is_untied = new_moment & np.append(new_moment[1:], True)
    tied = np.flatnonzero(~is_untied)
    moment = np.cumsum(new_moment)[tied]
    order = np.lexsort((items[tied], moment))
    first, second = tied[order][:-1], tied[order][1:]
    repeated = (items[first] == items[second]) & (np.diff(moment[order]) == 0)
    is_repeat = np.zeros(len(users), dtype=bool)
    is_repeat[second[repeated]] = True
    return is_repeat
