"""Influence of training sequences on the risk of a linear next-item model, in closed form.

Source: arXiv 2401.17197 (DEALRec), section 3.1, which trains a network as the surrogate of the
language model and approximates products with the inverse Hessian. A ridge regression needs no
approximation.
"""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csc_array, csr_array

from bigrec.errors import DataError
from bigrec.models.gram import ROWS, inverse_of_gram
from bigrec.models.histories import check_decay, decayed_histories
from bigrec.settings.baselines import CooccurrenceSettings
from bigrec.types import FloatArray, IntArray, ProgressCallback

DECAY = CooccurrenceSettings().decay
"""Decay of the bag by default."""

# Columns of an [n, n] matrix that are computed at once.
_COLUMNS = 512
# The inverse, [n, n] float64.
_BYTES_PER_ENTRY = 8
_MAX_ITEMS = 30_000


def influence_on_risk(
    sequences: Sequence[IntArray],
    *,
    all_positions: bool,
    decay: float = DECAY,
    progress: ProgressCallback | None = None,
) -> FloatArray:
    """How much the risk on all sequences would rise without each of them, to first order.

    The surrogate predicts the next item from the decayed bag ``x`` of the items before it. With
    ``y`` the unit vector of the next item and ``r = y - W^T x``::

        W = argmin sum |r|^2 / 2 + lambda |W|^2 / 2 = H^-1 X^T Y,  H = X^T X + lambda I

    The gradient of the risk without the regularization is ``-lambda W`` there, and the influence
    of a sequence is the sum of ``lambda x^T H^-1 W r`` over its targets. ``lambda`` is the mean
    of the diagonal of ``X^T X``. Time grows with the third power of the number of different items,
    memory with its square: 8 bytes for each pair.

    Args:
        sequences: Item numbers of each, oldest first, at least two.
        all_positions: Whether every item but the first is a target, or the last alone.
        decay: Weight of an item in the bag relative to the next newer one, in (0, 1].
        progress: Called with (items summed, items) once the matrix is inverted.

    Returns:
        ``[m]`` float64; above 0 for sequences that the risk would rise without.

    Raises:
        DataError: If they have too many different items for the closed form.
        ValueError: If the decay is out of range, there is no sequence or one is too short.
    """
    check_decay(decay)
    if not sequences or min(map(len, sequences)) < 2:
        raise ValueError("expected at least one sequence, of at least two items each.")
    lengths = np.array(list(map(len, sequences)))
    different, rows = np.unique(np.concatenate(sequences), return_inverse=True)
    _check_memory(len(different))
    numbered = np.split(rows, np.cumsum(lengths)[:-1])
    histories, targets = _pairs(numbered, all_positions=all_positions)
    bags = decayed_histories(histories, n_items=len(different), decay=decay).astype(np.float64)
    of_pairs = _influence_of_pairs(bags, targets, progress)
    if not all_positions:
        return of_pairs
    owners = np.repeat(np.arange(len(sequences)), lengths - 1)
    influence = np.zeros(len(sequences))
    np.add.at(influence, owners, of_pairs)
    return influence


def _pairs(
    sequences: Sequence[IntArray], *, all_positions: bool
) -> tuple[list[IntArray], IntArray]:
    """Every target with the items of its sequence before it."""
    histories, targets = [], []
    for sequence in sequences:
        for place in range(1 if all_positions else len(sequence) - 1, len(sequence)):
            histories.append(sequence[:place])
            targets.append(sequence[place])
    return histories, np.array(targets)


def _influence_of_pairs(
    bags: csr_array, targets: IntArray, progress: ProgressCallback | None
) -> FloatArray:
    """Influence of every target, ``[p]``.

    The sum over the items of ``H^-1 W`` and of ``r`` is taken for some of the items at a time, so
    that the inverse is the only dense matrix over all of them.

    Args:
        bags: ``X``, ``[p, n]`` float64.
        targets: Row of each target, ``[p]``.
        progress: Called with (items summed, items).
    """
    n_pairs, n_items = bags.shape
    next_items = csc_array(
        (np.ones(n_pairs), (np.arange(n_pairs), targets)), shape=(n_pairs, n_items)
    )
    # The mean of the diagonal of X^T X.
    regularization = float(np.square(bags.data).sum()) / n_items
    inverse = inverse_of_gram(bags, regularization=regularization)
    influence = np.zeros(n_pairs)
    for start in range(0, n_items, _COLUMNS):
        followed = next_items[:, start : start + _COLUMNS].tocsr()
        # Transposed, so that a sparse matrix is on the left and all rows are contiguous.
        weights = (followed.T @ bags).tocsr() @ inverse
        directions = np.ascontiguousarray((regularization * (weights @ inverse)).T)
        weights = np.ascontiguousarray(weights.T)
        for first in range(0, n_pairs, ROWS):
            part = slice(first, first + ROWS)
            residuals = followed[part].toarray() - bags[part] @ weights
            influence[part] += np.einsum("pc,pc->p", bags[part] @ directions, residuals)
        if progress is not None:
            progress(min(start + _COLUMNS, n_items), n_items)
    return influence


def _check_memory(n_items: int) -> None:
    if n_items > _MAX_ITEMS:
        needed = _BYTES_PER_ENTRY * n_items**2
        raise DataError(
            f"the influence of training examples with {n_items} different titles needs about "
            f"{needed / 1e9:.1f} GB; expected at most {_MAX_ITEMS} titles. Drop rare items, or "
            "set data.example_selection.method to random."
        )
