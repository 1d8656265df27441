"""The comparison: the same queries for everyone, and gammas chosen without the test examples."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from bigrec.cli import app
from bigrec.compare import Comparison
from bigrec.evaluation.metrics import ndcg_at
from bigrec.grounding.injection import inject
from bigrec.grounding.ranks import target_ranks
from bigrec.run import Run
from bigrec.settings import Settings
from bigrec.signals.cooccurrence import Cooccurrence
from bigrec.signals.weights import minmax
from tests.conftest import tiny_overrides

pytestmark = pytest.mark.model

INJECTED = "BIGRec, all beams x co-occurrence"


@pytest.fixture(scope="module")
def run(tiny_files: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    overrides = [*tiny_overrides(tiny_model), f"data.source={tiny_files}"]
    return Run(tmp_path_factory.mktemp("run"), Settings.read(overrides=overrides))


@pytest.fixture(scope="module")
def comparison(run: Run) -> Comparison:
    return run.compare()


def test_the_recommender_ranks_as_it_does_in_the_evaluation(
    run: Run, comparison: Comparison
) -> None:
    evaluated = {
        (row.method, row.exclude_seen, row.metric): row.value for row in run.evaluate().rows
    }
    for row in comparison.rows:
        if row.method in {"BIGRec, all beams", "popularity"}:
            key = (row.method, row.exclude_seen, row.metric)
            assert row.value == pytest.approx(evaluated[key])


def test_an_injection_ranks_by_the_published_product_at_its_gamma(
    run: Run, comparison: Comparison
) -> None:
    chosen = next(
        one for one in comparison.chosen if one.method == INJECTED and not one.exclude_seen
    )
    found = next(one for one in comparison.results if one.name == INJECTED and not one.exclude_seen)
    parts, test = run.recommender.parts, run.drawn.test
    signal = Cooccurrence.fit(
        run.dataset.interactions, train=run.drawn.train_rows, n_items=run.dataset.catalog.n_items
    )
    # Every title is different here, so items are groups.
    weights = minmax(signal.scores(test.histories))
    queries = parts.ranker.queries(run.texts("test"), parts.embedder)
    (chunk,) = parts.ranker.iter_distances(queries, beams="all")
    gamma = float(chosen.rule.removeprefix("gamma "))
    adjusted = inject(chunk.combine("all")[0], weights, gamma=gamma)
    np.testing.assert_array_equal(found.ranks, target_ranks(adjusted, test.targets))


def test_the_published_protocol_stands_apart_with_a_figure_for_every_metric(
    comparison: Comparison,
) -> None:
    products = [one for one in comparison.chosen if one.published is not None]
    assert len(products) == 6
    for one in products:
        assert one.published is not None
        assert set(one.published) == {
            f"{m}@{k}" for m in ("hr", "ndcg") for k in (1, 3, 5, 10, 20, 50)
        }
        ranks = next(
            result.ranks
            for result in comparison.results
            if result.name == one.method and result.exclude_seen == one.exclude_seen
        )
        # For the metric that chose the one gamma, both protocols are the same.
        assert one.published["ndcg@10"] == pytest.approx(ndcg_at(ranks, k=10))


def test_everyone_but_the_reference_is_compared_with_it(comparison: Comparison) -> None:
    compared = {row.method for row in comparison.differences}
    methods = {row.method for row in comparison.rows}
    assert compared == methods - {"popularity"}
    assert all(0 < row.p_value <= row.p_corrected <= 1 for row in comparison.differences)


def test_the_command_prints_and_writes_the_figures(run: Run, comparison: Comparison) -> None:
    result = CliRunner().invoke(app, ["compare", "--run", str(run.folder)])
    assert result.exit_code == 0, result.output
    assert "Injections" in result.stdout
    written = json.loads(run.comparison_file.read_text())
    assert written == json.loads(json.dumps(comparison.to_json()))


def test_a_fusion_is_one_of_the_rules_and_can_change_rank_1(comparison: Comparison) -> None:
    fusions = [one for one in comparison.chosen if " + " in one.method]
    assert len(fusions) == 6
    for one in fusions:
        assert one.rule.split()[0] in {"sum,", "reciprocal", "floor"}
        assert one.published is None
