"""Training, scoring and loading of every network."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bigrec.errors import BundleError, DataError, ModelError
from bigrec.models.neural import Architecture, SequentialModel, trainer
from tests.models.fakes import N, interactions, ring
from tests.models.neural.fakes import ARCHITECTURES, fit, weights

HISTORIES = [np.array([-1, -1, 0]), np.array([2, 3]), np.arange(N), np.array([5, 5, 5])]


@pytest.mark.parametrize("options", [{}, {"n_negatives": 32}, {"robust": True}], ids=str)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_ring_of_items_is_learned(architecture: Architecture, options: dict[str, Any]) -> None:
    histories, targets = [np.array([item]) for item in range(N)], (np.arange(N) + 1) % N
    validation = {"valid_histories": histories, "valid_targets": targets}
    model = fit(architecture, epochs=30, early_stopping_patience=30, **validation, **options)
    np.testing.assert_array_equal(model.scores(histories).argmax(axis=1), targets)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_items_beyond_the_longest_history_change_nothing(architecture: Architecture) -> None:
    model = fit(architecture, epochs=1)
    longer, longest = model.scores([np.array([-1, 7, -1, 1, 2, 3, 4]), np.array([1, 2, 3, 4])])
    np.testing.assert_allclose(longer, longest, rtol=1e-4, atol=1e-5)
    assert longest.dtype == np.float32


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("hidden_size", 32, r"items\.weight is float32 of shape \[9, 16\]; expected .* \[9, 32\]"),
        ("architecture", "BERT", "architecture: Input should be 'SASRec', 'GRU4Rec' or 'Caser'"),
        ("n_items", "many", "n_items: Input should be a valid integer"),
        # Memory of such sizes must not be taken first.
        ("n_items", 2_000_000_000, r"bias is float32 of shape \[8\]; expected .*2000000000"),
        ("hidden_size", 2_000_000_000, "its settings make no network"),
    ],
)
def test_settings_that_do_not_fit_the_weights_are_refused(
    tmp_path: Path, field: str, value: Any, message: str
) -> None:
    fit("GRU4Rec", epochs=1).save(tmp_path / "model")
    path = tmp_path / "model" / "model.json"
    description = json.loads(path.read_text())
    description["settings"][field] = value
    path.write_text(json.dumps(description))
    with pytest.raises(BundleError, match=rf"cannot be used: {message}"):
        SequentialModel.load(tmp_path / "model", device="cpu")


def test_names_tell_networks_and_losses_apart() -> None:
    assert fit("SASRec", epochs=1).name == "SASRec"
    assert fit("Caser", epochs=1, robust=True).name == "Caser, DROS"


def test_the_robust_loss_changes_the_scores() -> None:
    plain, robust = (fit("GRU4Rec", robust=robust) for robust in (False, True))
    assert not np.allclose(plain.scores(HISTORIES), robust.scores(HISTORIES))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_same_seed_gives_the_same_weights(architecture: Architecture) -> None:
    first, again, other = (weights(fit(architecture, dropout=0.3, seed=seed)) for seed in (1, 1, 2))
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name])
    assert not np.array_equal(first["items.weight"], other["items.weight"])


def test_the_global_random_state_is_preserved(tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    fit("SASRec", dropout=0.3, n_negatives=4).save(tmp_path)
    SequentialModel.load(tmp_path, device="cpu")
    assert torch.equal(torch.random.get_rng_state(), before)


def test_training_stops_without_improvement_and_keeps_the_best_weights(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        model = fit("GRU4Rec", epochs=50, early_stopping_patience=2)
    ndcg = [float(line.split()[-1]) for line in caplog.messages if "NDCG@10" in line]
    best = int(np.argmax(ndcg))
    assert len(ndcg) == best + 3 < 50
    ranks = [
        np.count_nonzero(row >= row[target]) - 1
        for row, target in zip(
            model.scores([np.array([2, 3]), np.array([6, 7])]), [4, 0], strict=True
        )
    ]
    assert np.mean([1 / np.log2(rank + 2) for rank in ranks]) == pytest.approx(ndcg[best], abs=1e-4)


def test_patience_starts_once_the_network_is_better_than_popularity(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Popularity first, then epoch by epoch: a chance hit, nothing for longer than patience, more.
    ndcg = iter([0.4, 0.1, 0.0, 0.0, 0.0, 0.6, 0.5, 0.5, 0.9])
    monkeypatch.setattr(trainer, "ndcg_at_10", lambda *_, **__: next(ndcg))
    with caplog.at_level(logging.INFO):
        fit("GRU4Rec", epochs=50, early_stopping_patience=2)
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
        early_stopping_patience=3,
        batch_size=100,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == [(3, 9), (6, 9), (9, 9)]


def test_users_without_a_next_item_are_refused() -> None:
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


@pytest.mark.parametrize("name", ["batch_size", "epochs", "early_stopping_patience", "n_negatives"])
def test_counts_below_one_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is 0; expected at least 1"):
        fit("GRU4Rec", **{name: 0})


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["learning_rate", "robust_temperature"])
def test_rates_that_are_not_positive_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} is {value}; expected a number above 0"):
        fit("GRU4Rec", **{name: value})


@pytest.mark.parametrize("name", ["weight_decay", "robust_weight", "seed"])
def test_negative_numbers_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is -1; expected at least 0"):
        fit("GRU4Rec", robust=True, **{name: -1})


@pytest.mark.parametrize("device", ["abacus", "cuda:99"])
def test_an_unavailable_device_is_refused(device: str) -> None:
    with pytest.raises(ModelError, match=f"device is '{device}', which torch cannot use"):
        fit("GRU4Rec", device=device)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_selected_number_of_epochs_gives_the_selected_weights(
    architecture: Architecture,
) -> None:
    stopped = fit(architecture, epochs=6, dropout=0.2)
    epoch = stopped.selected_epoch
    assert epoch is not None
    figures = [entry["ndcg@10"] for entry in stopped.log]
    assert figures[epoch - 1] == max(figures)
    again = fit(architecture, epochs=6, dropout=0.2, stop_after=epoch)
    assert [set(entry) for entry in again.log] == [{"epoch", "loss"}] * epoch
    assert again.selected_epoch is None
    for name, weight in weights(stopped).items():
        np.testing.assert_array_equal(weight, weights(again)[name])


def test_a_fixed_number_of_epochs_resumes_and_is_not_another_numbers(tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        steps.append((done, total))
        if len(steps) == 5:
            raise KeyboardInterrupt

    options: dict[str, Any] = {"epochs": 9, "batch_size": 8, "folder": tmp_path}
    whole = fit("GRU4Rec", epochs=9, batch_size=8, stop_after=3)
    with pytest.raises(KeyboardInterrupt):
        fit("GRU4Rec", stop_after=3, progress=progress, **options)
    resumed = fit("GRU4Rec", stop_after=3, progress=progress, **options)
    assert steps[-1][0] == steps[-1][1]
    for name, weight in weights(whole).items():
        np.testing.assert_array_equal(weight, weights(resumed)[name])
    done = len(steps)
    fit("GRU4Rec", stop_after=3, progress=progress, **options)
    assert len(steps) == done
    fit("GRU4Rec", stop_after=2, progress=progress, **options)
    assert len(steps) > done


@pytest.mark.parametrize("options", [{}, {"n_negatives": 4}, {"robust": True}], ids=str)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_item_without_training_interactions_is_skipped_in_a_history(
    architecture: Architecture, options: dict[str, Any], tmp_path: Path
) -> None:
    of = ring()
    options |= {"train": of.items != N - 1, "weight_decay": 0.1, "exclude_seen": True}
    model = fit(architecture, of, epochs=2, **options)
    embeddings = model.network.items.weight.detach()
    # The row after the items is that of padding.
    assert (embeddings != 0).any(dim=1).tolist() == [True] * (N - 1) + [False] * 2
    histories = [np.array([2, N - 1, 3]), np.array([N - 1, 2, 3, N - 1]), np.array([2, 3])]
    with_it, around_it, without = model.scores(histories)
    np.testing.assert_array_equal(with_it, without)
    np.testing.assert_array_equal(around_it, without)
    np.testing.assert_array_equal(model.scores([np.array([N - 1])]), np.zeros((1, N)))
    model.save(tmp_path / "model")
    loaded = SequentialModel.load(tmp_path / "model", device="cpu")
    np.testing.assert_array_equal(loaded.scores(histories), model.scores(histories))


def test_validation_histories_without_a_known_item_still_stop_training() -> None:
    of = ring()
    unknown = {"valid_histories": iter([[N - 1]]), "valid_targets": np.array([0])}
    model = fit("GRU4Rec", of, train=of.items != N - 1, epochs=1, **unknown)
    assert np.isfinite(model.scores([np.array([2])])).all()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"epochs": 1.5}, TypeError, "epochs is 1.5; expected a whole number"),
        ({"epochs": None}, TypeError, "epochs is None; expected a whole number"),
        ({"seed": True}, TypeError, "seed is True; expected a whole number"),
        ({"hidden_size": 2.0}, TypeError, "hidden_size is 2.0; expected a whole number"),
        ({"max_length": 0}, ValueError, "max_length is 0; expected at least 1"),
        ({"architecture": "BERT"}, ValueError, "architecture is 'BERT'; expected SASRec, GRU4Rec"),
        ({"valid_targets": np.array([4.0, 0.5])}, ValueError, "valid_targets is float64 of shape"),
        ({"valid_targets": np.array([np.nan, 0])}, ValueError, "valid_targets is float64 of shape"),
    ],
    ids=str,
)
def test_arguments_of_the_wrong_kind_are_refused(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        fit(options.pop("architecture", "GRU4Rec"), **options)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_training_that_diverges_stops_and_says_so(architecture: Architecture) -> None:
    with pytest.raises(ModelError, match=r"diverged in epoch [12].*the learning rate is 1e\+30"):
        fit(architecture, learning_rate=1e30)
