"""Examples of a history and the next item: few-shot samples, windows and mixed datasets."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from bigrec.data.dataset import Dataset
from bigrec.data.interactions import Interactions
from bigrec.types import BoolArray, IntArray


@dataclass(frozen=True, slots=True)
class TitleExample:
    """An example in titles, as the language model reads it.

    Attributes:
        history: Titles, oldest first.
        target: Title of the next item.
        item_type: Name of one item in the prompt.
    """

    history: tuple[str, ...]
    target: str
    item_type: str

    @property
    def titles(self) -> tuple[str, ...]:
        """The history and the target."""
        return (*self.history, self.target)


@dataclass(frozen=True, eq=False)
class Examples:
    """``m`` examples, stored as the rows of their targets in the interactions.

    Attributes:
        interactions: Interactions of the histories and targets.
        rows: ``[m]`` row number of every target, in time order.
        max_history_length: Longest history in items.
    """

    interactions: Interactions
    rows: IntArray = field(repr=False)
    max_history_length: int

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def targets(self) -> IntArray:
        """Item number of every target, ``[m]``."""
        return self.interactions.items[self.rows]

    @property
    def users(self) -> IntArray:
        """User number of every example, ``[m]``."""
        return np.searchsorted(self.interactions.user_start, self.rows, side="right") - 1

    def histories(self) -> IntArray:
        """Item numbers before every target, ``[m, max_history_length]``.

        Returns:
            Oldest first, padded with -1 on the left.
        """
        history_rows = self.rows[:, None] + np.arange(-self.max_history_length, 0)
        starts = self.interactions.user_start[self.users]
        # Negative rows are clipped to be valid indices, and masked below.
        items = self.interactions.items[np.maximum(history_rows, 0)]
        return np.where(history_rows >= starts[:, None], items, np.int32(-1))

    def sample(self, size: int | None, *, seed: int) -> Self:
        """Draw examples without replacement, in their time order.

        Args:
            size: Number of examples; None, or more than there are, takes all.
            seed: Seed of the sample.

        Raises:
            ValueError: If ``size`` is below 1.
        """
        return replace(self, rows=self.rows[_sample_positions(len(self), size, seed=seed)])


def title_examples(examples: Examples, dataset: Dataset) -> list[TitleExample]:
    """Examples in titles.

    Args:
        examples: Examples of the dataset's interactions.
        dataset: Source of titles and item type.
    """
    titles = dataset.catalog.titles
    return [
        TitleExample(
            history=tuple(titles[item] for item in history if item >= 0),
            target=titles[target],
            item_type=dataset.item_type,
        )
        for history, target in zip(
            examples.histories().tolist(), examples.targets.tolist(), strict=True
        )
    ]


def all_position_windows(
    interactions: Interactions, train: BoolArray, *, window: int
) -> list[IntArray]:
    """Cut each user's training interactions into non-overlapping windows for all-position targets.

    With the loss on every title, a window reads each title once and trains on it once. Examples
    with a history each would read it again for every target. A user's last window may be shorter;
    a single remaining interaction is dropped.

    Args:
        interactions: Interactions to cut.
        train: Whether an interaction is in the training split, ``[m]``.
        window: Titles in a window, at least 2.

    Returns:
        Row numbers of each window, oldest first, in the order of users.

    Raises:
        ValueError: If ``window`` is below 2 or ``train`` has another length.
    """
    if window < 2:
        raise ValueError(f"window is {window}: expected at least 2, a history and a target.")
    if train.shape != interactions.items.shape:
        raise ValueError(
            f"train has shape {train.shape}: expected one value for each of the "
            f"{len(interactions)} interactions."
        )
    rows = np.flatnonzero(train)
    windows = (
        user_rows[start : start + window]
        for user_rows in np.split(rows, np.searchsorted(rows, interactions.user_start[1:-1]))
        for start in range(0, len(user_rows), window)
    )
    return [window_rows for window_rows in windows if len(window_rows) >= 2]


def sample_windows(windows: Sequence[IntArray], size: int | None, *, seed: int) -> list[IntArray]:
    """Draw windows without replacement, in their order.

    Few-shot budgets compare by titles: an example with a history of 10 has 11 titles, so ``N``
    examples are as large a budget as ``N`` windows of 11.

    Args:
        windows: Windows to draw from.
        size: Number of windows; None, or more than there are, takes all.
        seed: Seed of the sample.

    Raises:
        ValueError: If ``size`` is below 1.
    """
    return [windows[position] for position in _sample_positions(len(windows), size, seed=seed)]


def window_examples(windows: Sequence[IntArray], dataset: Dataset) -> list[TitleExample]:
    """Windows in titles: the last title is the target, the others are the history.

    Args:
        windows: Row numbers of the dataset's interactions, at least two in each window.
        dataset: Source of titles and item type.
    """
    titles, items = dataset.catalog.titles, dataset.interactions.items
    window_titles = ([titles[item] for item in items[rows].tolist()] for rows in windows)
    return [
        TitleExample(history=tuple(history), target=target, item_type=dataset.item_type)
        for *history, target in window_titles
    ]


def mix(parts: Sequence[Sequence[TitleExample]], *, seed: int) -> list[TitleExample]:
    """Concatenate and shuffle the examples of several datasets."""
    examples = [example for part in parts for example in part]
    order = np.random.default_rng(seed).permutation(len(examples))
    return [examples[position] for position in order]


def _sample_positions(count: int, size: int | None, *, seed: int) -> IntArray:
    """Ascending positions of a sample without replacement, ``[min(size, count)]``."""
    if size is None or size >= count:
        return np.arange(count)
    if size < 1:
        raise ValueError(f"size is {size}: expected at least 1, or None for all.")
    return np.sort(np.random.default_rng(seed).choice(count, size, replace=False))
