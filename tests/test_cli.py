"""The command line, end to end on a few-layer model, in both modes."""

import importlib
import json
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from bigrec.cli import app
from bigrec.evaluation.method import MethodId
from bigrec.evaluation.metrics import hr_at
from bigrec.evaluation.query_table import QueryTable
from bigrec.storage import interrupts
from tests.conftest import MODES, Mode, tiny_overrides, wait_for

pytestmark = [pytest.mark.model, pytest.mark.usefixtures("plots_of_a_pixel")]


def arguments(
    command: str, run_dir: Path, tiny_files: Path, model: Path, mode: Mode = "generative"
) -> list[str]:
    overrides = tiny_overrides(model, mode=mode)
    changes = [part for override in overrides for part in ("--set", override)]
    return [command, "--run-dir", str(run_dir), "--data", str(tiny_files), *changes]


def invoke(*args: str, ok: bool = True) -> Any:
    result = CliRunner().invoke(app, list(args))
    if ok and result.exit_code != 0:
        raise AssertionError(result.output) from result.exception
    return result


@pytest.fixture(scope="module")
def evaluated(
    tiny_files: Path, tiny_model: Path, mode: Mode, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    run_dir = tmp_path_factory.mktemp("run") / "a"
    invoke(*arguments("evaluate", run_dir, tiny_files, tiny_model, mode))
    return run_dir


def stage(run_dir: Path, name: str) -> Path:
    (folder,) = run_dir.glob(f"{name}-*")
    return folder


def test_evaluate_alone_runs_all_that_is_missing(evaluated: Path, mode: Mode) -> None:
    names = {path.name.split("-")[0] for path in evaluated.iterdir()}
    trained = {
        "text": {"text", "models"},
        "retrieval": {"retrieval"},
        "generative": {"finetune", "index", "texts"},
        "latent": {"finetune", "latent", "states", "models"},
        "likelihood": {"finetune", "index", "likelihoods"},
    }
    assert names == {
        "settings.yaml",
        "timings.json",
        "data",
        "evaluation",
        "bundle",
        *trained[mode],
    }
    if mode != "text":
        folder = stage(evaluated, "retrieval" if mode == "retrieval" else "finetune")
        assert (folder / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert (stage(evaluated, "evaluation") / "report.html").read_text().startswith("<!")


def test_any_metric_can_be_computed_again_from_the_queries(evaluated: Path) -> None:
    folder = stage(evaluated, "evaluation")
    table = QueryTable.load(folder / "queries.parquet")
    metrics = json.loads((folder / "metrics.json").read_text())
    checked = 0
    for row in metrics["rows"]:
        if row["metric"] == "hr@10":
            method = MethodId.from_json(row["method"])
            ranks = table.ranks(method, exclude_seen=row["exclude_seen"])
            assert row["value"] == pytest.approx(hr_at(ranks, k=10))
            checked += 1
    assert checked == 2 * len({row["method"]["label"] for row in metrics["rows"]}) > 0


def test_a_second_evaluation_reuses_every_stage(
    evaluated: Path, tiny_files: Path, tiny_model: Path, mode: Mode
) -> None:
    before = {path: path.stat().st_mtime_ns for path in evaluated.rglob("*.*") if path.is_file()}
    invoke(*arguments("evaluate", evaluated, tiny_files, tiny_model, mode))
    changed = {path.name for path, time_ns in before.items() if path.stat().st_mtime_ns != time_ns}
    assert changed == {"settings.yaml"}


def test_settings_are_remembered_by_the_run_directory(evaluated: Path) -> None:
    result = invoke("evaluate", "--run-dir", str(evaluated), "--json")
    assert json.loads(result.stdout)["title"].startswith("bigrec on")


def test_a_changed_setting_starts_a_new_stage_beside_the_old(
    tiny_files: Path, tiny_model: Path, tmp_path: Path
) -> None:
    args = arguments("index", tmp_path, tiny_files, tiny_model)
    invoke(*args)
    invoke(*args, "--set", "generative.embedding.pooling=mean")
    assert len(list(tmp_path.glob("index-*"))) == 2
    assert len(list(tmp_path.glob("finetune-*"))) == 1


def test_changed_data_are_noticed(tiny_files: Path, tiny_model: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for name in ("interactions.csv", "items.csv"):
        (data / name).write_text((tiny_files / name).read_text())
    args = arguments("prepare", tmp_path / "run", data, tiny_model)
    first = json.loads(invoke(*args, "--json").stdout)
    frame = pl.read_csv(data / "interactions.csv")
    frame.head(len(frame) - 8).write_csv(data / "interactions.csv")
    second = json.loads(invoke(*args, "--json").stdout)
    assert first["interactions"] - second["interactions"] == 8


def test_recommend_prints_a_list_for_a_new_user(evaluated: Path, mode: Mode) -> None:
    bundle = ["recommend", "--bundle", str(evaluated / "bundle"), "-k", "3"]
    found = json.loads(invoke(*bundle, "--json", "i0", "Babe (1995)").stdout)
    assert [item["rank"] for item in found] == [1, 2, 3]
    assert not {"i0", "i3"} & {item["item_id"] for item in found}
    without = json.loads(
        invoke(*bundle, "--json", "--exclude", found[0]["item_id"], "i0", "Babe (1995)").stdout
    )
    assert [item["item_id"] for item in without][:2] == [item["item_id"] for item in found[1:]]
    table = invoke(*bundle, "i0").stdout
    assert ("Grounded from" in table) == (mode == "generative")


def test_audit_and_info_show_what_is_there(
    evaluated: Path, tiny_files: Path, tiny_model: Path, mode: Mode
) -> None:
    assert "Audit" in invoke(*arguments("audit", evaluated, tiny_files, tiny_model, mode)).stdout
    stages = json.loads(invoke("info", str(evaluated), "--json").stdout)["stages"]
    expected = {"text": 3, "retrieval": 3, "generative": 5, "latent": 5, "likelihood": 5}
    assert len(stages) == expected[mode]
    bundle = json.loads(invoke("info", str(evaluated / "bundle"), "--json").stdout)
    assert bundle["item_type"] == "movie"


def test_config_shows_every_setting_with_its_effect() -> None:
    settings = json.loads(invoke("config", "--json").stdout)
    assert settings["retrieval.epochs"]["default"] == 5
    assert settings["mode"]["default"] == "retrieval"
    assert all(setting["effect"] for setting in settings.values())


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["evaluate", "--set", "retrieval.epoch=3"], "there is no such setting"),
        (["evaluate", "--set", "generative.finetune.epochs=5"], "it has no effect here"),
        (["evaluate", "--set", "train.epochs=5"], "train.epochs is now generative.finetune.epochs"),
        (["evaluate", "--config", "few-shot"], "the preset 'few-shot' is now 'paper-small'"),
        (["evaluate", "--model", "/no/such/model"], "no such folder"),
        (["evaluate", "--data", "/no/such/data"], "/no/such/data"),
        (["recommend", "--bundle", "/no/such/bundle", "x"], "is not a bundle"),
        (["info", "/no/such/folder"], "neither a bundle nor a run"),
    ],
)
def test_bad_input_is_one_clear_message_without_traceback(
    tmp_path: Path, args: list[str], message: str
) -> None:
    run_dir = [] if args[0] != "evaluate" else ["--run-dir", str(tmp_path / "run")]
    result = invoke(args[0], *run_dir, *args[1:], ok=False)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("mode", "section", "checkpoint", "trained"),
    [
        (
            "generative",
            "generative.finetune",
            "finetune-*/checkpoints/checkpoint-*/bigrec_complete",
            "finetune-*/adapter",
        ),
        (
            "retrieval",
            "retrieval",
            "retrieval-*/all/checkpoint/model.json",
            "retrieval-*/done.json",
        ),
    ],
)
def test_an_interrupted_run_keeps_its_checkpoint_and_says_how_to_resume(  # noqa: PLR0917
    tiny_files: Path,
    tiny_model: Path,
    tmp_path: Path,
    mode: Mode,
    section: str,
    checkpoint: str,
    trained: str,
) -> None:
    # A shell that runs the tests in the background has them ignore Ctrl-C, and so their processes.
    program = (
        "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "runpy.run_module('bigrec', run_name='__main__')"
    )
    command = [
        sys.executable, "-c", program,
        *arguments("train", tmp_path / "run", tiny_files, tiny_model, mode),
        "--set", f"{section}.epochs=100000",
        "--set", f"{section}.early_stopping_patience=100000",
    ]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_for(lambda: list(tmp_path.glob(f"run/{checkpoint}")))
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "give the same command to continue" in " ".join(stderr.split())
    assert not list(tmp_path.glob(f"run/{trained}"))


