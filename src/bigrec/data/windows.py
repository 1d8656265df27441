"""Earlier validation windows, cut from the training part, with training data up to their start."""

from dataclasses import replace

import numpy as np

from bigrec.data.splits import TEST, TRAIN, VALID, Split
from bigrec.errors import DataError
from bigrec.types import IntArray


def earlier_windows(split: Split, count: int, *, by_time: bool) -> list[Split]:
    """Splits whose validation part is an earlier one, just before that of the window after it.

    Args:
        split: The split, whose validation part is the last window.
        count: Number of earlier windows.
        by_time: Cut them by time, each with as many targets as the validation part (up to equal
            times, which stay together); training data are older than all of its targets.
            Otherwise a window has one training target of each user, the last that later windows do
            not have; training data are what each user had before.

    Returns:
        Oldest first. What is later than a window is in its test part. The test examples are the
        split's.

    Raises:
        DataError: If a window or what is before it has no examples.
        ValueError: If ``by_time`` is asked for without timestamps.
    """
    times = split.train.interactions.times
    if by_time and times is None:
        raise ValueError("by_time is True and there are no timestamps; expected False.")
    ages = _ages_by_user(split) if times is None or not by_time else _ages_by_time(split, times)
    return [_window(split, ages, number, count) for number in range(count, 0, -1)]


def _window(split: Split, ages: IntArray, number: int, count: int) -> Split:
    """The window ``number`` before the validation part.

    Args:
        split: The split.
        ages: For each interaction of the training part the window, counted from the last earlier
            one as 1, up to which it is training data; that of a target is validated in it.
        number: At least 1.
        count: Number of earlier windows, for the message.
    """
    is_train = split.row_splits == TRAIN
    row_splits = np.full(len(ages), TEST, dtype=np.int8)
    row_splits[is_train & (ages > number)] = TRAIN
    row_splits[is_train & (ages == number)] = VALID
    rows = split.train.rows
    train, valid = rows[ages[rows] > number], rows[ages[rows] == number]
    for name, of_part in (("training", train), ("validation", valid)):
        if not len(of_part):
            raise DataError(
                f"window {number} of {count} before the validation part has no {name} examples: "
                f"the training part has {len(rows)} in all. Use fewer windows (baselines.windows); "
                "1 is the validation part alone."
            )
    return replace(
        split,
        train=replace(split.train, rows=train),
        valid=replace(split.valid, rows=valid),
        row_splits=row_splits,
    )


def _ages_by_time(split: Split, times: IntArray) -> IntArray:
    """Windows from the end of the training part by time, 1 for the last, ``[m]``."""
    moments = times[split.train.rows]
    different, first = np.unique(moments, return_index=True)
    # Of equal times the first decides, so that they share a window.
    window_of = (len(moments) - 1 - first) // len(split.valid) + 1
    # An interaction that is no target has the window of the target before it.
    place = np.searchsorted(different, times, side="right") - 1
    return np.where(place < 0, window_of[0] + 1, window_of[np.maximum(place, 0)])


def _ages_by_user(split: Split) -> IntArray:
    """For each training target the number of the user's from it on, ``[m]``; else the largest."""
    interactions = split.train.interactions
    is_target = np.zeros(len(interactions), dtype=np.bool_)
    is_target[split.train.rows] = True
    before = np.concatenate([[0], np.cumsum(is_target)])
    ends = np.repeat(interactions.user_start[1:], np.diff(interactions.user_start))
    remaining = before[ends] - before[:-1]
    return np.where(is_target, remaining, len(interactions) + 1)
