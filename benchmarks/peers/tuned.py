"""SASRec of bigrec beside that of RecTools: tuned alike on validation, tested once.

::

    python -m benchmarks.peers.environments
    python -m benchmarks.peers.tuned FOLDER --set data.min_history=10

Both sides have the split, the histories, the queries and the protocol of ``bigrec compare`` with
the same settings, softmax over all items as the loss, the hidden size of the settings and the same
grid. Every point is trained with early stopping on the validation queries. The point that is best
on them is tested. A point that is in the folder is not trained again.
"""

import argparse
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.data import Queries, write_data
from benchmarks.peers.environments import python_of, why_missing
from benchmarks.peers.stage import OURS, SIDES, side_variables
from bigrec.data.dataset import Dataset
from bigrec.evaluation.clusters import describe_users, number_users
from bigrec.evaluation.metrics import SELECTION_METRIC, hr_at, ndcg_at, query_values
from bigrec.evaluation.reports.table import Cell, Table, to_markdown
from bigrec.evaluation.significance import paired_differences
from bigrec.models.neural import SequentialModel
from bigrec.recommender.scoring import ItemsByTitle
from bigrec.recommender.training_data import (
    EvalQueries,
    PreparedData,
    all_training_data,
    load_source,
    prepare_examples,
)
from bigrec.recommender.tuning import model_ranks, title_ranks
from bigrec.settings import Settings
from bigrec.storage import fingerprint, read_json, write_json
from bigrec.types import IntArray

PEER = "rectools"
_PARTS = ("valid", "test")
_K = 10
_SEED = 0


@dataclass(frozen=True)
class Point:
    """A point of the grid: that of ``baselines.tune: grid``, and how long a sequence is.

    Attributes:
        learning_rate: Of Adam.
        dropout: Probability.
        max_length: Longest sequence in training. Histories are shorter: a network that counts
            positions from the oldest item may do better with sequences as short as these.
    """

    learning_rate: float
    dropout: float
    max_length: int


GRID = tuple(
    Point(learning_rate, dropout, max_length)
    for learning_rate, max_length, dropout in itertools.product((1e-3, 3e-3), (50, 10), (0.5, 0.2))
)


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained point.

    Attributes:
        point: The point.
        ranks: 0-based target ranks of ``valid`` and ``test``, each ``[q]``.
        epochs: Epochs of the training.
        seconds: Processor time of the training, validation included.
    """

    point: Point
    ranks: Mapping[str, IntArray]
    epochs: int
    seconds: float

    @property
    def valid(self) -> float:
        """NDCG@10 on validation, by which a point is selected."""
        return ndcg_at(self.ranks["valid"], k=_K)


class Comparison:
    """Trains the points of both sides on the data of some settings.

    Args:
        settings: Data, protocol, hyperparameters outside of the grid, and the seed.
        folder: Holds the trained points.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings = settings
        self._folder = folder

    @cached_property
    def dataset(self) -> Dataset:
        """The dataset."""
        return load_source(self._settings.data)

    @cached_property
    def prepared(self) -> PreparedData:
        """Its split and queries."""
        return prepare_examples(self.dataset, self._settings)

    def train(self, side: str, point: Point) -> Trained:
        """Train a point of a side, unless it is in the folder."""
        key = fingerprint([self._settings.to_dict(), self.dataset.catalog.fingerprint, side])[:8]
        name = "-".join(f"{value:g}" for value in asdict(point).values())
        path = self._folder / f"{side}-{key}-{name}.json"
        if not path.is_file():
            train = self._train_ours if side == OURS else self._train_peer
            trained = train(point)
            ranks = {part: of_part.tolist() for part, of_part in trained.ranks.items()}
            write_json(path, {**asdict(trained), "ranks": ranks})
        content = read_json(path)
        ranks = {part: np.array(of_part) for part, of_part in content["ranks"].items()}
        return Trained(point, ranks, content["epochs"], content["seconds"])

    def _train_ours(self, point: Point) -> Trained:
        data = all_training_data(self.dataset, self.prepared)
        values = self._settings.baselines.sequential.model_dump() | asdict(point)
        started = time.process_time()
        model = SequentialModel.fit(
            data.interactions,
            train=data.train,
            n_items=data.n_items,
            architecture="SASRec",
            valid_histories=data.valid_histories,
            valid_targets=data.valid_targets,
            exclude_seen=data.exclude_seen,
            n_negatives=None,
            seed=self._settings.seed,
            **values,
        )
        seconds = time.process_time() - started
        ranks = {
            part: model_ranks(
                model,
                self.dataset.catalog,
                queries,
                exclude_seen=self.prepared.exclude_seen,
            )
            for part, queries in self._queries.items()
        }
        return Trained(point, ranks, len(model.log), seconds)

    def _train_peer(self, point: Point) -> Trained:
        out = self._folder / f"{PEER}-scores"
        hidden_size = self._settings.baselines.sequential.hidden_size
        values = {**asdict(point), "hidden_size": hidden_size, "seed": self._settings.seed}
        script = str(SIDES / f"tune_{PEER}.py")
        command = [str(python_of(PEER)), script, str(self._exported), str(out), json.dumps(values)]
        subprocess.run(command, env=side_variables(PEER), check=True)  # noqa: S603
        figures = read_json(out.with_suffix(".json"))
        ranks = {part: self._peer_ranks(part, Path(f"{out}-{part}.npy")) for part in _PARTS}
        return Trained(point, ranks, figures["epochs"], figures["seconds"])

    def _peer_ranks(self, part: str, file: Path) -> IntArray:
        catalog, scores = self.dataset.catalog, np.load(file, mmap_mode="r")
        by_title = ItemsByTitle.of(catalog.title_ids, n_titles=catalog.n_titles)
        ranks = title_ranks(
            lambda rows: by_title.best(np.array(scores[rows])),
            catalog,
            self._queries[part],
            exclude_seen=self.prepared.exclude_seen,
        )
        file.unlink()
        return ranks

    @cached_property
    def _queries(self) -> dict[str, EvalQueries]:
        return {part: self.prepared.queries(part) for part in _PARTS}  # type: ignore[arg-type]

    @cached_property
    def _exported(self) -> Path:
        """The data as files, histories as the networks read them."""
        folder = self._folder / "data"
        parts = {
            part: Queries(queries.histories, queries.targets)
            for part, queries in self._queries.items()
        }
        write_data(folder, self.dataset, train=self.prepared.train_rows, **parts)
        return folder


