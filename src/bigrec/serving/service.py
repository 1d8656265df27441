"""The state of a service: bundles with the changes of its journal, replaced as a whole."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bigrec.errors import StorageError
from bigrec.printable import get_logger
from bigrec.serving.entries import (
    BundleSwapped,
    Entry,
    InteractionsAdded,
    ItemChanges,
    ItemMarked,
    ItemPut,
)
from bigrec.serving.journal import Journal
from bigrec.serving.served_bundle import Open, ServedBundle

logger = get_logger(__name__)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Everything that an answer depends on, at one instant.

    Attributes:
        bundles: By name; the first is asked unless a request names another.
        revision: Number of journal entries that are in it.
    """

    bundles: Mapping[str, ServedBundle]
    revision: int = 0

    @property
    def first(self) -> ServedBundle:
        """The bundle whose catalog is the service's."""
        return next(iter(self.bundles.values()))

    @property
    def changes(self) -> ItemChanges:
        """The changes of items, the same for all bundles."""
        return self.first.changes


@dataclass
class _History:
    """All entries, and the newest items of users among them."""

    length: int
    entries: list[Entry] = field(default_factory=list)
    users: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def add(self, entries: Sequence[Entry]) -> None:
        self.entries += entries
        for entry in entries:
            if isinstance(entry, InteractionsAdded):
                for user, item, _ in entry.rows:
                    self.users[user] = (*self.users.get(user, ()), item)[-self.length :]


class Service:
    """Bundles that are served, and every change of them.

    Readers take `snapshot` once and answer from it. A change is made beside it, written to the
    journal, and takes its place at once, so that readers see all of it or nothing.

    Args:
        folders: Bundles by name, the first is the service's own.
        opens: Opens a bundle.
        journal: Where changes are kept.
        max_history_length: Number of newest interactions that are kept of each user.
    """

    def __init__(
        self,
        folders: Mapping[str, Path],
        *,
        opens: Open,
        journal: Journal,
        max_history_length: int = 100,
    ) -> None:
        self._folders = dict(folders)
        self._opens = opens
        self._journal = journal
        self._history = _History(max_history_length)
        self._snapshot: Snapshot | None = None
        # Entries of other processes that are not in the snapshot yet.
        self._behind: list[Entry] = []
        self._lock = threading.Lock()

    @property
    def is_loaded(self) -> bool:
        """Whether there is something to answer from."""
        return self._snapshot is not None

    @property
    def snapshot(self) -> Snapshot:
        """The present state.

        Raises:
            StorageError: If the service was not loaded yet.
        """
        if self._snapshot is None:
            raise StorageError("the bundles are still being loaded: ask again in a few seconds.")
        return self._snapshot

    def history_of(self, user_id: str) -> tuple[str, ...]:
        """The newest items of a user, as far as they were told to the service, oldest first."""
        return self._history.users.get(user_id, ())

    def load(self) -> None:
        """Open the bundles and repeat every change of the journal.

        Raises:
            BigrecError: If a bundle or the journal cannot be used.
        """
        with self._lock:
            entries = self._journal.read_new()
            folders = self._folders | {
                entry.name: Path(entry.folder)
                for entry in entries
                if isinstance(entry, BundleSwapped) and entry.name in self._folders
            }
            for name, folder in folders.items():
                if folder != self._folders[name]:
                    logger.warning("%s replaces the given folder of %s, by a swap", folder, name)
            bundles = {
                name: self._opened(name, folder, entries) for name, folder in folders.items()
            }
            self._history.add(entries)
            self._snapshot = Snapshot(bundles, len(entries))

    def follow(self) -> bool:
        """Take over what other processes wrote to the journal; whether there was any.

        Raises:
            BigrecError: If a bundle or the journal cannot be used. The state stays as it was.
        """
        with self._lock:
            return self._follow()

    def change(self, make: Callable[[Snapshot], Sequence[Entry]]) -> Snapshot:
        """Make a change: on the disk first, then for all readers at once.

        Args:
            make: Called with the latest state, gives the entries of the change. None if there is
                nothing to do.

        Returns:
            The state after it.

        Raises:
            BigrecError: If the change cannot be made. The state stays as it was.
        """
        with self._lock, self._journal.writing():
            self._follow()
            before = self.snapshot
            entries = make(before)
            if not entries:
                return before
            after = self._after(before, entries)
            self._journal.append(entries)
            self._history.add(entries)
            self._snapshot = after
            return after

    def swap(
        self, name: str, folder: Path, *, includes_interactions: bool, only_if_new: bool = False
    ) -> Snapshot:
        """Serve another bundle, or the same folder again; the old one stays if it cannot be used.

        Args:
            name: Which of the bundles.
            folder: The new one.
            includes_interactions: Whether it was fitted to all interactions of the journal.
            only_if_new: Do nothing if another process swapped it meanwhile.

        Raises:
            BigrecError: If the new one cannot be used.
        """
        folder = folder.resolve()
        entry = BundleSwapped(
            name=name, folder=str(folder), includes_interactions=includes_interactions
        )
        # Loaded before other changes have to wait, which are repeated afterwards.
        loaded = ServedBundle.open(folder, self._opens)
        with self._lock, self._journal.writing():
            self._follow()
            if only_if_new and self.snapshot.bundles[name].version == loaded.version:
                return self.snapshot
            entries = [*self._history.entries, entry]
            bundle = loaded.after(_for_bundle(name, entries))
            bundle.check()
            self._journal.append([entry])
            self._history.add([entry])
            before = self.snapshot
            self._snapshot = Snapshot({**before.bundles, name: bundle}, before.revision + 1)
            return self._snapshot

    def _follow(self) -> bool:
        new = self._journal.read_new()
        self._history.add(new)
        self._behind += new
        if not self._behind:
            return False
        self._snapshot = self._after(self.snapshot, self._behind)
        self._behind = []
        return True

    def _after(self, snapshot: Snapshot, entries: Sequence[Entry]) -> Snapshot:
        swapped = {e.name: Path(e.folder) for e in entries if isinstance(e, BundleSwapped)}
        bundles = {
            name: self._opened(name, swapped[name], self._history.entries)
            if name in swapped
            else bundle.after(_for_bundle(name, entries))
            for name, bundle in snapshot.bundles.items()
        }
        return Snapshot(bundles, snapshot.revision + len(entries))

    def _opened(self, name: str, folder: Path, entries: Sequence[Entry]) -> ServedBundle:
        return ServedBundle.open(folder, self._opens).after(_for_bundle(name, entries))


def _for_bundle(name: str, entries: Sequence[Entry]) -> list[Entry]:
    """The entries that change a bundle: no interactions that it was fitted to."""
    last_fit = -1
    for position, entry in enumerate(entries):
        if isinstance(entry, BundleSwapped) and entry.name == name and entry.includes_interactions:
            last_fit = position
    return [
        entry
        for position, entry in enumerate(entries)
        if isinstance(entry, ItemPut | ItemMarked)
        or (isinstance(entry, InteractionsAdded) and position > last_fit)
    ]
