"""Examples: a history and the item that came next; windows, few-shot samples, mixed datasets."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from bigrec.data.dataset import Dataset
from bigrec.data.interactions import Interactions
from bigrec.types import IntArray


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
        if size is None or size >= len(self):
            return self
        if size < 1:
            raise ValueError(f"size is {size}: expected at least 1, or None for all examples.")
        drawn = np.random.default_rng(seed).choice(len(self), size, replace=False)
        return self.take(np.sort(drawn))


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


def mix(parts: Sequence[Sequence[TitleExample]], *, seed: int) -> list[TitleExample]:
    """All examples of several datasets in a random order, the same for the same seed."""
    together = [example for part in parts for example in part]
    return [together[place] for place in np.random.default_rng(seed).permutation(len(together))]
