"""The state of a service: bundles with the changes of its journal, replaced as a whole."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bigrec.data.id_columns import read_id
from bigrec.errors import StorageError
from bigrec.printable import get_logger
from bigrec.serving.entries import (
    AnsweredRequest,
    BundleSwapped,
    Entry,
    InteractionsAdded,
    ItemChanges,
    ItemMarked,
    ItemPut,
)
from bigrec.serving.history import History
from bigrec.serving.journal import Journal
from bigrec.serving.served_bundle import Open, ServedBundle
from bigrec.storage.sharing import remove_unused, sharing_arrays

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


class Service:
    """Bundles that are served, and every change of them.

    Readers take `snapshot` once and answer from it. A change is made beside it, written to the
    journal, and takes its place at once, so that readers see all of it or nothing.

    Args:
        folders: Bundles by name, the first is the service's own.
        opens: Opens a bundle.
        journal: Where changes are kept.
        max_history_length: Number of newest interactions that are kept of each user.
        arrays: Folder in which processes of one machine share the large arrays of bundles; None
            keeps them in this process.
    """

    def __init__(
        self,
        folders: Mapping[str, Path],
        *,
        opens: Open,
        journal: Journal,
        max_history_length: int = 100,
        arrays: Path | None = None,
    ) -> None:
        self._folders = dict(folders)
        self._opens = opens
        self._journal = journal
        self._arrays = arrays
        self._history = History(max_history_length)
        self._snapshot: Snapshot | None = None
        # Entries of other processes that are not in the snapshot yet.
        self._behind: list[Entry] = []
        # Whether they follow from the journal alone, because another process compacted it.
        self._must_load = False
        self._tried_bytes = 0
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
        return self._history.users.get(read_id(user_id), ())

    def answered(self, key: str) -> AnsweredRequest | None:
        """The request of a key that was answered already."""
        return self._history.answered.get(key)

    def load(self) -> None:
        """Open the bundles and repeat every change of the journal.

        Raises:
            BigrecError: If a bundle or the journal cannot be used.
        """
        with self._lock:
            self._read_journal()
            self._load()

    def _load(self) -> None:
        entries = self._history.entries
        folders = self._folders | {
            entry.name: Path(entry.folder)
            for entry in entries
            if isinstance(entry, BundleSwapped) and entry.name in self._folders
        }
        for name, folder in folders.items():
            if folder != self._folders[name]:
                logger.warning("%s replaces the given folder of %s, by a swap", folder, name)
        bundles = {name: self._opened(name, folder, entries) for name, folder in folders.items()}
        self._snapshot = Snapshot(bundles, self._history.revision)
        self._behind, self._must_load = [], False

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
        loaded = self._opened(name, folder, [])
        with self._lock, self._journal.writing():
            self._follow()
            if only_if_new and self.snapshot.bundles[name].version == loaded.version:
                return self.snapshot
            entries = [*self._history.entries, entry]
            bundle = loaded.after(entries_of_bundle(name, entries))
            bundle.check()
            self._journal.append([entry])
            self._history.add([entry])
            before = self.snapshot
            self._snapshot = Snapshot({**before.bundles, name: bundle}, before.revision + 1)
            return self._snapshot

    def compact(self, *, min_bytes: int) -> bool:
        """Write the journal anew if it has grown, and fewer entries tell the same.

        Args:
            min_bytes: Size from which it is tried, and how much it has to grow before the next try.

        Returns:
            Whether it was.

        Raises:
            BigrecError: If the journal cannot be read or written. The present one stays.
        """
        if self._journal.n_bytes < max(min_bytes, 2 * self._tried_bytes):
            return False
        with self._lock, self._journal.writing():
            self._follow()
            history = self._history
            entries = history.compacted(self._folders)
            self._tried_bytes = self._journal.n_bytes
            if 2 * len(entries) > len(history.entries):
                return False
            self._journal.compact(entries, revision=history.revision)
            self._tried_bytes = self._journal.n_bytes
            self._history = self._history_of(entries)
            return True

    def _history_of(self, entries: Sequence[Entry]) -> History:
        """The history of all entries of the journal."""
        history = History(self._history.length, self._journal.header.skipped)
        history.add(entries)
        return history

    def _read_journal(self) -> None:
        before = self._history.revision
        new, is_compacted = self._journal.read_new()
        header = self._journal.header
        if is_compacted or not before:
            self._history = self._history_of(new)
            if before == header.revision:
                # All that was merged is known.
                new = new[header.n_entries :]
            else:
                self._must_load = True
        else:
            self._history.add(new)
        self._behind += new

    def _follow(self) -> bool:
        self._read_journal()
        if self._must_load:
            self._load()
            return True
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
            else bundle.after(entries_of_bundle(name, entries))
            for name, bundle in snapshot.bundles.items()
        }
        return Snapshot(bundles, snapshot.revision + len(entries))

    def _opened(self, name: str, folder: Path, entries: Sequence[Entry]) -> ServedBundle:
        if self._arrays is not None:
            remove_unused(self._arrays)
        with sharing_arrays(self._arrays):
            opened = ServedBundle.open(folder, self._opens)
            return opened.after(entries_of_bundle(name, entries))


def entries_of_bundle(name: str, entries: Sequence[Entry]) -> list[Entry]:
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
