"""Leak-free splits of interactions into training, validation and test examples."""

from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np

from bigrec.data.arguments import check_type, check_whole
from bigrec.data.examples import Examples
from bigrec.data.interactions import Interactions
from bigrec.data.row_blocks import lexsorted
from bigrec.errors import DataError
from bigrec.types import BoolArray, IntArray

SplitMethod = Literal["auto", "global_time", "leave_one_out", "predefined"]

_NAMES = ("train", "valid", "test")
TRAIN, VALID, TEST = range(3)
_PAPER = (0.8, 0.1, 0.1)


@dataclass(frozen=True, eq=False)
class Split:
    """Examples of each part. A history may reach into earlier parts, never into later ones.

    Attributes:
        train: Training examples.
        valid: Validation examples.
        test: Test examples.
        row_splits: ``[m]`` int8 part of every interaction, target or not: 0 train, 1 valid, 2 test.
    """

    train: Examples
    valid: Examples
    test: Examples
    row_splits: IntArray = field(repr=False)

    def train_counts(self, n_items: int) -> IntArray:
        """Number of training interactions of each item, ``[n_items]`` int64."""
        items = self.train.interactions.items[self.row_splits == TRAIN]
        return np.bincount(items, minlength=n_items)

    def with_valid_in_train(self) -> "Split":
        """The split whose training part is training and validation; its other examples stay."""
        examples = self.train
        is_train = np.zeros(len(self.row_splits), dtype=np.bool_)
        is_train[examples.rows] = is_train[self.valid.rows] = True
        rows = _in_time_order(is_train, examples.interactions)
        row_splits = np.where(self.row_splits == VALID, TRAIN, self.row_splits)
        return replace(self, train=replace(examples, rows=rows), row_splits=row_splits)


def split_dataset(
    interactions: Interactions,
    *,
    method: SplitMethod,
    max_history_length: int,
    min_history: int,
    fractions: tuple[float, float, float] = _PAPER,
) -> Split:
    """Split interactions by the given method.

    Args:
        interactions: Interactions to split.
        method: ``auto`` is the predefined split if the data has one, else global time.
        max_history_length: Longest history in items.
        min_history: Fewest items before a target.
        fractions: Shares of the three parts, for global time.

    Raises:
        DataError: If the method does not fit the data or leaves a part empty.
        TypeError: If an argument is of another type.
        ValueError: If an argument is out of range.
    """
    check_type(
        interactions, Interactions, name="interactions", cure="Pass the interactions of a dataset."
    )
    if method not in get_args(SplitMethod):
        raise ValueError(
            f"method is {method!r}: expected one of {', '.join(get_args(SplitMethod))}."
        )
    if method == "auto":
        method = "global_time" if interactions.splits is None else "predefined"
    if method == "predefined":
        return split_predefined(
            interactions, max_history_length=max_history_length, min_history=min_history
        )
    if method == "leave_one_out":
        return split_leave_one_out(
            interactions, max_history_length=max_history_length, min_history=min_history
        )
    return split_global_time(
        interactions,
        max_history_length=max_history_length,
        min_history=min_history,
        fractions=fractions,
    )


def split_global_time(
    interactions: Interactions,
    *,
    max_history_length: int,
    min_history: int,
    fractions: tuple[float, float, float] = _PAPER,
) -> Split:
    """Sort all targets by time and cut them, 80/10/10 as in the paper.

    Every training interaction is earlier than every validation target, and every validation
    interaction earlier than every test target. An interaction that is no target belongs to the
    part of its time.

    Args:
        interactions: Interactions to split, with timestamps.
        max_history_length: Longest history in items.
        min_history: Fewest items before a target.
        fractions: Shares of the three parts.

    Raises:
        DataError: If there are no timestamps, or a part has no examples.
        ValueError: If an argument is out of range.
    """
    _check_lengths(max_history_length, min_history)
    if len(fractions) != 3 or min(fractions) < 0 or not np.isclose(sum(fractions), 1):
        raise ValueError(f"fractions are {fractions}: expected three shares that sum to 1.")
    times = interactions.times
    if times is None:
        raise DataError(
            "a split by global time needs timestamps, and these interactions have only an order. "
            "Use the split method 'leave_one_out', or 'predefined' with a split column."
        )
    is_target = _has_history(interactions, min_history)
    moments = times[is_target]
    moments.sort()
    first_valid, first_test = np.cumsum(fractions)[:2]
    row_splits = np.zeros(len(interactions), dtype=np.int8)
    for share in (first_valid, first_test):
        cut = _cut(moments, share)
        if cut < len(moments):
            row_splits += times >= moments[cut]
    del moments
    return _split(
        interactions,
        is_target,
        row_splits,
        max_history_length=max_history_length,
        advice="Many targets may share one time: use finer timestamps, other fractions, a lower "
        "min_history or another split method.",
    )


