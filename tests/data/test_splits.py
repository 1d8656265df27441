from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bigrec.data.catalog import Catalog
from bigrec.data.interactions import Interactions
from bigrec.data.repairs import Repairs
from bigrec.data.splits import (
    Split,
    split_dataset,
    split_global_time,
    split_leave_one_out,
    split_predefined,
)
from bigrec.errors import DataError
from bigrec.types import IntArray
from tests.conftest import UNTRACED

LENGTHS: Any = {"max_history_length": 10, "min_history": 1}
global_time = partial(split_global_time, max_history_length=10, min_history=1)
leave_one_out = partial(split_leave_one_out, max_history_length=10, min_history=1)
predefined = partial(split_predefined, max_history_length=10, min_history=1)

CATALOG = Catalog.from_frame(
    pl.DataFrame({"item_id": [str(item) for item in range(10)], "title": list("abcdefghij")}),
    repairs=Repairs(),
)


def make(
    users: str, times: Sequence[int] | None = None, splits: Sequence[str] | None = None
) -> Interactions:
    """One row for each letter of ``users``, with the items 0, 1, 2, ... in this order."""
    columns: dict[str, Any] = {
        "user_id": list(users),
        "item_id": [str(row % 10) for row in range(len(users))],
    }
    if times is not None:
        columns["timestamp"] = list(times)
    if splits is not None:
        columns["split"] = list(splits)
    return Interactions.from_frame(
        pl.DataFrame(columns),
        CATALOG,
        order=None if times is not None else "row",
        repairs=Repairs(),
    )


def parts(split: Split) -> list[list[int]]:
    return [part.rows.tolist() for part in (split.train, split.valid, split.test)]


def test_targets_are_cut_at_80_and_90_percent_of_time() -> None:
    # one user: row 0 has no history, the targets are rows 1 to 10
    split = global_time(make("u" * 11, range(11)))
    assert parts(split) == [list(range(1, 9)), [9], [10]]
    np.testing.assert_array_equal(split.row_splits, [0] * 9 + [1, 2])


def test_targets_of_all_users_are_sorted_by_time() -> None:
    # u: rows 0-2 at times 0, 5, 6; v: rows 3-5 at times 1, 2, 9
    split = global_time(make("uuuvvv", [0, 5, 6, 1, 2, 9]), fractions=(0.5, 0.25, 0.25))
    assert parts(split) == [[4, 1], [2], [5]]


def test_a_first_interaction_belongs_to_the_part_of_its_time() -> None:
    # v starts at time 9, the time of the validation target
    split = global_time(make("u" * 11 + "v", [*range(11), 9]))
    assert split.row_splits[-1] == 1
    # items 0 to 8 of rows 0 to 8; row 11 has item 1 again and is not counted
    np.testing.assert_array_equal(split.train_counts(10), [1] * 9 + [0])


def test_fewer_items_than_min_history_are_no_history() -> None:
    split = global_time(make("u" * 13, range(13)), min_history=3)
    assert parts(split) == [list(range(3, 11)), [11], [12]]


def test_a_history_reaches_into_earlier_parts() -> None:
    split = global_time(make("u" * 11, range(11)), max_history_length=3)
    np.testing.assert_array_equal(split.test.histories(), [[7, 8, 9]])


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        # the cut of 10 targets at 8 falls into a tie of 7 and 8: both ends are as near
        ([0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 10], [[1, 2, 3, 4, 5, 6, 7], [8, 9], [10]]),
        # into a tie of 5 to 8: its end is nearer
        ([0, 1, 2, 3, 4, 5, 6, 6, 6, 9, 10], [[1, 2, 3, 4, 5, 6, 7, 8], [9], [10]]),
    ],
)
def test_a_cut_never_separates_targets_of_one_time(
    times: list[int], expected: list[list[int]]
) -> None:
    assert parts(global_time(make("u" * 11, times))) == expected


def test_global_time_without_timestamps_is_refused() -> None:
    with pytest.raises(DataError, match=r"needs timestamps.* Use the split method 'leave_one_out'"):
        global_time(make("uuu"))


