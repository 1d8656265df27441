"""Splits of interactions into training, validation and test examples without leaks."""

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from bigrec.data.examples import Examples
from bigrec.data.interactions import Interactions
from bigrec.errors import DataError
from bigrec.types import IntArray

SplitMethod = Literal["auto", "global_time", "leave_one_out", "given"]

_NAMES = ("train", "valid", "test")
TRAIN, VALID, TEST = range(3)
_PUBLISHED = (0.8, 0.1, 0.1)


@dataclass(frozen=True, eq=False)
class Split:
    """Examples of each part. The history of one may reach into an earlier part, never a later.

    Attributes:
        train: Examples to learn from.
        valid: Examples to choose by.
        test: Examples to report.
        row_splits: ``[m]`` int8 part of every interaction, target or not: 0 train, 1 valid, 2 test.
    """

    train: Examples
    valid: Examples
    test: Examples
    row_splits: IntArray = field(repr=False)

    def train_counts(self, n_items: int) -> IntArray:
        """How often each item occurs in the training part, ``[n_items]`` int64."""
        items = self.train.interactions.items[self.row_splits == TRAIN]
        return np.bincount(items, minlength=n_items)


def split_dataset(
    interactions: Interactions,
    *,
    method: SplitMethod = "auto",
    history_length: int = 10,
    min_history: int = 1,
    fractions: tuple[float, float, float] = _PUBLISHED,
) -> Split:
    """Split by the method named.

    Args:
        interactions: What to split.
        method: ``auto`` takes the labels of the data where there are any, else global time.
        history_length: Most items of a history.
        min_history: Fewest items before a target.
        fractions: Of global time: shares of the three parts.

    Raises:
        DataError: If the method does not fit the data or leaves a part empty.
        ValueError: If an argument is out of range.
    """
    if method not in get_args(SplitMethod):
        raise ValueError(
            f"method is {method!r}: expected one of {', '.join(get_args(SplitMethod))}"
        )
    if method == "auto":
        method = "global_time" if interactions.splits is None else "given"
    if method == "given":
        return split_given(interactions, history_length=history_length, min_history=min_history)
    if method == "leave_one_out":
        return split_leave_one_out(
            interactions, history_length=history_length, min_history=min_history
        )
    return split_global_time(
        interactions,
        history_length=history_length,
        min_history=min_history,
        fractions=fractions,
    )


def split_global_time(
    interactions: Interactions,
    *,
    history_length: int = 10,
    min_history: int = 1,
    fractions: tuple[float, float, float] = _PUBLISHED,
) -> Split:
    """Sort all targets by time and cut them, as published 80/10/10.

    Everything trained on is earlier than everything validated on, and that than every test target.
    An interaction that is no target belongs to the part its time falls in.

    Args:
        interactions: What to split; timestamps are needed.
        history_length: Most items of a history.
        min_history: Fewest items before a target.
        fractions: Shares of the three parts.

    Raises:
        DataError: If there are no timestamps, or a part has no examples.
        ValueError: If an argument is out of range.
    """
    _check_lengths(history_length, min_history)
    if len(fractions) != 3 or min(fractions) < 0 or not np.isclose(sum(fractions), 1):
        raise ValueError(f"fractions are {fractions}: expected three shares that sum to 1.")
    times = interactions.times
    if times is None:
        raise DataError(
            "a split by global time needs timestamps, and these interactions have only an order. "
            "Use the split method 'leave_one_out', or 'given' with a split column."
        )
    targets = np.flatnonzero(_positions(interactions) >= min_history)
    moments = np.sort(times[targets])
    first_valid, first_test = np.cumsum(fractions)[:2]
    row_splits = np.zeros(len(interactions), dtype=np.int8)
    for share in (first_valid, first_test):
        cut = _cut(moments, share)
        if cut < len(moments):
            row_splits += times >= moments[cut]
    return _split(
        interactions,
        targets,
        row_splits,
        history_length=history_length,
        advice="Many targets may share one time: use finer timestamps, other fractions, a lower "
        "min_history or another split method.",
    )


