"""Recommended lists beyond accuracy: coverage, novelty, concentration, agreement of two methods.

Lists are ``[q, k]``, best first, each item at most once a list, -1 in the unused places at the end.
Title ids may take the place of item numbers in all arguments. Full ranking needs that: it counts
any item with the target's title as a hit.
"""

from dataclasses import dataclass

import numpy as np

from bigrec.data.arguments import check_whole
from bigrec.evaluation.segments import check_counts
from bigrec.types import IntArray

_PADDING = -1


@dataclass(frozen=True, slots=True)
class AgreementHits:
    """Hits among the items that both methods list, and among those that only one lists.

    The counts of several datasets may be added.

    Attributes:
        items_both: Items of a query that both methods list, summed over the queries.
        hits_both: Targets among them.
        items_one: Items of a query that only one of the methods lists, summed over the queries.
        hits_one: Targets among them.
    """

    items_both: int
    hits_both: int
    items_one: int
    hits_one: int

    @property
    def rate_both(self) -> float | None:
        """Hits per item that both list, in [0, 1]; None where there is no such item."""
        return self.hits_both / self.items_both if self.items_both else None

    @property
    def rate_one(self) -> float | None:
        """Hits per item that only one lists, in [0, 1]; None where there is no such item."""
        return self.hits_one / self.items_one if self.items_one else None

    @property
    def ratio(self) -> float | None:
        """``rate_both / rate_one``, above 1 where agreement predicts hits.

        None where a rate is missing or the divisor is 0.
        """
        if self.rate_both is None or not self.rate_one:
            return None
        return self.rate_both / self.rate_one


def catalog_coverage(lists: IntArray, *, n_items: int, k: int) -> float:
    """Share of the catalog that is among the first ``k`` of at least one query.

    Args:
        lists: Item numbers, ``[q, k]`` or longer.
        n_items: Items of the catalog.
        k: At least 1.

    Returns:
        In [0, 1], higher is more varied over the queries; at most ``q k / n_items``.

    Raises:
        ValueError: If ``k`` or an item is out of range, or a list holds an item twice.
    """
    return float(np.count_nonzero(_frequencies(lists, n_items=n_items, k=k)) / n_items)


def gini(lists: IntArray, *, n_items: int, k: int) -> float:
    """Gini coefficient of the items' frequencies among the first ``k``.

    With the frequencies ``x_1 <= ... <= x_n``: ``sum_i (2 i - n - 1) x_i / (n sum x)``.

    Args:
        lists: Item numbers, ``[q, k]`` or longer.
        n_items: Items of the catalog, ``n``.
        k: At least 1.

    Returns:
        In [0, 1], lower is fairer: 0 where all items of the catalog are recommended equally often,
        ``1 - 1 / n`` where only one item is.

    Raises:
        ValueError: If ``k`` or an item is out of range, a list holds an item twice, or all lists
            are empty.
    """
    frequencies = np.sort(_frequencies(lists, n_items=n_items, k=k))
    total = frequencies.sum()
    if total == 0:
        raise _no_item(k)
    order = 2 * np.arange(1, n_items + 1) - n_items - 1
    return float(order @ frequencies / (n_items * total))


def novelty(lists: IntArray, counts: IntArray, *, k: int) -> float:
    """Mean self-information of the recommended items, ``-log2 p(item)``, in bits.

    ``p = (count + 1) / (sum of counts + n)``. One is added to every count, so that an item without
    training interactions has a finite value.

    Args:
        lists: Item numbers, ``[q, k]`` or longer.
        counts: How often each item occurs in the training split, ``[n]``.
        k: At least 1.

    Returns:
        Above 0, higher is less popular; ``log2 n`` where all items are equally popular. The mean
        is over all places that hold an item.

    Raises:
        ValueError: If ``k``, an item or a count is out of range, a list holds an item twice, or
            all lists are empty.
    """
    check_counts(counts)
    frequencies = _frequencies(lists, n_items=len(counts), k=k)
    total = frequencies.sum()
    if total == 0:
        raise _no_item(k)
    bits = np.log2(counts.sum() + len(counts)) - np.log2(counts + 1.0)
    return float(frequencies @ bits / total)


def overlap(lists_a: IntArray, lists_b: IntArray, *, k: int) -> float:
    """Mean share of the first ``k`` items that two methods have in common, in any order.

    Args:
        lists_a: Item numbers of one method, ``[q, k]`` or longer.
        lists_b: Item numbers of the other for the same queries, ``[q, k]`` or longer.
        k: At least 1.

    Returns:
        Common items divided by ``k``, mean over the queries, in [0, 1]; higher is more alike.
        Unused places are not common, so short lists lower the value.

    Raises:
        ValueError: If ``k`` or an item is out of range, a list holds an item twice, or the numbers
            of queries differ.
    """
    return float(np.mean(_common(lists_a, lists_b, k=k)[0]) / k)