def split_leave_one_out(
    interactions: Interactions, *, max_history_length: int, min_history: int
) -> Split:
    """Test on each user's last interaction, validate on the last but one, train on the others.

    Training includes interactions of other users after the test target, unlike in a service that
    predicts the future. Global time has no such leak.

    Args:
        interactions: Interactions to split.
        max_history_length: Longest history in items.
        min_history: Fewest items before a target. Interactions with fewer are training data.

    Raises:
        DataError: If a part has no examples.
        ValueError: If an argument is out of range.
    """
    _check_lengths(max_history_length, min_history)
    is_target = _has_history(interactions, min_history)
    row_splits = np.zeros(len(interactions), dtype=np.int8)
    last = interactions.user_start[1:] - 1
    # For a user with one interaction this is another user's last, which the next line corrects.
    row_splits[np.maximum(last - 1, 0)] = VALID
    row_splits[last] = TEST
    row_splits[~is_target] = TRAIN
    return _split(
        interactions,
        is_target,
        row_splits,
        max_history_length=max_history_length,
        advice="Use longer histories: lower min_history, or take users with at least three "
        "interactions.",
    )


def split_predefined(
    interactions: Interactions, *, max_history_length: int, min_history: int
) -> Split:
    """Take the split of the data.

    Args:
        interactions: Interactions to split, with a predefined split.
        max_history_length: Longest history in items.
        min_history: Fewest items before a target.

    Raises:
        DataError: If there is no predefined split, it goes back in time for a user, or a part has
            no examples.
        ValueError: If an argument is out of range.
    """
    _check_lengths(max_history_length, min_history)
    labels = interactions.splits
    if labels is None:
        raise DataError(
            "the split method 'predefined' needs a split column, and these interactions have "
            "none. Name it with split=..., or use 'global_time' or 'leave_one_out'."
        )
    goes_back = np.append(False, labels[1:] < labels[:-1])
    goes_back[interactions.user_start[:-1]] = False
    backwards = np.flatnonzero(goes_back)
    if len(backwards):
        row = int(backwards[0])
        user = interactions.user_ids[int(interactions.users()[row])]
        raise DataError(
            f"the predefined split goes back in time: user {user!r} has a {_NAMES[labels[row]]} "
            f"interaction after a {_NAMES[labels[row - 1]]} one ({len(backwards)} such places in "
            "all). Expected train, then valid, then test within each user. Correct the labels, or "
            "use another split method."
        )
    return _split(
        interactions,
        _has_history(interactions, min_history),
        labels.astype(np.int8),
        max_history_length=max_history_length,
        advice="Label interactions with it, or lower min_history.",
    )


def _check_lengths(max_history_length: int, min_history: int) -> None:
    for name, value in (
        ("max_history_length", max_history_length),
        ("min_history", min_history),
    ):
        check_whole(value, name=name)
        if value < 1:
            raise ValueError(f"{name} is {value}: expected at least 1.")


def _has_history(interactions: Interactions, min_history: int) -> BoolArray:
    """Whether the user has at least so many earlier interactions, ``[m]``."""
    has_history = np.ones(len(interactions), dtype=np.bool_)
    starts, ends = interactions.user_start[:-1], interactions.user_start[1:]
    for position in range(min(min_history, int((ends - starts).max(initial=0)))):
        rows = starts + position
        has_history[rows[rows < ends]] = False
    return has_history


def _cut(moments: IntArray, share: float) -> int:
    """Position at which to cut sorted times so that ``share`` of them are before it.

    The paper's code cuts at the share even between equal times, so that targets of the same second
    may be in training and test. Here the cut moves to the nearer end of such a tie.
    """
    # Rounded, because 0.8 + 0.1 is slightly below 0.9 in floating point.
    cut = int(round(share * len(moments), 6))
    if cut in (0, len(moments)):
        return cut
    low, high = (int(np.searchsorted(moments, moments[cut], side)) for side in ("left", "right"))
    return low if cut - low <= high - cut else high


def _split(
    interactions: Interactions,
    is_target: BoolArray,
    row_splits: IntArray,
    *,
    max_history_length: int,
    advice: str,
) -> Split:
    def part(number: int) -> Examples:
        rows = _in_time_order(is_target & (row_splits == number), interactions)
        if not len(rows):
            raise DataError(
                f"the {_NAMES[number]} part of the split has no examples, of {is_target.sum()} in "
                f"all. {advice}"
            )
        return Examples(interactions, rows, max_history_length)

    return Split(part(TRAIN), part(VALID), part(TEST), row_splits)


def _in_time_order(mask: BoolArray, interactions: Interactions) -> IntArray:
    """Rows by time, those of one time in their order; as they are without timestamps.

    Args:
        mask: ``[m]`` the rows.
        interactions: Their interactions.
    """
    rows = np.flatnonzero(mask)
    if interactions.times is None:
        return rows
    return lexsorted([interactions.times], rows=rows)
