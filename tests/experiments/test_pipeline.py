"""The pipeline: nothing incomplete is trusted, nothing complete is run again."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from bigrec.errors import BundleError, DataError, ModelError
from bigrec.evaluation.method import MethodId
from bigrec.experiments.evaluate import evaluate
from bigrec.experiments.pipeline import Pipeline
from bigrec.recommender.bigrec import BIGRec
from bigrec.recommender.bundle import read_manifest
from bigrec.types import ProgressCallback
from tests.conftest import (
    MODES,
    TITLES,
    Mode,
    save_tiny_model,
    tiny_overrides,
    tiny_settings,
    wait_for,
)

pytestmark = pytest.mark.model

OpenPipeline = Callable[..., Pipeline]


@pytest.fixture
def open_pipeline(tiny_files: Path, tiny_model: Path, tmp_path: Path) -> OpenPipeline:
    def opened(*changes: str, mode: Mode = "generative", folder: str = "run") -> Pipeline:
        settings = tiny_settings(tiny_model, f"data.source={tiny_files}", *changes, mode=mode)
        return Pipeline(tmp_path / folder, settings)

    return opened


@pytest.mark.parametrize("mode", MODES)
def test_fit_and_the_pipeline_give_the_same_bundle(
    tiny_files: Path, tiny_model: Path, tmp_path: Path, mode: Mode
) -> None:
    settings = tiny_settings(
        tiny_model, f"data.source={tiny_files}", mode=mode, signals="[popularity, EASE]"
    )
    Pipeline(tmp_path / "run", settings).evaluate()
    BIGRec(settings).fit(tiny_files).save(tmp_path / "fitted")
    first, second = (
        read_manifest(folder).files for folder in (tmp_path / "run" / "bundle", tmp_path / "fitted")
    )
    # The pipeline alone keeps metrics in it.
    assert set(first) - set(second) == {"metrics.json"}
    differing = {name for name in second if first[name] != second[name]}
    assert not differing


@pytest.mark.parametrize("mode", MODES)
def test_evaluation_runs_every_stage_once(
    open_pipeline: OpenPipeline, tmp_path: Path, mode: Mode
) -> None:
    report = open_pipeline(mode=mode).evaluate()
    stages = {path.name.partition("-")[0] for path in (tmp_path / "run").glob("*-*")}
    trained = {
        "text": {"text", "models"},
        "retrieval": {"retrieval"},
        "generative": {"finetune", "index", "texts"},
        "latent": {"finetune", "latent", "states", "models"},
        "likelihood": {"finetune", "index", "likelihoods"},
    }
    assert stages == {"data", "evaluation", *trained[mode]}
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    again = open_pipeline(mode=mode).evaluate()
    assert [row.value for row in again.rows] == [row.value for row in report.rows]
    changed = {path.name for path, time_ns in before.items() if path.stat().st_mtime_ns != time_ns}
    assert changed == {"settings.yaml"}


@pytest.mark.parametrize(
    ("mode", "recommenders"),
    [
        ("text", {"Gaussian"}),
        ("retrieval", {"LLM retrieval"}),
        ("generative", {"BIGRec", "BIGRec, all beams"}),
        ("latent", {"BIGRec, latent"}),
        ("likelihood", {"BIGRec, likelihood"}),
    ],
)
def test_the_recommender_stands_beside_popularity_and_chance(
    open_pipeline: OpenPipeline, mode: Mode, recommenders: set[str]
) -> None:
    report = open_pipeline(mode=mode).evaluate()
    assert {row.method.label for row in report.rows} == {*recommenders, "popularity", "random"}
    assert bool(report.shares) == (mode == "generative")
    assert {row.metric for row in report.rows} >= {"hr@1", "ndcg@50"}


@pytest.mark.parametrize("mode", MODES)
def test_the_public_evaluation_gives_the_pipelines_figures(
    open_pipeline: OpenPipeline, mode: Mode, tmp_path: Path
) -> None:
    pipeline = open_pipeline(mode=mode)
    report = pipeline.evaluate()
    result = evaluate(BIGRec.load(pipeline.bundle), pipeline.dataset)
    assert result.rows == list(report.rows)
    frame = result.to_frame()
    popular = frame.filter(method="popularity", exclude_seen=False, metric="hr@10")
    assert popular["value"].to_list() == [
        row.value
        for row in report.rows
        if row.method == MethodId("popularity") and row.metric == "hr@10" and not row.exclude_seen
    ]
    with pytest.raises(DataError, match="has another catalog"):
        model = BIGRec.load(pipeline.bundle)
        model.update_catalog(type(model.catalog).from_frame(model.catalog.to_frame()[1:]))
        evaluate(model, pipeline.dataset)


def test_generation_that_was_stopped_resumes_after_the_parts_that_are_there(
    open_pipeline: OpenPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bigrec.recommender.query_parts._HISTORIES_PER_PART", 2)
    first = open_pipeline()
    texts = first.fitting.encode("test").texts
    parts = sorted(first.stage("texts-test").folder.glob("part-*.parquet"))
    assert len(parts) == 3
    parts[1].unlink()
    kept = {part: part.stat().st_mtime_ns for part in (parts[0], parts[2])}
    assert open_pipeline().fitting.encode("test").texts == texts
    assert {part: part.stat().st_mtime_ns for part in kept} == kept


def test_a_damaged_part_is_named(open_pipeline: OpenPipeline) -> None:
    first = open_pipeline()
    assert len(first.fitting.encode("test"))
    (part,) = first.stage("texts-test").folder.glob("part-*.parquet")
    part.write_bytes(b"PAR1")
    with pytest.raises(BundleError, match=r"part-00000\.parquet is damaged.*Remove it"):
        open_pipeline().fitting.encode("test")


@pytest.mark.parametrize(
    ("mode", "section", "checkpoint"),
    [
        ("generative", "generative.finetune", "finetune-*/checkpoints/*/bigrec_complete"),
        ("retrieval", "retrieval", "retrieval-*/all/checkpoint/model.json"),
    ],
)
def test_training_that_was_killed_ends_with_the_same_weights(  # noqa: PLR0917
    open_pipeline: OpenPipeline,
    tiny_files: Path,
    tiny_model: Path,
    tmp_path: Path,
    mode: Mode,
    section: str,
    checkpoint: str,
) -> None:
    weights = {
        "generative": "adapter/adapter_model.safetensors",
        "retrieval": "all/checkpoint/arrays.safetensors",
    }[mode]
    changes = [f"{section}.epochs=25", f"{section}.early_stopping_patience=25"]
    overrides = [*tiny_overrides(tiny_model, mode=mode), f"data.source={tiny_files}", *changes]
    command = [sys.executable, "-m", "bigrec", "train", "--run-dir", str(tmp_path / "killed")]
    command += [part for override in overrides for part in ("--set", override)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_for(lambda: list(tmp_path.glob(f"killed/{checkpoint}")))
    process.send_signal(signal.SIGKILL)
    assert process.wait(timeout=30) == -signal.SIGKILL
    trained = []
    for name in ("killed", "whole"):
        pipeline = open_pipeline(*changes, mode=mode, folder=name)
        assert not pipeline.training_stage.is_complete
        pipeline.train()
        trained.append(load_file(pipeline.training_stage.folder / weights))
    first, second = trained
    assert all(bool((first[name] == second[name]).all()) for name in first)


def test_another_base_model_in_the_same_place_is_noticed(tiny_files: Path, tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "model", chat=True)
    settings = tiny_settings(model, f"data.source={tiny_files}")
    Pipeline(tmp_path / "run", settings).train()
    shutil.rmtree(model)
    save_tiny_model(model, chat=True, seed=5)
    with pytest.raises(ModelError, match="was trained on base model"):
        _ = Pipeline(tmp_path / "run", settings).fitting.language_model


@pytest.mark.parametrize("mode", MODES)
def test_a_missing_model_is_reported_before_anything_is_written(tmp_path: Path, mode: Mode) -> None:
    with pytest.raises(ModelError, match="no such folder"):
        Pipeline(tmp_path / "run", tiny_settings(Path("/no/such/model"), mode=mode))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("mode", MODES)
def test_a_base_model_without_chat_template_can_be_used(
    tiny_files: Path, tmp_path: Path, mode: Mode
) -> None:
    model = save_tiny_model(tmp_path / "model", chat=False)
    settings = tiny_settings(model, f"data.source={tiny_files}", mode=mode)
    assert Pipeline(tmp_path / "run", settings).evaluate().rows


@pytest.mark.parametrize("mode", MODES)
def test_examples_in_the_format_of_the_papers_authors_can_be_tested_on(
    open_pipeline: OpenPipeline, tmp_path: Path, mode: Mode
) -> None:
    def example(history: list[str], target: str) -> dict[str, str]:
        watched = ", ".join(f'"{title}"' for title in history)
        return {"instruction": "…", "input": f"watched: {watched}", "output": f'"{target}"'}

    file = tmp_path / "test.json"
    file.write_text(json.dumps([example(TITLES[:3], TITLES[5]), example([TITLES[6]], TITLES[0])]))
    pipeline = open_pipeline(f"data.test_file={file}", mode=mode)
    pipeline.evaluate()
    queries = pipeline.prepared.test_queries
    assert [history.tolist() for history in queries.histories] == [[0, 1, 2], [6]]
    assert queries.targets.tolist() == [5, 0]
    assert pipeline.notes()[-1] == (
        "Intervals are 95 % bootstrap intervals over users: 2 queries of 2 users, effectively 2. "
        "The test file names no users: each query counts as one."
    )
    file.write_text(json.dumps([example(["No Such Title (1900)"], TITLES[0])]))
    with pytest.raises(DataError, match="No Such Title"):
        _ = open_pipeline(f"data.test_file={file}", mode=mode).prepared


def test_new_items_and_a_new_normalization_embed_only_what_is_new(
    tiny_files: Path, tiny_model: Path, tmp_path: Path
) -> None:
    files = tmp_path / "files"
    shutil.copytree(tiny_files, files)
    embedded: list[int] = []

    def progress_factory(name: str) -> ProgressCallback:
        def report(_: int, total: int) -> None:
            if name == "Embedding the catalog":
                embedded.append(total)

        return report

    def index(*changes: str) -> tuple[list[str], str]:
        settings = tiny_settings(tiny_model, f"data.source={files}", *changes)
        pipeline = Pipeline(tmp_path / "run", settings, progress_factory=progress_factory)
        made = pipeline.fitting.encoder.ranker.index
        return list(made.titles), made.normalization

    index()
    embedded.clear()
    with (files / "items.csv").open("a") as stream:
        stream.write("new,A New Title (1998)\n")
    titles, _ = index()
    assert "A New Title (1998)" in titles
    assert embedded == [1]
    assert index("generative.embedding.normalization=whiten")[1] == "whiten"
    assert embedded == [1]
