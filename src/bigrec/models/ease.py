"""EASE: a linear item-to-item model with a closed form (Steck 2019, arXiv 1905.03375)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
from scipy.linalg import lapack
from scipy.sparse import csr_array

from bigrec.data.interactions import Interactions
from bigrec.errors import DataError
from bigrec.models.base import history_rows, load_signal, save_signal, training_rows
from bigrec.models.scaling import minmax
from bigrec.types import BoolArray, FloatArray, IntArray

_KIND = "ease"
_ROWS = 1024
# A float64 matrix for the inverse and the float32 result, both [n, n].
_BYTES_PER_ENTRY = 12
_MAX_BYTES = 12 * 30_000**2


@dataclass(frozen=True, slots=True, eq=False)
class Ease:
    """Scores an item by the sum of its learnt similarities to the items of a history.

    With ``X`` the binary user-item matrix of the training interactions, the paper's closed form::

        P = (X^T X + l2 I)^-1,  B_ij = -P_ij / P_jj,  B_jj = 0,  scores = x B

    Attributes:
        l2: Regularisation, above 0.
        item_weights: ``B``, ``[n, n]`` float32.
    """

    l2: float
    item_weights: FloatArray = field(repr=False)

    @classmethod
    def fit(
        cls, interactions: Interactions, *, train: BoolArray, n_items: int, l2: float = 250.0
    ) -> Self:
        """Solve the closed form; takes time in ``n^3`` and memory of 12 bytes times ``n^2``.

        Args:
            interactions: All interactions.
            train: Which of them to learn from, ``[m]``.
            n_items: Items of the catalog.
            l2: See the class; more for more users. The published values are 200 to 1,000.

        Raises:
            DataError: If no row is left, or the catalog is too large for the closed form.
            ValueError: If an argument is out of range.
        """
        if not (l2 > 0 and np.isfinite(l2)):
            raise ValueError(f"l2 is {l2}; expected a number above 0.")
        _check_memory(n_items)
        users, items = training_rows(interactions, train, n_items=n_items)
        seen = csr_array(
            (np.ones(len(items)), (users, items)), shape=(len(interactions.user_ids), n_items)
        )
        # Equal pairs were added up, and X is binary.
        seen.data[:] = 1
        return cls(float(l2), _solve(seen, l2=l2))

    @property
    def name(self) -> str:
        """What the signal is called in tables."""
        return "EASE"

    @property
    def n_items(self) -> int:
        """Items that are scored, ``n``."""
        return len(self.item_weights)

    def scores(self, histories: Sequence[IntArray]) -> FloatArray:
        """Scores of all items: the sum of the rows of ``B`` of the history's different items.

        Args:
            histories: Item numbers of each query in any order; -1 is padding.

        Returns:
            ``[q, n]`` float32, higher is better; all 0 for an empty history.

        Raises:
            ValueError: If an item number is out of range.
        """
        starts, items, _ = history_rows(histories, n_items=self.n_items)
        ones = np.ones(len(items), dtype=np.float32)
        seen = csr_array((ones, items, starts), shape=(len(histories), self.n_items))
        seen.sum_duplicates()
        seen.data[:] = 1
        return np.asarray(seen @ self.item_weights)

    def weights(self, histories: Sequence[IntArray]) -> FloatArray:
        """Weights for the injection: the scores of every query scaled to [0, 1], ``[q, n]``."""
        return minmax(self.scores(histories))

    def save(self, folder: Path) -> None:
        """Write the signal to a folder of its own, whole or not at all.

        Raises:
            StorageError: If the folder cannot be written.
        """
        arrays = {"item_weights": self.item_weights}
        save_signal(folder, _KIND, settings={"l2": self.l2}, arrays=arrays)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote.

        Raises:
            BundleError: If a file is missing, damaged, or of another version or kind.
        """
        settings, arrays = load_signal(folder, _KIND, settings=["l2"], arrays=["item_weights"])
        return cls(settings["l2"], arrays["item_weights"])


def _check_memory(n_items: int) -> None:
    needed = _BYTES_PER_ENTRY * n_items**2
    if needed > _MAX_BYTES:
        raise DataError(
            f"EASE of {n_items} items needs about {needed / 1e9:.1f} GB; expected at most "
            f"{_MAX_BYTES / 1e9:.1f} GB, 30000 items. Leave out rare items, or use co-occurrence "
            "or a neural signal, whose memory does not grow with the square of the catalog."
        )


def _solve(seen: csr_array, *, l2: float) -> FloatArray:
    """``B`` ``[n, n]`` float32 from the binary ``X`` ``[users, n]``."""
    n_items = seen.shape[1]
    by_item = seen.T.tocsr()
    gram = np.empty((n_items, n_items))
    # In blocks of rows: the sparse form of the whole product can be larger than the dense one.
    for start in range(0, n_items, _ROWS):
        rows = slice(start, start + _ROWS)
        gram[rows] = (by_item[rows] @ seen).toarray()
    gram[np.diag_indices(n_items)] += l2
    # LAPACK works in place on columns; the transpose of a symmetric matrix is itself. float64,
    # because the condition number grows with the number of users.
    factor, failed = lapack.dpotrf(gram.T, lower=1, overwrite_a=1)
    if not failed:
        inverse, failed = lapack.dpotri(factor, lower=1, overwrite_c=1)
    if failed:
        raise DataError(
            f"EASE could not be solved with l2 {l2}: the matrix is singular to rounding. Raise l2."
        )
    scale = -1 / np.diag(inverse)
    weights = np.empty((n_items, n_items), dtype=np.float32)
    # Only the lower triangle is the inverse; the upper one is its mirror image.
    for start in range(0, n_items, _ROWS):
        rows = slice(start, start + _ROWS)
        lower = np.tril(inverse[rows], k=start)
        weights[rows] = lower * scale
        below = np.tril(inverse[:, rows], k=-start - 1)
        weights[rows] += below.T * scale
    weights[np.diag_indices(n_items)] = 0
    return weights