def agreement_hits(
    lists_a: IntArray, lists_b: IntArray, targets: IntArray, *, k: int
) -> AgreementHits:
    """Hits per item that both methods list, and per item that only one lists.

    DLLM2Rec (RecSys 2024) reports the ratio for BIGRec and a conventional model at ``k = 20``:
    items on which they agree are hits several times more often.

    Args:
        lists_a: Item numbers of one method, ``[q, k]`` or longer.
        lists_b: Item numbers of the other for the same queries, ``[q, k]`` or longer.
        targets: Item number of each query's target, ``[q]``.
        k: At least 1.

    Returns:
        The counts, with the rates and their ratio.

    Raises:
        ValueError: If ``k`` or an item is out of range, a list holds an item twice, or the numbers
            of queries differ.
    """
    common, sizes = _common(lists_a, lists_b, k=k)
    if targets.shape != common.shape:
        raise ValueError(
            f"targets has shape {targets.shape}; expected [{len(common)}], one for each query."
        )
    if targets.min(initial=0) < 0:
        # -1 would match the unused places.
        raise ValueError(f"targets holds {targets.min()}; expected item numbers of at least 0.")
    listed_by = _lists_target(lists_a, targets, k=k) + _lists_target(lists_b, targets, k=k)
    return AgreementHits(
        items_both=int(common.sum()),
        hits_both=int(np.count_nonzero(listed_by == 2)),
        items_one=int((sizes - 2 * common).sum()),
        hits_one=int(np.count_nonzero(listed_by == 1)),
    )


def _first(lists: IntArray, *, k: int, n_items: int | None = None) -> IntArray:
    """The first ``k`` places, ``[q, k]``, checked; see the functions' ``Raises``."""
    if lists.ndim != 2 or len(lists) == 0:
        raise ValueError(f"lists has shape {lists.shape}; expected [q, k] with at least one query.")
    check_whole(k, name="k")
    if not 1 <= k <= lists.shape[1]:
        raise ValueError(f"k is {k}; expected 1 to {lists.shape[1]}, the length of the lists.")
    first = lists[:, :k]
    if first.min() < _PADDING or (n_items is not None and first.max() >= n_items):
        limit = "" if n_items is None else f" to {n_items - 1}"
        wrong = first.min() if first.min() < _PADDING else first.max()
        raise ValueError(
            f"lists holds item {wrong}; expected numbers from 0{limit}, or -1 where a list is "
            "shorter."
        )
    ascending = np.sort(first, axis=1)
    twice = (np.diff(ascending, axis=1) == 0) & (ascending[:, 1:] != _PADDING)
    if twice.any():
        query, place = np.argwhere(twice)[0]
        raise ValueError(
            f"The list of query {query} holds item {ascending[query, place]} twice; expected each "
            "item at most once a list."
        )
    return first


def _frequencies(lists: IntArray, *, n_items: int, k: int) -> IntArray:
    """Number of lists with each item among their first ``k``, ``[n_items]``."""
    if n_items < 1:
        raise ValueError(f"n_items is {n_items}; expected at least 1.")
    first = _first(lists, k=k, n_items=n_items)
    return np.bincount(first[first != _PADDING], minlength=n_items)


def _common(lists_a: IntArray, lists_b: IntArray, *, k: int) -> tuple[IntArray, IntArray]:
    """Number of common items, and the sum of both lists' lengths, ``[q]`` each."""
    if len(lists_a) != len(lists_b):
        raise ValueError(
            f"lists_a has {len(lists_a)} queries and lists_b {len(lists_b)}; expected the same "
            "queries for both."
        )
    both = np.sort(np.concatenate([_first(lists_a, k=k), _first(lists_b, k=k)], axis=1), axis=1)
    # No list repeats an item, so an item next to itself came from both.
    common = (np.diff(both, axis=1) == 0) & (both[:, 1:] != _PADDING)
    return np.count_nonzero(common, axis=1), np.count_nonzero(both != _PADDING, axis=1)


def _lists_target(lists: IntArray, targets: IntArray, *, k: int) -> IntArray:
    """1 where the target is among a query's first ``k``, otherwise 0, ``[q]``."""
    listed = (lists[:, :k] == targets[:, None]).any(axis=1)
    return np.asarray(listed, dtype=np.int64)


def _no_item(k: int) -> ValueError:
    return ValueError(f"No list holds an item in its first {k} places; expected at least one.")
