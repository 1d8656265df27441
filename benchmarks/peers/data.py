"""Interactions and queries as bigrec prepares them, as CSV files that every peer can read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bigrec.data.dataset import Dataset
from bigrec.data.examples import Examples
from bigrec.data.sources import load_dataset
from bigrec.data.splits import TRAIN, split_dataset
from bigrec.storage import write_json
from bigrec.types import BoolArray, IntArray

_MIN_HISTORY = 10


@dataclass(frozen=True, eq=False)
class Queries:
    """Histories, oldest first, and the item that came next, ``[q]``."""

    histories: Sequence[IntArray]
    targets: IntArray

    @classmethod
    def of(cls, examples: Examples) -> "Queries":
        """The queries of examples."""
        histories = [row[row >= 0] for row in examples.histories()]
        return cls(histories, np.asarray(examples.targets))


def export(folder: Path, *, dataset: Dataset | None = None, n_valid: int = 2000) -> None:
    """Write the training interactions and the queries of a global-time split.

    Histories are whole: a side cuts them to what its model reads, and excludes all of it.

    Args:
        folder: Made if it is missing.
        dataset: MovieLens-100K by default.
        n_valid: Sampled validation queries, for early stopping.
    """
    dataset = dataset or load_dataset("ml-100k")
    interactions = dataset.interactions
    longest = int(np.diff(interactions.user_start).max())
    split = split_dataset(
        interactions, method="global_time", max_history_length=longest, min_history=_MIN_HISTORY
    )
    write_data(
        folder,
        dataset,
        train=split.row_splits == TRAIN,
        valid=Queries.of(split.valid.sample(n_valid, seed=0)),
        test=Queries.of(split.test),
    )


def write_data(
    folder: Path, dataset: Dataset, *, train: BoolArray, valid: Queries, test: Queries
) -> None:
    """Write training interactions and queries.

    Args:
        folder: Made if it is missing.
        dataset: Its interactions and the size of its catalog.
        train: Mask of the training interactions.
        valid: Queries of validation.
        test: Queries of the test.
    """
    interactions = dataset.interactions
    folder.mkdir(parents=True, exist_ok=True)
    rows = np.flatnonzero(train)
    _write(
        folder / "train.csv",
        "user,item,order",
        np.stack([interactions.users()[train], interactions.items[train], rows], axis=1),
    )
    _write_queries(folder, "valid", valid)
    _write_queries(folder, "test", test)
    write_json(folder / "sizes.json", {"n_items": dataset.catalog.n_items})


def _write_queries(folder: Path, part: str, queries: Queries) -> None:
    lengths = [len(history) for history in queries.histories]
    numbers = np.repeat(np.arange(len(lengths)), lengths)
    table = np.stack([numbers, np.concatenate(queries.histories)], axis=1)
    _write(folder / f"{part}.csv", "query,item", table)
    _write(folder / f"{part}-targets.csv", "target", queries.targets[:, None])


def _write(path: Path, head: str, table: IntArray) -> None:
    np.savetxt(path, table, fmt="%d", delimiter=",", header=head, comments="")
