"""The comparison: the same queries for everyone, every choice made without the test examples."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from bigrec.cli import app
from bigrec.errors import SettingsError
from bigrec.evaluation.metrics import ndcg_at
from bigrec.evaluation.protocol import MethodResult
from bigrec.evaluation.reports.comparison import comparison_from_json
from bigrec.experiments.compare import compare_run
from bigrec.experiments.comparison import Comparison
from bigrec.experiments.pipeline import Run
from bigrec.grounding.fusion.formulas import inject
from bigrec.grounding.ranks import target_ranks
from bigrec.models.cooccurrence import Cooccurrence
from bigrec.models.scaling import minmax
from bigrec.recommender.query_encoders import writer_of
from bigrec.settings import Settings
from tests.conftest import tiny_overrides

pytestmark = pytest.mark.model

INJECTED = "BIGRec x co-occurrence"
QUICK = [
    "compare.signals=[popularity, co-occurrence, EASE]",
    "compare.inject=[popularity, co-occurrence, EASE & popularity]",
]


def open_run(folder: Path, tiny_files: Path, tiny_model: Path, *changes: str) -> Run:
    overrides = [*tiny_overrides(tiny_model), f"data.source={tiny_files}", *QUICK, *changes]
    return Run(folder, Settings.read(overrides=overrides))


@pytest.fixture(scope="module")
def run(tiny_files: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return open_run(tmp_path_factory.mktemp("run"), tiny_files, tiny_model)


@pytest.fixture(scope="module")
def comparison(run: Run) -> Comparison:
    return compare_run(run)


def result(comparison: Comparison, name: str, *, exclude_seen: bool) -> MethodResult:
    (found,) = (
        one for one in comparison.results if one.name == name and one.exclude_seen == exclude_seen
    )
    return found


def test_the_recommender_ranks_as_it_does_in_the_evaluation(
    run: Run, comparison: Comparison
) -> None:
    evaluated = {
        (row.method, row.exclude_seen, row.metric): row.value for row in run.evaluate().rows
    }
    shared = {"BIGRec, first beam", "BIGRec, all beams", "popularity"}
    rows = [row for row in comparison.report.rows if row.method in shared]
    assert len(rows) == 3 * 2 * 13
    for row in rows:
        assert row.value == pytest.approx(evaluated[row.method, row.exclude_seen, row.metric])


def test_an_injection_ranks_by_the_published_product_at_its_gamma(
    run: Run, comparison: Comparison
) -> None:
    chosen = next(
        one for one in comparison.report.chosen if one.method == INJECTED and not one.exclude_seen
    )
    parts, test = run.recommender.parts, run.drawn.test
    signal = Cooccurrence.fit(
        run.dataset.interactions, train=run.drawn.train_rows, n_items=run.dataset.catalog.n_items
    )
    # Every title is different here, so items are groups.
    weights = minmax(signal.scores(test.histories))
    queries = parts.ranker.queries(run.texts("test"), writer_of(parts.answerer).embedder)
    (chunk,) = parts.ranker.iter_distances(queries, beams="first")
    gamma = float(chosen.rule.removeprefix("first beam, product, gamma "))
    adjusted = inject(chunk.combine("first")[0], weights, gamma=gamma)
    np.testing.assert_array_equal(
        result(comparison, INJECTED, exclude_seen=False).ranks,
        target_ranks(adjusted, test.targets),
    )


def test_the_gamma_path_passes_through_the_chosen_row(comparison: Comparison) -> None:
    assert {path.method for path in comparison.report.paths} == {
        "BIGRec x popularity",
        INJECTED,
    }
    for path in comparison.report.paths:
        ranks = result(comparison, path.method, exclude_seen=path.exclude_seen).ranks
        at = path.gammas.index(path.chosen)
        assert path.test[at] == pytest.approx(ndcg_at(ranks, k=10))
        assert path.valid[at] == max(path.valid)


def test_the_published_protocol_stands_apart_with_a_figure_for_every_metric(
    comparison: Comparison,
) -> None:
    products = [one for one in comparison.report.chosen if one.published is not None]
    assert len(products) == 4
    for one in products:
        assert one.published is not None
        assert set(one.published) == {
            f"{m}@{k}" for m in ("hr", "ndcg") for k in (1, 3, 5, 10, 20, 50)
        }
        ranks = result(comparison, one.method, exclude_seen=one.exclude_seen).ranks
        # For the metric that chose the one gamma, both protocols are the same.
        assert one.published["ndcg@10"] == pytest.approx(ndcg_at(ranks, k=10))


def test_everyone_but_the_best_baseline_is_compared_with_it(comparison: Comparison) -> None:
    report = comparison.report
    on_valid = {
        row.method: row.value
        for row in report.validation
        if row.exclude_seen and row.metric == "ndcg@10"
    }
    baselines = ("popularity", "co-occurrence", "EASE")
    assert report.reference == max(baselines, key=on_valid.__getitem__)
    compared = {row.method for row in report.differences}
    methods = {row.method for row in report.rows}
    assert compared == methods - {report.reference}
    assert all(0 < row.p_value <= row.p_corrected <= 1 for row in report.differences)


def test_what_the_model_adds_is_against_the_same_signals_without_it(
    comparison: Comparison,
) -> None:
    for row in comparison.report.gains:
        sign, signals = row.method.removeprefix("BIGRec ").split(" ", 1)
        assert (sign in "x+", signals) == (True, row.reference)
        both, alone = (
            ndcg_at(result(comparison, name, exclude_seen=row.exclude_seen).ranks, k=10)
            for name in (row.method, row.reference)
        )
        if row.metric == "ndcg@10":
            assert row.difference == pytest.approx(both - alone)
    assert {row.reference for row in comparison.report.gains} == {
        "popularity",
        "co-occurrence",
        "EASE & popularity",
    }


def test_validation_figures_are_those_that_the_choices_were_made_by(
    comparison: Comparison,
) -> None:
    by_method = {
        (row.method, row.exclude_seen): row.value
        for row in comparison.report.validation
        if row.metric == "ndcg@10"
    }
    for path in comparison.report.paths:
        assert by_method[path.method, path.exclude_seen] == pytest.approx(max(path.valid))
    for hide in (False, True):
        # Any weight of the second signal may be 0.
        assert by_method["EASE & popularity", hide] >= by_method["EASE", hide]


def test_every_baseline_is_there_on_all_data_and_on_the_few_shots(comparison: Comparison) -> None:
    names = {one.name for one in comparison.results}
    for name in ("popularity", "co-occurrence", "EASE"):
        assert {name, f"{name}, few-shot"} <= names
    all_data = result(comparison, "co-occurrence", exclude_seen=True).ranks
    few = result(comparison, "co-occurrence, few-shot", exclude_seen=True).ranks
    assert (all_data != few).any()


def test_lists_are_looked_at_beyond_accuracy_and_in_segments(comparison: Comparison) -> None:
    report = comparison.report
    assert len(report.beyond) == len(comparison.results)
    assert {one.other for one in report.agreement} == {
        name + suffix
        for name in ("popularity", "co-occurrence", "EASE")
        for suffix in ("", ", few-shot")
    }
    assert set(report.segments) == {
        "target in training",
        "target's popularity",
        "items before the target",
        "user in training",
    }
    for rows in report.segments.values():
        of_one = [
            row.queries
            for row in rows
            if row.summary.method == "popularity"
            and row.summary.metric == "hr@10"
            and not row.summary.exclude_seen
        ]
        assert sum(of_one) == 6


def test_the_command_prints_and_writes_the_figures(run: Run, comparison: Comparison) -> None:
    done = CliRunner().invoke(app, ["compare", "--run", str(run.folder)])
    assert done.exit_code == 0, done.output
    assert "Injections" in done.stdout
    written = json.loads(run.comparison_file.read_text())
    read = comparison_from_json(written)
    assert read.rows == comparison.report.rows
    assert run.comparison_file.with_suffix(".html").stat().st_size > 50_000


def test_seeds_repeat_everything_and_leave_the_runs_own_settings(
    tiny_files: Path, tiny_model: Path, tmp_path: Path
) -> None:
    run = open_run(tmp_path, tiny_files, tiny_model, "compare.seeds=[1]")
    report = compare_run(run).report
    assert len(list(tmp_path.glob("train-*/adapter"))) == 2
    assert Settings.read(tmp_path / "settings.yaml").seed == 0
    own = next(one for one in report.seeds if one.method == "BIGRec, all beams")
    assert set(own.values) == {0, 1}
    assert own.mean == pytest.approx(sum(own.values.values()) / 2)


def test_scores_from_files_are_compared_and_injected(
    tiny_files: Path, tiny_model: Path, tmp_path: Path
) -> None:
    run = open_run(tmp_path / "run", tiny_files, tiny_model, "compare.few_shot=false")
    files = {}
    for part in ("valid", "test"):
        targets = run.queries(part).targets
        scores = np.zeros((len(targets), 12), dtype=np.float32)
        scores[np.arange(len(targets)), targets] = 1
        files[part] = str(tmp_path / f"{part}.npy")
        np.save(files[part], scores)
    # A prophet: whatever it is put into is right as well.
    settings = run.settings.model_dump(mode="json")
    settings["compare"] |= {
        "external": [{"name": "prophet", **files}],
        "inject": ["prophet"],
        "signals": ["popularity"],
    }
    found = compare_run(Run(tmp_path / "run", Settings.checked(settings)))
    for name in ("prophet", "BIGRec + prophet"):
        assert (result(found, name, exclude_seen=False).ranks == 0).all()


def test_scores_of_another_format_are_refused(
    tiny_files: Path, tiny_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "scores.csv").write_text("")
    files = {"valid": str(tmp_path / "scores.csv"), "test": str(tmp_path / "scores.csv")}
    settings = open_run(tmp_path / "run", tiny_files, tiny_model).settings.model_dump(mode="json")
    settings["compare"]["external"] = [{"name": "mine", **files}]
    with pytest.raises(SettingsError, match=r"scores of 'mine' .* expected \.npy or \.parquet"):
        compare_run(Run(tmp_path / "run", Settings.checked(settings)))


def test_direct_grounding_is_compared_injected_and_not_learned_twice(
    tiny_files: Path, tiny_model: Path, tmp_path: Path
) -> None:
    changes = [
        "compare.direct=true",
        "compare.inject=['BIGRec, direct & popularity']",
        "direct.layers=1",
        "direct.epochs=2",
        "direct.size=8",
    ]
    run = open_run(tmp_path, tiny_files, tiny_model, *changes)
    first = compare_run(run)
    names = {one.name for one in first.results}
    assert {
        "BIGRec, direct",
        "BIGRec, direct, few-shot",
        "BIGRec + BIGRec, direct & popularity",
    } <= names
    weights = sorted(tmp_path.glob("direct-*/*/checkpoint/arrays.safetensors"))
    assert [file.parent.parent.name for file in weights] == ["all", "few-shot"]
    learned = [file.stat().st_mtime_ns for file in weights]
    again = compare_run(open_run(tmp_path, tiny_files, tiny_model, *changes))
    assert [file.stat().st_mtime_ns for file in weights] == learned
    for one, other in zip(first.results, again.results, strict=True):
        np.testing.assert_array_equal(one.ranks, other.ranks)


def test_a_reference_that_is_not_compared_is_refused_before_anything_is_learned(
    tiny_files: Path, tiny_model: Path, tmp_path: Path
) -> None:
    run = open_run(tmp_path, tiny_files, tiny_model, "compare.reference=SASRec")
    with pytest.raises(SettingsError, match=r"compare\.reference is 'SASRec': expected auto or"):
        compare_run(run)
    assert not list(tmp_path.glob("train-*"))


def test_by_default_what_is_compared_is_injected(
    tiny_files: Path, tiny_model: Path, tmp_path: Path
) -> None:
    changes = ["compare.signals=[EASE, co-occurrence]", "compare.inject=auto"]
    names = {
        one.name
        for one in compare_run(open_run(tmp_path, tiny_files, tiny_model, *changes)).results
    }
    assert {name for name in names if name.startswith("BIGRec +")} == {
        "BIGRec + co-occurrence",
        "BIGRec + EASE",
        "BIGRec + co-occurrence & EASE",
    }


def test_injecting_what_is_not_compared_is_refused(
    tiny_files: Path, tiny_model: Path, tmp_path: Path
) -> None:
    run = open_run(tmp_path, tiny_files, tiny_model, "compare.inject=[EASE & SASRec]")
    with pytest.raises(SettingsError, match=r"compare\.inject names 'SASRec': expected"):
        compare_run(run)


def test_a_parquet_of_scores_goes_by_user(
    tiny_files: Path, tiny_model: Path, tmp_path: Path
) -> None:
    run = open_run(tmp_path / "run", tiny_files, tiny_model, "compare.few_shot=false")
    items = run.dataset.catalog.item_ids
    users = sorted({*run.drawn.test.user_ids, *run.drawn.valid_queries.user_ids})
    scores = {item: [float(number)] * len(users) for number, item in enumerate(items)}
    pl.DataFrame({"user_id": users, **scores}).write_parquet(tmp_path / "scores.parquet")
    file = str(tmp_path / "scores.parquet")
    settings = run.settings.model_dump(mode="json")
    settings["compare"] |= {
        "external": [{"name": "by number", "valid": file, "test": file}],
        "inject": [],
    }
    found = compare_run(Run(tmp_path / "run", Settings.checked(settings)))
    np.testing.assert_array_equal(
        result(found, "by number", exclude_seen=False).ranks, 11 - run.drawn.test.targets
    )
