"""All sides in turns, and their figures."""

import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.peers.data import export
from benchmarks.peers.environments import PEERS, python_of, why_missing
from bigrec.evaluation.metrics import ndcg_at
from bigrec.storage import read_json
from bigrec.types import UNRANKED, IntArray

SIDES = Path(__file__).parent / "sides"
OURS = "bigrec"
TURNS, BUDGET_S = 3, 300.0
# A network trains for minutes, up to the budget.
NETWORK_TURNS = 1
_K = 10
# One for each library with its own threads.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class Entry(NamedTuple):
    """A model of a package. Networks of a family are trained to the same figure on validation."""

    peer: str
    model: str
    network: str | None = None


ENTRIES = (
    Entry(OURS, "SASRec", "SASRec"),
    Entry("rectools", "SASRec", "SASRec"),
    Entry("recbole", "SASRec", "SASRec"),
    Entry(OURS, "GRU4Rec", "GRU4Rec"),
    Entry("recbole", "GRU4Rec", "GRU4Rec"),
    Entry(OURS, "EASE"),
    Entry("rectools", "EASE"),
    Entry(OURS, "co-occurrence"),
    Entry("rectools", "ItemKNN"),
    Entry("implicit", "item-item"),
    Entry("implicit", "ALS"),
)


@dataclass(frozen=True, eq=False)
class Turn:
    """One run of a side, in seconds of the processor.

    Attributes:
        fit_s: Seconds of preparing and fitting, validation included.
        recommend_s: Seconds of the lists of all test histories.
        peak_mib: Peak memory of the process.
        curve: For a network, seconds and validation NDCG@10 at the end of each epoch.
        lists: Items of the lists, ``[q, 10]``.
    """

    fit_s: float
    recommend_s: float
    peak_mib: float
    curve: Sequence[tuple[float, float]]
    lists: IntArray

    @property
    def best_valid(self) -> float:
        """The best figure on validation."""
        return max((figure for _, figure in self.curve), default=float("nan"))

    def seconds_to(self, figure: float) -> float | None:
        """Seconds until a figure on validation was first reached; None if it was not."""
        return next((seconds for seconds, reached in self.curve if reached >= figure), None)


def bench_peers_stage() -> dict[str, Any]:
    """Figures of every model of every package that is installed, on MovieLens-100K."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export(folder)
        return compare(folder, turns=TURNS, budget_s=BUDGET_S)


def compare(
    folder: Path,
    *,
    turns: int,
    budget_s: float,
    entries: Sequence[Entry] = ENTRIES,
) -> dict[str, Any]:
    """Run all sides in an order that reverses from turn to turn.

    Args:
        folder: As `export` wrote it.
        turns: Runs of each side.
        budget_s: Seconds that a network of another package may train.
        entries: The sides.

    Returns:
        By package and model: medians of the turns; and under ``not run`` the reasons.
    """
    absent = {peer: reason for peer in PEERS if (reason := why_missing(peer)) is not None}
    present = [entry for entry in entries if entry.peer not in absent]
    done: dict[Entry, list[Turn]] = {entry: [] for entry in present}
    failed: dict[str, str] = {}
    for turn in range(turns):
        for entry in present[:: -1 if turn % 2 else 1]:
            if entry.network is not None and turn >= NETWORK_TURNS:
                continue
            try:
                done[entry].append(run_side(entry, folder, budget_s=budget_s))
            except subprocess.CalledProcessError as error:
                lines = error.stderr.strip().splitlines() or [f"exit code {error.returncode}"]
                failed[f"{entry.peer} {entry.model}"] = lines[-1]
    done = {entry: runs for entry, runs in done.items() if runs}
    targets = np.loadtxt(folder / "test-targets.csv", dtype=np.int64, skiprows=1)
    figures = {
        f"{entry.peer} {entry.model}": summary(
            runs,
            targets=targets,
            common_valid=_common(done, entry.network, budget_s=budget_s),
            lowest_valid=_common(done, entry.network, budget_s=math.inf),
        )
        for entry, runs in done.items()
    }
    return {**figures, "not run": {**absent, **failed}}


def run_side(entry: Entry, folder: Path, *, budget_s: float) -> Turn:
    """Run a side in its environment, on one thread.

    Raises:
        CalledProcessError: If it fails.
    """
    folder = folder.absolute()
    out = folder / "out.json"
    python = sys.executable if entry.peer == OURS else str(python_of(entry.peer).absolute())
    script = SIDES.absolute() / f"run_{entry.peer}.py"
    arguments = [str(folder), entry.model, str(out), "--budget", str(budget_s)]
    command = [python, str(script), *arguments]
    variables = side_variables(entry.peer)
    # Some write logs where they are run, and PYTHONPATH may be relative to where we are.
    place = None if entry.peer == OURS else folder
    subprocess.run(  # noqa: S603
        command, env=variables, cwd=place, capture_output=True, text=True, check=True
    )
    found = read_json(out)
    return Turn(
        found["fit_s"],
        found["recommend_s"],
        found["peak_mib"],
        [(seconds, figure) for seconds, figure in found["curve"]],
        np.load(out.with_suffix(".npy")),
    )


def side_variables(peer: str) -> dict[str, str]:
    """Environment variables of a side's process: one thread, and its own packages alone."""
    variables = {**os.environ, **_ONE_THREAD}
    if peer != OURS:
        variables.pop("PYTHONPATH", None)
    return variables


