"""The pipeline of an experiment: data, fitting, evaluation, report and bundle, each run once."""

import time
from functools import cached_property
from pathlib import Path
from typing import Any

from bigrec.data.audit import Audit, audit
from bigrec.data.dataset import Dataset
from bigrec.evaluation.clusters import describe_users, number_users
from bigrec.evaluation.method import MethodId
from bigrec.evaluation.protocol import PROTOCOL_LABELS
from bigrec.evaluation.reports.evaluation import (
    Report,
    report_from_json,
    report_json,
    write_report,
)
from bigrec.evaluation.reports.plots import (
    draw_losses,
    draw_metric_by_k,
    draw_nearest_distances,
    to_png,
)
from bigrec.experiments.evaluate import EvaluationResult, evaluate_recommender
from bigrec.experiments.fitted_to import fitted_to
from bigrec.experiments.workspace import Workspace
from bigrec.lm.distributed import main_process_first
from bigrec.lm.model import check_base_model, load_tokenizer
from bigrec.lm.prompts import control_tokens
from bigrec.models.registry import POPULARITY
from bigrec.recommender.approximate import measure_recall
from bigrec.recommender.bigrec import BIGRec
from bigrec.recommender.example_scores import prepare_scored_examples
from bigrec.recommender.factory import make_renderer
from bigrec.recommender.fitting import GRID_FILE, LOSS_FILE, Fitting
from bigrec.recommender.title_encoder import check_title_encoder
from bigrec.recommender.training_data import PreparedData, load_source
from bigrec.settings import Settings
from bigrec.storage import atomic_file, read_json, write_json
from bigrec.types import ProgressFactory, no_progress

_LOSS_PLOT = "loss.png"
_REFIT_NOTES = {
    "none": "Every method is tested as it was fitted to the training part (evaluation.refit: none, "
    "as in published results).",
    "train+valid": "Everything is chosen with the training and the validation part. Then every "
    "method is fitted once more, to both parts together, with the chosen hyperparameters and "
    "fusion rules, networks for the chosen number of epochs (evaluation.refit: train+valid). "
    "Figures on validation are from before that.",
}


