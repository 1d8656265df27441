"""All that a journal told so far, and how it is told in fewer entries."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from bigrec.data.id_columns import read_id
from bigrec.serving.entries import (
    AnsweredRequest,
    BundleSwapped,
    Entry,
    InteractionsAdded,
    ItemChanges,
    ItemMarked,
    ItemPut,
    RequestsAnswered,
)

REQUESTS_KEPT = timedelta(days=1)
"""How long a compaction keeps the keys of requests."""

_ROWS_PER_ENTRY = 1000

_Row = tuple[str, str, int]


@dataclass
class History:
    """All entries of a journal, and what follows from interactions without any bundle.

    Attributes:
        length: Number of newest items that are kept of each user.
        revision: Number of entries so far, those that a compaction merged included.
        entries: The entries.
        users: Newest items of each user, oldest first, by ids as those of data are read.
        answered: Requests by their key.
    """

    length: int
    revision: int = 0
    entries: list[Entry] = field(default_factory=list)
    users: dict[str, tuple[str, ...]] = field(default_factory=dict)
    answered: dict[str, AnsweredRequest] = field(default_factory=dict)

    def add(self, entries: Sequence[Entry]) -> None:
        """Add entries that were read or written."""
        self.entries += entries
        for entry in entries:
            self.revision += 1
            if isinstance(entry, InteractionsAdded):
                for written, item, _ in entry.rows:
                    user = read_id(written)
                    self.users[user] = (*self.users.get(user, ()), item)[-self.length :]
                if entry.request is not None:
                    self.answered[entry.request.key] = AnsweredRequest(
                        **entry.request.model_dump(), at=entry.at, revision=self.revision
                    )
            elif isinstance(entry, RequestsAnswered):
                self.answered.update((request.key, request) for request in entry.requests)

    def compacted(self, names: Collection[str]) -> list[Entry]:
        """Fewer entries from which the same state follows.

        Args:
            names: Names of the bundles that are served.

        Returns:
            Item changes between two interactions by what is left of them, interactions merged, and
            of each bundle its last swap alone. Interactions that all bundles were fitted to are
            kept as far as they are among the newest of their users.
        """
        last, fits = self._last_swaps()
        fitted_before = min((fits.get(name, -1) for name in names), default=-1)
        newest = self._newest_rows()
        old: list[_Row] = []
        kept: list[Entry] = []
        segment = _Segment()
        for position, entry in enumerate(self.entries):
            if isinstance(entry, InteractionsAdded):
                if position <= fitted_before:
                    old += [
                        row for place, row in enumerate(entry.rows) if (position, place) in newest
                    ]
                else:
                    kept += segment.ended_by_rows()
                    segment.rows += entry.rows
            elif isinstance(entry, BundleSwapped):
                if position in {last[entry.name], fits.get(entry.name)}:
                    kept += [*segment.ended(), entry]
            elif isinstance(entry, ItemPut) or (
                isinstance(entry, ItemMarked) and entry.op == "remove"
            ):
                kept += segment.ended_by_item()
                segment.change(entry)
        kept += segment.ended()
        hidden = ItemChanges().after(self._of_items()).hidden
        marks = [ItemMarked(op="hide", item_id=item) for item in sorted(hidden)]
        return [*self._requests(), *_merged(old), *kept, *marks]

    def _of_items(self) -> Iterator[Entry]:
        return (entry for entry in self.entries if isinstance(entry, ItemPut | ItemMarked))

    def _last_swaps(self) -> tuple[dict[str, int], dict[str, int]]:
        """Position of each bundle's last swap, and of the last to one fitted to interactions."""
        last: dict[str, int] = {}
        fits: dict[str, int] = {}
        for position, entry in enumerate(self.entries):
            if isinstance(entry, BundleSwapped):
                last[entry.name] = position
                if entry.includes_interactions:
                    fits[entry.name] = position
        return last, fits

    def _newest_rows(self) -> set[tuple[int, int]]:
        """Positions of entries and of rows in them that are among the newest of their users."""
        counts: dict[str, int] = {}
        newest = set()
        for position in range(len(self.entries) - 1, -1, -1):
            entry = self.entries[position]
            if not isinstance(entry, InteractionsAdded):
                continue
            for place in range(len(entry.rows) - 1, -1, -1):
                user = read_id(entry.rows[place][0])
                counts[user] = counts.get(user, 0) + 1
                if counts[user] <= self.length:
                    newest.add((position, place))
        return newest

    def _requests(self) -> list[Entry]:
        since = (datetime.now(UTC) - REQUESTS_KEPT).isoformat(timespec="milliseconds")
        kept = [request for request in self.answered.values() if request.at >= since]
        return [RequestsAnswered(requests=kept)] if kept else []


class _Segment:
    """Interactions, or item changes, that follow each other without the others in between."""

    def __init__(self) -> None:
        self.rows: list[_Row] = []
        self._items: dict[str, list[Entry]] = {}

    def change(self, entry: ItemPut | ItemMarked) -> None:
        """Note an item's change; only what is left of earlier ones counts."""
        before = self._items.get(entry.item_id, [])
        if isinstance(entry, ItemPut) and before and isinstance(before[-1], ItemPut):
            before[-1] = entry  # it keeps its place among the new items
        elif isinstance(entry, ItemPut):
            self._items.pop(entry.item_id, None)
            self._items[entry.item_id] = [*before, entry]
        else:
            self._items[entry.item_id] = [entry]

    def ended_by_rows(self) -> list[Entry]:
        """The item changes so far, which interactions follow."""
        items, self._items = self._items, {}
        return [entry for entries in items.values() for entry in entries]

    def ended_by_item(self) -> list[Entry]:
        """The interactions so far, which an item's change follows."""
        rows, self.rows = self.rows, []
        return _merged(rows)

    def ended(self) -> list[Entry]:
        """All so far; one of both is empty."""
        return [*self.ended_by_item(), *self.ended_by_rows()]


def _merged(rows: Sequence[_Row]) -> list[Entry]:
    return [
        InteractionsAdded(rows=list(rows[start : start + _ROWS_PER_ENTRY]))
        for start in range(0, len(rows), _ROWS_PER_ENTRY)
    ]
