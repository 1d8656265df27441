"""``python -m torture.journal``: kill a service's journal before each of its storage operations.

A forked process changes items, adds interactions and compacts the journal, again and again, and
notes each change once it is confirmed. After each kill the journal must hold all of those.
"""

import os
import random
import signal
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from bigrec.serving.entries import (
    BundleSwapped,
    Entry,
    InteractionsAdded,
    ItemChanges,
    ItemMarked,
    ItemPut,
    RequestMark,
)
from bigrec.serving.history import History
from bigrec.serving.journal import Journal
from torture.countdown import Countdown
from torture.processes import fork, tail, wait
from torture.tally import Tally, finish

_LENGTH = 5
_COMPACT_EVERY = 8
_NAMES = ("first", "second")


def changes(rng: random.Random) -> Iterator[Entry]:
    """Changes of few items and users, so that later ones undo earlier ones."""
    while True:
        item = f"i{rng.randrange(6)}"
        kind = rng.randrange(8)
        if kind < 3:
            rows = [(f"u{rng.randrange(3)}", item, n) for n in range(rng.randrange(1, 4))]
            mark = RequestMark(key=str(rng.randrange(20)), body="x") if kind == 0 else None
            yield InteractionsAdded(rows=rows, request=mark)
        elif kind < 5:
            yield ItemPut(item_id=item, title=f"T{rng.randrange(9)}")
        elif kind < 7:
            yield ItemMarked(op=rng.choice(("hide", "show", "remove")), item_id=item)
        else:
            folder, fitted = f"/b{rng.randrange(3)}", rng.random() < 0.5
            name = rng.choice(_NAMES)
            yield BundleSwapped(name=name, folder=folder, includes_interactions=fitted)


def read(path: Path) -> tuple[Journal, History]:
    """A journal and what it tells."""
    journal = Journal(path)
    entries, _ = journal.read_new()
    history = History(_LENGTH, journal.header.skipped)
    history.add(entries)
    return journal, history


def state(history: History) -> dict[str, Any]:
    """What a service makes of a history, bundles aside."""
    items = ItemChanges().after(history.entries)
    folders = {e.name: e.folder for e in history.entries if isinstance(e, BundleSwapped)}
    return {
        "revision": history.revision,
        "users": history.users,
        "requests": {key: request.revision for key, request in history.answered.items()},
        "titles": [(item, change.title) for item, change in items.put.items()],
        "removed": items.removed,
        "hidden": items.hidden,
        "folders": folders,
    }


def work(path: Path, confirmed: Path, entries: Sequence[Entry]) -> None:
    """Write changes and compact, and note the number of confirmed changes."""
    journal, history = read(path)
    for number, entry in enumerate(entries, start=1):
        with journal.writing():
            journal.append([entry])
        history.add([entry])
        confirmed.write_text(str(number))
        if number % _COMPACT_EVERY == 0:
            kept = history.compacted(_NAMES)
            with journal.writing():
                journal.compact(kept, revision=history.revision)
            history = History(_LENGTH, journal.header.skipped)
            history.add(kept)


def fault_of(path: Path, confirmed: int, entries: Sequence[Entry]) -> str | None:
    """What is wrong with a journal of which so many changes were confirmed."""
    _, history = read(path)
    n_entries = history.revision
    if n_entries not in {confirmed, confirmed + 1}:
        return f"{confirmed} changes were confirmed, and it holds {n_entries}"
    expected = History(_LENGTH)
    expected.add(entries[:n_entries])
    found, wanted = state(history), state(expected)
    differing = [name for name in wanted if found[name] != wanted[name]]
    return f"after {n_entries} changes other {', '.join(differing)}" if differing else None


def attack(folder: Path, *, seed: int, n_changes: int = 40) -> Tally:
    """Kill the work before each of its storage operations in turn."""
    rng = random.Random(seed)
    source = changes(rng)
    entries = [next(source) for _ in range(n_changes)]
    tally = Tally(
        f"{n_changes} changes with {n_changes // _COMPACT_EVERY} compactions, seed {seed}"
    )
    number, code = 0, -signal.SIGKILL
    while code == -signal.SIGKILL:
        number += 1
        place = folder / str(number)
        place.mkdir()
        confirmed = folder / f"confirmed-{number}"
        confirmed.write_text("0")
        countdown = Countdown(place, kill_at=number, record=folder / "record")

        def killed(
            place: Path = place, note: Path = confirmed, down: Countdown = countdown
        ) -> None:
            down.watch()
            work(place / "journal.jsonl", note, entries)

        log = folder / "log"
        code = wait(fork(killed, log=log))
        fault = None if code in {0, -signal.SIGKILL} else f"it ends with {code}: {tail(log)}"
        fault = fault or fault_of(place / "journal.jsonl", int(confirmed.read_text()), entries)
        tally.count(fault and f"operation {number}: {fault}")
    return tally


def main(
    seeds: Annotated[int, typer.Option(min=1, help="Number of random journals.")] = 3,
) -> None:
    """Kill the journal before each of its storage operations in turn."""
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory(prefix="torture-") as temporary:
        tallies = []
        for seed in range(1, seeds + 1):
            folder = Path(temporary) / f"seed-{seed}"
            folder.mkdir()
            tallies.append(attack(folder, seed=seed))
    finish("A journal killed before each storage operation", tallies)


if __name__ == "__main__":
    typer.run(main)