class Pipeline(Workspace):
    """The stages of one experiment, each run on first use.

    Args:
        folder: Holds all stages, also those of earlier settings.
        settings: The settings of the experiment.
        progress_factory: Called with the name of each long step; gives its progress callback.
        write_settings: Write the folder's ``settings.yaml``, from which the next command starts.
        bundle: Where the recommender is saved; the folder ``bundle`` in it by default.

    Raises:
        ModelError: If the base model or the sentence encoder cannot be found; before any work is
            done.
    """

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        *,
        progress_factory: ProgressFactory = no_progress,
        write_settings: bool = True,
        bundle: Path | None = None,
    ) -> None:
        super().__init__(folder, settings, bundle=bundle)
        self.progress_factory = progress_factory
        if settings.uses_language_model:
            check_base_model(
                settings.model.base,
                revision=settings.model.revision,
                trust_remote_code=settings.model.trust_remote_code,
            )
        check_title_encoder(settings)
        if write_settings:
            settings.write(folder / "settings.yaml")

    @cached_property
    def dataset(self) -> Dataset:
        """The dataset, read and repaired once."""
        stage = self.data_stage
        with main_process_first():
            if not stage.is_complete:
                started = time.monotonic()
                load_source(self.settings.data).save(stage.folder / "dataset")
                stage.finish(started)
        dataset = Dataset.load(stage.folder / "dataset")
        return dataset.reading(self.settings.data.text_columns)

    @cached_property
    def prepared(self) -> PreparedData:
        """The examples."""
        return prepare_scored_examples(
            self.dataset, self.settings, store=self, progress_factory=self.progress_factory
        )

    @cached_property
    def fitting(self) -> Fitting:
        """The stages of fitting."""
        # The examples first: bad data should be reported before a large model is loaded.
        return Fitting(
            self.dataset,
            self.prepared,
            self.settings,
            store=self,
            progress_factory=self.progress_factory,
        )

    def audit(self) -> Audit:
        """Checks of the dataset against what the prompt and the split need."""
        uses_model, base = self.settings.uses_language_model, self.settings.model.base
        return audit(
            self.dataset,
            special_tokens=control_tokens(load_tokenizer(base)) if uses_model else (),
            min_interactions=self.settings.data.min_history + 1,
        )

    def prompt(self) -> str:
        """Generative mode's prompt of the first training example, as the model reads it."""
        tokenizer = load_tokenizer(self.settings.model.base)
        first = self.prepared.train[0]
        return make_renderer(tokenizer, self.settings).describe(first.history, first.item_type)

    def train(self) -> list[dict[str, float]]:
        """Train the mode's model unless that is done.

        Returns:
            Losses by step or epoch; in text mode the grid with its validation figures.
        """
        folder = self.training_stage.folder
        if not self.training_stage.is_complete:
            if self.settings.mode == "generative":
                _ = self.fitting.language_model
            else:
                _ = self.fitting.encoder
        if self.settings.mode == "text":
            grid: list[dict[str, float]] = read_json(folder / GRID_FILE)
            return grid
        log: list[dict[str, float]] = read_json(folder / LOSS_FILE)
        with main_process_first():
            if log and not (folder / _LOSS_PLOT).is_file():
                with atomic_file(folder / _LOSS_PLOT) as temporary:
                    temporary.write_bytes(to_png(draw_losses(log)))
        return log

    def evaluate(self) -> Report:
        """Evaluate on the test examples, write the report and save the bundle."""
        stage = self.evaluation_stage
        if not stage.is_complete:
            self.train()
            # These stages have their own timings, so they run before this one is timed.
            tested = self.fitting.tested
            fitted, encoded = tested.fitted, tested.encode("test")
            started = time.monotonic()
            result = evaluate_recommender(
                fitted,
                self.prepared.test_queries,
                encoded,
                progress=self.progress_factory("Ranking the test examples"),
            )
            result.table.save(stage.folder / "queries.parquet")
            report = self._report(result)
            write_report(stage.folder / "report.html", report)
            recall = measure_recall(fitted, encoded, self.prepared.test_queries.full_histories)
            index = {} if recall is None else {"index": recall}
            write_json(stage.folder / "metrics.json", {**report_json(report), **index})
            stage.finish(started)
        content = read_json(stage.folder / "metrics.json")
        self._save_bundle(stage.folder.name, content)
        return report_from_json(content)

    @property
    def comparison_file(self) -> Path:
        """The figures of a comparison."""
        return self.evaluation_stage.folder / "comparison.json"

    def with_seed(self, seed: int) -> "Pipeline":
        """The same experiment under another seed, its stages beside these."""
        settings = self.settings.model_copy(update={"seed": seed})
        return Pipeline(
            self.folder, settings, progress_factory=self.progress_factory, write_settings=False
        )

    def notes(self) -> list[str]:
        """What a reader must know to judge the figures."""
        prepared, catalog = self.fitting.tested.prepared, self.dataset.catalog
        data = self.settings.data
        origin, interactions = str(prepared.sizes["train"]), int(prepared.train_rows.sum())
        of_interactions = f"{interactions} training interactions"
        if data.extra_train_sources:
            extra = f"data.extra_train_sources ({len(data.extra_train_sources)})"
            origin = extra if data.train_sources == "extra" else f"this dataset and {extra}"
            if self.settings.mode == "retrieval":
                of_extra = sum(int(source.train_rows.sum()) for source in prepared.extra_sources)
                of_interactions += f" of this dataset and {of_extra} of {extra}"
        trained_on = f"{len(prepared.train)} training examples of {origin}"
        if not self.settings.trains_on_examples:
            trained_on = (
                f"{trained_on}, and states of {of_interactions}"
                if self.settings.decodes_states
                else of_interactions
            )
        examples = (
            f"{trained_on}; {len(prepared.test_queries)} test examples of {prepared.sizes['test']}."
        )
        ranking = (
            f"Every target is ranked among all {catalog.n_titles} different titles "
            f"({catalog.n_items} items). Items that share a title share a place, and a tie counts "
            "against the target."
        )
        users = describe_users(number_users(prepared.test_queries.user_ids))
        intervals = f"Intervals are 95 % bootstrap intervals over users: {users}."
        if self.settings.data.test_file is not None:
            intervals += " The test file names no users: each query counts as one."
        refit = _REFIT_NOTES[self.settings.evaluation.refit]
        return [examples, refit, ranking, intervals]

    def _report(self, result: EvaluationResult) -> Report:
        fitted = self.fitting.tested.fitted
        fused = () if fitted.fusion is None else tuple(fitted.fusion.signals)
        signals = [MethodId(name) for name in (POPULARITY, *fused)]
        plots = {
            f"{metric.upper()}@K, {PROTOCOL_LABELS[exclude_seen]}": to_png(
                draw_metric_by_k(result.rows, metric=metric, exclude_seen=exclude_seen)
            )
            for exclude_seen in (True, False)
            for metric in ("hr", "ndcg")
        }
        loss_plot = self.training_stage.folder / _LOSS_PLOT
        if loss_plot.is_file():
            plots["Loss"] = loss_plot.read_bytes()
        stages = {"prepare": self.data_stage, "train": self.training_stage}
        if self.settings.decodes_states:
            stages["states"] = self.tested_store.stage("latent")
        if self.settings.indexes_titles:
            stages["index"] = self.stage("index")
        if self.settings.ranks_by_likelihood:
            stages["likelihood"] = self.tested_store.stage("texts-test")
        if self.settings.writes_texts:
            plots["Distance of the top beam's text to the nearest title"] = to_png(
                draw_nearest_distances(result.nearest)
            )
            stages["generate"] = self.tested_store.stage("texts-test")
        return Report(
            title=f"bigrec on {self.dataset.name}",
            rows=result.rows,
            shares=result.shares,
            settings=self.settings.to_dict(),
            examples=result.examples,
            plots=plots,
            timings_s={name: stage.seconds for name, stage in stages.items()},
            notes=self.notes(),
            fitted_to=fitted_to(
                list(dict.fromkeys(row.method for row in result.rows)),
                signals=signals,
                recommenders=list(fitted.encoder.methods.values()),
                catalog=self.dataset.catalog,
                prepared=self.fitting.tested.prepared,
                settings=self.settings,
            ),
        )

    def _save_bundle(self, evaluation: str, content: dict[str, Any]) -> None:
        """Save the recommender with its metrics, unless the bundle is of this evaluation."""
        metrics = self.bundle / "metrics.json"
        if metrics.is_file() and read_json(metrics).get("stage") == evaluation:
            return
        kept = {name: content[name] for name in ("title", "rows", "shares", "timings_s", "notes")}
        if "index" in content:
            kept["index"] = content["index"]
        BIGRec.of(self.fitting.tested.fitted).save(
            self.bundle, metrics={"stage": evaluation, **kept}
        )