# What each stage does last; in each, Ctrl-C comes where a library swallows it.
SWALLOWING: dict[Mode, tuple[str, ...]] = {
    "text": (
        "bigrec.grounding.index.embed_in_parts",
        "bigrec.recommender.baselines.tune_model",
        "bigrec.recommender.fitting.select_rule",
    ),
    "retrieval": (
        "bigrec.experiments.pipeline.load_source",
        "bigrec.experiments.pipeline.prepare_scored_examples",
        "bigrec.recommender.retriever_fitting.load_truncated_model",
        "bigrec.recommender.baselines.fit_model",
        "bigrec.recommender.fitting.select_rule",
        "bigrec.experiments.pipeline.evaluate_recommender",
        "bigrec.experiments.pipeline.write_report",
        "bigrec.recommender.bigrec.write_manifest",
    ),
    "generative": (
        "bigrec.recommender.fitting.train_model",
        "bigrec.grounding.index.embed_in_parts",
        "bigrec.recommender.query_parts.atomic_file",
    ),
    "latent": (
        "bigrec.recommender.fitting.train_model",
        "bigrec.recommender.latent_fitting.collect_statistics",
        "bigrec.recommender.query_parts.write_arrays",
        "bigrec.recommender.latent_fitting.tune_grounding",
    ),
    "likelihood": (
        "bigrec.recommender.fitting.train_model",
        "bigrec.lm.generation.likelihood.batches_by_length",
    ),
}


