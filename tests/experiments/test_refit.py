"""Refitting to training and validation: all is selected before, and all is fitted again."""

from pathlib import Path

import numpy as np
import pytest

from bigrec.evaluation.method import MethodId
from bigrec.experiments.compare import compare_pipeline
from bigrec.experiments.evaluate import evaluate
from bigrec.experiments.pipeline import Pipeline
from bigrec.grounding.ranks import target_ranks
from bigrec.models.ease import Ease
from bigrec.recommender.bigrec import BIGRec
from bigrec.recommender.bundle import read_manifest
from tests.conftest import Mode, tiny_settings

pytestmark = pytest.mark.model

REFIT = "evaluation.refit=train+valid"
QUICK = [
    "baselines.tune=none",
    "compare.baselines=[EASE, GRU4Rec, tf-idf]",
    "compare.fusions=[EASE & GRU4Rec]",
]


@pytest.fixture(scope="module")
def pipeline(
    tiny_files: Path, tiny_model: Path, mode: Mode, tmp_path_factory: pytest.TempPathFactory
) -> Pipeline:
    changes = [f"data.source={tiny_files}", "baselines.sequential.epochs=2", *QUICK, REFIT]
    settings = tiny_settings(tiny_model, *changes, mode=mode, signals="[EASE, GRU4Rec]")
    return Pipeline(tmp_path_factory.mktemp("refit"), settings)


def test_everything_selected_is_taken_over_and_fitted_to_both_parts(pipeline: Pipeline) -> None:
    report = pipeline.evaluate()
    fitting, tested = pipeline.fitting, pipeline.fitting.tested
    assert tested.tested is tested
    both = (pipeline.prepared.train_rows | tested.prepared.train_rows).sum()
    assert tested.prepared.train_rows.sum() == both > pipeline.prepared.train_rows.sum()
    assert fitting.fitted.fusion is not None
    assert tested.fitted.fusion is not None
    assert tested.fitted.fusion.rules == fitting.fitted.fusion.rules
    signals = tested.fitted.fusion.signals
    refitted = Ease.fit(pipeline.dataset.interactions, train=tested.prepared.train_rows, n_items=12)
    histories = pipeline.prepared.test_queries.histories
    np.testing.assert_array_equal(signals["EASE"].scores(histories), refitted.scores(histories))
    epochs = fitting.fitted.fusion.signals["GRU4Rec"].selected_epoch
    assert len(signals["GRU4Rec"].log) == epochs  # type: ignore[attr-defined]
    popular = next(row for row in report.fitted_to if row.method.label == "popularity")
    assert popular.interactions == both
    assert any("evaluation.refit: train+valid" in note for note in report.notes)


def test_the_modes_model_is_trained_on_both_parts(pipeline: Pipeline, mode: Mode) -> None:
    pipeline.evaluate()
    name = {"text": "text-*", "retrieval": "retrieval-*"}.get(mode, "finetune-*")
    assert len(list(pipeline.folder.glob(name))) == 2
    encoded = [fitting.encode("test") for fitting in (pipeline.fitting, pipeline.fitting.tested)]
    rankers = [pipeline.fitting.encoder.ranker, pipeline.fitting.tested.encoder.ranker]
    distances = [
        next(ranker.iter_distances(queries, beams="top1")).combine("top1")[0]
        for ranker, queries in zip(rankers, encoded, strict=True)
    ]
    assert (distances[0] != distances[1]).any()


def test_a_refit_is_not_run_twice(pipeline: Pipeline) -> None:
    report = pipeline.evaluate()
    compare_pipeline(pipeline)
    before = {path: path.stat().st_mtime_ns for path in pipeline.folder.rglob("*.safetensors")}
    again = Pipeline(pipeline.folder, pipeline.settings)
    assert again.evaluate().rows == report.rows
    compare_pipeline(again)
    changed = {path for path, time_ns in before.items() if path.stat().st_mtime_ns != time_ns}
    assert not changed


def test_the_bundle_is_the_refitted_one_by_either_way(
    pipeline: Pipeline, tiny_files: Path, tmp_path: Path
) -> None:
    report = pipeline.evaluate()
    BIGRec(pipeline.settings).fit(tiny_files, folder=tmp_path / "parts").save(tmp_path / "fitted")
    first, second = (
        read_manifest(folder).files for folder in (pipeline.bundle, tmp_path / "fitted")
    )
    assert not {name for name in second if first[name] != second[name]}
    loaded = BIGRec.load(pipeline.bundle)
    assert evaluate(loaded, pipeline.dataset).rows == list(report.rows)


def test_a_comparison_tests_refitted_methods_and_validates_the_others(pipeline: Pipeline) -> None:
    comparison = compare_pipeline(pipeline)
    prepared, tested = pipeline.prepared, pipeline.fitting.tested.prepared
    for queries, rows, figures in (
        (prepared.valid_queries, prepared.train_rows, comparison.report.validation),
        (prepared.test_queries, tested.train_rows, comparison.report.rows),
    ):
        ease = Ease.fit(pipeline.dataset.interactions, train=rows, n_items=12)
        # Every title is different here, so items are titles.
        ranks = target_ranks(-ease.scores(queries.histories), queries.targets)
        (value,) = (
            row.value
            for row in figures
            if row.method == MethodId("EASE") and row.metric == "hr@10" and not row.exclude_seen
        )
        assert value == pytest.approx((ranks < 10).mean())


def test_cold_targets_are_told_for_each_method(pipeline: Pipeline, mode: Mode) -> None:
    report = compare_pipeline(pipeline).report
    by_label = {row.method.label: row for row in report.fitted_to}
    assert set(by_label) == {row.method.label for row in report.rows}
    on_all = by_label["EASE"].interactions
    assert on_all == pipeline.fitting.tested.prepared.train_rows.sum()
    few_shot = by_label["EASE, few-shot"].interactions
    # The model writes after learning from the few shots alone.
    alone = {
        "text": ("Gaussian", on_all),
        "retrieval": ("LLM retrieval", on_all),
        "generative": ("BIGRec", few_shot),
        "latent": ("BIGRec, latent", on_all),
        "likelihood": ("BIGRec, likelihood", few_shot),
    }[mode]
    assert by_label[alone[0]].interactions == alone[1]
    assert (by_label["tf-idf"].interactions, by_label["tf-idf"].cold) == (0, 1.0)


def test_nothing_is_refitted_by_default(
    tiny_files: Path, tiny_model: Path, tmp_path: Path, mode: Mode
) -> None:
    settings = tiny_settings(tiny_model, f"data.source={tiny_files}", mode=mode)
    pipeline = Pipeline(tmp_path, settings)
    assert pipeline.fitting.tested is pipeline.fitting
    assert any("evaluation.refit: none" in note for note in pipeline.notes())
