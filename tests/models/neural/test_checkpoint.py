"""An interrupted training is resumed exactly."""

import json
import logging
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bigrec.models.neural import Architecture, SequentialModel
from bigrec.models.neural.checkpoint import TrainingState, save_checkpoint
from tests.models.neural.fakes import ARCHITECTURES, fit, weights

CHECKPOINT = Path("checkpoint")
ARGUMENTS: dict[str, Any] = {"epochs": 4, "early_stopping_patience": 4, "dropout": 0.3}


def interrupted(architecture: Architecture, folder: Path, *, after: int, **options: Any) -> None:
    """A training that is stopped by Ctrl-C within the epoch after some complete ones."""

    def stop(done: int, total: int) -> None:
        if done * ARGUMENTS["epochs"] > after * total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(architecture, folder=folder, progress=stop, **(ARGUMENTS | options))


def assert_equal(model: SequentialModel, expected: SequentialModel) -> None:
    for name, value in weights(expected).items():
        np.testing.assert_array_equal(weights(model)[name], value)


@pytest.mark.parametrize("options", [{}, {"robust": True, "n_negatives": 4}], ids=str)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_resumed_training_equals_an_uninterrupted_one(
    architecture: Architecture, options: dict[str, Any], tmp_path: Path
) -> None:
    interrupted(architecture, tmp_path, after=2, **options)
    shares: list[float] = []
    resumed = fit(
        architecture,
        folder=tmp_path,
        progress=lambda done, total: shares.append(done / total),
        **ARGUMENTS,
        **options,
    )
    assert 0.5 < shares[0] <= 0.75
    assert shares[-1] == 1
    assert_equal(resumed, fit(architecture, **ARGUMENTS, **options))


KILLED: list[tuple[Architecture, dict[str, Any]]] = [
    ("GRU4Rec", {}),
    ("GRU4Rec", {"early_stopping_patience": 1}),
    ("GRU4Rec", {"stop_after": 2}),
    ("SASRec", {"robust": True, "n_negatives": 4, "epochs": 2}),
    ("Caser", {"epochs": 2}),
]


@pytest.mark.parametrize(("architecture", "options"), KILLED, ids=str)
def test_a_training_killed_at_every_step_equals_an_uninterrupted_one(
    architecture: Architecture,
    options: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    killed: list[tuple[int, int]] = []

    def save_and_die(folder: Path, state: TrainingState, **kwargs: Any) -> None:
        save_checkpoint(folder, state, **kwargs)
        if (state.epoch, state.n_batches) not in killed:
            killed.append((state.epoch, state.n_batches))
            raise SystemExit

    options = ARGUMENTS | options
    whole = fit(architecture, folder=tmp_path / "whole", **options)
    monkeypatch.setattr("bigrec.models.neural.trainer.save_checkpoint", save_and_die)
    monkeypatch.setattr("bigrec.models.neural.trainer.SAVE_EVERY_S", -1.0)
    resumed = None
    while resumed is None:
        with suppress(SystemExit):
            resumed = fit(architecture, folder=tmp_path / "killed", **options)
    after_epochs = [epoch for epoch, batch in killed if batch == 0]
    assert after_epochs == [entry["epoch"] for entry in whole.log]
    assert len(killed) >= 2 * len(after_epochs)
    assert_equal(resumed, whole)
    assert json.dumps(resumed.log) == json.dumps(whole.log)


def test_ctrl_c_within_an_epoch_is_saved_and_resumed(tmp_path: Path, handled_sigint: None) -> None:
    stopped: list[int] = []

    def press(done: int, total: int) -> None:
        if not stopped:
            stopped.append(done)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fit("GRU4Rec", folder=tmp_path, progress=press, **ARGUMENTS)
    reported: list[int] = []
    resumed = fit(
        "GRU4Rec", folder=tmp_path, progress=lambda done, _: reported.append(done), **ARGUMENTS
    )
    every: list[int] = []
    whole = fit("GRU4Rec", progress=lambda done, _: every.append(done), **ARGUMENTS)
    assert stopped + reported == every
    assert_equal(resumed, whole)


def test_a_finished_training_is_loaded(tmp_path: Path) -> None:
    first = fit("SASRec", folder=tmp_path, **ARGUMENTS)
    calls: list[int] = []
    again = fit("SASRec", folder=tmp_path, progress=lambda done, _: calls.append(done), **ARGUMENTS)
    assert calls == []
    assert_equal(again, first)


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"hidden_size": 8}, {"valid_targets": np.array([4, 1])}], ids=str
)
def test_a_checkpoint_of_another_training_is_not_resumed(
    change: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fit("GRU4Rec", folder=tmp_path, **ARGUMENTS)
    with caplog.at_level(logging.WARNING):
        other = fit("GRU4Rec", folder=tmp_path, **ARGUMENTS, **change)
    assert "starts anew: the checkpoint in" in caplog.text
    assert_equal(other, fit("GRU4Rec", **ARGUMENTS, **change))


def test_a_damaged_checkpoint_is_not_resumed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fit("GRU4Rec", folder=tmp_path, **ARGUMENTS)
    with (tmp_path / CHECKPOINT / "arrays.safetensors").open("ab") as stream:
        stream.write(b"x")
    with caplog.at_level(logging.WARNING):
        again = fit("GRU4Rec", folder=tmp_path, **ARGUMENTS)
    assert "starts anew, the checkpoint cannot be used" in caplog.text
    assert_equal(again, fit("GRU4Rec", **ARGUMENTS))


def test_a_training_stopped_within_an_epoch_keeps_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted("GRU4Rec", tmp_path, after=1)
    before = {file.name: file.read_bytes() for file in (tmp_path / CHECKPOINT).iterdir()}

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("torch.optim.AdamW.step", stop)
        fit("GRU4Rec", folder=tmp_path, **ARGUMENTS)
    after = {file.name: file.read_bytes() for file in (tmp_path / CHECKPOINT).iterdir()}
    assert after == before
    assert_equal(fit("GRU4Rec", folder=tmp_path, **ARGUMENTS), fit("GRU4Rec", **ARGUMENTS))


def test_a_checkpoint_holds_no_pickle(tmp_path: Path) -> None:
    fit("SASRec", folder=tmp_path, **ARGUMENTS)
    files = sorted(file.name for file in tmp_path.rglob("*") if file.is_file())
    assert files == ["arrays.safetensors", "model.json"]
