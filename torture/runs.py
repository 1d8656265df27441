"""Tiny runs in forked processes, and what they leave, to compare killed ones with whole ones."""

import csv
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

# Forked processes have no threads but the first.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

from bigrec.cli import app
from bigrec.experiments import compare  # noqa: F401 - imported once, and not in every process
from bigrec.recommender.bigrec import BIGRec
from bigrec.storage import interrupts
from tests.conftest import Mode, save_tiny_model, tiny_frames, tiny_overrides
from torture.processes import differences, fork, outcome, tail, wait

# Left by what is being written or held.
_HIDDEN = (".tmp-*", ".old-bigrec-*", ".bigrec.lock*")


@dataclass(frozen=True)
class Case:
    """A command on tiny data with a tiny model.

    Attributes:
        command: Of ``bigrec``.
        mode: Retrieval or generative.
        changes: Settings beside the tiny ones.
    """

    command: str
    mode: Mode
    changes: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the case in tables and options."""
        return f"{self.command}-{self.mode}"


_EPOCHS = "baselines.sequential.epochs=3"
_COMPARE = (
    _EPOCHS,
    "compare.baselines=[popularity, GRU4Rec]",
    "compare.fusions=[GRU4Rec]",
    "compare.few_shot=false",
)
# A checkpoint after every step.
_GENERATIVE = ("generative.finetune.save_every_s=1e-9", "generative.finetune.epochs=2")
CASES = [
    Case("evaluate", "retrieval", (_EPOCHS, "fusion.signals=[popularity, GRU4Rec]")),
    Case("evaluate", "generative", _GENERATIVE),
    Case("compare", "retrieval", _COMPARE),
    Case("compare", "generative", (*_COMPARE, *_GENERATIVE)),
]


class Runs:
    """A case's runs, each in a folder and a forked process.

    Args:
        case: What is run.
        folder: Holds the data, the model and the runs.

    Attributes:
        seconds: Time of an uninterrupted run.
        whole: What it leaves, by path.
    """

    def __init__(self, case: Case, folder: Path) -> None:
        self.case = case
        self._folder = folder
        interactions, items = tiny_frames()
        folder.mkdir(parents=True)
        (folder / "data").mkdir()
        _write_csv(folder / "data" / "interactions.csv", interactions.to_dicts())
        _write_csv(folder / "data" / "items.csv", items.to_dicts())
        save_tiny_model(folder / "model", chat=True)
        self._old_bundle: Path | None = None
        if case.command == "evaluate":  # compare saves none
            other = replace(case, changes=(*case.changes, "seed=5"))
            run_dir = self.new_run_dir()
            self._check_ended(self.start(run_dir, case=other))
            self._old_bundle = (run_dir / "bundle").rename(folder / "old")
        started = time.monotonic()
        run_dir = self.new_run_dir()
        self._check_ended(self.start(run_dir))
        self.seconds = time.monotonic() - started
        self.whole = outcome(run_dir)

    def new_run_dir(self) -> Path:
        """An empty run directory, but for a bundle of other settings that is saved over."""
        run_dir = self._folder / "run"
        shutil.rmtree(run_dir, ignore_errors=True)
        run_dir.mkdir()
        if self._old_bundle is not None:
            shutil.copytree(self._old_bundle, run_dir / "bundle")
        return run_dir

    def start(
        self,
        run_dir: Path,
        *,
        case: Case | None = None,
        prepare: Callable[[], object] = lambda: None,
    ) -> int:
        """Start the command in a forked process.

        Args:
            run_dir: Its run directory.
            case: Another case than this one's.
            prepare: Called first in the new process.

        Returns:
            Its process id.
        """
        case = case or self.case
        overrides = tiny_overrides(self._folder / "model", *case.changes, mode=case.mode)
        words = [case.command, "--run-dir", str(run_dir), "--data", str(self._folder / "data")]
        words += [part for override in overrides for part in ("--set", override)]

        def command() -> None:
            prepare()
            signal.signal(signal.SIGINT, signal.default_int_handler)
            with interrupts.watched():
                app(words)

        return fork(command, log=self.log)

    @property
    def log(self) -> Path:
        """Output of the last process."""
        return self._folder / "log.txt"

    def fault_after_kill(self, run_dir: Path) -> str | None:
        """What is wrong with a killed run, or with what it ends with once it is run again."""
        if self._old_bundle is not None and (fault := self._load_bundle(run_dir)):
            return f"the bundle cannot be loaded after the kill: {fault}"
        code = wait(self.start(run_dir))
        if code != 0:
            return f"run again, it ends with {code}: {tail(self.log)}"
        if "Traceback" in self.log.read_text(errors="replace"):
            return f"run again, it prints a traceback: {tail(self.log)}"
        left = [str(path.relative_to(run_dir)) for name in _HIDDEN for path in run_dir.rglob(name)]
        if left:
            return f"left behind: {', '.join(left)}"
        differing = differences(self.whole, outcome(run_dir))
        return f"differs from an uninterrupted run: {', '.join(differing)}" if differing else None

    def _load_bundle(self, run_dir: Path) -> str | None:
        code = wait(fork(lambda: BIGRec.load(run_dir / "bundle"), log=self.log))
        return None if code == 0 else tail(self.log)

    def _check_ended(self, process: int) -> None:
        if wait(process) != 0:
            raise RuntimeError(f"an uninterrupted run failed: {tail(self.log, lines=30)}")


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for runs, removed at the end."""
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        yield Path(folder)


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Rows as CSV, written without polars, whose threads forked processes would lack."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
