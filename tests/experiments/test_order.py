"""The history-shuffle diagnostic of a comparison."""

from pathlib import Path

import numpy as np
import pytest

from bigrec.evaluation.method import MethodId
from bigrec.evaluation.metrics import hr_at
from bigrec.experiments.compare import compare_pipeline
from bigrec.experiments.pipeline import Pipeline
from bigrec.grounding.ranks import target_ranks
from bigrec.models.cooccurrence import Cooccurrence
from tests.conftest import Mode, tiny_settings

pytestmark = pytest.mark.model

QUICK = [
    "compare.baselines=[popularity, co-occurrence]",
    "compare.fusions=[popularity & co-occurrence]",
    "compare.few_shot=false",
    "data.max_test_examples=14",
]


def open_pipeline(
    folder: Path, tiny_files: Path, tiny_model: Path, *changes: str, mode: Mode
) -> Pipeline:
    source = f"data.source={tiny_files}"
    return Pipeline(folder, tiny_settings(tiny_model, source, *QUICK, *changes, mode=mode))


def test_every_method_is_compared_with_itself_on_shuffled_histories(
    tiny_files: Path, tiny_model: Path, tmp_path: Path
) -> None:
    pipeline = open_pipeline(tmp_path, tiny_files, tiny_model, mode="retrieval")
    report = compare_pipeline(pipeline).report
    rows = [row for row in report.order if row.metric == "hr@10"]
    assert {row.exclude_seen for row in rows} == {True}
    assert {row.method for row in rows} == {row.method for row in report.rows}
    assert all(row.reference == row.method for row in rows)
    by_method = {row.method: row for row in rows}
    popular = by_method[MethodId("popularity")]
    assert (popular.difference, popular.p_value) == (0, 1)
    queries = pipeline.prepared.test_queries
    signal = Cooccurrence.fit(
        pipeline.dataset.interactions, train=pipeline.prepared.train_rows, n_items=12
    )
    # Every title is different here, so items are titles.
    of_order, of_shuffled = (
        hr_at(
            target_ranks(
                -signal.scores(shown.histories), shown.targets, exclude=queries.full_histories
            ),
            k=10,
        )
        for shown in (queries, pipeline.prepared.queries("shuffled"))
    )
    assert by_method[MethodId("co-occurrence")].difference == pytest.approx(of_order - of_shuffled)
    page = pipeline.comparison_file.with_suffix(".html").read_text()
    assert "Difference to the same method with every history in random order" in page


def test_scores_of_files_cannot_be_shuffled(
    tiny_files: Path, tiny_model: Path, tmp_path: Path
) -> None:
    files = {}
    for split in ("valid", "test"):
        queries = {"valid": 4, "test": 14}[split]
        np.save(tmp_path / f"{split}.npy", np.random.default_rng(0).random((queries, 12)))
        files[split] = str(tmp_path / f"{split}.npy")
    precomputed = f"compare.precomputed=[{{name: mine, valid: {files['valid']}, "
    precomputed += f"test: {files['test']}}}]"
    pipeline = open_pipeline(
        tmp_path / "run",
        tiny_files,
        tiny_model,
        precomputed,
        "compare.fusions=[mine, popularity & mine, popularity]",
        mode="retrieval",
    )
    report = compare_pipeline(pipeline).report
    shuffled = {row.method.label for row in report.order}
    assert "mine" in {row.method.label for row in report.rows}
    assert not any("mine" in label for label in shuffled)
    assert {"popularity", "LLM retrieval", "LLM retrieval + popularity"} <= shuffled


def test_generative_mode_writes_again_only_if_asked_to(
    tiny_files: Path, tiny_model: Path, tmp_path: Path
) -> None:
    pipeline = open_pipeline(tmp_path, tiny_files, tiny_model, mode="generative")
    assert compare_pipeline(pipeline).report.order == ()
    texts = set(tmp_path.glob("texts-*"))
    asked = open_pipeline(
        tmp_path, tiny_files, tiny_model, "compare.shuffle_history=true", mode="generative"
    )
    order = compare_pipeline(asked).report.order
    assert {MethodId("BIGRec"), MethodId("BIGRec, all beams")} <= {row.method for row in order}
    (shuffled,) = set(tmp_path.glob("texts-*")) - texts
    assert shuffled == asked.stage("texts-shuffled").folder
    assert asked.stage("texts-shuffled").is_complete


def test_the_diagnostic_can_be_left_away(
    tiny_files: Path, tiny_model: Path, tmp_path: Path
) -> None:
    off = "compare.shuffle_history=false"
    pipeline = open_pipeline(tmp_path, tiny_files, tiny_model, off, mode="retrieval")
    assert compare_pipeline(pipeline).report.order == ()
