"""The command line, end to end on a few-layer model."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from bigrec.cli import app
from bigrec.evaluation.metrics import hr_at
from bigrec.evaluation.query_table import QueryTable
from tests.conftest import tiny_overrides, wait_for

pytestmark = pytest.mark.model


def arguments(command: str, run: Path, tiny_files: Path, model: Path) -> list[str]:
    changes = [part for one in tiny_overrides(model) for part in ("--set", one)]
    return [command, "--run", str(run), "--data", str(tiny_files), *changes]


def invoke(*args: str, ok: bool = True) -> Any:
    result = CliRunner().invoke(app, list(args))
    if ok and result.exit_code != 0:
        raise AssertionError(result.output) from result.exception
    return result


@pytest.fixture(scope="module")
def evaluated(tiny_files: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run") / "a"
    invoke(*arguments("evaluate", run, tiny_files, tiny_model))
    return run


def stage(run: Path, name: str) -> Path:
    (folder,) = run.glob(f"{name}-*")
    return folder


def test_evaluate_alone_does_all_that_is_missing(evaluated: Path) -> None:
    names = {path.name.split("-")[0] for path in evaluated.iterdir()}
    assert names == {
        "settings.yaml",
        "timings.json",
        "data",
        "train",
        "index",
        "texts",
        "evaluation",
        "bundle",
    }
    assert (stage(evaluated, "train") / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert (stage(evaluated, "evaluation") / "report.html").read_text().startswith("<!")


def test_any_metric_can_be_computed_again_from_the_queries(evaluated: Path) -> None:
    folder = stage(evaluated, "evaluation")
    table = QueryTable.load(folder / "queries.parquet")
    metrics = json.loads((folder / "metrics.json").read_text())
    for row in metrics["rows"]:
        if row["metric"] == "hr@10":
            ranks = table.ranks(row["method"], exclude_seen=row["exclude_seen"])
            assert row["value"] == pytest.approx(hr_at(ranks, k=10))
    methods = {row["method"] for row in metrics["rows"]}
    assert methods == {"BIGRec, first beam", "BIGRec, all beams", "popularity", "random"}


def test_a_second_evaluation_reuses_every_stage(
    evaluated: Path, tiny_files: Path, tiny_model: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in evaluated.rglob("*.*") if path.is_file()}
    invoke(*arguments("evaluate", evaluated, tiny_files, tiny_model))
    changed = {path.name for path, time_ns in before.items() if path.stat().st_mtime_ns != time_ns}
    assert changed == {"settings.yaml"}


def test_settings_are_remembered_by_the_run_folder(evaluated: Path) -> None:
    result = invoke("evaluate", "--run", str(evaluated), "--json")
    assert json.loads(result.stdout)["title"].startswith("BIGRec on")


def test_a_changed_setting_starts_a_new_stage_beside_the_old(
    evaluated: Path, tiny_files: Path, tiny_model: Path
) -> None:
    change = ["--set", "embed.pooling=mean"]
    invoke(*arguments("index", evaluated, tiny_files, tiny_model), *change)
    folders = sorted(evaluated.glob("index-*"))
    assert len(folders) == 2
    assert len(list(evaluated.glob("train-*"))) == 1
    for folder in folders:
        if folder.stat().st_mtime_ns == max(path.stat().st_mtime_ns for path in folders):
            newest = folder
    for path in sorted(newest.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    newest.rmdir()


def test_changed_data_is_noticed(tiny_files: Path, tiny_model: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for name in ("interactions.csv", "items.csv"):
        (data / name).write_text((tiny_files / name).read_text())
    first = json.loads(
        invoke(*arguments("prepare", tmp_path / "run", data, tiny_model), "--json").stdout
    )
    frame = pl.read_csv(data / "interactions.csv")
    frame.head(len(frame) - 8).write_csv(data / "interactions.csv")
    second = json.loads(
        invoke(*arguments("prepare", tmp_path / "run", data, tiny_model), "--json").stdout
    )
    assert first["interactions"] - second["interactions"] == 8


def test_recommend_prints_a_list_for_a_new_user(evaluated: Path) -> None:
    result = invoke(
        "recommend", "--bundle", str(evaluated / "bundle"), "-k", "3", "--json", "i0", "Babe (1995)"
    )
    found = json.loads(result.stdout)
    assert [one["rank"] for one in found] == [1, 2, 3]
    assert not {"i0", "i3"} & {one["item_id"] for one in found}
    table = invoke("recommend", "--bundle", str(evaluated / "bundle"), "-k", "3", "i0")
    assert "Grounded from" in table.stdout


def test_audit_and_info_show_what_is_there(
    evaluated: Path, tiny_files: Path, tiny_model: Path
) -> None:
    assert "Audit" in invoke(*arguments("audit", evaluated, tiny_files, tiny_model)).stdout
    stages = json.loads(invoke("info", str(evaluated), "--json").stdout)["stages"]
    assert len(stages) == 5
    bundle = json.loads(invoke("info", str(evaluated / "bundle"), "--json").stdout)
    assert bundle["noun"] == "movie"
    settings = json.loads(invoke("info", "--json").stdout)
    assert settings["train.epochs"]["default"] == 5
    assert all(setting["effect"] for setting in settings.values())


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["evaluate", "--set", "train.epoch=3"], "there is no such setting"),
        (["evaluate", "--model", "/no/such/model"], "no such folder"),
        (["evaluate", "--data", "/no/such/data"], "/no/such/data"),
        (["recommend", "--bundle", "/no/such/bundle", "x"], "is not a bundle"),
        (["info", "/no/such/folder"], "neither a bundle nor a run folder"),
    ],
)
def test_bad_input_is_one_clear_message_without_traceback(
    tmp_path: Path, args: list[str], message: str
) -> None:
    run = [] if args[0] != "evaluate" else ["--run", str(tmp_path / "run")]
    result = invoke(args[0], *run, *args[1:], ok=False)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.output


def test_a_run_that_is_interrupted_goes_on_where_it_was(
    tiny_files: Path, tiny_model: Path, tmp_path: Path
) -> None:
    command = [
        sys.executable, "-m", "bigrec",
        *arguments("train", tmp_path / "run", tiny_files, tiny_model), "--set", "train.epochs=400",
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: list(tmp_path.glob("run/train-*/checkpoints/checkpoint-*/bigrec_complete")))
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "give the same command to go on" in " ".join(told.split())
    assert not list(tmp_path.glob("run/train-*/adapter"))
