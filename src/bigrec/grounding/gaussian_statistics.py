"""Sufficient statistics of Gaussian grounding, which grow by a stream and add up."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from bigrec.errors import DataError
from bigrec.storage import check_format
from bigrec.storage.arrays import Expected, check_arrays, read_arrays, write_arrays
from bigrec.types import FloatArray, IntArray

_FORMAT = 1
_DOUBLE = ("float64",)
_ARRAYS = {
    "counts": Expected(("n",), _DOUBLE, least=0),
    "sums": Expected(("n", "d"), _DOUBLE),
    "second_moment": Expected(("d", "d"), _DOUBLE),
}


@dataclass(slots=True, eq=False)
class GaussianStatistics:
    """Sufficient statistics of pairs of a state and the item that came next.

    They grow by `partial_fit` in one pass over a stream, in memory that does not grow with the
    number of pairs. Statistics of disjoint parts of the data add up with `merge`.

    Attributes:
        counts: Pairs of each item, ``[n]`` float64.
        sums: Sum of the states of each item, ``[n, d]`` float64.
        second_moment: Sum of the products of a state with itself over all pairs, ``[d, d]``
            float64.
    """

    counts: NDArray[np.float64] = field(repr=False)
    sums: NDArray[np.float64] = field(repr=False)
    second_moment: NDArray[np.float64] = field(repr=False)

    @classmethod
    def empty(cls, n_items: int, dim: int) -> Self:
        """Statistics of no pairs.

        Args:
            n_items: Items of the catalog, ``n``.
            dim: Dimensions of a state, ``d``.

        Raises:
            ValueError: If ``n_items`` is negative or ``dim`` is below 1.
        """
        if n_items < 0 or dim < 1:
            raise ValueError(
                f"n_items is {n_items} and dim is {dim}; expected at least 0 and at least 1."
            )
        return cls(np.zeros(n_items), np.zeros((n_items, dim)), np.zeros((dim, dim)))

    @property
    def n_items(self) -> int:
        """Number of items, ``n``."""
        return len(self.counts)

    @property
    def dim(self) -> int:
        """Dimensions of a state, ``d``."""
        return len(self.second_moment)

    def check_pairs(self) -> None:
        """Refuse statistics of no pairs, to which nothing can be fitted.

        Raises:
            DataError: If they are.
        """
        if not self.counts.any():
            raise DataError(
                "there are no pairs of a state and an item to fit. Use training data in which a "
                "user has at least two interactions."
            )

    def partial_fit(self, states: FloatArray, items: IntArray) -> None:
        """Add pairs, in place.

        Args:
            states: ``[m, d]``, finite. Memory of a copy in float64 is needed: pass a long stream in
                blocks.
            items: Item number of each state, ``[m]``.

        Raises:
            ValueError: If shapes differ, a state is not finite or an item number is out of range.
                Nothing is added then.
        """
        self._check(states, items)
        x = states.astype(np.float64)
        present, rows = np.unique(items, return_inverse=True)
        ones, columns = np.ones(len(items)), np.arange(len(items))
        by_item = csr_array((ones, (rows, columns)), shape=(len(present), len(items)))
        self.counts[present] += np.bincount(rows, minlength=len(present))
        self.sums[present] += by_item @ x
        self.second_moment += x.T @ x

    def merge(self, other: "GaussianStatistics") -> Self:
        """Statistics of the pairs of both.

        Args:
            other: Statistics of other pairs, of the same items and dimensions.

        Raises:
            ValueError: If items or dimensions differ in number.
        """
        if self.sums.shape != other.sums.shape:
            raise ValueError(
                f"other has sums of shape {other.sums.shape}; expected {self.sums.shape}. Extend "
                "the statistics of fewer items, and encode all states with the same encoder."
            )
        return type(self)(
            self.counts + other.counts,
            self.sums + other.sums,
            self.second_moment + other.second_moment,
        )

    def extended(self, n_items: int) -> Self:
        """A copy with further items, without pairs, after the present ones.

        Args:
            n_items: Number of items of the result, not below the present number.

        Raises:
            ValueError: If it is below.
        """
        if n_items < self.n_items:
            raise ValueError(f"n_items is {n_items}; expected at least {self.n_items}.")
        new = type(self).empty(n_items - self.n_items, self.dim)
        return type(self)(
            np.concatenate([self.counts, new.counts]),
            np.concatenate([self.sums, new.sums]),
            self.second_moment.copy(),
        )

    def save(self, path: Path) -> None:
        """Write a safetensors file, completely or not at all.

        Raises:
            StorageError: If the file cannot be written.
        """
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        write_arrays(path, {**arrays, "format": np.array(_FORMAT)})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the statistics that ``save`` wrote.

        Raises:
            BundleError: If the file is missing, damaged or of another version.
        """
        cure = "Collect the statistics again."
        stored = read_arrays(path, cure=cure)
        version = stored.pop("format", np.zeros(0))
        content = {"format": version.item()} if version.size == 1 else {}
        check_format(content, _FORMAT, what=str(path), cure=cure)
        check_arrays(path, stored, _ARRAYS, cure=cure)
        return cls(*(stored[name] for name in _ARRAYS))

    def _check(self, states: FloatArray, items: IntArray) -> None:
        if states.shape != (len(items), self.dim) or items.ndim != 1:
            raise ValueError(
                f"states has shape {states.shape} and items {items.shape}; expected [m, {self.dim}]"
                " and [m]."
            )
        if not np.isfinite(states).all():
            raise ValueError("states holds NaN or infinity; expected finite numbers.")
        if items.size and not (items.min() >= 0 and items.max() < self.n_items):
            raise ValueError(
                f"items holds numbers from {items.min()} to {items.max()}; expected 0 to "
                f"{self.n_items - 1}. Extend the statistics to hold new items."
            )
