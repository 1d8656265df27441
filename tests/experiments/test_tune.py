"""The search of hyperparameters: on validation, resumed, its best settings written."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from bigrec.cli import app
from bigrec.errors import DataError, SettingsError, StorageError
from bigrec.evaluation.metrics import ndcg_at
from bigrec.experiments import tune as tuning
from bigrec.experiments.pipeline import Pipeline
from bigrec.experiments.search_space import Range, contains, current_values, search_space
from bigrec.experiments.tune import tune
from bigrec.grounding.ranks import target_ranks
from bigrec.models.ease import Ease
from bigrec.models.registry import NAMES
from bigrec.settings import Settings
from tests.conftest import needs, tiny_overrides, tiny_settings

pytestmark = pytest.mark.model

OpenPipeline = Callable[..., Pipeline]


@pytest.fixture
def open_pipeline(tiny_files: Path, tiny_model: Path, tmp_path: Path) -> OpenPipeline:
    def opened(*changes: str) -> Pipeline:
        source = [f"data.source={tiny_files}", "data.max_valid_examples=20"]
        settings = tiny_settings(tiny_model, *source, *changes, mode="retrieval")
        return Pipeline(tmp_path / "run", settings)

    return opened


def test_a_range_has_the_type_of_its_setting() -> None:
    space = search_space(
        "co-occurrence",
        Settings.read(),
        ["baselines.cooccurrence.window=2..9", "baselines.cooccurrence.alpha=0..1"],
    )
    assert space == {
        "baselines.cooccurrence.window": Range(2, 9, log=False, integers=True),
        "baselines.cooccurrence.alpha": Range(0.0, 1.0, log=False, integers=False),
    }
    choices = search_space("LLM retrieval", Settings.read(), ["retrieval.lora_r=[4, 8]"])
    assert choices == {"retrieval.lora_r": (4, 8)}
    logarithmic = search_space(
        "EASE", Settings.read(), ["baselines.ease.regularization = 1e1..1e4:log"]
    )
    assert logarithmic["baselines.ease.regularization"] == Range(10, 1e4, log=True, integers=False)


@pytest.mark.parametrize("model", [*NAMES[1:], "LLM retrieval"])
def test_every_default_space_holds_the_default_settings(model: str) -> None:
    settings = Settings.read()
    space = search_space(model, settings)
    current = current_values(space, settings)
    outside = {"baselines.sequential.weight_decay"} & set(current)
    # A scale of powers has no 0.
    assert contains(space, {**current, **dict.fromkeys(outside, 1e-6)})
    assert contains(space, current) != bool(outside)


@pytest.mark.parametrize(
    ("model", "searched", "message"),
    [
        ("popularity", [], r"'popularity' cannot be tuned: expected a model with hyper.*EASE; "),
        ("BERT", [], r"'BERT' cannot be tuned"),
        ("EASE", ["baselines.ease.decay"], r"search 'baselines.ease.decay': expected NAME=LOW"),
        ("EASE", ["baselines.ease.decay=0.5"], r"expected NAME=LOW\.\.HIGH"),
        ("EASE", ["baselines.ease.decay=a..b"], r"expected NAME=LOW"),
        ("EASE", ["baselines.ease.decay=nan..1"], r"expected NAME=LOW"),
        ("EASE", ["baselines.ease.decay=[0.5"], r"expected NAME=LOW"),
        ("EASE", ["baselines.ease.decay=[]"], r"expected NAME=LOW"),
        ("EASE", ["baselines.ease.decay=1..0.5"], r"expected LOW < HIGH"),
        ("EASE", ["baselines.ease.decay=0..1:log"], r"expected 0 < LOW < HIGH on a log"),
        ("EASE", ["baselines.ease.decay=0.5..2"], r"baselines\.ease\.decay"),
        ("EASE", ["baselines.ease.unknown=0.5..2"], r"unknown"),
        ("EASE", ["baselines.tf_idf.decay=0.5..1"], r"no setting of EASE.*with baselines\.ease\."),
        ("SASRec", ["baselines.sequential.epochs=1.5..3"], r"baselines\.sequential\.epochs"),
    ],
)
def test_a_wrong_search_is_one_clear_error(model: str, searched: list[str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        search_space(model, Settings.read(), searched)


@needs("optuna")
def test_the_first_trial_has_the_settings_own_values_and_the_tables_figure(
    open_pipeline: OpenPipeline,
) -> None:
    pipeline = open_pipeline()
    result = tune(pipeline, "EASE", n_trials=3)
    first = next(trial for trial in result.trials if trial.number == 0)
    assert first.values == {"baselines.ease.regularization": 250.0, "baselines.ease.decay": 1.0}
    queries = pipeline.prepared.valid_queries
    ease = Ease.fit(pipeline.dataset.interactions, train=pipeline.prepared.train_rows, n_items=12)
    # Every title is different here, so items are titles.
    ranks = target_ranks(
        -ease.scores(queries.histories), queries.targets, exclude=queries.full_histories
    )
    assert first.figure == pytest.approx(ndcg_at(ranks, k=10))
    figures = [trial.figure for trial in result.trials]
    assert figures == sorted(figures, reverse=True)
    assert len({tuple(trial.values.values()) for trial in result.trials}) == 3


@needs("optuna")
def test_the_best_settings_are_a_file_that_a_command_takes(open_pipeline: OpenPipeline) -> None:
    pipeline = open_pipeline("baselines.tune=grid")
    result = tune(pipeline, "EASE", n_trials=3)
    assert result.file == pipeline.folder / "tuned-ease.yaml"
    written = Settings.read(result.file)
    assert written.baselines.ease.model_dump() == {
        name.rpartition(".")[2]: value for name, value in result.best.values.items()
    }
    # A grid would take the place of what was found.
    assert written.baselines.tune == "none"
    assert written.data == pipeline.settings.data


@needs("optuna")
def test_trials_are_resumed_and_counted_together(
    open_pipeline: OpenPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune(open_pipeline(), "EASE", n_trials=2)
    fitted: list[int] = []
    figure = tuning._Search._figure

    def interrupted(self: Any, *args: Any) -> float:
        fitted.append(0)
        if len(fitted) == 2:
            raise KeyboardInterrupt
        return figure(self, *args)

    monkeypatch.setattr(tuning._Search, "_figure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tune(open_pipeline(), "EASE", n_trials=5)
    assert Settings.read(open_pipeline().folder / "tuned-ease.yaml")
    result = tune(open_pipeline(), "EASE", n_trials=5)
    # The second call ended in its second trial, which the third call tried again.
    assert len(fitted) == 4
    assert len(result.trials) == 5
    assert tune(open_pipeline(), "EASE", n_trials=5).trials == result.trials
    assert len(fitted) == 4


@needs("optuna")
def test_other_data_and_other_settings_are_another_search(open_pipeline: OpenPipeline) -> None:
    tune(open_pipeline(), "EASE", n_trials=1)
    tune(open_pipeline("recommend.exclude_seen=false"), "EASE", n_trials=1)
    pipeline = open_pipeline("baselines.windows=2")
    result = tune(pipeline, "EASE", n_trials=1)
    assert len(list(pipeline.folder.glob("tuning-*"))) == 3
    assert "in 2 windows" in result.note


@needs("optuna")
def test_a_network_is_tuned_and_its_checkpoints_go(open_pipeline: OpenPipeline) -> None:
    pipeline = open_pipeline("baselines.sequential.epochs=1")
    searched = ["baselines.sequential.hidden_size=[8, 16]"]
    result = tune(pipeline, "GRU4Rec", n_trials=2, searched=searched)
    assert {trial.values["baselines.sequential.hidden_size"] for trial in result.trials} <= {8, 16}
    assert not list(pipeline.folder.rglob("trial-*"))


@needs("optuna")
def test_retrieval_is_tuned_with_the_titles_read_once(
    open_pipeline: OpenPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bigrec.models.llm import ItemTextFeatures

    embedded: list[int] = []
    embed = ItemTextFeatures.embed

    def counted(self: Any, titles: Any, **options: Any) -> Any:
        embedded.append(len(titles))
        return embed(self, titles, **options)

    monkeypatch.setattr(ItemTextFeatures, "embed", counted)
    pipeline = open_pipeline("retrieval.epochs=1")
    searched = ["retrieval.learning_rate=0.001..0.01:log", "retrieval.projection_dim=[8, 16]"]
    result = tune(pipeline, "LLM retrieval", n_trials=2, searched=searched)
    assert len(result.trials) == 2
    assert sum(embedded) == 12
    tuned = Settings.read(pipeline.folder / "tuned-llm-retrieval.yaml").retrieval
    assert tuned.learning_rate == result.best.values["retrieval.learning_rate"]


@needs("optuna")
def test_what_fails_is_skipped_unless_it_is_the_first_or_all(
    open_pipeline: OpenPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes: list[float | None] = [None, 0.1, None, None, 0.2, None, None, None]

    def outcome(*_: Any) -> float:
        value = outcomes.pop(0)
        if value is None:
            raise DataError("diverged")
        return value

    monkeypatch.setattr(tuning._Search, "_figure", outcome)
    with pytest.raises(DataError, match="diverged"):
        tune(open_pipeline(), "EASE", n_trials=9)
    with pytest.raises(DataError, match="diverged"):
        tune(open_pipeline(), "EASE", n_trials=9)
    assert outcomes == []
    assert Settings.read(open_pipeline().folder / "tuned-ease.yaml")


@needs("optuna")
def test_a_damaged_study_is_one_clear_error(open_pipeline: OpenPipeline) -> None:
    pipeline = open_pipeline()
    tune(pipeline, "EASE", n_trials=1)
    (file,) = pipeline.folder.glob("tuning-*/study.db")
    file.write_bytes(b"no database" * 100)
    with pytest.raises(StorageError, match=r"study\.db could not be used: .* remove .*tuning-"):
        tune(open_pipeline(), "EASE", n_trials=2)


@needs("optuna")
def test_a_run_directory_may_have_any_name(
    tiny_files: Path, tiny_model: Path, tmp_path: Path
) -> None:
    settings = tiny_settings(tiny_model, f"data.source={tiny_files}", mode="retrieval")
    for _ in range(2):
        pipeline = Pipeline(tmp_path / "a?b=c#d %41", settings)
        assert len(tune(pipeline, "tf-idf", n_trials=1).trials) == 1
    assert len(list(pipeline.folder.glob("tuning-*/study.db"))) == 1


@needs("optuna")
def test_time_ends_a_search_after_the_trial_that_runs(open_pipeline: OpenPipeline) -> None:
    assert len(tune(open_pipeline(), "EASE", n_trials=9, minutes=1e-9).trials) == 1


@pytest.mark.parametrize(("n_trials", "minutes"), [(0, None), (1, 0.0), (1, -1.0)])
def test_a_search_of_nothing_is_refused(
    open_pipeline: OpenPipeline, n_trials: int, minutes: float | None
) -> None:
    with pytest.raises(ValueError, match="expected at least one trial, and minutes above 0"):
        tune(open_pipeline(), "EASE", n_trials=n_trials, minutes=minutes)


def test_optuna_is_asked_for_where_it_is_missing(
    open_pipeline: OpenPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(SettingsError, match=r"pip install 'bigrec\[tune\]'"):
        tune(open_pipeline(), "EASE", n_trials=1)


@needs("optuna")
def test_the_command_prints_the_trials(tiny_files: Path, tiny_model: Path, tmp_path: Path) -> None:
    overrides = tiny_overrides(tiny_model, f"data.source={tiny_files}", mode="retrieval")
    command = ["tune", "tf-idf", "--run-dir", str(tmp_path), "--trials", "2"]
    command += ["--search", "baselines.tf_idf.decay=0.2..0.9"]
    for override in overrides:
        command += ["--set", override]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "tuned-tf-idf.yaml" in done.output.replace("\n", "")
    again = CliRunner().invoke(app, [*command, "--json"])
    content = json.loads(again.stdout)
    assert [set(trial) for trial in content["trials"]] == [{"number", "ndcg@10", "values"}] * 2
    figures = [trial["ndcg@10"] for trial in content["trials"]]
    assert np.argmax(figures) == 0
    assert content["file"].endswith("tuned-tf-idf.yaml")
