"""Interactions made by hand."""

from collections.abc import Sequence

import numpy as np

from bigrec.data.interactions import Interactions
from bigrec.types import BoolArray

N = 8
"""Items of `ring`."""


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


def ring() -> Interactions:
    """Users who walk a ring of items, daily: item i is always followed by i + 1, the last by 0."""
    histories = [[(start + step) % N for step in range(9)] for start in range(N)]
    return interactions(*histories, times=[86_400 * step for step in range(9)] * N)


def all_rows(of: Interactions) -> BoolArray:
    """A mask that makes all interactions training interactions."""
    return np.ones(len(of), dtype=bool)
