"""What every side of the comparison does alike: read, stop, time and write. It needs NumPy alone.

A side is called as ``python run_PEER.py DATA MODEL OUT`` in the peer's environment. It fits the
model to the training interactions, lists ten items for every test history, and writes ``OUT.json``
with its figures and ``OUT.npy`` with the lists. Seconds are of the processor, on one thread, so
that other work on the machine does not count.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

K = 10
MAX_LENGTH = 50
HIDDEN_SIZE, DROPOUT, LEARNING_RATE = 64, 0.2, 1e-3
EPOCHS, PATIENCE = 100, 5

Recommend = Callable[[Sequence[np.ndarray]], np.ndarray]
"""From histories, oldest first, to lists ``[q, 10]`` without the items of the history."""


@dataclass(frozen=True)
class Queries:
    """Histories, oldest first, and the item that came next."""

    histories: list[np.ndarray]
    targets: np.ndarray


@dataclass(frozen=True)
class Data:
    """Training interactions in order of user and time, and the queries."""

    users: np.ndarray
    items: np.ndarray
    times: np.ndarray
    n_items: int
    valid: Queries
    test: Queries

    @property
    def known(self) -> np.ndarray:
        """Mask of the items with training interactions."""
        return np.bincount(self.items, minlength=self.n_items) > 0


def read(folder: Path) -> Data:
    """The data that `benchmarks.peers.data` wrote."""
    users, items, times = _table(folder / "train.csv").T
    queries = {}
    for part in ("valid", "test"):
        numbers, history_items = _table(folder / f"{part}.csv").T
        targets = _table(folder / f"{part}-targets.csv")[:, 0]
        ends = np.cumsum(np.bincount(numbers, minlength=len(targets)))[:-1]
        queries[part] = Queries(np.split(history_items, ends), targets)
    n_items = json.loads((folder / "sizes.json").read_text())["n_items"]
    return Data(users, items, times, n_items, queries["valid"], queries["test"])


def best(scores: np.ndarray, histories: Sequence[np.ndarray], *, known: np.ndarray) -> np.ndarray:
    """The ten best items of each history, without its own and those that were not trained.

    Args:
        scores: ``[q, n]``, higher is better; written to.
        histories: Items of each query.
        known: Mask of the trained items, ``[n]``.
    """
    scores[:, ~known] = -np.inf
    rows = np.repeat(np.arange(len(histories)), [len(history) for history in histories])
    scores[rows, np.concatenate(histories)] = -np.inf
    top = np.argpartition(scores, -K, axis=1)[:, -K:]
    order = np.argsort(-np.take_along_axis(scores, top, axis=1), axis=1, kind="stable")
    return np.take_along_axis(top, order, axis=1)


@dataclass
class Curve:
    """Validation by epoch: when to stop, which weights to keep, and the time without validation."""

    targets: np.ndarray
    budget_s: float
    started: float = field(default_factory=time.process_time)
    points: list[tuple[float, float]] = field(default_factory=list)
    validation_s: float = 0.0

    @contextmanager
    def validating(self) -> Iterator[None]:
        """Time within the block is not time of training."""
        before = time.process_time()
        yield
        self.validation_s += time.process_time() - before

    def add(self, lists: np.ndarray) -> bool:
        """Add an epoch by its lists, and tell whether it is the best so far."""
        places = np.argmax(lists == self.targets[:, None], axis=1)
        hits = (lists == self.targets[:, None]).any(axis=1)
        # For the choice of an epoch; what is reported is computed by bigrec from the lists.
        figure = float(np.where(hits, 1 / np.log2(places + 2), 0).mean())
        is_best = all(figure > other for _, other in self.points)
        seconds = time.process_time() - self.started - self.validation_s
        self.points.append((seconds, figure))
        return is_best

    @property
    def is_over(self) -> bool:
        """Whether the training stops: no better epoch for long, or the time is used up."""
        figures = [figure for _, figure in self.points]
        since = len(figures) - 1 - int(np.argmax(figures))
        return since >= PATIENCE or self.points[-1][0] > self.budget_s


Fit = Callable[[Data, float], tuple[Recommend, Sequence[tuple[float, float]]]]
"""From the data and the seconds that a network may train to what recommends and the curve."""


def main(models: Mapping[str, Fit]) -> None:
    """Run the model of the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("model", choices=list(models))
    parser.add_argument("out", type=Path)
    parser.add_argument("--budget", type=float, default=300.0)
    arguments = parser.parse_args()
    data = read(arguments.data)
    started = time.process_time()
    recommend, curve = models[arguments.model](data, arguments.budget)
    fit_s = time.process_time() - started
    started = time.process_time()
    lists = recommend(data.test.histories)
    recommend_s = time.process_time() - started
    figures: dict[str, Any] = {
        "fit_s": fit_s,
        "recommend_s": recommend_s,
        "peak_mib": _peak_mib(),
        "curve": list(curve),
    }
    np.save(arguments.out.with_suffix(".npy"), lists)
    arguments.out.with_suffix(".json").write_text(json.dumps(figures))


def _peak_mib() -> float:
    # Linux alone: getrusage includes the parent's peak in a process just started.
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def _table(path: Path) -> np.ndarray:
    return np.loadtxt(path, dtype=np.int64, delimiter=",", skiprows=1, ndmin=2)
