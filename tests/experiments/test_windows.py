"""A comparison with several validation windows."""

from pathlib import Path

import numpy as np
import pytest

from bigrec.errors import DataError
from bigrec.evaluation.method import MethodId
from bigrec.evaluation.metrics import ndcg_at
from bigrec.evaluation.reports.comparison import comparison_from_json
from bigrec.experiments.compare import compare_pipeline
from bigrec.experiments.comparison import Comparison
from bigrec.experiments.pipeline import Pipeline
from bigrec.grounding.ranks import target_ranks
from bigrec.models.ease import Ease
from bigrec.recommender.training_data import prepare_windows
from bigrec.storage import read_json
from tests.conftest import tiny_settings

pytestmark = pytest.mark.model

PAIR = MethodId("", "tuned", ("EASE", "popularity"))
WITH_NETWORK = MethodId("", "tuned", ("EASE", "GRU4Rec"))


@pytest.fixture(scope="module")
def pipeline(
    tiny_files: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Pipeline:
    changes = [
        f"data.source={tiny_files}",
        "data.max_valid_examples=20",
        "baselines.tune=none",
        "baselines.windows=2",
        "baselines.sequential.epochs=1",
        "compare.few_shot=false",
        "compare.baselines=[popularity, EASE, tf-idf, GRU4Rec]",
        "compare.fusions=[EASE & popularity, EASE & GRU4Rec]",
    ]
    settings = tiny_settings(tiny_model, *changes, mode="retrieval", signals="[EASE]")
    return Pipeline(tmp_path_factory.mktemp("windows"), settings)


@pytest.fixture(scope="module")
def comparison(pipeline: Pipeline) -> Comparison:
    return compare_pipeline(pipeline)


def test_closed_forms_and_their_fusions_have_figures_for_every_window(
    comparison: Comparison,
) -> None:
    closed = {MethodId("popularity"), MethodId("EASE"), MethodId("tf-idf"), PAIR}
    for exclude_seen in (False, True):
        rows = [row for row in comparison.report.windows if row.exclude_seen == exclude_seen]
        assert {row.method for row in rows} == closed
        assert {len(row.figures) for row in rows} == {2}
        assert sum(row.selected for row in rows) == 1


def test_a_model_is_fitted_to_what_is_before_the_window(
    pipeline: Pipeline, comparison: Comparison
) -> None:
    (earlier,) = prepare_windows(pipeline.dataset, pipeline.settings)
    ease = Ease.fit(pipeline.dataset.interactions, train=earlier.train_rows, n_items=12)
    queries = earlier.valid_queries
    # Every title is different here, so items are titles.
    ranks = target_ranks(-ease.scores(queries.histories), queries.targets)
    (row,) = (
        row
        for row in comparison.report.windows
        if row.method == MethodId("EASE") and not row.exclude_seen
    )
    assert row.figures[0] == pytest.approx(ndcg_at(ranks, k=10))


def test_the_last_window_is_the_validation_part(comparison: Comparison) -> None:
    on_validation = {
        (row.method, row.exclude_seen): row.value
        for row in comparison.report.validation
        if row.metric == "ndcg@10"
    }
    for row in comparison.report.windows:
        assert row.figures[-1] == pytest.approx(on_validation[row.method, row.exclude_seen])
        assert row.mean == pytest.approx(np.mean(row.figures))


def test_the_report_tells_it_and_comes_back(pipeline: Pipeline, comparison: Comparison) -> None:
    assert any("With several validation windows" in note for note in comparison.report.notes)
    read = comparison_from_json(read_json(pipeline.comparison_file))
    assert [row.method for row in read.windows] == [row.method for row in comparison.report.windows]
    page = pipeline.comparison_file.with_suffix(".html").read_text()
    assert "NDCG@10 on validation windows, oldest first" in page
    assert "simplest within one standard error" in page


def test_more_windows_than_examples_are_one_clear_error(
    tiny_files: Path, tiny_model: Path, tmp_path: Path
) -> None:
    changes = [f"data.source={tiny_files}", "baselines.windows=99", "compare.fusions=[]"]
    settings = tiny_settings(tiny_model, *changes, mode="retrieval")
    with pytest.raises(DataError, match=r"window 98 of 98 .* Use fewer windows"):
        compare_pipeline(Pipeline(tmp_path, settings))