def test_a_part_without_examples_is_reported() -> None:
    with pytest.raises(DataError, match="the valid part of the split has no examples, of 2 in"):
        global_time(make("uuu", [0, 1, 2]), fractions=(0.5, 0.0, 0.5))


def test_one_time_for_all_targets_is_reported() -> None:
    with pytest.raises(DataError, match=r"the valid part .* Many targets may share one time"):
        global_time(make("u" * 11, [0] * 11))


@pytest.mark.parametrize("fractions", [(0.8, 0.1, 0.2), (1.1, -0.2, 0.1)])
def test_fractions_that_are_no_shares_are_refused(fractions: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="expected three shares that sum to 1"):
        global_time(make("uuu", [0, 1, 2]), fractions=fractions)


def test_leave_one_out_takes_each_users_last_two() -> None:
    # rows 0-3: u, row 4: w with a single one, rows 5-7: v
    split = leave_one_out(make("uuuuwvvv"))
    assert parts(split) == [[1], [2, 6], [3, 7]]
    np.testing.assert_array_equal(split.row_splits, [0, 0, 1, 2, 0, 0, 1, 2])


def test_leave_one_out_sorts_targets_by_time() -> None:
    split = leave_one_out(make("uuuuvvv", [0, 1, 2, 9, 3, 4, 5]))
    assert parts(split) == [[1], [2, 5], [6, 3]]


def test_leave_one_out_trains_on_targets_with_too_short_a_history() -> None:
    # v has two interactions before its last
    split = leave_one_out(make("uuuuuuvvv"), min_history=3)
    np.testing.assert_array_equal(split.row_splits, [0, 0, 0, 0, 1, 2, 0, 0, 0])
    assert parts(split) == [[3], [4], [5]]


def test_leave_one_out_of_short_users_is_reported() -> None:
    with pytest.raises(DataError, match=r"the train part .* take users with at least three"):
        leave_one_out(make("uuvv"))


def test_predefined_parts_are_taken() -> None:
    labels = ["train", "train", "valid", "test", "train", "test"]
    split = predefined(make("uuuuvv", splits=labels))
    assert parts(split) == [[1], [2], [3, 5]]
    np.testing.assert_array_equal(split.row_splits, [0, 0, 1, 2, 0, 2])
    np.testing.assert_array_equal(split.train_counts(10)[:6], [1, 1, 0, 0, 1, 0])


def test_a_predefined_split_that_goes_back_in_time_is_refused() -> None:
    with pytest.raises(DataError, match="user 'v' has a train interaction after a test one"):
        predefined(make("uuvv", splits=["train", "test", "test", "train"]))


def test_predefined_parts_restart_with_the_next_user() -> None:
    labels = ["train", "train", "valid", "test", "train"]
    assert len(predefined(make("uuuuv", splits=labels)).test) == 1


def test_predefined_without_a_split_column_is_refused() -> None:
    with pytest.raises(DataError, match="'predefined' needs a split column"):
        predefined(make("uuu"))


def test_a_predefined_part_without_examples_is_reported() -> None:
    with pytest.raises(DataError, match=r"the valid part .* Label interactions with it"):
        predefined(make("uuu", splits=["train", "train", "test"]))


def test_auto_takes_the_predefined_split_of_the_data() -> None:
    labels = ["train"] * 2 + ["valid", "test"]
    assert parts(split_dataset(make("uuuu", range(4), labels), method="auto", **LENGTHS)) == [
        [1],
        [2],
        [3],
    ]


def test_auto_takes_global_time_without_a_predefined_split() -> None:
    assert parts(split_dataset(make("u" * 11, range(11)), method="auto", **LENGTHS))[2] == [10]


def test_a_method_is_taken_by_name() -> None:
    made = make("uuuu", range(4), ["train", "train", "train", "test"])
    assert parts(split_dataset(made, method="leave_one_out", **LENGTHS)) == [[1], [2], [3]]


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ValueError, match="method is 'random': expected one of auto, global_time"):
        split_dataset(make("uuu"), method="random", **LENGTHS)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["global_time", "leave_one_out", "predefined"])
