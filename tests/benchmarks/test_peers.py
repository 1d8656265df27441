"""Sides read the same data, and their lists are judged alike. Peers may be absent."""

import json
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks.peers import environments, stage
from benchmarks.peers.data import export
from benchmarks.peers.stage import Entry, Turn, compare, list_ranks, summary
from bigrec.data.dataset import Dataset
from bigrec.evaluation.metrics import ndcg_at
from bigrec.types import UNRANKED

N_ITEMS = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    users, length = 30, 20
    items = np.stack([rng.permutation(N_ITEMS)[:length] for _ in range(users)])
    rows = pl.DataFrame(
        {
            "user_id": np.repeat(np.arange(users), length),
            "item_id": items.ravel(),
            "timestamp": np.tile(np.arange(length), users) * users
            + np.repeat(range(users), length),
        }
    )
    titles = [f"Title {item}" for item in range(N_ITEMS)]
    catalog = pl.DataFrame({"item_id": np.arange(N_ITEMS), "title": titles})
    folder = tmp_path_factory.mktemp("peers") / "data"
    export(folder, dataset=Dataset.from_frames(rows, catalog), n_valid=20)
    return folder


def table(path: Path) -> np.ndarray:
    return np.loadtxt(path, dtype=np.int64, delimiter=",", skiprows=1, ndmin=2)


def test_histories_are_whole_and_hold_neither_target_nor_later_items(folder: Path) -> None:
    train, test = table(folder / "train.csv"), table(folder / "test.csv")
    targets = table(folder / "test-targets.csv")[:, 0]
    assert set(test[:, 0]) == set(range(len(targets)))
    for query, target in enumerate(targets):
        history = test[test[:, 0] == query, 1]
        assert len(history) >= 10
        assert target not in history
    # Training interactions are before those of the test, by time.
    assert train[:, 2].size < 30 * 20
    assert json.loads((folder / "sizes.json").read_text()) == {"n_items": N_ITEMS}


@pytest.mark.parametrize("model", ["EASE", "co-occurrence"])
def test_our_side_lists_ten_items_without_those_of_the_history(folder: Path, model: str) -> None:
    figures = compare(folder, turns=2, budget_s=1, entries=[Entry("bigrec", model)])
    ours = figures[f"bigrec {model}"]
    assert ours["turns"] == 2
    assert ours["train_s"] > 0
    assert ours["lists_per_s"] > 0
    assert ours["valid_ndcg@10"] is None
    lists, test = np.load(folder / "out.npy"), table(folder / "test.csv")
    assert lists.shape == (len(table(folder / "test-targets.csv")), 10)
    for query, row in enumerate(lists):
        assert len(set(row)) == 10
        assert not set(row) & set(test[test[:, 0] == query, 1])


@pytest.mark.model
def test_a_network_has_a_curve_of_its_epochs(folder: Path) -> None:
    turn = stage.run_side(Entry("bigrec", "GRU4Rec", "GRU4Rec"), folder, budget_s=1)
    seconds = [second for second, _ in turn.curve]
    assert seconds == sorted(seconds)
    assert 0 < seconds[0] < seconds[-1] <= turn.fit_s
    assert turn.seconds_to(turn.best_valid) in seconds
    assert turn.seconds_to(1.1) is None


def test_ranks_are_places_in_the_lists_and_a_target_outside_is_a_miss() -> None:
    lists = np.array([[4, 5, 6], [7, 8, 9], [1, 2, -1]])
    ranks = list_ranks(lists, np.array([4, 9, 3]))
    assert ranks.tolist() == [0, 2, UNRANKED]
    assert ndcg_at(ranks, k=10) == pytest.approx((1 + 1 / 2) / 3)


