"""The items that a list may hold."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, Self

import numpy as np

from bigrec.data.catalog import Catalog
from bigrec.data.where import Where, matching
from bigrec.types import IntArray

OnUnknown = Literal["error", "skip"]
"""What becomes of ids and titles that the catalog lacks."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """The items that a list may hold.

    Items that share a title share one place in the ranking, so a title is excluded only if all of
    its items are, and the most frequent candidate stands for it.

    Attributes:
        excluded_items: One item number of every title without a candidate.
        shown: Item number that stands for each title, ``[t]``; -1 for titles without a candidate.
        ignored: Ids and titles among those to list and to exclude that the catalog lacks.
    """

    excluded_items: IntArray = field(repr=False)
    shown: IntArray = field(repr=False)
    ignored: tuple[str, ...] = ()

    @classmethod
    def select(
        cls,
        catalog: Catalog,
        rising: IntArray,
        *,
        items: Iterable[str] | None,
        exclude: Iterable[str],
        where: Where | None = None,
        unknown: OnUnknown = "error",
    ) -> Self:
        """Resolve candidates.

        Args:
            catalog: The items.
            rising: All item numbers, the least frequent first, ``[n]``.
            items: Ids or titles of the only items that may be listed; None for all.
            exclude: Ids or titles of items that must not be listed.
            where: Conditions on the columns of the items that may be listed; None for all.
            unknown: Whether items that the catalog lacks are an error.

        Raises:
            DataError: If an item is missing, or not in the catalog.
            TypeError: If an item is not text.
            ValueError: If a condition does not fit the catalog.
        """
        allowed = np.ones(catalog.n_items, dtype=np.bool_)
        ignored: tuple[str, ...] = ()
        if items is not None:
            listed, ignored = find(catalog, items, name="items", unknown=unknown)
            allowed[:] = False
            allowed[listed] = True
        excluded, absent = find(catalog, exclude, name="exclude", unknown=unknown)
        allowed[excluded] = False
        if where is not None:
            allowed &= matching(catalog, where)
        # The most frequent candidate last, so that it is the one that stays.
        order = rising[allowed[rising]]
        shown = np.full(catalog.n_titles, -1, dtype=np.int64)
        shown[catalog.title_ids[order]] = order
        without = np.flatnonzero(shown[catalog.title_ids] < 0)
        return cls(without, shown, tuple(dict.fromkeys([*ignored, *absent])))


def find(
    catalog: Catalog, items: Iterable[str], *, name: str, unknown: OnUnknown
) -> tuple[IntArray, tuple[str, ...]]:
    """Item numbers of ids or titles in the catalog, and the others, each once.

    Args:
        catalog: The items.
        items: Ids or titles.
        name: Names the items in messages.
        unknown: Whether others are an error.

    Raises:
        DataError: If an item is missing, or not in the catalog.
        TypeError: If an item is not text.
    """
    if unknown == "error":
        return catalog.resolve(items, name=name), ()
    return catalog.find(items, name=name)