def summary(
    runs: Sequence[Turn],
    *,
    targets: IntArray,
    common_valid: float | None,
    lowest_valid: float | None = None,
) -> dict[str, float | None]:
    """Medians over the turns of a side.

    Args:
        runs: The turns.
        targets: Target of each test history.
        common_valid: For a network, the figure on validation that all of its family reach whose
            time was not used up.
        lowest_valid: For a network, the figure that all of its family reach.
    """
    return {
        "train_s": _median_seconds(runs, common_valid),
        "to_lowest_s": None if lowest_valid is None else _median_seconds(runs, lowest_valid),
        "lists_per_s": len(targets) / float(np.median([run.recommend_s for run in runs])),
        "peak_mib": float(np.median([run.peak_mib for run in runs])),
        "test_ndcg@10": float(
            np.median([ndcg_at(list_ranks(run.lists, targets), k=_K) for run in runs])
        ),
        "valid_ndcg@10": None if common_valid is None else _median_valid(runs),
        "turns": len(runs),
    }


def list_ranks(lists: IntArray, targets: IntArray) -> IntArray:
    """0-based place of each target in its list, ``[q]``; `UNRANKED` where it is not in it."""
    found = lists == targets[:, None]
    return np.where(found.any(axis=1), found.argmax(axis=1), UNRANKED)


def _median_seconds(runs: Sequence[Turn], figure: float | None) -> float | None:
    """Of fitting, or until a figure on validation; None if a run did not reach it."""
    times = [run.fit_s if figure is None else run.seconds_to(figure) for run in runs]
    reached = [seconds for seconds in times if seconds is not None]
    return float(np.median(reached)) if len(reached) == len(runs) else None


def _median_valid(runs: Sequence[Turn]) -> float:
    return float(np.median([run.best_valid for run in runs]))


def _common(
    done: Mapping[Entry, Sequence[Turn]], network: str | None, *, budget_s: float
) -> float | None:
    """The best figure on validation of the side of a family that reaches the least in any turn.

    Sides of other packages whose time was used up do not count, unless all were: what they would
    have reached is not known.
    """
    if network is None:
        return None
    runs = [
        (run.best_valid, entry.peer == OURS or run.curve[-1][0] <= budget_s)
        for entry, of_entry in done.items()
        if entry.network == network
        for run in of_entry
    ]
    ended = [best for best, has_ended in runs if has_ended]
    return min(ended or [best for best, _ in runs])
