"""The demonstration: text mode, the trained mode and what it adds, the paper's method beside."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bigrec.cli import app
from bigrec.errors import DataError
from bigrec.evaluation.method import MethodId
from bigrec.evaluation.metrics import ndcg_at
from bigrec.evaluation.query_table import QueryTable
from bigrec.experiments import demo
from bigrec.experiments.demo import gains_over_text, side_by_side, text_pipeline
from bigrec.experiments.pipeline import Pipeline
from bigrec.settings import Settings
from tests.conftest import tiny_overrides, tiny_settings

pytestmark = pytest.mark.model

ADDED = "What the trained mode adds to text mode"


def arguments(folder: Path, tiny_files: Path, tiny_model: Path, *changes: str) -> list[str]:
    overrides = tiny_overrides(tiny_model, *changes, mode="retrieval", signals="[popularity]")
    sets = [part for override in overrides for part in ("--set", override)]
    return ["demo", "--run-dir", str(folder), "--data", str(tiny_files), *sets]


@pytest.fixture
def _small_generative(
    tiny_model: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = tmp_path_factory.mktemp("preset") / "generative.yaml"
    tiny_settings(tiny_model, "generative.prompt.style=list").write(preset)
    monkeypatch.setattr(demo, "_GENERATIVE_PRESET", str(preset))


@pytest.mark.usefixtures("_small_generative")
def test_the_demonstration_shows_text_mode_then_what_the_trained_mode_adds_then_the_papers_method(
    tiny_files: Path, tiny_model: Path, tmp_path: Path
) -> None:
    command = arguments(tmp_path, tiny_files, tiny_model, "data.min_history=1")
    done = CliRunner().invoke(app, command, env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    parts = ["Audit", "Text mode", "Recommended", "Retrieval mode", "Recommended", ADDED]
    parts += ["Generative mode", "history", "Generated texts", "Recommended", "next item was"]
    parts += ["NDCG", "Gaussian", "LLM retrieval", "BIGRec", "BIGRec, latent"]
    places, start = [], 0
    for part in parts:
        start = done.stdout.index(part, start) + 1
        places.append(start)
    assert places == sorted(places)
    values = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    sections = ["audit", "text", "retrieval", "gains", "generative", "side_by_side"]
    assert list(values) == sections
    assert values["generative"]["example"]["texts"]
    pairs = {(row["method"]["label"], row["reference"]["label"]) for row in values["gains"]}
    assert pairs == {
        ("LLM retrieval", "Gaussian"),
        ("LLM retrieval + popularity", "Gaussian + popularity"),
    }


def test_gains_are_paired_over_the_queries_of_both_modes(
    tiny_files: Path, tiny_model: Path, tmp_path: Path
) -> None:
    settings = tiny_settings(tiny_model, f"data.source={tiny_files}", mode="retrieval")
    trained, text = Pipeline(tmp_path, settings), text_pipeline(tmp_path, settings)
    assert not text.settings.uses_language_model
    figures = {}
    for pipeline, name in ((trained, "LLM retrieval"), (text, "Gaussian")):
        pipeline.evaluate()
        table = QueryTable.load(pipeline.evaluation_stage.folder / "queries.parquet")
        figures[name] = ndcg_at(table.ranks(MethodId(name), exclude_seen=True), k=10)
    (gain,) = (row for row in gains_over_text(text, trained) if row.metric == "ndcg@10")
    expected = figures["LLM retrieval"] - figures["Gaussian"]
    assert gain.difference == pytest.approx(expected)
    other = tiny_settings(
        tiny_model, f"data.source={tiny_files}", "data.max_test_examples=3", mode="retrieval"
    )
    fewer = Pipeline(tmp_path, other)
    fewer.evaluate()
    with pytest.raises(DataError, match="were evaluated on other queries"):
        gains_over_text(text, fewer)


def test_modes_stand_side_by_side_on_the_queries_that_all_have(
    tiny_files: Path, tiny_model: Path, tmp_path: Path
) -> None:
    source = f"data.source={tiny_files}"
    many = tiny_settings(tiny_model, source, mode="text")
    few = tiny_settings(tiny_model, source, "data.max_test_examples=3", mode="retrieval")
    pipelines = [Pipeline(tmp_path, settings) for settings in (many, few)]
    tables = []
    for pipeline in pipelines:
        pipeline.evaluate()
        tables.append(QueryTable.load(pipeline.evaluation_stage.folder / "queries.parquet"))
    keys = [table.frame.select("user_id", "history", "target").rows() for table in tables]
    shared = [query for query in keys[0] if query in keys[1]]
    rows, queries = side_by_side(pipelines)
    assert queries == len(shared) > 0
    figures = {row.method.label: row.value for row in rows if row.metric == "ndcg@10"}
    assert {"Gaussian", "LLM retrieval", "popularity"} <= set(figures)
    for name, table, queries_of in zip(("Gaussian", "LLM retrieval"), tables, keys, strict=True):
        at = [queries_of.index(query) for query in shared]
        values = ndcg_at(table.ranks(MethodId(name), exclude_seen=True)[at], k=10)
        assert figures[name] == pytest.approx(values)


def test_text_mode_adds_nothing_to_itself(
    tiny_files: Path, tiny_model: Path, tmp_path: Path
) -> None:
    settings = tiny_settings(tiny_model, f"data.source={tiny_files}", mode="text")
    pipeline = Pipeline(tmp_path, settings)
    pipeline.evaluate()
    assert gains_over_text(text_pipeline(tmp_path, settings), pipeline) == []


def test_the_modes_share_the_stages_and_not_the_bundle(
    tiny_files: Path, tiny_model: Path, tmp_path: Path
) -> None:
    settings = tiny_settings(
        tiny_model, f"data.source={tiny_files}", mode="retrieval", signals="[EASE]"
    )
    pipelines = text_pipeline(tmp_path, settings), Pipeline(tmp_path, settings)
    for pipeline in pipelines:
        pipeline.evaluate()
    assert len({pipeline.bundle for pipeline in pipelines}) == 2
    assert len(list(tmp_path.glob("data-*"))) == len(list(tmp_path.glob("models-*"))) == 1
    assert Settings.read(tmp_path / "settings.yaml").mode == "retrieval"
