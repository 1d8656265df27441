"""Influence of training sequences on the risk of a linear next-item model, in closed form.

Source: arXiv 2401.17197 (DEALRec), section 3.1, which trains a network as the surrogate of the
language model and approximates products with the inverse Hessian. A ridge regression needs no
approximation.
"""

from collections.abc import Sequence

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_array

from bigrec.errors import DataError
from bigrec.models.histories import check_decay, decayed_histories
from bigrec.settings.baselines import CooccurrenceSettings
from bigrec.types import FloatArray, IntArray

_DECAY = CooccurrenceSettings().decay
_ROWS = 1024
# Three float64 matrices, [n, n] each.
_BYTES_PER_ENTRY = 24
_MAX_ITEMS = 20_000


def influence_on_risk(
    sequences: Sequence[IntArray], *, all_positions: bool, decay: float = _DECAY
) -> FloatArray:
    """How much the risk on all sequences would rise without each of them, to first order.

    The surrogate predicts the next item from the decayed bag ``x`` of the items before it. With
    ``y`` the unit vector of the next item and ``r = y - W^T x``::

        W = argmin sum |r|^2 / 2 + lambda |W|^2 / 2 = H^-1 X^T Y,  H = X^T X + lambda I

    The gradient of the risk without the regularization is ``-lambda W`` there, and the influence
    of a sequence is the sum of ``lambda x^T H^-1 W r`` over its targets. ``lambda`` is the mean
    of the diagonal of ``X^T X``.

    Args:
        sequences: Item numbers of each, oldest first, at least two.
        all_positions: Whether every item but the first is a target, or the last alone.
        decay: Weight of an item in the bag relative to the next newer one, in (0, 1].

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
    of_pairs = _influence_of_pairs(bags, targets)
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


def _influence_of_pairs(bags: csr_array, targets: IntArray) -> FloatArray:
    """Influence of every target, ``[p]``.

    Args:
        bags: ``X``, ``[p, n]`` float64.
        targets: Row of each target, ``[p]``.
    """
    n_pairs, n_items = bags.shape
    next_items = csr_array(
        (np.ones(n_pairs), targets, np.arange(n_pairs + 1)), shape=(n_pairs, n_items)
    )
    gram = _gram(bags, bags)
    regularization = np.trace(gram) / n_items
    gram[np.diag_indices(n_items)] += regularization
    factor = cho_factor(gram, lower=True, overwrite_a=True)
    weights = cho_solve(factor, _gram(bags, next_items), overwrite_b=True)
    directions = regularization * cho_solve(factor, weights)
    influence = np.empty(n_pairs)
    for start in range(0, n_pairs, _ROWS):
        part = slice(start, start + _ROWS)
        residuals = next_items[part].toarray() - bags[part] @ weights
        influence[part] = np.einsum("pn,pn->p", bags[part] @ directions, residuals)
    return influence


def _gram(left: csr_array, right: csr_array) -> FloatArray:
    """``left^T right``, ``[n, n]``, in blocks: its sparse form can be larger than the dense one."""
    by_column = left.T.tocsr()
    product = np.empty((left.shape[1], right.shape[1]))
    for start in range(0, len(product), _ROWS):
        rows = slice(start, start + _ROWS)
        product[rows] = (by_column[rows] @ right).toarray()
    return product


def _check_memory(n_items: int) -> None:
    if n_items > _MAX_ITEMS:
        needed = _BYTES_PER_ENTRY * n_items**2
        raise DataError(
            f"the influence of training examples with {n_items} different titles needs about "
            f"{needed / 1e9:.1f} GB; expected at most {_MAX_ITEMS} titles. Drop rare items, or "
            "set data.example_selection.method to random."
        )
