"""Evaluation of a recommender, on catalogs smaller than the longest counted list."""

from pathlib import Path

import polars as pl
import pytest

from bigrec.data.dataset import Dataset
from bigrec.experiments.evaluate import evaluate
from bigrec.recommender.bigrec import BIGRec
from tests.conftest import MODES, TITLES, Mode, tiny_settings

pytestmark = pytest.mark.model


@pytest.mark.parametrize("mode", MODES)
def test_a_seen_target_is_a_miss_where_lists_are_longer_than_the_catalog(
    tiny_model: Path, mode: Mode
) -> None:
    # Five titles. Users with an even number come back to their first item last.
    rows = [
        {"user_id": f"u{user}", "item_id": f"i{(user + step) % 5}", "timestamp": 100 * step + user}
        for user in range(20)
        for step in range(6 if user % 2 == 0 else 5)
    ]
    items = [{"item_id": f"i{item}", "title": TITLES[item]} for item in range(5)]
    dataset = Dataset.from_frames(pl.DataFrame(rows), pl.DataFrame(items))
    changes = ["data.split_method=leave_one_out", "data.max_test_examples=20"]
    settings = tiny_settings(tiny_model, *changes, mode=mode, signals="[popularity]")
    result = evaluate(BIGRec(settings).fit(dataset), dataset)
    frame = result.to_frame()
    assert len(result.table.frame) == 20
    hits = {
        exclude_seen: frame.filter(
            (pl.col("exclude_seen") == exclude_seen) & pl.col("metric").is_in(["hr@5", "hr@50"])
        )
        for exclude_seen in (True, False)
    }
    assert set(hits[False]["value"]) == {1.0}
    # Half of the targets are hidden; the others are the only title left.
    assert set(hits[True]["value"]) == {0.5}
    excluded = frame.filter(pl.col("exclude_seen") & pl.col("metric").is_in(["mrr", "ndcg@50"]))
    assert set(excluded["value"]) == {0.5}
