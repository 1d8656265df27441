"""Both sides of the tuned comparison get the same queries, and validation alone selects."""

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers import tuned
from benchmarks.peers.tuned import Comparison, Point, Trained, report, select, table
from bigrec.evaluation.reports.table import to_markdown
from bigrec.settings import Settings

MISS = 10**6


def point(learning_rate: float, *, valid: list[int], test: list[int]) -> Trained:
    ranks = {"valid": np.array(valid), "test": np.array(test)}
    return Trained(Point(learning_rate, 0.5, 10), ranks, 3, 2.0)


def test_validation_selects_and_the_test_is_compared_over_users() -> None:
    ours = [point(0.1, valid=[MISS], test=[0] * 6), point(0.2, valid=[0], test=[0, 0, 0, 0, 0, 2])]
    peer = [point(0.1, valid=[0], test=[2] * 6), point(0.2, valid=[1], test=[0] * 6)]
    assert select(ours) is ours[1]
    figures = report({"bigrec": ours, "rectools": peer}, ["a", "b", "c", "d", "e", "f"])
    selected = [entry["learning_rate"] for entry in figures["points"] if entry["selected"]]
    assert selected == [0.2, 0.1]
    # Five of six targets at the first place instead of the third.
    assert figures["difference"] == pytest.approx(5 / 6 * (1 - 1 / 2))
    # Sign flips of six users: the two of 64 that are as extreme, and those of the tied user.
    assert figures["p"] == pytest.approx(2 * 2 / 64, abs=0.01)
    lines = to_markdown(table(figures)).splitlines()
    assert lines[2].startswith("| bigrec, selected | 0.2 | 0.5 | 10 | 1.0000 |")
    assert "6 queries of 6 users" in lines[-2]


PEER_SIDE = """
import json, pathlib, sys
import numpy as np
data, out, point = pathlib.Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
n_items = json.loads((data / "sizes.json").read_text())["n_items"]
for part in ("valid", "test"):
    targets = np.loadtxt(data / f"{part}-targets.csv", dtype=int, skiprows=1, ndmin=1)
    scores = np.full((len(targets), n_items), -np.inf, dtype=np.float32)
    scores[np.arange(len(targets)), targets] = point["learning_rate"]
    np.save(f"{out}-{part}.npy", scores)
pathlib.Path(f"{out}.json").write_text(json.dumps({"epochs": 7, "seconds": 1.5}))
"""


@pytest.mark.model
def test_a_trained_point_of_either_side_is_read_again(
    tiny_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = tmp_path / "sides"
    sides.mkdir()
    (sides / "tune_rectools.py").write_text(PEER_SIDE)
    monkeypatch.setattr(tuned, "SIDES", sides)
    monkeypatch.setattr(tuned, "python_of", lambda _: sys.executable)
    settings = Settings.read(
        overrides=[
            f"data.source={tiny_files}",
            "baselines.sequential.hidden_size=8",
            "baselines.sequential.epochs=2",
        ]
    )
    comparison = Comparison(settings, tmp_path)
    place = Point(0.01, 0.2, 5)
    ours, peer = (comparison.train(side, place) for side in ("bigrec", "rectools"))
    assert ours.epochs == 2
    assert peer.epochs == 7
    queries = comparison.prepared.test_queries
    assert len(ours.ranks["test"]) == len(peer.ranks["test"]) == len(queries)
    # Its scores have every target first, unless the user had it before.
    pairs = zip(queries.targets, queries.full_histories, strict=True)
    seen = [target in history for target, history in pairs]
    assert np.array_equal(peer.ranks["test"] == 0, ~np.array(seen))
    monkeypatch.setattr(tuned, "SIDES", tmp_path / "none")
    again = Comparison(settings, tmp_path).train("rectools", place)
    assert again.seconds == 1.5
    assert np.array_equal(again.ranks["test"], peer.ranks["test"])
