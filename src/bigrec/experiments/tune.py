"""Hyperparameters of one model, searched by Optuna on validation, and the settings that do best."""

import math
import shutil
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigrec.errors import BigrecError, SettingsError, StorageError
from bigrec.evaluation.method import MethodId
from bigrec.evaluation.metrics import SELECTION_METRIC
from bigrec.evaluation.reports.table import Cell, Table
from bigrec.experiments.pipeline import Pipeline
from bigrec.experiments.search_space import (
    Range,
    SearchSpace,
    contains,
    current_values,
    search_space,
)
from bigrec.models.base import Scorer
from bigrec.models.llm import LLM_RETRIEVAL
from bigrec.models.registry import is_network
from bigrec.printable import get_logger
from bigrec.recommender.baselines import BaselineFitter
from bigrec.recommender.fit_store import FolderStore
from bigrec.recommender.fitting import Fitting
from bigrec.recommender.training_data import PreparedData
from bigrec.recommender.tuning import model_ranks
from bigrec.recommender.windows import WindowQueries
from bigrec.settings import Settings
from bigrec.storage import fingerprint

if TYPE_CHECKING:
    from optuna import Study

logger = get_logger(__name__)

_SHOWN = 10
_MAX_FAILED = 3
_STUDY = "study.db"


@dataclass(frozen=True)
class Trial:
    """One combination of hyperparameters.

    Attributes:
        number: Number of the trial, in the order of their start.
        values: By the dotted name of the setting.
        figure: NDCG@10 on validation, the mean over windows, higher is better.
    """

    number: int
    values: Mapping[str, Any]
    figure: float


@dataclass(frozen=True)
class TuningResult:
    """The trials of a search.

    Attributes:
        model: Name of the model.
        trials: Complete trials, best first; the earlier of equal ones first.
        file: The settings of the best one, as YAML that ``--config`` takes.
        note: What a reader needs to judge the figures.
    """

    model: str
    trials: Sequence[Trial]
    file: Path
    note: str

    @property
    def best(self) -> Trial:
        """The trial that did best on validation."""
        return self.trials[0]

    def table(self) -> Table:
        """The best trials."""
        names = list(self.best.values)
        return Table(
            f"{self.model}: the best of {len(self.trials)} trials",
            ("Trial", f"{SELECTION_METRIC.upper()} on validation", *names),
            tuple(
                (
                    Cell(str(trial.number)),
                    Cell(f"{trial.figure:.4f}", mark="best" if trial is self.best else ""),
                    *(Cell(_text(trial.values[name])) for name in names),
                )
                for trial in self.trials[:_SHOWN]
            ),
            self.note,
        )

    def to_json(self) -> dict[str, Any]:
        """The trials as JSON-like values."""
        return {
            "model": self.model,
            "file": str(self.file),
            "trials": [
                {"number": trial.number, SELECTION_METRIC: trial.figure, "values": {**trial.values}}
                for trial in self.trials
            ],
            "note": self.note,
        }


def tune(
    pipeline: Pipeline,
    model: str,
    *,
    n_trials: int,
    searched: Sequence[str] = (),
    minutes: float | None = None,
) -> TuningResult:
    """Search a model's hyperparameters on validation; trials that are done are not run again.

    The first trial has the settings' own values, if the space holds them. After every trial, the
    settings of the best one so far are written to ``tuned-MODEL.yaml`` in the run directory.

    Args:
        pipeline: Data, settings and the run directory.
        model: As of `search_space`.
        n_trials: Complete trials at the end, those of earlier calls included.
        searched: As of `search_space`.
        minutes: No trial is started after so many.

    Raises:
        BigrecError: If the data, the settings or the model cannot be used, or Optuna is not
            installed.
        ValueError: If there are fewer than one trial or no time.
        KeyboardInterrupt: On Ctrl-C. What is done is kept; the same call goes on.
    """
    if n_trials < 1 or (minutes is not None and minutes <= 0):
        raise ValueError(
            f"n_trials is {n_trials} and minutes {minutes}; expected at least one trial, and "
            "minutes above 0 or None."
        )
    search = _Search(pipeline, model, search_space(model, pipeline.settings, searched))
    progress = pipeline.progress_factory(f"Tuning {model}")
    end = math.inf if minutes is None else time.monotonic() + 60 * minutes
    with _storage_errors(search.folder):
        search.open()
        while len(search.trials()) < n_trials and (not search.trials() or time.monotonic() < end):
            search.run_trial()
            progress(len(search.trials()), n_trials)
        search.write_best()
        return TuningResult(model, search.trials(), search.file, search.note())


