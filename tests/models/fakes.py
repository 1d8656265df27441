"""Interactions made by hand."""

from collections.abc import Sequence

import numpy as np

from bigrec.data.interactions import Interactions
from bigrec.types import BoolArray


def interactions(*histories: Sequence[int], times: Sequence[int] | None = None) -> Interactions:
    """One user for each history of item numbers, oldest first."""
    lengths = [len(history) for history in histories]
    return Interactions(
        user_ids=[f"u{user}" for user in range(len(histories))],
        user_start=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        items=np.concatenate([np.array(history, dtype=np.int32) for history in histories]),
        times=None if times is None else np.array(times, dtype=np.int64),
        ratings=None,
        splits=None,
    )


def every_row(of: Interactions) -> BoolArray:
    """A mask that learns from everything."""
    return np.ones(len(of), dtype=bool)
