"""The comparison: the same queries for every method, everything selected without the test."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

import bigrec
from bigrec.cli import app
from bigrec.errors import SettingsError
from bigrec.evaluation.method import MethodId
from bigrec.evaluation.metrics import ndcg_at
from bigrec.evaluation.protocol import MethodResult
from bigrec.evaluation.query_table import QueryTable
from bigrec.evaluation.reports.comparison import comparison_from_json
from bigrec.experiments.compare import compare_pipeline
from bigrec.experiments.comparison import Comparison
from bigrec.experiments.pipeline import Pipeline
from bigrec.grounding.fusion.formulas import fuse_product, min_max
from bigrec.grounding.ranks import target_ranks
from bigrec.models.cooccurrence import Cooccurrence
from bigrec.settings import Settings
from tests.conftest import Mode, tiny_settings

pytestmark = pytest.mark.model

MODEL: dict[Mode, str] = {
    "text": "Gaussian",
    "retrieval": "LLM retrieval",
    "generative": "BIGRec",
    "latent": "BIGRec, latent",
    "likelihood": "BIGRec, likelihood",
}
QUICK = [
    "baselines.tune=none",
    "compare.baselines=[popularity, co-occurrence, EASE]",
    "compare.fusions=[popularity, co-occurrence, EASE & popularity]",
]


def open_pipeline(
    folder: Path, tiny_files: Path, tiny_model: Path, *changes: str, mode: Mode = "generative"
) -> Pipeline:
    source = f"data.source={tiny_files}"
    return Pipeline(folder, tiny_settings(tiny_model, source, *QUICK, *changes, mode=mode))


@pytest.fixture(scope="module")
def pipeline(
    tiny_files: Path, tiny_model: Path, mode: Mode, tmp_path_factory: pytest.TempPathFactory
) -> Pipeline:
    return open_pipeline(tmp_path_factory.mktemp("run"), tiny_files, tiny_model, mode=mode)


@pytest.fixture(scope="module")
def comparison(pipeline: Pipeline) -> Comparison:
    return compare_pipeline(pipeline)


def result(comparison: Comparison, method: MethodId, *, exclude_seen: bool) -> MethodResult:
    (found,) = (
        result
        for result in comparison.results
        if result.method == method and result.exclude_seen == exclude_seen
    )
    return found


def labels(comparison: Comparison) -> set[str]:
    return {result.method.label for result in comparison.results}


def test_rows_that_both_files_have_are_the_same(
    tiny_files: Path, tiny_model: Path, tmp_path: Path, mode: Mode
) -> None:
    settings = tiny_settings(
        tiny_model, f"data.source={tiny_files}", *QUICK, mode=mode, signals="[EASE, popularity]"
    )
    pipeline = Pipeline(tmp_path, settings)
    evaluated = {
        (row.method, row.exclude_seen, row.metric): row for row in pipeline.evaluate().rows
    }
    compared = {
        (row.method, row.exclude_seen, row.metric): row
        for row in compare_pipeline(pipeline).report.rows
    }
    shared = set(evaluated) & set(compared)
    fused = MethodId(MODEL[mode], "tuned", ("EASE", "popularity"))
    recommenders = {MODEL[mode], *(("BIGRec, all beams",) if mode == "generative" else ())}
    assert {method.label for method, _, _ in shared} == {
        "popularity",
        fused.label,
        *recommenders,
    }
    for key in shared:
        first, second = evaluated[key], compared[key]
        assert first.value == second.value
        # A product with other columns beside it may round differently.
        assert (first.low, first.high) == pytest.approx((second.low, second.high), rel=1e-12)


def test_a_fusion_ranks_by_the_papers_product_at_its_gamma(
    pipeline: Pipeline, comparison: Comparison, mode: Mode
) -> None:
    method = MethodId(MODEL[mode], "paper", ("co-occurrence",))
    (chosen,) = (
        row for row in comparison.report.chosen if row.method == method and not row.exclude_seen
    )
    queries = pipeline.prepared.test_queries
    signal = Cooccurrence.fit(
        pipeline.dataset.interactions,
        train=pipeline.prepared.train_rows,
        n_items=pipeline.dataset.catalog.n_items,
    )
    # Every title is different here, so items are titles.
    weights = min_max(signal.scores(queries.histories))
    encoded = pipeline.fitting.encode("test")
    (chunk,) = pipeline.fitting.encoder.ranker.iter_distances(encoded, beams="top1")
    gamma = float(chosen.rule.removeprefix("top beam, ").removeprefix("product, gamma "))
    ranks = result(comparison, method, exclude_seen=False).ranks
    # A catalog without cold titles: there is nothing to impute.
    adjusted = fuse_product(chunk.combine("top1")[0], [weights], gammas=[gamma])
    np.testing.assert_array_equal(ranks, target_ranks(adjusted, queries.targets))


def test_the_gamma_path_passes_through_the_selected_row(comparison: Comparison, mode: Mode) -> None:
    assert {path.method for path in comparison.report.paths} == {
        MethodId(MODEL[mode], "paper", (signal,)) for signal in ("popularity", "co-occurrence")
    }
    for path in comparison.report.paths:
        ranks = result(comparison, path.method, exclude_seen=path.exclude_seen).ranks
        at = path.gammas.index(path.chosen)
        assert path.test[at] == pytest.approx(ndcg_at(ranks, k=10))
        assert path.valid[at] == max(path.valid)


def test_the_papers_protocol_stands_apart_with_a_figure_for_every_metric(
    comparison: Comparison,
) -> None:
    products = [row for row in comparison.report.chosen if row.paper is not None]
    assert len(products) == 4
    for row in products:
        assert row.paper is not None
        assert set(row.paper) == {f"{m}@{k}" for m in ("hr", "ndcg") for k in (1, 3, 5, 10, 20, 50)}
        ranks = result(comparison, row.method, exclude_seen=row.exclude_seen).ranks
        # For the metric that selected the one gamma, both protocols are the same.
        assert row.paper["ndcg@10"] == pytest.approx(ndcg_at(ranks, k=10))


def test_every_method_but_the_best_baseline_is_compared_with_it(comparison: Comparison) -> None:
    report = comparison.report
    on_valid = {
        row.method: row.value
        for row in report.validation
        if row.exclude_seen and row.metric == "ndcg@10"
    }
    baselines = [MethodId(name) for name in ("popularity", "co-occurrence", "EASE")]
    assert report.reference == max(baselines, key=on_valid.__getitem__)
    compared = {row.method for row in report.differences}
    assert compared == {row.method for row in report.rows} - {report.reference}
    assert all(0 < row.p_value <= row.p_corrected <= 1 for row in report.differences)


def test_gains_of_the_model_are_against_the_same_signals_without_it(
    comparison: Comparison, mode: Mode
) -> None:
    reference_of = {row.method: row.reference for row in comparison.report.gains}
    pair = ("EASE", "popularity")
    for kind in ("paper", "tuned"):
        assert reference_of[MethodId(MODEL[mode], kind, pair)] == MethodId("", "tuned", pair)
        single = MethodId(MODEL[mode], kind, ("popularity",))
        assert reference_of[single] == MethodId("popularity")
    for row in comparison.report.gains:
        own, other = (
            ndcg_at(result(comparison, method, exclude_seen=row.exclude_seen).ranks, k=10)
            for method in (row.method, row.reference)
        )
        if row.metric == "ndcg@10":
            assert row.difference == pytest.approx(own - other)


def test_validation_figures_are_those_of_the_selection(comparison: Comparison, mode: Mode) -> None:
    by_method = {
        (row.method, row.exclude_seen): row.value
        for row in comparison.report.validation
        if row.metric == "ndcg@10"
    }
    for path in comparison.report.paths:
        assert by_method[path.method, path.exclude_seen] == pytest.approx(max(path.valid))
    pair = MethodId("", "tuned", ("EASE", "popularity"))
    for exclude_seen in (False, True):
        # The weight of the second signal may be 0.
        assert by_method[pair, exclude_seen] >= by_method[MethodId("EASE"), exclude_seen]


def test_every_baseline_is_there_on_all_data_and_on_the_few_shots(comparison: Comparison) -> None:
    methods = {result.method for result in comparison.results}
    for name in ("popularity", "co-occurrence", "EASE"):
        assert {MethodId(name), MethodId(name, training_data="few-shot")} <= methods


# In retrieval mode the default number of few shots is all there is of this dataset.
@pytest.mark.parametrize("mode", ["generative"], indirect=True)
def test_few_shot_baselines_see_the_examples_of_fine_tuning_alone(comparison: Comparison) -> None:
    all_data = result(comparison, MethodId("co-occurrence"), exclude_seen=True).ranks
    few_shot = MethodId("co-occurrence", training_data="few-shot")
    assert (all_data != result(comparison, few_shot, exclude_seen=True).ranks).any()


def test_retrieval_stands_beside_its_few_shot_and_untrained_selves(
    pipeline: Pipeline, comparison: Comparison
) -> None:
    selves = {MethodId("LLM retrieval", training_data=data) for data in ("few-shot", "none")}
    found = selves & {result.method for result in comparison.results}
    assert found == (selves if pipeline.settings.mode == "retrieval" else set())


def test_lists_are_described_beyond_accuracy_and_in_segments(
    comparison: Comparison, mode: Mode
) -> None:
    report = comparison.report
    assert len(report.beyond) == len(comparison.results)
    signals = {
        MethodId(name, training_data=data)
        for name in ("popularity", "co-occurrence", "EASE")
        for data in ("all", "few-shot")
    }
    if mode == "retrieval":
        signals |= {MethodId("LLM retrieval", training_data=data) for data in ("few-shot", "none")}
    assert {row.other for row in report.agreement} == signals
    assert set(report.segments) == {
        "target's training interactions",
        "target's popularity",
        "items before the target",
        "user in training",
    }
    targets = {row.segment for row in report.segments["target's training interactions"]}
    assert targets <= {"cold", "few", "warm"}
    for rows in report.segments.values():
        queries = [
            row.queries
            for row in rows
            if row.summary.method == MethodId("popularity")
            and row.summary.metric == "hr@10"
            and not row.summary.exclude_seen
        ]
        assert sum(queries) == 6


def test_notes_tell_the_users_of_the_intervals(pipeline: Pipeline, comparison: Comparison) -> None:
    users = len(set(pipeline.prepared.test_queries.user_ids))
    (note,) = [note for note in comparison.report.notes if note.startswith("Intervals")]
    assert note.startswith(
        f"Intervals are 95 % bootstrap intervals over users: 6 queries of {users} users, effecti"
    )


def test_the_command_prints_and_writes_the_figures(
    pipeline: Pipeline, comparison: Comparison
) -> None:
    done = CliRunner().invoke(app, ["compare", "--run-dir", str(pipeline.folder)])
    assert done.exit_code == 0, done.output
    assert comparison.report.reference.label in done.stdout
    read = comparison_from_json(json.loads(pipeline.comparison_file.read_text()))
    assert read.rows == comparison.report.rows
    assert pipeline.comparison_file.with_suffix(".html").read_text().startswith("<!")
    table = QueryTable.load(pipeline.comparison_file.with_suffix(".parquet"))
    for result in comparison.results:
        ranks = table.ranks(result.method, exclude_seen=result.exclude_seen)
        np.testing.assert_array_equal(ranks, result.ranks)
    assert table.frame["user_id"].to_list() == pipeline.prepared.test_queries.user_ids


def test_the_public_function_is_the_same_comparison(
    pipeline: Pipeline, comparison: Comparison
) -> None:
    again = bigrec.compare(pipeline.settings, run_dir=pipeline.folder)
    assert again.report.rows == comparison.report.rows


def test_seeds_repeat_everything_and_leave_the_runs_own_settings(
    tiny_files: Path, tiny_model: Path, tmp_path: Path, mode: Mode
) -> None:
    pipeline = open_pipeline(tmp_path, tiny_files, tiny_model, "compare.seeds=[1]", mode=mode)
    report = compare_pipeline(pipeline).report
    trained = {
        "text": "text-*/grid.json",
        "retrieval": "retrieval-*/loss.json",
        "generative": "finetune-*/adapter",
        "latent": "finetune-*/adapter",
        "likelihood": "finetune-*/adapter",
    }
    assert len(list(tmp_path.glob(trained[mode]))) == 2
    assert Settings.read(tmp_path / "settings.yaml").seed == 0
    row = next(row for row in report.seeds if row.method == MethodId(MODEL[mode]))
    assert set(row.values) == {0, 1}
    assert row.mean == pytest.approx(sum(row.values.values()) / 2)


def with_precomputed(pipeline: Pipeline, *, fusions: list[str], **files: str) -> Settings:
    values = pipeline.settings.to_dict()
    values["compare"] |= {
        "precomputed": [files],
        "fusions": fusions,
        "baselines": ["popularity"],
    }
    return Settings.checked(values)


def test_scores_from_files_are_compared_and_fused(
    tiny_files: Path, tiny_model: Path, tmp_path: Path, mode: Mode
) -> None:
    change = "compare.few_shot=false"
    pipeline = open_pipeline(tmp_path / "run", tiny_files, tiny_model, change, mode=mode)
    files = {}
    for split in ("valid", "test"):
        targets = pipeline.prepared.queries(split).targets
        scores = np.zeros((len(targets), 12), dtype=np.float32)
        scores[np.arange(len(targets)), targets] = 1
        files[split] = str(tmp_path / f"{split}.npy")
        np.save(files[split], scores)
    # A prophet: all that it is fused into is right as well.
    settings = with_precomputed(pipeline, fusions=["prophet"], name="prophet", **files)
    comparison = compare_pipeline(Pipeline(tmp_path / "run", settings))
    fused = MethodId(MODEL[mode], "tuned", ("prophet",))
    for method in (MethodId("prophet"), fused):
        assert (result(comparison, method, exclude_seen=False).ranks == 0).all()


def test_scores_of_another_format_are_refused(
    tiny_files: Path, tiny_model: Path, tmp_path: Path
) -> None:
    file = str(tmp_path / "scores.csv")
    Path(file).write_text("")
    pipeline = open_pipeline(tmp_path / "run", tiny_files, tiny_model)
    settings = with_precomputed(pipeline, fusions=[], name="mine", valid=file, test=file)
    with pytest.raises(SettingsError, match=r"scores of 'mine' .* expected \.npy or \.parquet"):
        compare_pipeline(Pipeline(tmp_path / "run", settings))


def test_a_parquet_of_scores_goes_by_user(
    tiny_files: Path, tiny_model: Path, tmp_path: Path
) -> None:
    change = "compare.few_shot=false"
    pipeline = open_pipeline(tmp_path / "run", tiny_files, tiny_model, change)
    items = pipeline.dataset.catalog.item_ids
    prepared = pipeline.prepared
    users = sorted({*prepared.test_queries.user_ids, *prepared.valid_queries.user_ids})
    scores = {item: [float(number)] * len(users) for number, item in enumerate(items)}
    file = str(tmp_path / "scores.parquet")
    pl.DataFrame({"user_id": users, **scores}).write_parquet(file)
    settings = with_precomputed(pipeline, fusions=[], name="by number", valid=file, test=file)
    comparison = compare_pipeline(Pipeline(tmp_path / "run", settings))
    np.testing.assert_array_equal(
        result(comparison, MethodId("by number"), exclude_seen=False).ranks,
        11 - prepared.test_queries.targets,
    )


def test_retrieval_is_a_baseline_of_generative_mode_and_not_trained_twice(
    tiny_files: Path, tiny_model: Path, tmp_path: Path
) -> None:
    changes = [
        "compare.retrieval=true",
        "compare.fusions=['LLM retrieval & popularity']",
        "retrieval.truncate_layers=1",
        "retrieval.epochs=2",
        "retrieval.embedding_dim=8",
    ]
    first = compare_pipeline(open_pipeline(tmp_path, tiny_files, tiny_model, *changes))
    assert {
        "LLM retrieval",
        "LLM retrieval, few-shot",
        "LLM retrieval, untrained",
        "BIGRec + LLM retrieval & popularity",
    } <= labels(first)
    weights = sorted(tmp_path.glob("retrieval-*/*/checkpoint/arrays.safetensors"))
    assert [file.parent.parent.name for file in weights] == ["all", "few-shot"]
    trained = [file.stat().st_mtime_ns for file in weights]
    again = compare_pipeline(open_pipeline(tmp_path, tiny_files, tiny_model, *changes))
    assert [file.stat().st_mtime_ns for file in weights] == trained
    for one, other in zip(first.results, again.results, strict=True):
        np.testing.assert_array_equal(one.ranks, other.ranks)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("compare.reference=SASRec", r"compare\.reference is 'SASRec': expected auto or a method"),
        ("compare.fusions=[EASE & SASRec]", r"compare\.fusions names 'SASRec': expected signals"),
        ("compare.baselines=[LightGCN]", "there is no model 'LightGCN'"),
    ],
)
def test_a_method_that_is_not_compared_is_refused_before_anything_is_fitted(
    tiny_files: Path, tiny_model: Path, tmp_path: Path, change: str, message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        compare_pipeline(open_pipeline(tmp_path, tiny_files, tiny_model, change))
    assert not list(tmp_path.glob("finetune-*"))


def test_a_fused_method_can_be_the_reference(
    tiny_files: Path, tiny_model: Path, tmp_path: Path
) -> None:
    change = "compare.reference='BIGRec + popularity'"
    report = compare_pipeline(open_pipeline(tmp_path, tiny_files, tiny_model, change)).report
    assert report.reference == MethodId("BIGRec", "tuned", ("popularity",))


def test_by_default_the_compared_baselines_are_fused(
    tiny_files: Path, tiny_model: Path, tmp_path: Path
) -> None:
    changes = ["compare.baselines=[EASE, co-occurrence]", "compare.fusions=auto"]
    comparison = compare_pipeline(open_pipeline(tmp_path, tiny_files, tiny_model, *changes))
    tuned = {
        result.method.signals
        for result in comparison.results
        if result.method.fusion == "tuned" and result.method.model
    }
    assert tuned == {("co-occurrence",), ("EASE",), ("co-occurrence", "EASE")}


def test_lists_without_an_item_have_no_novelty_and_the_comparison_ends(
    tiny_model: Path, tmp_path: Path
) -> None:
    # Two titles, and everybody has seen both before the test.
    rows = [
        {"user_id": f"u{user}", "item_id": f"i{(user + step) % 2}", "timestamp": 10 * step + user}
        for user in range(5)
        for step in range(8)
    ]
    pl.DataFrame(rows).write_csv(tmp_path / "interactions.csv")
    pl.DataFrame({"item_id": ["i0", "i1"], "title": ["A", "B"]}).write_csv(tmp_path / "items.csv")
    changes = [
        f"data.source={tmp_path}",
        "data.split_method=leave_one_out",
        "compare.baselines=[popularity, SASRec, 'SASRec, DROS']",
        "compare.fusions=[popularity]",
        "baselines.sequential.epochs=1",
    ]
    settings = tiny_settings(tiny_model, *changes, mode="retrieval")
    report = compare_pipeline(Pipeline(tmp_path / "run", settings)).report
    excluded = [row for row in report.beyond if row.exclude_seen]
    assert {(row.coverage, row.novelty, row.gini) for row in excluded} == {(0.0, None, None)}
    assert all(row.novelty is not None for row in report.beyond if not row.exclude_seen)
    assert {row.value for row in report.rows if row.exclude_seen} == {0.0}