def test_networks_are_timed_to_the_figure_that_all_of_the_family_reach() -> None:
    lists = np.array([[1, 2]])
    fast = Turn(9.0, 1.0, 100.0, [(2.0, 0.1), (4.0, 0.3)], lists)
    slow = Turn(9.0, 2.0, 100.0, [(5.0, 0.1), (8.0, 0.2)], lists)
    of_fast = summary([fast], targets=np.array([1]), common_valid=0.2)
    of_slow = summary([slow], targets=np.array([1]), common_valid=0.2)
    assert (of_fast["train_s"], of_slow["train_s"]) == (4.0, 8.0)
    assert (of_fast["lists_per_s"], of_slow["lists_per_s"]) == (1.0, 0.5)
    assert summary([slow], targets=np.array([1]), common_valid=0.3)["train_s"] is None
    of_slow = summary([slow], targets=np.array([1]), common_valid=0.3, lowest_valid=0.1)
    assert of_slow["to_lowest_s"] == 5.0


def test_a_side_whose_time_was_used_up_does_not_lower_the_common_figure(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    curves = {
        "bigrec": [(200.0, 0.1), (400.0, 0.3)],
        "rectools": [(2.0, 0.1), (50.0, 0.2)],
        "recbole": [(150.0, 0.1), (301.0, 0.15)],
    }
    monkeypatch.setattr(stage, "why_missing", lambda _: None)
    lists = np.zeros((len(table(folder / "test-targets.csv")), 10), dtype=np.int64)
    monkeypatch.setattr(
        stage,
        "run_side",
        lambda entry, *_, **__: Turn(400.0, 1.0, 100.0, curves[entry.peer], lists),
    )
    entries = [Entry(peer, "SASRec", "SASRec") for peer in curves]
    figures = compare(folder, turns=2, budget_s=300, entries=entries)
    seconds = {peer: figures[f"{peer} SASRec"]["train_s"] for peer in curves}
    assert seconds == {"bigrec": 400.0, "rectools": 50.0, "recbole": None}
    to_lowest = {peer: figures[f"{peer} SASRec"]["to_lowest_s"] for peer in curves}
    assert to_lowest == {"bigrec": 400.0, "rectools": 50.0, "recbole": 301.0}
    assert figures["recbole SASRec"]["turns"] == stage.NETWORK_TURNS
    alone = compare(folder, turns=1, budget_s=300, entries=entries[2:])
    assert alone["recbole SASRec"]["train_s"] == 301.0


def test_absent_and_failing_peers_are_named_with_the_reason(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIGREC_PEERS", str(tmp_path))
    python = tmp_path / "rectools" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    (tmp_path / "recbole").mkdir()
    (tmp_path / "recbole" / "failure.txt").write_text("no wheel\n")
    entries = [
        Entry("rectools", "NoSuchModel"),
        Entry("recbole", "SASRec"),
        Entry("implicit", "ALS"),
    ]
    figures = compare(folder, turns=1, budget_s=1, entries=entries)
    assert set(figures) == {"not run"}
    reasons = figures["not run"]
    assert reasons["recbole"] == "no wheel"
    assert "run python -m benchmarks.peers.environments" in reasons["implicit"]
    assert "No module named" in reasons["rectools NoSuchModel"]


@pytest.mark.parametrize("peer", environments.PEERS)
def test_every_peer_has_exact_versions_and_a_side(peer: str) -> None:
    lines = (environments.REQUIREMENTS / f"{peer}.txt").read_text().splitlines()
    assert lines
    assert all("==" in line for line in lines)
    assert (stage.SIDES / f"run_{peer}.py").is_file()
    assert any(entry.peer == peer for entry in stage.ENTRIES)


def test_an_environment_that_does_not_install_keeps_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIGREC_PEERS", str(tmp_path))
    monkeypatch.setattr(venv, "create", lambda folder, **_: folder.mkdir())
    failed = subprocess.CompletedProcess([], 1, stdout="", stderr="ERROR: no matching version")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    assert not environments.make("recbole")
    assert environments.why_missing("recbole") == "ERROR: no matching version"
