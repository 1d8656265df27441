"""EASE: a linear item-to-item model with a closed form (Steck 2019, arXiv 1905.03375)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Self

import numpy as np
from pydantic import Field
from scipy.linalg import LinAlgError
from scipy.sparse import coo_array, csr_array

from bigrec.data.interactions import Interactions
from bigrec.errors import DataError
from bigrec.models.base import (
    Decay,
    HistoryScorer,
    StoredSettings,
    check_model_arrays,
    history_rows,
    read_model_folder,
    training_rows,
    write_model_folder,
)
from bigrec.models.gram import ROWS, inverse_of_gram
from bigrec.models.histories import check_decay
from bigrec.settings.baselines import EaseSettings
from bigrec.storage.arrays import Expected
from bigrec.types import BoolArray, FloatArray, IntArray

_DEFAULTS = EaseSettings()
# A float64 matrix for the inverse and the float32 result, both [n, n].
_BYTES_PER_ENTRY = 12
_MAX_BYTES = 12 * 30_000**2


@dataclass(frozen=True, slots=True, eq=False)
class Ease(HistoryScorer):
    """Scores an item by the sum of its learned similarities to the items of a history.

    With ``X`` the binary user-item matrix of the training interactions, the paper's closed form::

        P = (X^T X + lambda I)^-1,  B_ij = -P_ij / P_jj,  B_jj = 0,  scores = x B

    Attributes:
        regularization: ``lambda``, above 0.
        decay: Weight in ``x`` of an item of the history relative to the next newer one, in (0, 1];
            1 as in the paper. A repeated item has the weight of its newest occurrence.
        item_weights: ``B``, ``[n, n]`` float32.
    """

    kind: ClassVar[str] = "ease"

    regularization: float
    decay: float
    item_weights: FloatArray = field(repr=False)

    @classmethod
    def fit(
        cls,
        interactions: Interactions,
        *,
        train: BoolArray,
        n_items: int,
        regularization: float = _DEFAULTS.regularization,
        decay: float = _DEFAULTS.decay,
    ) -> Self:
        """Solve the closed form in time ``O(k^3)`` and memory of 12 bytes times ``n^2``.

        ``k`` of the ``n`` items have training interactions.

        Args:
            interactions: All interactions.
            train: Mask of the training interactions, ``[m]``.
            n_items: Items of the catalog.
            regularization: See the class; larger for more users. The paper's values are 200 to
                1,000.
            decay: See the class.

        Raises:
            DataError: If there are no training interactions, the catalog is too large for the
                closed form, or the regularization is too small to solve it.
            ValueError: If an argument is out of range.
        """
        if not (regularization > 0 and np.isfinite(regularization)):
            raise ValueError(f"regularization is {regularization}; expected a number above 0.")
        check_decay(decay)
        _check_memory(n_items)
        users, items = training_rows(interactions, train, n_items=n_items)
        seen = csr_array(
            (np.ones(len(items)), (users, items)), shape=(len(interactions.user_ids), n_items)
        )
        # The conversion adds up repeated pairs, and X is binary.
        seen.data[:] = 1
        return cls(float(regularization), float(decay), _solve(seen, regularization=regularization))

    @property
    def name(self) -> str:
        """Name of the model in tables."""
        return "EASE"

    @property
    def n_items(self) -> int:
        """Number of scored items, ``n``."""
        return len(self.item_weights)

    def scores(self, histories: Sequence[IntArray]) -> FloatArray:
        """Score all items: the decayed sum of the rows of ``B`` of the history's different items.

        Args:
            histories: Item numbers of each query, oldest first; -1 is padding.

        Returns:
            ``[q, n]`` float32, higher is better; all 0 for an empty history.

        Raises:
            ValueError: If an item number is out of range.
        """
        starts, items, ages = history_rows(histories, n_items=self.n_items)
        n_queries = len(starts) - 1
        rows = np.repeat(np.arange(n_queries), np.diff(starts))
        # Newest first, so that the first of a repeated item is its newest occurrence.
        order = np.lexsort((ages, rows))
        _, first = np.unique(rows[order] * self.n_items + items[order], return_index=True)
        kept = order[first]
        weights = (self.decay ** ages[kept]).astype(np.float32)
        shape = (n_queries, self.n_items)
        seen = coo_array((weights, (rows[kept], items[kept])), shape=shape).tocsr()
        return np.asarray(seen @ self.item_weights)

    def save(self, folder: Path) -> None:
        """Write the model to a folder, completely or not at all.

        Raises:
            StorageError: If the folder cannot be written.
        """
        settings = {"regularization": self.regularization, "decay": self.decay}
        arrays = {"item_weights": self.item_weights}
        write_model_folder(folder, self.kind, settings=settings, arrays=arrays)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a model that ``save`` wrote.

        Raises:
            BundleError: If a file is missing, damaged, or of another version or kind.
        """
        settings, arrays = read_model_folder(folder, cls.kind, _Stored)
        check_model_arrays(folder, arrays, {"item_weights": Expected(("n", "n"))})
        return cls(settings.regularization, settings.decay, arrays["item_weights"])


class _Stored(StoredSettings):
    regularization: Annotated[float, Field(gt=0)]
    decay: Decay


def _check_memory(n_items: int) -> None:
    needed = _BYTES_PER_ENTRY * n_items**2
    if needed > _MAX_BYTES:
        raise DataError(
            f"EASE of {n_items} items needs about {needed / 1e9:.1f} GB; expected at most "
            f"{_MAX_BYTES / 1e9:.1f} GB, 30000 items. Drop rare items, or use co-occurrence or a "
            "network, whose memory does not grow with the square of the catalog."
        )


def _solve(seen: csr_array, *, regularization: float) -> FloatArray:
    """``B`` ``[n, n]`` float32 from the binary ``X`` ``[users, n]``.

    The row and the column of an item without interactions are 0: the inverse has nothing there but
    ``1 / lambda`` on the diagonal. It is computed of the other items alone.
    """
    n_items = seen.shape[1]
    known = np.unique(seen.indices)
    if len(known) == n_items:
        return _solve_known(seen, regularization=regularization)
    of_known = _solve_known(seen[:, known], regularization=regularization)
    weights = np.zeros((n_items, n_items), dtype=np.float32)
    for item, row in zip(known, of_known, strict=True):
        weights[item, known] = row
    return weights


def _solve_known(seen: csr_array, *, regularization: float) -> FloatArray:
    """`_solve` of items that all have interactions."""
    n_items = seen.shape[1]
    try:
        inverse = inverse_of_gram(seen, regularization=regularization)
    except LinAlgError as error:
        raise DataError(
            f"EASE could not be solved with regularization {regularization}: {error}. Raise the "
            "regularization."
        ) from None
    scale = -1 / np.diag(inverse)
    weights = np.empty((n_items, n_items), dtype=np.float32)
    for start in range(0, n_items, ROWS):
        rows = slice(start, start + ROWS)
        weights[rows] = inverse[rows] * scale
    weights[np.diag_indices(n_items)] = 0
    return weights