class _Search:
    """The search of one model's hyperparameters, stored in a folder of the run directory."""

    def __init__(self, pipeline: Pipeline, model: str, space: SearchSpace) -> None:
        self._pipeline = pipeline
        self._model = model
        self._space = space
        self._failed = 0
        settings = pipeline.settings
        if settings.baselines.tune != "none":
            # A grid would take the place of what is found here.
            settings = settings.changed({"baselines.tune": "none"})
        self._settings = settings
        self.file = pipeline.folder / f"tuned-{MethodId(model).folder_name}.yaml"
        on_all = BaselineFitter(
            pipeline.dataset,
            pipeline.prepared,
            settings,
            title_encoder=pipeline.fitting.title_encoder,
            folder=pipeline.stage("models").folder,
            progress_factory=pipeline.progress_factory,
        )
        # A network is trained for the last window alone, as by `baselines.tune`.
        trained_once = model == LLM_RETRIEVAL or is_network(model)
        self._windows = on_all.windows[-1:] if trained_once else on_all.windows
        self.folder = pipeline.folder / f"tuning-{self._key()[:8]}"

    def open(self) -> None:
        """Open the study, or begin it."""
        self._study = self._opened()

    def trials(self) -> list[Trial]:
        """Complete trials, best first."""
        from optuna.trial import TrialState  # noqa: PLC0415 - an optional dependency

        complete = [
            Trial(trial.number, dict(trial.params), float(trial.value))
            for trial in self._study.get_trials(states=(TrialState.COMPLETE,))
            if trial.value is not None
        ]
        return sorted(complete, key=lambda trial: (-trial.figure, trial.number))

    def run_trial(self) -> None:
        """Try one more combination, and keep the best one's settings.

        A combination that cannot be trained, such as one that diverges, is a failed trial.

        Raises:
            BigrecError: If the first one fails, or several in a row.
            ValueError: Likewise.
        """
        from optuna.trial import TrialState  # noqa: PLC0415 - an optional dependency

        trial = self._study.ask(_distributions(self._space))
        place = self.folder / f"trial-{fingerprint(trial.params)}"
        try:
            figure = self._figure(self._settings.changed(trial.params), place)
        except (BigrecError, ValueError) as error:
            self._study.tell(trial, state=TrialState.FAIL)
            self._failed += 1
            if not self.trials() or self._failed == _MAX_FAILED:
                raise
            logger.warning("Trial %d with %s failed: %s", trial.number, trial.params, error)
            return
        self._failed = 0
        self._study.tell(trial, figure)
        # Checkpoints were there to resume it.
        shutil.rmtree(place, ignore_errors=True)
        self.write_best()

    def write_best(self) -> None:
        """Write the settings of the best trial."""
        self._settings.changed(self.trials()[0].values).write(self.file)

    def note(self) -> str:
        """What the figures are."""
        protocol = "excluded" if self._settings.recommend.exclude_seen else "included"
        queries = sum(len(window.valid_queries) for window in self._windows)
        windows = f"{len(self._windows)} windows" if len(self._windows) > 1 else "one window"
        return (
            f"On {queries} validation examples in {windows}, seen items {protocol}; the best of "
            "many favors itself: the test decides."
        )

    def _figure(self, settings: Settings, place: Path) -> float:
        """NDCG@10 with some settings, the mean over windows."""
        catalog = self._pipeline.dataset.catalog
        queries = WindowQueries([window.valid_queries for window in self._windows])
        ranks = [
            model_ranks(
                self._fit(window, settings, place),
                catalog,
                window.valid_queries,
                exclude_seen=window.exclude_seen,
            )
            for window in self._windows
        ]
        return queries.mean_of(ranks)

    def _fit(self, window: PreparedData, settings: Settings, place: Path) -> Scorer:
        pipeline = self._pipeline
        if self._model == LLM_RETRIEVAL:
            return Fitting(
                pipeline.dataset,
                window,
                settings,
                store=FolderStore(place),
                title_store=FolderStore(self.folder / "titles"),
                progress_factory=pipeline.progress_factory,
            ).retriever()
        fitter = BaselineFitter(
            pipeline.dataset,
            window,
            settings,
            title_encoder=pipeline.fitting.title_encoder,
            folder=pipeline.stage("models").folder,
            progress_factory=pipeline.progress_factory,
        )
        return fitter.fit_candidate(self._model, folder=place)

    def _key(self) -> str:
        """Changes with everything that a trial's figure depends on."""
        settings, pipeline = self._settings, self._pipeline
        searched = {
            name: [part.low, part.high, part.log] if isinstance(part, Range) else list(part)
            for name, part in self._space.items()
        }
        of_model = (
            pipeline.stage("retrieval").folder.name
            if self._model == LLM_RETRIEVAL
            else [settings.baselines.fingerprint(), settings.text.fingerprint()]
        )
        models = pipeline.stage("models").folder.name
        key = [self._model, searched, of_model, models, len(self._windows)]
        columns = settings.data.text_columns
        return fingerprint([*key, columns] if columns else key)

    def _opened(self) -> "Study":
        optuna = _optuna()
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder.resolve() / _STUDY
        # Not by an address, in which characters of a path may mean something else.
        connect = partial(sqlite3.connect, file, check_same_thread=False)
        storage = optuna.storages.RDBStorage("sqlite://", engine_kwargs={"creator": connect})
        study: Study = optuna.create_study(
            storage=storage, study_name=self._model, direction="maximize", load_if_exists=True
        )
        # Another seed after every resumption, or the sampler would propose the same again.
        seed = self._settings.seed + len(study.trials)
        study.sampler = optuna.samplers.TPESampler(seed=seed)
        first = current_values(self._space, self._settings)
        if contains(self._space, first):
            study.enqueue_trial(first, skip_if_exists=True)
        for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
            # Interrupted: it is tried again, and a network resumes from its checkpoint.
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            study.enqueue_trial(trial.params)
        return study


@contextmanager
def _storage_errors(folder: Path) -> Iterator[None]:
    _optuna()
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - comes with Optuna

    try:
        yield
    except SQLAlchemyError as error:
        # The whole message repeats the statement.
        cause = getattr(error, "orig", None) or error
        raise StorageError(
            f"{folder / _STUDY} could not be used: {cause}. Free some space, or remove {folder} to "
            "begin the search anew."
        ) from error


def _optuna() -> Any:
    try:
        import optuna  # noqa: PLC0415 - an optional dependency
    except ImportError:
        raise SettingsError(
            "bigrec tune needs Optuna, which is not installed. Run: pip install 'bigrec[tune]'. "
            "Without it, baselines.tune=grid selects from a small grid."
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _distributions(space: SearchSpace) -> dict[str, Any]:
    distributions = _optuna().distributions
    found: dict[str, Any] = {}
    for name, part in space.items():
        if not isinstance(part, Range):
            found[name] = distributions.CategoricalDistribution(part)
        elif part.integers:
            low, high = int(part.low), int(part.high)
            found[name] = distributions.IntDistribution(low, high, log=part.log)
        else:
            found[name] = distributions.FloatDistribution(part.low, part.high, log=part.log)
    return found


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
