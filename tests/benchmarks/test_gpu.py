"""The matrix of a GPU, by its dry path on the processor."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import gpu
from benchmarks.gpu import MODES, measure, run_matrix, settings_of, table
from bigrec.storage import write_json
from tests.conftest import tiny_overrides

pytestmark = pytest.mark.model

SCRIPT = Path(gpu.__file__).parent / "gpu.sh"


def overrides(model: Path, files: Path) -> list[str]:
    common = tiny_overrides(model, f"data.source={files}", mode="generative")
    return [
        change
        for change in common
        if change.startswith(("model.", "text.", "data.item_type", "data.source"))
    ]


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_has_its_stages_and_answers(
    mode: str, tiny_model: Path, tiny_files: Path, tmp_path: Path
) -> None:
    settings = settings_of(mode, overrides(tiny_model, tiny_files), tiny=True)
    rows = measure(settings, tmp_path / "run", tiny=True)
    stages = [row["stage"] for row in rows]
    expected = {
        "retrieval": ["data", "retrieval", "evaluation"],
        "generative": ["data", "finetune", "index", "texts", "evaluation"],
        "latent": ["data", "finetune", "latent", "states", "evaluation"],
        "likelihood": ["data", "finetune", "index", "likelihoods", "evaluation"],
    }
    assert set(expected[mode]) <= set(stages)
    assert stages[-2:] == ["serve, one history", "serve, 4 histories"]
    assert all(row["per_s"] > 0 for row in rows[-2:])


def test_the_script_runs_a_mode_in_a_process_and_draws_one_table(
    tiny_model: Path, tiny_files: Path, tmp_path: Path
) -> None:
    changes = [part for change in overrides(tiny_model, tiny_files) for part in ("--set", change)]
    # One of them: each imports everything again.
    command = ["sh", str(SCRIPT), "--device", "cpu", "--tiny", "--modes", "latent", *changes]
    done = subprocess.run(
        [*command, "--json", str(tmp_path / "out.json")],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["device"] == "cpu"
    assert {row["mode"] for row in found["rows"]} == {"latent"}
    assert "Throughput" in done.stdout


def test_all_modes_are_run_unless_some_are_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(_: Path, __: list[str], *, minutes: float, modes: list[str]) -> list[gpu.Row]:
        return [{"mode": mode, "stage": "data", "seconds": minutes} for mode in modes]

    out = tmp_path / "out.json"
    monkeypatch.setattr(gpu, "run_matrix", run)
    monkeypatch.setattr(sys, "argv", ["gpu", "--device", "cpu", "--json", str(out)])
    gpu.main()
    assert {row["mode"] for row in json.loads(out.read_text())["rows"]} == set(MODES)


def test_a_mode_that_fails_or_takes_too_long_is_named(tmp_path: Path) -> None:
    options = ["--device", "cpu", "--tiny", "--set", "data.source=no-such-file"]
    (failed,) = run_matrix(tmp_path, options, minutes=5, modes=["latent"])
    assert failed["mode"] == "latent"
    assert failed["stage"].startswith("failed: ")
    assert "no-such-file" in failed["stage"]
    done = tmp_path / "latent" / "data-0"
    done.mkdir(parents=True)
    write_json(done / "done.json", {"seconds": 1.5})
    complete, stopped = run_matrix(tmp_path, options, minutes=1e-4, modes=["latent"])
    assert complete == {"mode": "latent", "stage": "data", "seconds": 1.5}
    assert stopped["stage"] == "stopped after 0 s"


def test_the_table_shows_what_each_row_has() -> None:
    rows = [
        {"mode": "a", "stage": "train", "seconds": 2.0, "per_s": 3.0, "unit": "titles"},
        {"mode": "a", "stage": "GPU memory", "peak_mib": 2048},
    ]
    console = Console(width=100)
    with console.capture() as capture:
        console.print(table(rows, title="Card"))
    text = capture.get()
    assert "3 titles/s" in text
    assert "2,048 MiB" in text
