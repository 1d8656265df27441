"""Histories as weights of their items."""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_array

from bigrec.models.base import history_rows
from bigrec.types import IntArray


def check_decay(decay: float) -> None:
    """Refuse a decay out of range.

    Raises:
        ValueError: If it is not in (0, 1].
    """
    if not 0 < decay <= 1:
        raise ValueError(f"decay is {decay}; expected more than 0 and at most 1.")


def decayed_histories(
    histories: Sequence[IntArray], *, n_items: int, decay: float, window: int | None = None
) -> csr_array:
    """Weights ``decay^age`` of every history's items, ``[q, n]`` float32.

    Args:
        histories: Item numbers of each query, oldest first; -1 is padding. The newest item has
            age 0.
        n_items: Items of the catalog.
        decay: See the models.
        window: Weigh this many of the newest items only; all by default.

    Raises:
        ValueError: If an item number is out of range.
    """
    starts, items, ages = history_rows(histories, n_items=n_items)
    n_queries = len(starts) - 1
    if window is not None:
        read = ages < window
        items, ages = items[read], ages[read]
        starts = np.concatenate([[0], np.cumsum(np.minimum(np.diff(starts), window))])
    weights = (decay**ages).astype(np.float32)
    return csr_array((weights, items, starts), shape=(n_queries, n_items))


def by_title(weights: csr_array, rows: IntArray, *, n_titles: int) -> csr_array:
    """Weights of items as weights of their titles, ``[q, t]``; a title may occur repeatedly.

    Args:
        weights: Of items, ``[q, n]``.
        rows: Row of each item's title, ``[n]``.
        n_titles: Number of titles, ``t``.
    """
    return csr_array(
        (weights.data, rows[weights.indices], weights.indptr), shape=(weights.shape[0], n_titles)
    )
