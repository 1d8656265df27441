"""Item co-occurrence: items that users interacted with shortly before or after one another."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
from scipy.sparse import coo_array, csr_array

from bigrec.data.interactions import Interactions
from bigrec.models.base import history_rows, load_signal, save_signal, training_rows
from bigrec.models.scaling import minmax
from bigrec.types import BoolArray, FloatArray, IntArray

_KIND = "cooccurrence"


@dataclass(frozen=True, slots=True, eq=False)
class Cooccurrence:
    """Scores an item by how often it stands near the items of a history.

    With ``C_ij`` the number of times that items i and j are at most ``window`` places apart in a
    user's training interactions, and ``f_i`` the training interactions of item i::

        score_j = sum over the history's items i of decay^age_i * C_ij / (f_i f_j)^alpha

    Attributes:
        window: Most places between two items that count as a pair, at least 1.
        decay: Weight of a history's last but one item, beside 1 for the last, and so on; in (0, 1].
        alpha: How much frequent items are held back, in [0, 1]: 0 leaves the counts as they are,
            1/2 makes them cosines.
    """

    window: int
    decay: float
    alpha: float
    # [n, n] float32, symmetric, C_ij / (f_i f_j)^alpha
    _pairs: csr_array = field(repr=False)

    @classmethod
    def fit(
        cls,
        interactions: Interactions,
        *,
        train: BoolArray,
        n_items: int,
        window: int = 10,
        decay: float = 0.8,
        alpha: float = 0.5,
    ) -> Self:
        """Count pairs. An item that follows itself is no pair.

        Memory follows the number of different pairs, at most ``2 * window`` per interaction.

        Args:
            interactions: All interactions.
            train: Which of them to learn from, ``[m]``.
            n_items: Items of the catalog.
            window: See the class.
            decay: See the class.
            alpha: See the class.

        Raises:
            DataError: If no row is left.
            ValueError: If an argument is out of range.
        """
        if window < 1:
            raise ValueError(f"window is {window}; expected at least 1.")
        if not 0 < decay <= 1:
            raise ValueError(f"decay is {decay}; expected more than 0 and at most 1.")
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha is {alpha}; expected 0 to 1.")
        users, items = training_rows(interactions, train, n_items=n_items)
        pairs = _count_pairs(users, items, n_items=n_items, window=window)
        frequencies = np.bincount(items, minlength=n_items).astype(np.float64)
        # An item without interactions is in no pair, so it never divides by its 0.
        held_back = np.maximum(frequencies, 1) ** -alpha
        rows = np.repeat(np.arange(n_items), np.diff(pairs.indptr))
        pairs.data = (pairs.data * held_back[rows] * held_back[pairs.indices]).astype(np.float32)
        return cls(window, decay, alpha, pairs)

    @property
    def name(self) -> str:
        """What the signal is called in tables."""
        return "co-occurrence"

    @property
    def n_items(self) -> int:
        """Items that are scored, ``n``."""
        return int(self._pairs.shape[0])

    def scores(self, histories: Sequence[IntArray]) -> FloatArray:
        """Scores of all items; see the class.

        Args:
            histories: Item numbers of each query, oldest first; -1 is padding.

        Returns:
            ``[q, n]`` float32, at least 0, higher is better; all 0 for an empty history.

        Raises:
            ValueError: If an item number is out of range.
        """
        starts, items, ages = history_rows(histories, n_items=self.n_items)
        weights = (self.decay**ages).astype(np.float32)
        recent = csr_array((weights, items, starts), shape=(len(histories), self.n_items))
        return np.asarray((recent @ self._pairs).toarray())

    def weights(self, histories: Sequence[IntArray]) -> FloatArray:
        """Weights for the injection: the scores of every query scaled to [0, 1], ``[q, n]``."""
        return minmax(self.scores(histories))

    def save(self, folder: Path) -> None:
        """Write the signal to a folder of its own, whole or not at all.

        Raises:
            StorageError: If the folder cannot be written.
        """
        settings = {"window": self.window, "decay": self.decay, "alpha": self.alpha}
        arrays = {
            "values": self._pairs.data,
            "columns": self._pairs.indices,
            "starts": self._pairs.indptr,
        }
        save_signal(folder, _KIND, settings=settings, arrays=arrays)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote.

        Raises:
            BundleError: If a file is missing, damaged, or of another version or kind.
        """
        settings, arrays = load_signal(
            folder,
            _KIND,
            settings=["window", "decay", "alpha"],
            arrays=["values", "columns", "starts"],
        )
        n = len(arrays["starts"]) - 1
        pairs = csr_array((arrays["values"], arrays["columns"], arrays["starts"]), shape=(n, n))
        return cls(settings["window"], settings["decay"], settings["alpha"], pairs)


def _count_pairs(users: IntArray, items: IntArray, *, n_items: int, window: int) -> csr_array:
    """Symmetric counts ``[n, n]`` float64 of pairs of one user's rows up to ``window`` apart."""
    shape = (n_items, n_items)
    counts = csr_array(shape, dtype=np.float64)
    for lag in range(1, window + 1):
        earlier, later = items[:-lag], items[lag:]
        pair = (users[:-lag] == users[lag:]) & (earlier != later)
        ones = np.ones(np.count_nonzero(pair))
        counts += coo_array((ones, (earlier[pair], later[pair])), shape=shape).tocsr()
    return (counts + counts.T).tocsr()
