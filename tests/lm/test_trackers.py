"""Reports of trainings to experiment trackers."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
from accelerate.tracking import LOGGER_TYPE_TO_CLASS

from bigrec.errors import SettingsError
from bigrec.lm import trackers
from bigrec.lm.distributed import Processes
from bigrec.lm.trackers import check_trackers, reporting
from bigrec.settings.sections import Tracker


class Recorder:
    """A tracker that keeps what it gets."""

    requires_logging_directory = False
    calls: list[tuple[Any, ...]]

    def __init__(self, project: str) -> None:
        type(self).calls = [("project", project)]

    def start(self) -> None:
        self.calls.append(("start",))

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.calls.append(("configuration", values))

    def log(self, values: dict[str, float], *, step: int) -> None:
        self.calls.append((step, values))

    def finish(self) -> None:
        self.calls.append(("finish",))


class Refusing(Recorder):
    def start(self) -> None:
        raise RuntimeError("no key\nlook here")


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> type[Recorder]:
    monkeypatch.setattr(trackers, "check_trackers", lambda _: None)
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "wandb", Recorder)
    return Recorder


def test_a_tracker_gets_the_configuration_in_plain_values_and_the_figures(
    recorder: type[Recorder], tmp_path: Path
) -> None:
    configuration = {"rate": 0.1, "modules": ["q", "v"], "layers": None, "on": True}
    with reporting(["wandb"], folder=tmp_path, configuration=configuration) as report:
        report({"train/loss": 2.5}, 7)
    plain = {"rate": 0.1, "modules": '["q", "v"]', "layers": "null", "on": True}
    assert recorder.calls == [
        ("project", "bigrec"),
        ("start",),
        ("configuration", plain),
        (7, {"train/loss": 2.5}),
        ("finish",),
    ]


def test_a_tracker_is_finished_after_an_error(recorder: type[Recorder], tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        reporting(["wandb"], folder=tmp_path, configuration={}) as report,
    ):
        report({"train/loss": 2.5}, 7)
        raise KeyboardInterrupt
    assert recorder.calls[-1] == ("finish",)


def test_a_tracker_that_cannot_be_started_is_one_clear_error(
    recorder: type[Recorder], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "mlflow", Refusing)
    with (
        pytest.raises(SettingsError, match=r"'mlflow', which cannot be started: no key\. Set it"),
        reporting(["wandb", "mlflow"], folder=tmp_path, configuration={}) as report,
    ):
        report({"train/loss": 2.5}, 7)
    assert recorder.calls[-1] == ("finish",)


def test_a_tracker_that_is_not_installed_is_refused() -> None:
    with pytest.raises(SettingsError, match="pip install no_such_tracker"):
        check_trackers(["no_such_tracker"])


def test_every_tracker_of_the_settings_is_known_to_both_trainers() -> None:
    from transformers.integrations.integration_utils import (
        INTEGRATION_TO_CALLBACK,
    )

    names = set(get_args(Tracker))
    assert names <= set(LOGGER_TYPE_TO_CLASS)
    assert names <= set(INTEGRATION_TO_CALLBACK)


def test_a_tracker_whose_setup_fails_is_finished(
    recorder: type[Recorder], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: Any) -> None:
        raise ValueError("too long")

    monkeypatch.setattr(Recorder, "store_init_configuration", refuse)
    with (
        pytest.raises(SettingsError, match="too long"),
        reporting(["wandb"], folder=tmp_path, configuration={}) as report,
    ):
        report({"train/loss": 2.5}, 7)
    assert recorder.calls[-1] == ("finish",)


def test_of_several_processes_the_first_one_reports(
    recorder: type[Recorder], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    recorder.calls = []
    monkeypatch.setattr(trackers, "all_processes", lambda: Processes(1, 2))
    with reporting(["wandb"], folder=tmp_path, configuration={}) as report:
        report({"train/loss": 2.5}, 7)
    assert recorder.calls == []


def test_accelerates_tracker_starts_in_a_process_that_has_no_state_yet(tmp_path: Path) -> None:
    # A package that does what accelerate calls.
    (tmp_path / "wandb.py").write_text(
        "class Run:\n"
        "    def log(self, values, step): print('log', values, step)\n"
        "    def finish(self): print('finish')\n"
        "class config:\n"
        "    def update(values, **_): print('configuration', values)\n"
        "def init(project, **_):\n"
        "    print('project', project)\n"
        "    return Run()\n"
        "__version__ = '1'\n"
    )
    script = (
        "from pathlib import Path\n"
        "from bigrec.lm.trackers import reporting\n"
        "with reporting(['wandb'], folder=Path(), configuration={'rate': 1}) as report:\n"
        "    report({'train/loss': 2.5}, 7)\n"
    )
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = ["project bigrec", "configuration {'rate': 1}", "log {'train/loss': 2.5} 7", "finish"]
    assert done.stdout.splitlines() == told


def test_a_tracker_is_not_started_without_figures(recorder: type[Recorder], tmp_path: Path) -> None:
    recorder.calls = []
    with reporting(["wandb"], folder=tmp_path, configuration={}):
        pass
    assert recorder.calls == []


def test_without_trackers_nothing_is_reported(tmp_path: Path) -> None:
    with reporting([], folder=tmp_path, configuration={}) as report:
        report({"train/loss": 1.0}, 1)
    assert list(tmp_path.iterdir()) == []