@pytest.mark.parametrize("mode", MODES)
def test_ctrl_c_is_lost_in_no_stage(  # noqa: PLR0917
    tiny_files: Path,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    handled_sigint: None,
    mode: Mode,
) -> None:
    command = arguments("evaluate", tmp_path / "run", tiny_files, tiny_model, mode)
    command += ["--set", "fusion.signals=[popularity]"]
    for place in SWALLOWING[mode]:
        module, _, name = place.rpartition(".")
        work = getattr(importlib.import_module(module), name)

        def pressed(*args: Any, work: Any = work, **kwargs: Any) -> Any:
            result = work(*args, **kwargs)
            with suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            return result

        with monkeypatch.context() as patch, interrupts.watched():
            patch.setattr(place, pressed)
            stopped = invoke(*command, ok=False)
        assert (place, stopped.exit_code) == (place, 130)
        assert "give the same command to continue" in " ".join(stopped.output.split())
        left = {path.name for path in tmp_path.rglob(".*")}
        assert (place, left) == (place, set())
    invoke(*command)


def test_what_a_library_made_of_ctrl_c_is_no_error(
    evaluated: Path, monkeypatch: pytest.MonkeyPatch, handled_sigint: None
) -> None:
    def fail(_: Path) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ValueError("the operation was stopped") from None

    monkeypatch.setattr("bigrec.console.folder_info", fail)
    with interrupts.watched():
        assert invoke("info", str(evaluated), ok=False).exit_code == 130


def test_ctrl_c_before_the_first_command_ends_without_traceback(tmp_path: Path) -> None:
    # While the command line is imported, which takes a second.
    (tmp_path / "slow.py").write_text(
        "import runpy, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Pressing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'typer':\n"
        "            signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Pressing())\n"
        "runpy.run_module('bigrec', run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, str(tmp_path / "slow.py")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (130, "Stopped.\n")


def test_a_run_directory_that_another_run_uses_is_refused(
    evaluated: Path, tmp_path: Path, tiny_files: Path, tiny_model: Path, mode: Mode
) -> None:
    code = (
        "import sys, time, pathlib\n"
        "from bigrec.storage.locks import exclusive\n"
        "with exclusive(pathlib.Path(sys.argv[1])):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, str(evaluated)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            refused = invoke(
                *arguments("evaluate", evaluated, tiny_files, tiny_model, mode), ok=False
            )
            pid = process.pid
        finally:
            process.kill()
    assert refused.exit_code == 2
    assert f"is in use by process {pid} on" in " ".join(refused.output.split())
    # The lock of a killed run is taken over.
    invoke(*arguments("evaluate", evaluated, tiny_files, tiny_model, mode))
