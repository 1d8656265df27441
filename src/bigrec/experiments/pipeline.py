"""A run folder: every stage done once, reused while what it depends on stays the same.

Each stage has a folder named after the stage and a key of everything its result depends on. A
changed setting therefore starts a new folder beside the old one, going back finds the old one
again, and an interrupted stage goes on in its own::

    settings.yaml            what the last command ran with
    timings.json             what every stage took: seconds, units a second, peak memory
    data-<key>/              the dataset, read and repaired
    train-<key>/             checkpoints, adapter, loss.json, loss.png
    index-<key>/             the catalog's embeddings
    texts-<key>/             what the model wrote for the test examples, in parts
    signals-<key>/           networks among the signals
    direct-<key>/            features of the catalog's titles, what direct grounding learned; with
                             `grounding: direct` it takes the place of train, index and texts
    evaluation-<key>/        queries.parquet, metrics.json, report.html, comparison.{json,html}
    bundle/                  the recommender, ready to be copied elsewhere
"""

import time
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from bigrec.data.audit import Audit, audit
from bigrec.data.dataset import Dataset
from bigrec.errors import ModelError
from bigrec.evaluation.reports.evaluation import Report, report_from_json, report_json, write_report
from bigrec.evaluation.reports.plots import plot_losses, plot_metric_by_k, plot_nearest_distances
from bigrec.experiments.evaluate import measure
from bigrec.experiments.stage import DONE, Pace, Stage, read_texts, write_texts
from bigrec.experiments.workspace import Part, RunFolder
from bigrec.grounding.index import ItemIndex
from bigrec.lm.distributed import main_process_first
from bigrec.lm.model import LanguageModel, check_base_model, load_tokenizer
from bigrec.lm.prompts import control_tokens
from bigrec.models.llm import DIRECT
from bigrec.recommender.bigrec import BIGRec
from bigrec.recommender.factory import (
    Drawn,
    Queries,
    draw,
    load_model,
    make_renderer,
    read_source,
    train_adapter,
)
from bigrec.recommender.fitted import injected_signals, untracked
from bigrec.recommender.query_encoders import Answers, Pointer, Writer, make_pointer, writer_of
from bigrec.recommender.training_data import direct_lessons, train_direct
from bigrec.settings import Settings
from bigrec.storage import atomic_file, read_json, write_json
from bigrec.types import GeneratedText, Progress, Track

READING = "Reading the catalog's titles"
"""The step in which a model that points takes the titles in."""

_TEXTS_IN_PART = 64
_LOG = "loss.json"


