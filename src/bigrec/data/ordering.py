"""The order of interactions: by user and time, ties of time at random or as the data says."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import polars as pl

from bigrec.data.catalog import Catalog
from bigrec.data.repairs import Repairs
from bigrec.data.row_blocks import blocks_of, counts_of, lexsorted
from bigrec.printable import get_logger
from bigrec.types import BoolArray, IntArray

logger = get_logger(__name__)

# Neighbors in ties that follow the ids are told from this share and this many standard errors on.
_TOLD_SHARE, _TOLD_ERRORS = 0.6, 4
_SHOWN = 5
# Rows of the users that are sorted together; unsorted rows are searched for at most so many times.
_ROWS_AT_A_TIME, _MOST_TURNS = 1 << 20, 64


def sorted_order(
    columns: Mapping[str, IntArray],
    catalog: Catalog,
    *,
    user_ids: pl.Series,
    tie_seed: int,
    repairs: Repairs,
) -> IntArray:
    """The order of interactions by user, time and position, without repeats.

    Interactions of a user at one time, and at one position if there are any, are in a random order:
    that of the file is often that of the items, which a sequential model would learn. Some users
    are sorted at a time, which bounds the memory beside the order.

    Args:
        columns: ``[m]`` ``user`` and ``item`` (numbers), ``time`` or ``order`` or both (whole
            numbers) and, if known, ``split``. Training rows come before others of their tie.
        catalog: The items.
        user_ids: ``[u]`` ids of the users, in the order of their first row.
        tie_seed: Seed of the random order.
        repairs: Records every check.

    Returns:
        ``[m - repeats]`` rows, uint32 if these hold all.
    """
    n_rows = len(columns["user"])
    order: IntArray = np.empty(n_rows, dtype=np.uint32 if n_rows <= 1 << 32 else np.int64)
    names = [name for name in ("order", "time") if name in columns]
    sorter = _Sorter(catalog, what=names[-1], rng=np.random.default_rng(tie_seed))
    n_sorted = 0
    for rows in _rows_by_user(columns["user"], len(user_ids)):
        of_users = {name: values[rows] for name, values in columns.items()}
        ordered = rows[sorter.order(of_users, names, user_ids)]
        order[n_sorted : n_sorted + len(ordered)] = ordered
        n_sorted += len(ordered)
    sorter.record(repairs, is_kept=len(names) == 2, tie_seed=tie_seed)
    return order[:n_sorted]


def _rows_by_user(users: IntArray, n_users: int) -> Iterator[IntArray]:
    """Row numbers of some users after the other, each time in the order of the rows."""
    ends = np.cumsum(counts_of(users, n_users))
    n_rows = len(users)
    is_sorted = all(
        (users[rows][1:] >= users[rows][:-1]).all()
        and (rows.start == 0 or users[rows.start - 1] <= users[rows.start])
        for rows in blocks_of(n_rows)
    )
    per_turn = max(_ROWS_AT_A_TIME, -(-n_rows // _MOST_TURNS))
    first = 0
    while first < n_users:
        start = int(ends[first - 1]) if first else 0
        stop = max(first + 1, int(np.searchsorted(ends, start + per_turn, side="right")))
        if is_sorted:
            yield np.arange(start, ends[stop - 1])
        else:
            found = [
                rows.start + np.flatnonzero((users[rows] >= first) & (users[rows] < stop))
                for rows in blocks_of(n_rows)
            ]
            yield np.concatenate(found)
        first = stop


class _Sorter:
    """Sorts the rows of some users after the other, and counts what is to be recorded.

    Args:
        catalog: The items.
        what: The column that decides on ties and repeats: ``time`` or ``order``.
        rng: Source of the random order of ties.
    """

    def __init__(self, catalog: Catalog, *, what: str, rng: np.random.Generator) -> None:
        self._catalog = catalog
        self._what = what
        self._rng = rng
        self._positions = [np.arange(catalog.n_items), _id_positions(catalog.item_ids)]
        self._ascending = [0, 0]
        self._n_rows = self._n_earlier = self._n_repeats = self._n_tied = self._n_second = 0
        self._repeats: list[str] = []

    def order(
        self, columns: Mapping[str, IntArray], names: Sequence[str], user_ids: pl.Series
    ) -> IntArray:
        """Positions of the rows in their order, without repeats.

        Args:
            columns: The columns of all rows of some users, in the order of the rows.
            names: Those that order them, the first key last.
            user_ids: Ids of all users.
        """
        users, items, moments = columns["user"], columns["item"], columns[self._what]
        keys = [columns[name] for name in names]
        order = lexsorted([users])
        earlier = (moments[order][1:] < moments[order][:-1]) & (
            users[order][1:] == users[order][:-1]
        )
        n_earlier = int(earlier.sum())
        if n_earlier or len(keys) > 1:
            order = lexsorted([*keys, users])
        is_repeat = _repeats(users[order], moments[order], items[order])
        for row in order[is_repeat][: _SHOWN - len(self._repeats)]:
            item_id = self._catalog.item_ids[items[row]]
            self._repeats.append(
                f"user {user_ids[int(users[row])]}, item {item_id}, {moments[row]}"
            )
        order = order[~is_repeat]
        self._n_rows += len(users)
        self._n_earlier += n_earlier
        self._n_repeats += len(users) - len(order)
        self._count_ties(users[order], moments[order], items[order])
        return self._with_shuffled_ties(order, [users, *keys], columns.get("split"))

    def _count_ties(self, users: IntArray, moments: IntArray, items: IntArray) -> None:
        starts = _starts(users, moments)
        self._n_tied += int(_tied(starts).sum())
        second = np.flatnonzero(~starts)
        self._n_second += len(second)
        for number, positions in enumerate(self._positions):
            ascends = positions[items[second - 1]] < positions[items[second]]
            self._ascending[number] += int(ascends.sum())

    def _with_shuffled_ties(
        self, order: IntArray, keys: Sequence[IntArray], splits: IntArray | None
    ) -> IntArray:
        """A sorted order with rows of equal keys in a random one, training rows first."""
        starts = _starts(*(key[order] for key in keys))
        tied = np.flatnonzero(_tied(starts))
        parts = np.zeros(len(tied)) if splits is None else splits[order[tied]]
        chance = self._rng.random(len(tied))
        shuffled = order.copy()
        shuffled[tied] = order[tied[np.lexsort((chance, parts, np.cumsum(starts)[tied]))]]
        return shuffled

    def record(self, repairs: Repairs, *, is_kept: bool, tie_seed: int) -> None:
        """Record what was found in all rows.

        Args:
            repairs: Records the checks.
            is_kept: Whether ties are in the order of positions.
            tie_seed: Seed of their random order.
        """
        repairs.add(
            "interactions out of order",
            self._n_earlier,
            total=self._n_rows,
            done="Sorted: the row is earlier in time than the user's preceding row.",
        )
        repairs.add(
            "duplicate interactions",
            self._n_repeats,
            total=self._n_rows,
            examples=self._repeats,
            done="Dropped, except the first of the same user, item and time.",
        )
        in_what = "time" if self._what == "time" else "their position"
        repairs.add(
            f"interactions tied in {in_what}",
            self._n_tied,
            total=self._n_rows - self._n_repeats,
            done="In the order of their positions."
            if is_kept
            else f"In a random order (tie_seed {tie_seed}), not that of the file.",
        )
        follow, is_told = _following(self._ascending, self._n_second)
        if is_told and is_kept:
            note = (
                "Kept in the given order, which is that of the items: a sequential model learns "
                "the sorting. Without order=... ties are in a random order."
            )
            logger.warning(
                "%s of %s interactions that tie with the one before follow the order of the "
                "items, which a sequential model learns. Without order=... ties are in a random "
                "order.",
                follow,
                self._n_second,
            )
        elif is_told:
            note = (
                "The file is sorted by item where times tie, so the order of ties is random "
                "instead."
            )
        else:
            note = "About half is chance."
        repairs.add("ties in item order", follow, total=self._n_second, done=note)


def _following(ascending: Sequence[int], n_pairs: int) -> tuple[int, bool]:
    """Pairs of items in the order of their ids or of the catalog, and whether by more than chance.

    Args:
        ascending: Pairs that ascend in either order, which may also be descending.
        n_pairs: Number of pairs.
    """
    follow = max(0, *ascending, *(n_pairs - count for count in ascending))
    expected, error = n_pairs / 2, np.sqrt(n_pairs) / 2
    told = follow >= _TOLD_SHARE * n_pairs and follow > expected + _TOLD_ERRORS * error
    return follow, bool(told)


def _id_positions(item_ids: list[str]) -> IntArray:
    """Position of every id among the sorted ones; as numbers, if all are."""
    ids = pl.Series(item_ids)
    numbers = ids.cast(pl.Int64, strict=False)
    return (ids if numbers.null_count() else numbers).rank("ordinal").to_numpy()


def _repeats(users: IntArray, moments: IntArray, items: IntArray) -> BoolArray:
    """Whether a row repeats the user, moment and item of an earlier one, ``[m]``.

    Rows are sorted by user and moment.
    """
    starts = _starts(users, moments)
    tied = np.flatnonzero(_tied(starts))
    moment = np.cumsum(starts, dtype=np.int64)[tied]
    order = lexsorted([items[tied], moment])
    first, second = tied[order][:-1], tied[order][1:]
    repeated = (items[first] == items[second]) & (np.diff(moment[order]) == 0)
    is_repeat = np.zeros(len(users), dtype=bool)
    is_repeat[second[repeated]] = True
    return is_repeat


def _starts(*keys: IntArray) -> BoolArray:
    """Whether a row differs in a key from the row before it, ``[m]``."""
    starts = np.ones(len(keys[0]), dtype=np.bool_)
    starts[1:] = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    return starts


def _tied(starts: BoolArray) -> BoolArray:
    """Whether a row is in a group of several, ``[m]``."""
    alone: BoolArray = starts & np.append(starts[1:], True)
    return ~alone