@pytest.mark.parametrize("name", ["max_history_length", "min_history"])
def test_lengths_below_one_are_refused(method: Any, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is 0: expected at least 1"):
        split_dataset(make("uuu"), method=method, **(LENGTHS | {name: 0}))


TABLES = st.lists(st.tuples(st.sampled_from("uvw"), st.integers(0, 12)), min_size=8, max_size=60)


def split_or_skip(table: list[tuple[str, int]], min_history: int) -> Split:
    users, times = zip(*table, strict=True)
    try:
        return global_time(
            make("".join(users), times), min_history=min_history, fractions=(0.5, 0.25, 0.25)
        )
    except DataError:
        assume(False)
        raise


def times_of(split: Split, rows: IntArray) -> IntArray:
    times = split.train.interactions.times
    assert times is not None
    return times[rows]


@UNTRACED
@given(TABLES, st.integers(1, 3))
def test_no_part_reaches_past_the_start_of_the_next(
    table: list[tuple[str, int]], min_history: int
) -> None:
    split = split_or_skip(table, min_history)
    train, valid, test = (
        times_of(split, part.rows) for part in (split.train, split.valid, split.test)
    )
    assert train.max() < valid.min()
    assert valid.max() < test.min()
    for moments in (train, valid, test):
        assert (np.diff(moments) >= 0).all()


@UNTRACED
@given(TABLES, st.integers(1, 3))
def test_no_history_holds_its_target_or_anything_later(
    table: list[tuple[str, int]], min_history: int
) -> None:
    split = split_or_skip(table, min_history)
    start = split.train.interactions.user_start
    items = split.train.interactions.items
    for part in (split.train, split.valid, split.test):
        for row, user, history in zip(part.rows, part.users, part.histories(), strict=True):
            before = items[max(start[user], row - part.max_history_length) : row]
            assert len(before) >= min(min_history, part.max_history_length)
            np.testing.assert_array_equal(history[history >= 0], before)


@UNTRACED
@given(TABLES, st.integers(1, 3))
def test_training_counts_hold_nothing_from_the_first_validation_target_on(
    table: list[tuple[str, int]], min_history: int
) -> None:
    split = split_or_skip(table, min_history)
    interactions = split.train.interactions
    first = times_of(split, split.valid.rows).min()
    earlier = times_of(split, np.arange(len(interactions))) < first
    expected = np.bincount(interactions.items[earlier], minlength=10)
    np.testing.assert_array_equal(split.train_counts(10), expected)


@UNTRACED
@given(TABLES, st.integers(1, 3))
def test_every_target_is_in_one_part(table: list[tuple[str, int]], min_history: int) -> None:
    split = split_or_skip(table, min_history)
    rows = np.concatenate([split.train.rows, split.valid.rows, split.test.rows])
    lengths = np.diff(split.train.interactions.user_start)
    assert len(rows) == len(np.unique(rows)) == np.maximum(lengths - min_history, 0).sum()
    for part, number in ((split.train, 0), (split.valid, 1), (split.test, 2)):
        assert (split.row_splits[part.rows] == number).all()


def test_training_and_validation_together_leave_the_test_as_it_is() -> None:
    split = global_time(make("a" * 11 + "b" * 2, [*range(11), 7, 8]))
    both = split.with_valid_in_train()
    assert both.test is split.test
    assert both.valid is split.valid
    assert not (both.row_splits == 1).any()
    np.testing.assert_array_equal(both.row_splits == 0, split.row_splits < 2)
    assert sorted(both.train.rows) == sorted([*split.train.rows, *split.valid.rows])
    times = both.train.interactions.times
    assert times is not None
    assert (np.diff(times[both.train.rows]) >= 0).all()


def test_training_and_validation_together_need_no_timestamps() -> None:
    split = leave_one_out(make("aaaabbbb"))
    both = split.with_valid_in_train()
    assert parts(split) == [[1, 5], [2, 6], [3, 7]]
    assert parts(both) == [[1, 2, 5, 6], [2, 6], [3, 7]]
