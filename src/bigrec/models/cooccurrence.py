"""Item co-occurrence: pairs of items that stand close together in users' interactions."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Self

import numpy as np
from pydantic import Field
from scipy.sparse import coo_array, csr_array, issparse

from bigrec.data.arguments import check_least
from bigrec.data.interactions import Interactions
from bigrec.models.base import (
    Decay,
    HistoryScorer,
    StoredSettings,
    check_model_arrays,
    read_model_folder,
    training_rows,
    write_model_folder,
)
from bigrec.models.histories import check_decay, decayed_histories
from bigrec.models.sparse import SPARSE, read_sparse, sparse_arrays
from bigrec.settings.baselines import CooccurrenceSettings
from bigrec.settings.sections import PositiveInt
from bigrec.storage.sharing import shared
from bigrec.types import BoolArray, FloatArray, IntArray

_DEFAULTS = CooccurrenceSettings()
# From this share of pairs that are not 0, and up to these bytes, dense rows are added up faster
# than sparse ones.
_DENSE_SHARE = 1 / 16
_DENSE_BYTES = 1 << 26


@dataclass(frozen=True, slots=True, eq=False)
class Cooccurrence(HistoryScorer):
    """Scores an item by how often it stands near the items of a history.

    With ``C_ij`` the number of times that items i and j are at most ``window`` positions apart in
    a user's training interactions, and ``f_i`` the training interactions of item i::

        score_j = sum over the history's items i of decay^age_i * C_ij / (f_i f_j)^alpha

    Attributes:
        window: Maximum distance of two items that count as a pair, at least 1.
        decay: Factor by which an item of the history weighs less than the next newer one, in
            (0, 1].
        alpha: Damping of frequent items, in [0, 1]: 0 keeps the counts, 1/2 makes them cosines.
    """

    kind: ClassVar[str] = "cooccurrence"

    window: int
    decay: float
    alpha: float
    # [n, n] float32, symmetric, C_ij / (f_i f_j)^alpha; dense where that is faster
    _pairs: csr_array | FloatArray = field(repr=False)

    def __post_init__(self) -> None:
        """Take the faster form of the pairs."""
        object.__setattr__(self, "_pairs", _faster_form(self._pairs))

    @classmethod
    def fit(
        cls,
        interactions: Interactions,
        *,
        train: BoolArray,
        n_items: int,
        window: int = _DEFAULTS.window,
        decay: float = _DEFAULTS.decay,
        alpha: float = _DEFAULTS.alpha,
    ) -> Self:
        """Count pairs of different items.

        Memory grows with the number of different pairs, at most ``2 * window`` per interaction.

        Args:
            interactions: All interactions.
            train: Mask of the training interactions, ``[m]``.
            n_items: Items of the catalog.
            window: See the class.
            decay: See the class.
            alpha: See the class.

        Raises:
            DataError: If there are no training interactions.
            ValueError: If an argument is out of range.
        """
        check_least(window, 1, name="window")
        check_decay(decay)
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha is {alpha}; expected 0 to 1.")
        users, items = training_rows(interactions, train, n_items=n_items)
        pairs = _count_pairs(users, items, n_items=n_items, window=window)
        frequencies = np.bincount(items, minlength=n_items).astype(np.float64)
        # An item without interactions is in no pair, so that its frequency of 0 never matters.
        damping = np.maximum(frequencies, 1) ** -alpha
        rows = np.repeat(np.arange(n_items), np.diff(pairs.indptr))
        pairs.data = (pairs.data * damping[rows] * damping[pairs.indices]).astype(np.float32)
        return cls(window, decay, alpha, pairs)

    @property
    def name(self) -> str:
        """Name of the model in tables."""
        return "co-occurrence"

    @property
    def n_items(self) -> int:
        """Number of scored items, ``n``."""
        return int(self._pairs.shape[0])

    def scores(self, histories: Sequence[IntArray]) -> FloatArray:
        """Score all items; see the class.

        Args:
            histories: Item numbers of each query, oldest first; -1 is padding.

        Returns:
            ``[q, n]`` float32, at least 0, higher is better; all 0 for an empty history.

        Raises:
            ValueError: If an item number is out of range.
        """
        recent = decayed_histories(histories, n_items=self.n_items, decay=self.decay)
        summed = recent @ self._pairs
        return np.asarray(summed.toarray() if issparse(summed) else summed)

    def save(self, folder: Path) -> None:
        """Write the model to a folder, completely or not at all.

        Raises:
            StorageError: If the folder cannot be written.
        """
        settings = {"window": self.window, "decay": self.decay, "alpha": self.alpha}
        arrays = sparse_arrays(csr_array(self._pairs))
        write_model_folder(folder, self.kind, settings=settings, arrays=arrays)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a model that ``save`` wrote.

        Raises:
            BundleError: If a file is missing, damaged, or of another version or kind.
        """
        settings, arrays = read_model_folder(folder, cls.kind, _Stored)
        sizes = check_model_arrays(folder, arrays, SPARSE)
        pairs = read_sparse(folder, arrays, n_columns=sizes["m"] - 1)
        return cls(settings.window, settings.decay, settings.alpha, pairs)


class _Stored(StoredSettings):
    window: PositiveInt
    decay: Decay
    alpha: Annotated[float, Field(ge=0, le=1)]


def _faster_form(pairs: csr_array | FloatArray) -> csr_array | FloatArray:
    """The pairs, dense if that is faster; sums of their rows have the same bits in either form."""
    if isinstance(pairs, np.ndarray):
        return pairs
    n_cells = pairs.shape[0] * pairs.shape[1]
    is_dense = pairs.nnz >= _DENSE_SHARE * n_cells
    if is_dense and n_cells * pairs.dtype.itemsize <= _DENSE_BYTES:
        return shared(np.asarray(pairs.toarray()))
    return pairs


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