def select(trained: Sequence[Trained]) -> Trained:
    """The point that is best on validation; of equal ones the first."""
    return max(trained, key=lambda point: point.valid)


def report(trained: Mapping[str, Sequence[Trained]], user_ids: Sequence[str]) -> dict[str, Any]:
    """Figures of all points, and the difference of the selected ones on the test.

    Args:
        trained: The points of bigrec and of the peer.
        user_ids: User of each test query.
    """
    users = number_users(user_ids)
    selected = {side: select(points) for side, points in trained.items()}
    of_test = {
        side: query_values(point.ranks["test"], SELECTION_METRIC)[:, None]
        for side, point in selected.items()
    }
    paired = paired_differences(of_test[OURS], of_test[PEER], clusters=users, seed=_SEED)
    return {
        "queries": describe_users(users),
        "points": [
            {
                "side": side,
                **asdict(point.point),
                "selected": point is selected[side],
                "valid_ndcg@10": point.valid,
                "test_ndcg@10": ndcg_at(point.ranks["test"], k=_K),
                "test_hr@10": hr_at(point.ranks["test"], k=_K),
                "epochs": point.epochs,
                "seconds": point.seconds,
            }
            for side, points in trained.items()
            for point in points
        ],
        "difference": float(paired.difference[0]),
        "low": float(paired.low[0]),
        "high": float(paired.high[0]),
        "p": float(paired.p_value[0]),
    }


def table(figures: Mapping[str, Any]) -> Table:
    """The points as a table, the best on validation first, and the difference as its note."""
    columns = (
        *("SASRec of", "learning rate", "dropout", "longest sequence", "validation NDCG@10"),
        *("test NDCG@10", "test HR@10", "epochs", "seconds"),
    )
    points = sorted(figures["points"], key=lambda point: -point["valid_ndcg@10"])
    rows = [
        (
            Cell(f"{point['side']}, selected" if point["selected"] else point["side"]),
            *(Cell(f"{point[name]:g}") for name in ("learning_rate", "dropout", "max_length")),
            *(Cell(f"{point[name]:.4f}") for name in ("valid_ndcg@10", "test_ndcg@10")),
            Cell(f"{point['test_hr@10']:.3f}"),
            Cell(str(point["epochs"])),
            Cell(f"{point['seconds']:.0f}"),
        )
        for point in points
    ]
    note = (
        f"bigrec minus {PEER}, test NDCG@10 of the selected points over {figures['queries']}: "
        f"{figures['difference']:+.4f} [{figures['low']:+.4f}, {figures['high']:+.4f}], "
        f"p = {figures['p']:.4f}."
    )
    return Table("", columns, tuple(rows), note)


def main() -> None:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--config", help="settings file or preset")
    parser.add_argument("--data", help="dataset, as of bigrec")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.FIELD=VALUE")
    parser.add_argument("--points", type=int, help="the first of the grid; all by default")
    arguments = parser.parse_args()
    missing = why_missing(PEER)
    if missing is not None:
        parser.error(f"{PEER}: {missing}")
    source = [] if arguments.data is None else [f"data.source={arguments.data}"]
    settings = Settings.read(arguments.config, [*source, *arguments.set])
    arguments.folder.mkdir(parents=True, exist_ok=True)
    comparison = Comparison(settings, arguments.folder)
    trained: dict[str, list[Trained]] = {OURS: [], PEER: []}
    for point in GRID[: arguments.points]:
        for side, points in trained.items():
            points.append(comparison.train(side, point))
    figures = report(trained, comparison.prepared.test_queries.user_ids)
    write_json(arguments.folder / "report.json", figures)
    sys.stdout.write(to_markdown(table(figures)))


if __name__ == "__main__":
    main()