def split_leave_one_out(
    interactions: Interactions, *, history_length: int = 10, min_history: int = 1
) -> Split:
    """Each user's last interaction is a test target, the last but one validates, others train.

    Other users' later interactions are trained on, so it is no picture of a service that predicts
    the future; for that use global time.

    Args:
        interactions: What to split.
        history_length: Most items of a history.
        min_history: Fewest items before a target; an interaction with fewer is trained on.

    Raises:
        DataError: If a part has no examples.
        ValueError: If an argument is out of range.
    """
    _check_lengths(history_length, min_history)
    is_target = _positions(interactions) >= min_history
    row_splits = np.zeros(len(interactions), dtype=np.int8)
    last = interactions.user_start[1:] - 1
    # The row before a user's only one is another user's last, which the next line corrects.
    row_splits[np.maximum(last - 1, 0)] = VALID
    row_splits[last] = TEST
    row_splits[~is_target] = TRAIN
    return _split(
        interactions,
        np.flatnonzero(is_target),
        row_splits,
        history_length=history_length,
        advice="Use longer histories: lower min_history, or take users with at least three "
        "interactions.",
    )


def split_given(
    interactions: Interactions, *, history_length: int = 10, min_history: int = 1
) -> Split:
    """Take the parts that the data names.

    Args:
        interactions: What to split; labels are needed.
        history_length: Most items of a history.
        min_history: Fewest items before a target.

    Raises:
        DataError: If there are no labels, a user's labels go back in time, or a part has no
            examples.
        ValueError: If an argument is out of range.
    """
    _check_lengths(history_length, min_history)
    labels = interactions.splits
    if labels is None:
        raise DataError(
            "the split method 'given' needs a column of labels, and these interactions have none. "
            "Name it with split=..., or use 'global_time' or 'leave_one_out'."
        )
    positions = _positions(interactions)
    backwards = np.flatnonzero((np.diff(labels) < 0) & (positions[1:] > 0)) + 1
    if len(backwards):
        row = int(backwards[0])
        user = interactions.user_ids[int(interactions.users()[row])]
        raise DataError(
            f"the given split goes back in time: user {user!r} has a {_NAMES[labels[row]]} "
            f"interaction after a {_NAMES[labels[row - 1]]} one ({len(backwards)} such places in "
            "all). Expected train, then valid, then test within each user. Correct the labels, or "
            "use another split method."
        )
    return _split(
        interactions,
        np.flatnonzero(positions >= min_history),
        labels.astype(np.int8),
        history_length=history_length,
        advice="Label some interactions so, or lower min_history.",
    )


def _check_lengths(history_length: int, min_history: int) -> None:
    for name, value in (("history_length", history_length), ("min_history", min_history)):
        if value < 1:
            raise ValueError(f"{name} is {value}: expected at least 1.")


def _positions(interactions: Interactions) -> IntArray:
    """How many interactions of the same user come before each."""
    starts = np.repeat(interactions.user_start[:-1], np.diff(interactions.user_start))
    return np.arange(len(interactions)) - starts


def _cut(moments: IntArray, share: float) -> int:
    """Where to cut sorted times so that ``share`` of them lie before.

    The published code cuts at the share whatever the times are, so that targets of the same second
    can be trained on and tested. Here the cut moves to the nearer end of such a tie.
    """
    # Rounded first: 0.8 + 0.1 is a little below 0.9.
    cut = int(round(share * len(moments), 6))
    if cut in (0, len(moments)):
        return cut
    low, high = (int(np.searchsorted(moments, moments[cut], side)) for side in ("left", "right"))
    return low if cut - low <= high - cut else high


def _split(
    interactions: Interactions,
    targets: IntArray,
    row_splits: IntArray,
    *,
    history_length: int,
    advice: str,
) -> Split:
    def part(number: int) -> Examples:
        rows = targets[row_splits[targets] == number]
        if not len(rows):
            raise DataError(
                f"the {_NAMES[number]} part of the split has no examples, of {len(targets)} in "
                f"all. {advice}"
            )
        if interactions.times is not None:
            rows = rows[np.argsort(interactions.times[rows], kind="stable")]
        return Examples(interactions, rows, history_length)

    return Split(part(TRAIN), part(VALID), part(TEST), row_splits)
