"""Cleaning of interaction rows: unusable ones are dropped, the others sorted by user and time."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from bigrec.data.catalog import Catalog
from bigrec.data.coded_ids import IdTexts
from bigrec.data.id_columns import (
    are_placeholders,
    loosened,
    record_similar,
    record_spelling,
)
from bigrec.data.interaction_rows import InteractionRows
from bigrec.data.ordering import sorted_order
from bigrec.data.repairs import Repairs
from bigrec.data.row_blocks import counts_of, first_rows, recode
from bigrec.data.times import improbable_times
from bigrec.errors import DataError
from bigrec.types import BoolArray, IntArray

_SHOWN = 5
_OTHERWISE = (
    "The ids may be written differently, or item_id=... names the wrong column in one of the two."
)


def clean_interactions(
    rows: InteractionRows,
    catalog: Catalog,
    *,
    min_rating: float | None,
    tie_seed: int,
    repairs: Repairs,
) -> pl.Series:
    """Drop unusable rows, and sort by user, time and position, in place.

    Afterwards ``user`` holds the numbers of users in the order of their first rows, ``item`` those
    of the catalog, and ``time``, if there is one, is a column like any other.

    Args:
        rows: The rows.
        catalog: The items.
        min_rating: Drop interactions with a lower rating or none.
        tie_seed: Seed of the order of rows that tie.
        repairs: Records every check.

    Returns:
        Ids of the users, ``[u]``.

    Raises:
        DataError: If no row remains.
    """
    _record_improbable_times(rows, repairs)
    for name, texts in (("user", rows.users), ("item", rows.items)):
        record_spelling(
            texts.ids,
            texts.respelled,
            whose=f"{name} ids",
            repairs=repairs,
            counts=counts_of(rows.columns[name], len(texts)),
            total=len(rows),
        )
    kept = _without_gaps(rows, repairs)
    _record_placeholders(rows, kept, repairs)
    _number_items(rows, kept, catalog, repairs)
    has_rows = counts_of(rows.columns["user"], len(rows.users), mask=kept) > 0
    record_similar(
        rows.users.ids.filter(has_rows).unique(maintain_order=True),
        whose="user ids",
        repairs=repairs,
    )
    if min_rating is not None:
        _drop_rated_below(min_rating, rows, kept, repairs)
    for name in list(rows.times):
        rows.columns[name] = rows.times.pop(name).fill_null(0).to_numpy()
    if not kept.all():
        rows.take(kept)
    del kept
    user_ids = _number_users(rows)
    order = sorted_order(
        rows.columns, catalog, user_ids=user_ids, tie_seed=tie_seed, repairs=repairs
    )
    rows.columns.pop("order", None)
    rows.take(order)
    return user_ids


def _record_improbable_times(rows: InteractionRows, repairs: Repairs) -> None:
    times = rows.times.get("time")
    if times is None:
        return
    found = improbable_times(times).arg_true()
    examples = [f"row {row + 1}: {times[row]}" for row in found[:_SHOWN]]
    repairs.add(
        "times before 1990 or after 2100",
        len(found),
        total=len(rows),
        examples=examples,
        done="Kept, at an end of histories and of a split by time. 0 may stand for a missing one.",
    )


def _without_gaps(rows: InteractionRows, repairs: Repairs) -> BoolArray:
    """Whether a row has a user, an item and what orders it, ``[m]``."""
    kept = np.ones(len(rows), dtype=np.bool_)
    for option, what, missing in _gaps(rows):
        dropped = kept & missing
        n_dropped = int(dropped.sum())
        if n_dropped == (n_rows := int(kept.sum())):
            raise DataError(
                f"no interaction has {what}: all {n_rows} values are missing. Name another "
                f"column with {option}=..."
            )
        if option != "order" or n_dropped:
            repairs.add(
                f"interactions without {what}",
                n_dropped,
                total=len(rows),
                examples=_missing_words(rows, option, dropped),
                done="Dropped.",
            )
        kept &= ~missing
    return kept


def _gaps(rows: InteractionRows) -> Iterator[tuple[str, str, BoolArray]]:
    """Each required column, what it holds, and where that is missing, ``[m]``."""
    for name, what, texts in (("user", "a user", rows.users), ("item", "an item", rows.items)):
        # The last value is that of rows without any text.
        missing = np.append(texts.ids.is_null().to_numpy(), True)
        yield f"{name}_id", what, missing[rows.columns[name]]
    for option, what in (("time", "a time"), ("order", "a position")):
        if option in rows.times:
            yield option, what, rows.times[option].is_null().to_numpy()


def _missing_words(rows: InteractionRows, option: str, dropped: BoolArray) -> list[str]:
    """How the missing ids are written, where they are not empty, and how often."""
    texts = {"user_id": rows.users, "item_id": rows.items}.get(option)
    if texts is None or not dropped.any():
        return []
    counts = counts_of(rows.columns[option.removesuffix("_id")], len(texts), mask=dropped)
    words = pl.DataFrame([texts.respelled.alias("word"), pl.Series("count", counts)])
    words = words.filter(pl.col("count") > 0).drop_nulls("word")
    words = words.sort("count", descending=True, maintain_order=True)
    return [f"{word!r}, {count} times" for word, count in words.head(_SHOWN).iter_rows()]


def _record_placeholders(rows: InteractionRows, kept: BoolArray, repairs: Repairs) -> None:
    """Record interactions of users whose id may stand for an unknown one."""
    suspects = are_placeholders(rows.users.ids).to_numpy()
    ids, counts = _by_first_row(rows.users, rows.columns["user"], suspects, kept)
    repairs.add(
        "users named as if unknown",
        int(counts.sum()),
        total=int(kept.sum()),
        examples=ids.unique(maintain_order=True).head(_SHOWN),
        done="Interactions of theirs, kept, each name as one user. Remove them if nobody is meant.",
    )


def _by_first_row(
    texts: IdTexts, codes: IntArray, chosen: BoolArray, kept: BoolArray
) -> tuple[pl.Series, IntArray]:
    """Chosen ids that have kept rows, in the order of the first of these, and the number of rows.

    An id that was written in several ways occurs several times.
    """
    if not chosen.any():
        return texts.ids.clear(), np.zeros(0, dtype=np.int64)
    counts = counts_of(codes, len(texts), mask=kept)
    first = first_rows(codes, len(texts), mask=kept)
    found = np.flatnonzero(chosen & (counts > 0))
    found = found[np.argsort(first[found])]
    return texts.ids.gather(found), counts[found]


def _number_items(
    rows: InteractionRows, kept: BoolArray, catalog: Catalog, repairs: Repairs
) -> None:
    """Replace the codes of items by their numbers, and drop rows with others."""
    known = pl.DataFrame(
        {"id": catalog.item_ids, "item": np.arange(catalog.n_items, dtype=np.int32)},
        schema_overrides={"id": pl.String},
    )
    joined = (
        rows.items.ids.alias("id")
        .to_frame()
        .join(known, on="id", how="left", maintain_order="left")
    )
    numbers = joined["item"].fill_null(-1).to_numpy()
    unknown, counts = _by_first_row(rows.items, rows.columns["item"], numbers < 0, kept)
    n_rows = int(kept.sum())
    recode(rows.columns["item"], numbers)
    kept &= rows.columns["item"] >= 0
    alike = _written_otherwise(unknown, counts, catalog)
    if not kept.any():
        raise DataError(
            f"no interaction is with an item of the catalog: the interactions name items such as "
            f"{unknown[0]!r}, the catalog such as {catalog.item_ids[0]!r}. "
            f"{alike or _OTHERWISE}"
        )
    repairs.add(
        "interactions with unknown items",
        int(counts.sum()),
        total=n_rows,
        examples=unknown.unique(maintain_order=True).head(_SHOWN),
        done=f"Dropped: the catalog has no item with the id. {alike}".strip(),
    )


def _written_otherwise(unknown: pl.Series, counts: IntArray, catalog: Catalog) -> str:
    """How many unknown ids the catalog writes in another way, a sentence; else empty.

    Args:
        unknown: Ids.
        counts: Rows of each.
        catalog: The items.
    """
    known = pl.Series("known", catalog.item_ids, dtype=pl.String)
    pairs = pl.DataFrame([known, loosened(known).alias("loose")]).unique("loose", keep="first")
    ids = pl.DataFrame(
        [unknown.alias("unknown"), loosened(unknown).alias("loose"), pl.Series("count", counts)]
    )
    found = ids.join(pairs, on="loose", maintain_order="left")
    if found.is_empty():
        return ""
    first, other = found.select("unknown", "known").row(0)
    return (
        f"{found['count'].sum()} of {counts.sum()} would be known but for case, spaces or leading "
        f"zeros, such as {first!r}, which the catalog writes {other!r}: write ids alike in both "
        "files."
    )


def _drop_rated_below(
    min_rating: float, rows: InteractionRows, kept: BoolArray, repairs: Repairs
) -> None:
    ratings = rows.ratings
    if ratings is None:
        raise DataError(
            f"min_rating is {min_rating}, but the interactions have no ratings. Name their column "
            "with rating=..., or omit min_rating."
        )
    n_rows = int(kept.sum())
    rated = ratings[kept]
    # False for those that are missing.
    kept &= ratings >= min_rating
    n_kept = int(kept.sum())
    if not n_kept:
        rated = rated[~np.isnan(rated)]
        raise DataError(
            "no interaction has a rating: all are missing. Name their column with rating=..., or "
            "omit min_rating."
            if not len(rated)
            else f"no interaction is rated {min_rating} or higher: the highest rating is "
            f"{float(rated.max())!r}. Lower min_rating."
        )
    repairs.add(
        f"interactions rated below {min_rating}",
        n_rows - n_kept,
        total=n_rows,
        done="Dropped because of min_rating.",
    )


def _number_users(rows: InteractionRows) -> pl.Series:
    """Number users in the order of their first rows, in place, and give their ids, ``[u]``."""
    codes = rows.columns["user"]
    frame = pl.DataFrame(
        [rows.users.ids.alias("id"), pl.Series("first", first_rows(codes, len(rows.users)))]
    ).with_row_index("code")
    frame = frame.filter(pl.col("first") < len(codes)).sort("first")
    users = frame.select(pl.col("id").unique(maintain_order=True)).with_row_index("user")
    numbered = frame.join(users, on="id", maintain_order="left")
    numbers = np.full(len(rows.users), -1, dtype=np.int32)
    numbers[numbered["code"].to_numpy()] = numbered["user"].to_numpy()
    recode(codes, numbers)
    return users["id"]
