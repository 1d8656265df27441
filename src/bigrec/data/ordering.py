"""The order of interactions: by user and time, ties of time at random or as the data says."""

import numpy as np
import polars as pl

from bigrec.data.catalog import Catalog
from bigrec.data.repairs import Repairs
from bigrec.printable import get_logger
from bigrec.types import BoolArray, IntArray

logger = get_logger(__name__)

# Neighbors in ties that follow the ids are told from this share and this many standard errors on.
_TOLD_SHARE, _TOLD_ERRORS = 0.6, 4


def sort_rows(
    rows: pl.DataFrame, catalog: Catalog, *, tie_seed: int, repairs: Repairs
) -> pl.DataFrame:
    """Sort interactions by user, time and position, and drop repeats.

    Interactions of a user at one time, and at one position if there are any, are in a random order:
    that of the file is often that of the items, which a sequential model would learn.

    Args:
        rows: Columns ``user_id``, ``item`` (number), ``time`` or ``order`` or both (int64) and, if
            known, ``rating`` and ``split``. Training rows come before others of their tie.
        catalog: The items.
        tie_seed: Seed of the random order.
        repairs: Records every check.

    Returns:
        The rows without ``order``. Users are in the order of their first row.
    """
    ids = rows["user_id"].unique(maintain_order=True)
    numbers = pl.DataFrame({"user_id": ids, "user": np.arange(len(ids), dtype=np.int32)})
    joined = rows.select("user_id").join(numbers, on="user_id", how="left", maintain_order="left")
    users = joined["user"].to_numpy()
    keys = [rows[name].to_numpy() for name in ("order", "time") if name in rows]
    _record_disorder(users, keys[-1], repairs)
    order = np.lexsort((*keys, users))
    items, moments = rows["item"].to_numpy(), keys[-1]
    is_repeat = _repeats(users[order], moments[order], items[order])
    repairs.add(
        "duplicate interactions",
        int(is_repeat.sum()),
        total=rows.height,
        examples=(
            f"user {ids[int(users[row])]}, item {catalog.item_ids[items[row]]}, {moments[row]}"
            for row in order[is_repeat]
        ),
        done="Dropped, except the first of the same user, item and time.",
    )
    order = order[~is_repeat]
    _record_ties(rows[order], catalog, tie_seed=tie_seed, repairs=repairs)
    return rows[_with_shuffled_ties(order, rows, [users, *keys], tie_seed)].select(
        pl.exclude("order")
    )


def _with_shuffled_ties(
    order: IntArray, rows: pl.DataFrame, keys: list[IntArray], tie_seed: int
) -> IntArray:
    """A sorted order with rows of equal keys in a random one, training rows first."""
    starts = _starts(*(key[order] for key in keys))
    tied = np.flatnonzero(_tied(starts))
    splits = rows["split"].to_numpy()[order[tied]] if "split" in rows else np.zeros(len(tied))
    chance = np.random.default_rng(tie_seed).random(len(tied))
    shuffled = order.copy()
    shuffled[tied] = order[tied[np.lexsort((chance, splits, np.cumsum(starts)[tied]))]]
    return shuffled


def _record_ties(rows: pl.DataFrame, catalog: Catalog, *, tie_seed: int, repairs: Repairs) -> None:
    """Record how many sorted rows tie, and whether their order follows the items."""
    what = "time" if "time" in rows else "order"
    is_kept = what == "time" and "order" in rows
    items = rows["item"].to_numpy()
    # The runs of users, since their ids are text.
    starts = _starts(rows["user_id"].rle_id().to_numpy(), rows[what].to_numpy())
    repairs.add(
        "interactions tied in time" if what == "time" else "interactions tied in their position",
        int(_tied(starts).sum()),
        total=rows.height,
        done="In the order of their positions."
        if is_kept
        else f"In a random order (tie_seed {tie_seed}), not that of the file.",
    )
    second = np.flatnonzero(~starts)
    follow, is_told = _following(items[second - 1], items[second], catalog)
    if is_told and is_kept:
        note = (
            "Kept in the given order, which is that of the items: a sequential model learns the "
            "sorting. Without order=... ties are in a random order."
        )
        logger.warning(
            "%s of %s interactions that tie with the one before follow the order of the items, "
            "which a sequential model learns. Without order=... ties are in a random order.",
            follow,
            len(second),
        )
    elif is_told:
        note = "The file is sorted by item where times tie, so the order of ties is random instead."
    else:
        note = "About half is chance."
    repairs.add("ties in item order", follow, total=len(second), done=note)


def _following(first: IntArray, second: IntArray, catalog: Catalog) -> tuple[int, bool]:
    """Pairs of items in the order of their ids or of the catalog, and whether by more than chance.

    Either order may be descending.
    """
    counts = [0]
    for positions in (np.arange(catalog.n_items), _id_positions(catalog.item_ids)):
        ascending = int((positions[first] < positions[second]).sum())
        counts += [ascending, len(first) - ascending]
    follow = max(counts)
    expected, error = len(first) / 2, np.sqrt(len(first)) / 2
    told = follow >= _TOLD_SHARE * len(first) and follow > expected + _TOLD_ERRORS * error
    return follow, bool(told)


def _id_positions(item_ids: list[str]) -> IntArray:
    """Position of every id among the sorted ones; as numbers, if all are."""
    ids = pl.Series(item_ids)
    numbers = ids.cast(pl.Int64, strict=False)
    return (ids if numbers.null_count() else numbers).rank("ordinal").to_numpy()


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
    starts = _starts(users, moments)
    tied = np.flatnonzero(_tied(starts))
    moment = np.cumsum(starts)[tied]
    order = np.lexsort((items[tied], moment))
    first, second = tied[order][:-1], tied[order][1:]
    repeated = (items[first] == items[second]) & (np.diff(moment[order]) == 0)
    is_repeat = np.zeros(len(users), dtype=bool)
    is_repeat[second[repeated]] = True
    return is_repeat


def _starts(*keys: IntArray) -> BoolArray:
    """Whether a row differs in a key from the row before it, ``[m]``."""
    starts = np.ones(len(keys[0]), dtype=bool)
    starts[1:] = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    return starts


def _tied(starts: BoolArray) -> BoolArray:
    """Whether a row is in a group of several, ``[m]``."""
    alone: BoolArray = starts & np.append(starts[1:], True)
    return ~alone
