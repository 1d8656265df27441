"""Earlier validation windows: no later interaction is used before them."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigrec.data.splits import TRAIN, VALID, split_global_time, split_leave_one_out
from bigrec.data.windows import earlier_windows
from bigrec.errors import DataError
from tests.data.test_splits import make, parts

global_time = partial(split_global_time, max_history_length=3, min_history=1)
leave_one_out = partial(split_leave_one_out, max_history_length=3, min_history=1)


def test_windows_are_as_large_as_the_validation_part_and_directly_before_it() -> None:
    # One user: row 0 has no history, the targets are rows 1 to 20.
    split = global_time(make("a" * 21, list(range(21))))
    assert parts(split)[1:] == [[17, 18], [19, 20]]
    older, newer = earlier_windows(split, 2, by_time=True)
    assert parts(newer) == [list(range(1, 15)), [15, 16], [19, 20]]
    assert parts(older) == [list(range(1, 13)), [13, 14], [19, 20]]
    assert np.flatnonzero(older.row_splits == TRAIN).tolist() == list(range(13))
    assert np.flatnonzero(older.row_splits == VALID).tolist() == [13, 14]


def test_none_are_cut_where_none_are_asked_for() -> None:
    assert earlier_windows(global_time(make("a" * 21, list(range(21)))), 0, by_time=True) == []


def test_without_time_a_window_has_one_target_of_each_user() -> None:
    split = leave_one_out(make("aaaaabbbbc"))
    assert parts(split) == [[1, 2, 6], [3, 7], [4, 8]]
    (window,) = earlier_windows(split, 1, by_time=False)
    assert parts(window) == [[1], [2, 6], [4, 8]]
    # First interactions, which are no targets, stay; so does the user with nothing else.
    assert np.flatnonzero(window.row_splits == TRAIN).tolist() == [0, 1, 5, 9]


def test_a_user_with_too_few_targets_is_not_in_an_older_window() -> None:
    split = leave_one_out(make("aaaaaabbbb"))
    assert parts(split)[0] == [1, 2, 3, 7]
    older, _ = earlier_windows(split, 2, by_time=False)
    assert parts(older)[:2] == [[1], [2]]
    assert np.flatnonzero(older.row_splits == TRAIN).tolist() == [0, 1, 6]


@given(
    times=st.lists(st.integers(0, 12), min_size=30, max_size=60),
    users=st.integers(1, 4),
    count=st.integers(1, 3),
)
def test_nothing_in_a_window_or_after_it_is_trained_on(
    times: list[int], users: int, count: int
) -> None:
    try:
        split = global_time(make("".join("abcd"[n % users] for n in range(len(times))), times))
        windows = earlier_windows(split, count, by_time=True)
    except DataError:
        return
    of_rows = split.train.interactions.times
    assert of_rows is not None
    following = split.valid
    for window in reversed(windows):
        trained, validated = window.row_splits == TRAIN, window.valid.rows
        assert of_rows[trained].max() < of_rows[validated].min()
        assert of_rows[validated].max() < of_rows[following.rows].min()
        assert trained[window.train.rows].all()
        assert (split.row_splits[validated] == TRAIN).all()
        following = window.valid


def test_more_windows_than_there_are_examples_are_refused() -> None:
    split = global_time(make("a" * 21, list(range(21))))
    with pytest.raises(
        DataError,
        match=r"window 8 of 8 before the validation part has no training examples: .* 16 in all\. "
        r"Use fewer windows \(baselines\.windows\)",
    ):
        earlier_windows(split, 8, by_time=True)
    # Without timestamps the same holds for targets of users.
    with pytest.raises(DataError, match=r"window 9 of 9 .* has no"):
        earlier_windows(leave_one_out(make("aaaaabbbb")), 9, by_time=False)


def test_time_needs_timestamps() -> None:
    with pytest.raises(ValueError, match="by_time is True and there are no timestamps"):
        earlier_windows(leave_one_out(make("aaaa")), 1, by_time=True)
