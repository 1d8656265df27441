"""Reports of trainings to experiment trackers."""

from pathlib import Path
from typing import Any, get_args

import pytest
from accelerate.tracking import LOGGER_TYPE_TO_CLASS

from bigrec.errors import SettingsError
from bigrec.lm import trackers
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


def test_a_tracker_is_not_started_without_figures(recorder: type[Recorder], tmp_path: Path) -> None:
    recorder.calls = []
    with reporting(["wandb"], folder=tmp_path, configuration={}):
        pass
    assert recorder.calls == []


def test_without_trackers_nothing_is_reported(tmp_path: Path) -> None:
    with reporting([], folder=tmp_path, configuration={}) as report:
        report({"train/loss": 1.0}, 1)
    assert list(tmp_path.iterdir()) == []
