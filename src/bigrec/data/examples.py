"""Examples: a history and the item that came next; windows, few-shot samples, mixed datasets."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from bigrec.data.dataset import Dataset
from bigrec.data.interactions import Interactions
from bigrec.types import BoolArray, IntArray


@dataclass(frozen=True, slots=True)
class TitleExample:
    """An example in words, as the language model sees it.

    Attributes:
        history: Titles, oldest first.
        target: Title of the item that came next.
        noun: What the dataset calls a title.
    """

    history: tuple[str, ...]
    target: str
    noun: str


@dataclass(frozen=True, eq=False)
class Examples:
    """Targets by their place in the interactions; histories are looked up when asked for.

    Attributes:
        interactions: What the examples are cut from.
        rows: ``[m]`` row number of every target, in time order.
        history_length: Most items of a history.
    """

    interactions: Interactions
    rows: IntArray = field(repr=False)
    history_length: int

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
        """Item numbers before every target, ``[m, history_length]``.

        Returns:
            Oldest first and next to the target last; -1 on the left where a history is shorter.
        """
        places = self.rows[:, None] + np.arange(-self.history_length, 0)
        starts = self.interactions.user_start[self.users]
        # Clipped only to stay inside the array: what is clipped is masked.
        items = self.interactions.items[np.maximum(places, 0)]
        return np.where(places >= starts[:, None], items, np.int32(-1))

    def history(self, i: int) -> IntArray:
        """Item numbers before one target, oldest first, without padding."""
        row = int(self.rows[i])
        start = int(self.interactions.user_start[self.users[i]])
        return self.interactions.items[max(start, row - self.history_length) : row].copy()

    def take(self, positions: IntArray) -> Self:
        """Some of the examples, in the order of ``positions``."""
        return replace(self, rows=self.rows[positions])

    def sample(self, size: int | None, *, seed: int) -> Self:
        """Draw examples without replacement; their time order stays.

        Args:
            size: How many; None, or as many as there are or more, takes all.
            seed: The same seed draws the same examples.

        Raises:
            ValueError: If ``size`` is below 1.
        """
        return self.take(_drawn(len(self), size, seed=seed))


def title_examples(examples: Examples, dataset: Dataset) -> list[TitleExample]:
    """Examples in words.

    Args:
        examples: Cut from the dataset's interactions.
        dataset: Gives titles and noun.
    """
    titles = dataset.catalog.titles
    return [
        TitleExample(
            history=tuple(titles[item] for item in history if item >= 0),
            target=titles[target],
            noun=dataset.noun,
        )
        for history, target in zip(
            examples.histories().tolist(), examples.targets.tolist(), strict=True
        )
    ]


def dense_windows(
    interactions: Interactions, train: BoolArray, *, window: int = 20
) -> list[IntArray]:
    """Each user's training interactions in order, cut into windows that do not overlap.

    With the loss on every title, each of them is a target exactly once and is read exactly once;
    examples with a history each read it again for every target. A user's last window may be
    shorter; where a single interaction would be left for it, that one is left out.

    Args:
        interactions: What to cut.
        train: Which interactions are in the training split, ``[m]``.
        window: Titles in a window, at least 2.

    Returns:
        Row numbers of the interactions of each window, oldest first; users in their order.

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
    users = np.split(rows, np.searchsorted(rows, interactions.user_start[1:-1]))
    windows = (own[i : i + window] for own in users for i in range(0, len(own), window))
    return [one for one in windows if len(one) >= 2]


def sample_windows(windows: Sequence[IntArray], size: int | None, *, seed: int) -> list[IntArray]:
    """Draw windows without replacement; their order stays.

    The few-shot budget is comparable title by title: an example with a history of 10 holds 11
    titles, so a budget of ``N`` examples reads as much as ``N`` windows of 11.

    Args:
        windows: What to draw from.
        size: How many; None, or as many as there are or more, takes all.
        seed: The same seed draws the same windows.

    Raises:
        ValueError: If ``size`` is below 1.
    """
    return [windows[place] for place in _drawn(len(windows), size, seed=seed)]


def window_examples(windows: Sequence[IntArray], dataset: Dataset) -> list[TitleExample]:
    """Windows in words: the last title of each is the target, those before are the history.

    Args:
        windows: Row numbers of the dataset's interactions, at least two in each.
        dataset: Gives items, titles and noun.
    """
    titles, items = dataset.catalog.titles, dataset.interactions.items
    written = ([titles[item] for item in items[rows].tolist()] for rows in windows)
    return [
        TitleExample(history=tuple(history), target=target, noun=dataset.noun)
        for *history, target in written
    ]


def mix(parts: Sequence[Sequence[TitleExample]], *, seed: int) -> list[TitleExample]:
    """All examples of several datasets in a random order, the same for the same seed."""
    together = [example for part in parts for example in part]
    return [together[place] for place in np.random.default_rng(seed).permutation(len(together))]


def _drawn(count: int, size: int | None, *, seed: int) -> IntArray:
    """Ascending places of what is drawn without replacement."""
    if size is None or size >= count:
        return np.arange(count)
    if size < 1:
        raise ValueError(f"size is {size}: expected at least 1, or None for all.")
    return np.sort(np.random.default_rng(seed).choice(count, size, replace=False))
