"""Fitting, asking, saving and loading, for every network."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bigrec.errors import BundleError, DataError
from bigrec.models.base import Signal
from bigrec.models.neural import Architecture, NeuralSignal, trainer
from tests.models.fakes import every_row, interactions
from tests.models.neural.fakes import ARCHITECTURES, N, fit, ring, weights

HISTORIES = [np.array([-1, -1, 0]), np.array([2, 3]), np.arange(N), np.array([5, 5, 5])]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def signal(request: pytest.FixtureRequest) -> NeuralSignal:
    """A network of every kind, trained a little."""
    return fit(request.param)


@pytest.mark.parametrize("options", [{}, {"n_negatives": 32}, {"robust": True}], ids=str)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_ring_of_items_is_learnt(architecture: Architecture, options: dict[str, Any]) -> None:
    histories, targets = [np.array([item]) for item in range(N)], (np.arange(N) + 1) % N
    validation = {"valid_histories": histories, "valid_targets": targets}
    learnt = fit(architecture, epochs=80, patience=80, **validation, **options)
    np.testing.assert_array_equal(learnt.scores(histories).argmax(axis=1), targets)


def test_every_query_gets_a_finite_score_for_every_item(signal: NeuralSignal) -> None:
    as_protocol: Signal = signal
    scores = as_protocol.scores(HISTORIES)
    assert scores.shape == (len(HISTORIES), signal.n_items) == (len(HISTORIES), N)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()


def test_a_batch_answers_as_its_histories_one_by_one(signal: NeuralSignal) -> None:
    alone = np.concatenate([signal.scores([history]) for history in HISTORIES])
    np.testing.assert_allclose(signal.scores(HISTORIES), alone, rtol=1e-4, atol=1e-5)


def test_padding_and_items_beyond_the_longest_history_change_nothing(signal: NeuralSignal) -> None:
    one, other = signal.scores([np.array([-1, 7, -1, 1, 2, 3, 4]), np.array([1, 2, 3, 4])])
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_an_empty_history_says_nothing(signal: NeuralSignal) -> None:
    for history in (np.zeros(0, dtype=int), np.array([-1, -1])):
        np.testing.assert_array_equal(signal.scores([history, HISTORIES[0]])[0], np.zeros(N))
        np.testing.assert_array_equal(signal.weights([history]), np.zeros((1, N)))


def test_no_query_gets_no_scores(signal: NeuralSignal) -> None:
    assert signal.scores([]).shape == (0, N)


def test_weights_are_scores_scaled_to_0_to_1(signal: NeuralSignal) -> None:
    scores, found = signal.scores(HISTORIES), signal.weights(HISTORIES)
    low = scores.min(axis=1, keepdims=True)
    np.testing.assert_allclose(found, (scores - low) / np.ptp(scores, axis=1, keepdims=True))


def test_an_item_outside_of_the_catalog_is_refused(signal: NeuralSignal) -> None:
    with pytest.raises(ValueError, match=f"a history holds item number {N}; expected 0 to {N - 1}"):
        signal.scores([np.array([0, N])])


def test_a_saved_signal_answers_as_before(signal: NeuralSignal, tmp_path: Path) -> None:
    signal.save(tmp_path / "signal")
    loaded = NeuralSignal.load(tmp_path / "signal", device="cpu")
    assert loaded.name == signal.name
    np.testing.assert_array_equal(loaded.scores(HISTORIES), signal.scores(HISTORIES))
    files = sorted(file.name for file in (tmp_path / "signal").iterdir())
    assert files == ["arrays.safetensors", "signal.json"]


@pytest.mark.parametrize(
    ("field", "value"), [("hidden_size", 32), ("architecture", "BERT"), ("n_items", "many")]
)
def test_settings_that_do_not_fit_the_weights_are_told(
    tmp_path: Path, field: str, value: Any
) -> None:
    fit("GRU4Rec", epochs=1).save(tmp_path / "signal")
    path = tmp_path / "signal" / "signal.json"
    about = json.loads(path.read_text())
    about["settings"][field] = value
    path.write_text(json.dumps(about))
    with pytest.raises(
        BundleError, match=r"(?s)settings and weights do not make a network .*Fit and"
    ):
        NeuralSignal.load(tmp_path / "signal", device="cpu")


def test_names_tell_networks_and_losses_apart() -> None:
    assert fit("SASRec", epochs=1).name == "SASRec"
    assert fit("Caser", epochs=1, robust=True).name == "Caser, DROS"


def test_the_robust_loss_makes_another_network() -> None:
    plain, robust = (fit("GRU4Rec", robust=robust) for robust in (False, True))
    assert not np.allclose(plain.scores(HISTORIES), robust.scores(HISTORIES))


def test_nothing_is_learnt_from_rows_outside_of_training() -> None:
    of, other = ring(), ring()
    train = every_row(of)
    train[:4] = False
    other.items[:4] = 7
    one, two = (fit("GRU4Rec", each, train=train) for each in (of, other))
    np.testing.assert_array_equal(one.scores(HISTORIES), two.scores(HISTORIES))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_same_seed_gives_the_same_weights(architecture: Architecture) -> None:
    one, two, other = (fit(architecture, dropout=0.3, seed=seed) for seed in (1, 1, 2))
    for name, value in weights(one).items():
        np.testing.assert_array_equal(value, weights(two)[name])
    assert not np.array_equal(weights(one)["items.weight"], weights(other)["items.weight"])


def test_the_random_state_of_the_caller_is_left_alone(tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    fit("SASRec", dropout=0.3, n_negatives=4).save(tmp_path)
    NeuralSignal.load(tmp_path, device="cpu")
    assert torch.equal(torch.random.get_rng_state(), before)


def test_training_stops_when_validation_gets_no_better_and_keeps_the_best(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        learnt = fit("GRU4Rec", epochs=50, patience=2)
    found = [float(line.split()[-1]) for line in caplog.messages if "NDCG@10" in line]
    best = int(np.argmax(found))
    assert len(found) == best + 3 < 50
    ranks = [
        np.count_nonzero(row >= row[target]) - 1
        for row, target in zip(
            learnt.scores([np.array([2, 3]), np.array([6, 7])]), [4, 0], strict=True
        )
    ]
    assert np.mean([1 / np.log2(rank + 2) for rank in ranks]) == pytest.approx(
        found[best], abs=1e-4
    )


def test_patience_begins_once_the_network_is_ahead_of_popularity(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Popularity first, then epoch by epoch: a chance hit, nothing for longer than patience, more.
    judged = iter([0.4, 0.1, 0.0, 0.0, 0.0, 0.6, 0.5, 0.5, 0.9])
    monkeypatch.setattr(trainer, "ndcg_at_10", lambda *_, **__: next(judged))
    with caplog.at_level(logging.INFO):
        fit("GRU4Rec", epochs=50, patience=2)
    assert len([line for line in caplog.messages if "NDCG@10" in line]) == 7


def test_a_batch_smaller_than_a_window_holds_one_window() -> None:
    fit("SASRec", batch_size=1, epochs=1)


def test_progress_counts_targets() -> None:
    calls: list[tuple[int, int]] = []
    # Users with three and two items: three targets in each of three epochs.
    of = interactions([0, 1, 2], [0, 1])
    fit(
        "GRU4Rec",
        of,
        epochs=3,
        patience=3,
        batch_size=100,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == [(3, 9), (6, 9), (9, 9)]


def test_users_without_a_next_item_are_nothing_to_learn_from() -> None:
    of = interactions([0], [1])
    with pytest.raises(DataError, match="no user has two training interactions"):
        fit("GRU4Rec", of)


def test_targets_must_fit_the_histories() -> None:
    with pytest.raises(ValueError, match="Got 2 validation histories and 1 targets"):
        fit("GRU4Rec", valid_targets=np.array([1]))


@pytest.mark.parametrize("target", [-1, N])
def test_a_target_outside_of_the_catalog_is_refused(target: int) -> None:
    with pytest.raises(ValueError, match=f"valid_targets holds {target}; expected 0 to {N - 1}"):
        fit("GRU4Rec", valid_targets=np.array([1, target]))


@pytest.mark.parametrize("histories", [[], [np.array([-1])]])
def test_validation_without_items_is_refused(histories: list[np.ndarray]) -> None:
    targets = np.zeros(len(histories), dtype=int)
    with pytest.raises(ValueError, match=r"valid_histories are \d without an item"):
        fit("GRU4Rec", valid_histories=histories, valid_targets=targets)


@pytest.mark.parametrize("name", ["batch_size", "epochs", "patience", "n_negatives"])
def test_counts_below_one_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is 0; expected at least 1"):
        fit("GRU4Rec", **{name: 0})


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["learning_rate", "robust_temperature"])
def test_rates_that_are_no_positive_number_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} is {value}; expected a number above 0"):
        fit("GRU4Rec", **{name: value})


@pytest.mark.parametrize("name", ["weight_decay", "robust_weight", "seed"])
def test_negative_numbers_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is -1; expected at least 0"):
        fit("GRU4Rec", robust=True, **{name: -1})


@pytest.mark.parametrize("device", ["abacus", "cuda:99"])
def test_a_device_that_is_not_there_is_told(device: str) -> None:
    with pytest.raises(ValueError, match=f"device is '{device}', which torch cannot use here"):
        fit("GRU4Rec", device=device)