class Run(RunFolder):
    """The stages of one run.

    Args:
        folder: Where everything goes. May hold the stages of earlier runs.
        settings: What to run.
        track: Called with the name of each long step; gives what reports its progress.
        keep_settings: Leave the folder's ``settings.yaml``, which the next command goes by.

    Raises:
        ModelError: If the base model cannot be found; said before any work is done.
    """

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        *,
        track: Track | None = None,
        keep_settings: bool = False,
    ) -> None:
        super().__init__(folder, settings)
        self.track = track or untracked
        self._answers: dict[Part, Answers] = {}
        check_base_model(
            settings.model.base,
            revision=settings.model.revision,
            trust_remote_code=settings.model.trust_remote_code,
        )
        if not keep_settings:
            settings.write(folder / "settings.yaml")

    @cached_property
    def dataset(self) -> Dataset:
        """The dataset, read and repaired once."""
        stage = self.data_stage
        with main_process_first():
            if not stage.is_done:
                started = time.monotonic()
                dataset = read_source(self.settings.data)
                dataset.save(stage.folder / "dataset")
                stage.finish(started)
        return Dataset.load(stage.folder / "dataset")

    @cached_property
    def drawn(self) -> Drawn:
        """The examples."""
        others = [read_source(source) for source in self.settings.data.also_train_on]
        return draw(self.dataset, self.settings, others=others)

    @cached_property
    def language_model(self) -> LanguageModel:
        """The base model with the adapter of this run, trained if it is not yet."""
        stage = self.train_stage
        # The data first: bad data should be told before a large model is loaded.
        drawn = None if stage.is_done else self.drawn
        with main_process_first():
            lm = load_model(self.settings)
        if drawn is None:
            _check_base(lm, stage)
            lm.load_adapter(stage.folder / "adapter")
            return lm
        started = time.monotonic()
        pace = Pace("examples", self.track("Training"), times=self.settings.train.batch_size)
        result = train_adapter(lm, drawn, self.settings, folder=stage.folder, progress=pace)
        with main_process_first():
            if not stage.is_done:
                base = lm.base_fingerprint
                self._finish_training(
                    stage, result.log, started=started, pace=pace, base_fingerprint=base
                )
        return lm

    @cached_property
    def recommender(self) -> BIGRec:
        """The recommender, taught once and with its catalog's titles placed once."""
        direct = self.settings.grounding == "direct"
        return BIGRec.assemble(
            self.settings,
            self._pointer() if direct else self._writer(),
            catalog=self.dataset.catalog,
            counts=self.drawn.counts,
            noun=self.dataset.noun,
        )

    def _writer(self) -> Writer:
        stage = self.index_stage
        lm = self.language_model
        started = time.monotonic()
        pace = Pace("titles", self.track("Embedding the catalog"))
        writer = Writer(
            self.settings,
            lm,
            catalog=self.dataset.catalog,
            counts=self.drawn.counts,
            noun=self.dataset.noun,
            index=self._index_so_far(),
            index_parts=stage.folder / "parts",
            progress=pace,
        )
        if not stage.is_done:
            writer.index.save(stage.folder / "index")
            stage.finish(started, pace=pace)
        return writer

    def _pointer(self) -> Pointer:
        stage = self.direct_stage
        # The data first: bad data should be told before a large model is loaded.
        lessons = direct_lessons(self.dataset, self.drawn, self.settings)
        started = time.monotonic()
        pace = Pace("targets", self.track(f"Training {DIRECT}"))
        with main_process_first():
            grounder = train_direct(
                lessons,
                self.settings,
                catalog=self.dataset.catalog,
                folder=stage.folder,
                reading=self.track(READING),
                learning=pace,
            )
            if not stage.is_done:
                write_json(stage.folder / _LOG, list(grounder.log))
                self._finish_training(stage, grounder.log, started=started, pace=pace)
        return make_pointer(
            grounder, self.settings, catalog=self.dataset.catalog, counts=self.drawn.counts
        )

    def _finish_training(
        self,
        stage: Stage,
        log: Sequence[Mapping[str, float]],
        *,
        started: float,
        pace: Pace,
        **info: Any,
    ) -> None:
        with atomic_file(stage.folder / "loss.png") as temporary:
            temporary.write_bytes(plot_losses(log))
        stage.finish(started, pace=pace, **info)

    @cached_property
    def injected_recommender(self) -> BIGRec:
        """The recommender with the signals of the settings, if there are any."""
        model = self.recommender
        names = injected_signals(self.settings, n_items=self.dataset.catalog.n_items)
        if names and model.parts.bound is None:
            model.inject(
                self.dataset,
                self.drawn,
                answers=self.answers("valid"),
                folder=self.signals_stage.folder,
                track=self.track,
            )
        return model

    def _index_so_far(self) -> ItemIndex | None:
        """This run's index or, where its catalog or space is new, the last one made before."""
        done = [path.parent for path in self.folder.glob(f"index-*/{DONE}")]
        done.sort(key=lambda folder: (folder == self.index_stage.folder, folder.stat().st_mtime_ns))
        return ItemIndex.load(done[-1] / "index") if done else None

    def answers(self, part: Part) -> Answers:
        """What the model answered to the validation or the test examples."""
        if part not in self._answers:
            answerer = self.recommender.parts.answerer
            if isinstance(answerer, Writer):
                progress = self.track(f"Embedding generated titles ({part})")
                self._answers[part] = answerer.ground(self.texts(part), progress=progress)
            else:
                self._answers[part] = answerer.answer(self.queries(part).histories)
        return self._answers[part]

    def texts(self, part: Part) -> list[list[GeneratedText]]:
        """What the model wrote for the validation or the test examples, kept chunk by chunk."""
        stage = self.texts_stage(part)
        histories = self.queries(part).histories
        started = time.monotonic()
        pace = Pace("prompts", self.track(f"Generating titles ({part})"))
        found: list[list[GeneratedText]] = []
        for start in range(0, len(histories), _TEXTS_IN_PART):
            file = stage.folder / f"part-{start // _TEXTS_IN_PART:05d}.parquet"
            if not file.is_file():
                some = histories[start : start + _TEXTS_IN_PART]
                texts = writer_of(self.recommender.parts.answerer).write(
                    some,
                    progress=partial(_further, pace, before=start, total=len(histories)),
                )
                write_texts(file, texts)
            found += read_texts(file)
        if not stage.is_done:
            stage.finish(started, pace=pace)
        return found

    def queries(self, part: Part) -> Queries:
        """The validation or the test examples."""
        return self.drawn.test if part == "test" else self.drawn.valid_queries

    def audit(self) -> Audit:
        """Checks of the dataset against what the prompt and the split need."""
        tokenizer = load_tokenizer(self.settings.model.base)
        return audit(
            self.dataset,
            special_tokens=control_tokens(tokenizer),
            min_interactions=self.settings.data.min_history + 1,
        )

    def prompt(self) -> str:
        """The prompt of the first training example, as the model reads it."""
        tokenizer = load_tokenizer(self.settings.model.base)
        first = self.drawn.train[0]
        return make_renderer(tokenizer, self.settings).describe(first.history, first.noun)

    def train(self) -> list[dict[str, float]]:
        """Train if it is not done yet; the losses by step."""
        if not self.training_stage.is_done:
            _ = self.recommender if self.settings.grounding == "direct" else self.language_model
        log: list[dict[str, float]] = read_json(self.training_stage.folder / _LOG)
        return log

    def evaluate(self) -> Report:
        """Evaluate on the test examples, write the report and save the bundle."""
        stage = self.evaluation_stage
        if not stage.is_done:
            # Stages of their own, whose time is not this one's.
            model, answers = self.injected_recommender, self.answers("test")
            started = time.monotonic()
            report = self._measured(model, answers, stage.folder)
            write_report(stage.folder / "report.html", report)
            write_json(stage.folder / "metrics.json", report_json(report))
            stage.finish(started)
        metrics = read_json(stage.folder / "metrics.json")
        kept = {name: metrics[name] for name in ("title", "rows", "shares", "timings_s", "notes")}
        self._save_bundle({"stage": stage.folder.name, **kept})
        return report_from_json(metrics)

    @property
    def comparison_file(self) -> Path:
        """Where a comparison's figures go."""
        return self.evaluation_stage.folder / "comparison.json"

    def with_seed(self, seed: int) -> "Run":
        """The same run under another seed, its stages beside these."""
        settings = self.settings.model_copy(update={"seed": seed})
        return Run(self.folder, settings, track=self.track, keep_settings=True)

    def _measured(self, model: BIGRec, answers: Answers, folder: Path) -> Report:
        measured = measure(model, self.drawn.test, answers=answers)
        measured.table.save(folder / "queries.parquet")
        rows = measured.rows
        plots = {
            f"{metric.upper()}@K, {'seen items left out' if hide else 'seen items kept'}": (
                plot_metric_by_k(rows, metric=metric, exclude_seen=hide)
            )
            for hide in (True, False)
            for metric in ("hr", "ndcg")
        }
        plots["Loss"] = (self.training_stage.folder / "loss.png").read_bytes()
        stages = {"prepare": self.data_stage, "train": self.training_stage}
        if self.settings.grounding == "written":
            plots["Distance of the first text to the nearest title"] = plot_nearest_distances(
                measured.nearest
            )
            stages |= {"index": self.index_stage, "generate": self.texts_stage("test")}
        return Report(
            title=f"BIGRec on {self.dataset.name}",
            rows=rows,
            shares=measured.shares,
            settings=self.settings.model_dump(mode="json"),
            examples=measured.examples,
            plots=plots,
            timings={name: stage.seconds for name, stage in stages.items()},
            notes=self.notes(),
        )

    def notes(self) -> list[str]:
        """What a reader must know to judge the figures."""
        drawn, catalog = self.drawn, self.dataset.catalog
        examples = (
            f"{len(drawn.train)} training examples of {drawn.sizes['train']}; "
            f"{len(drawn.test)} test examples of {drawn.sizes['test']}."
        )
        ranking = (
            f"Every target is ranked among all {catalog.n_groups} different titles "
            f"({catalog.n_items} items); items that share a title share a place, and a tie counts "
            "against the target."
        )
        return [examples, ranking, "Intervals are 95 % bootstrap intervals over the test examples."]

    def _save_bundle(self, metrics: dict[str, Any]) -> None:
        kept = self.bundle / "metrics.json"
        if not kept.is_file() or read_json(kept).get("stage") != metrics["stage"]:
            self.injected_recommender.save(self.bundle, metrics=metrics)


def _further(progress: Progress, done: int, _: int, *, before: int, total: int) -> None:
    """Progress of a part as progress of the whole."""
    progress(before + done, total)


def _check_base(lm: LanguageModel, stage: Stage) -> None:
    trained_on = read_json(stage.folder / DONE)["base_fingerprint"]
    if trained_on != lm.base_fingerprint:
        raise ModelError(
            f"the adapter in {stage.folder} was trained on base model {trained_on}, but "
            f"{lm.source.name!r} is now {lm.base_fingerprint}. Put the old model back, or remove "
            "that folder to train again."
        )
