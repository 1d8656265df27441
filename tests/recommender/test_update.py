"""Later interactions are added to text mode at once."""

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from bigrec.data.catalog import Catalog
from bigrec.data.dataset import Dataset
from bigrec.errors import DataError
from bigrec.models.text import GaussianText
from bigrec.recommender.bigrec import BIGRec
from bigrec.recommender.text_query_encoder import TextQueryEncoder
from tests.conftest import Mode, tiny_dataset, tiny_frames, tiny_settings

pytestmark = pytest.mark.model

DAYS = 5
HISTORIES = [["i0", "i3", "i5"], ["i7"], ["i1", "i2"]]


def frames() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Eight days of 20 users, and a user by whom everything is selected."""
    rows, items = tiny_frames()
    others = pl.DataFrame(
        [{"user_id": "x", "item_id": f"i{day % 12}", "timestamp": 100 * day} for day in range(12)]
    )
    return pl.concat([rows, others]), items


def dataset(*, days: int) -> Dataset:
    """The first days as training data; the rest of user x for validation and test."""
    rows, items = frames()
    day = pl.col("timestamp") // 100
    part = pl.when(day < 8).then(pl.lit("train")).when(day < 10).then(pl.lit("valid"))
    rows = rows.with_columns(split=part.otherwise(pl.lit("test")))
    kept = rows.filter((day < days) | (pl.col("user_id") == "x"))
    return Dataset.from_frames(kept, items, item_type="movie")


def later(day: int) -> pl.DataFrame:
    rows: pl.DataFrame = tiny_frames()[0]
    return rows.filter(pl.col("timestamp") // 100 == day)


def fitted(tiny_model: Path, data: Any, *changes: str, mode: Mode = "text") -> BIGRec:
    return BIGRec(tiny_settings(tiny_model, "baselines.tune=none", *changes, mode=mode)).fit(data)


def model_of(recommender: BIGRec) -> GaussianText:
    encoder = recommender.fitted.encoder
    assert isinstance(encoder, TextQueryEncoder)
    return encoder.model


def test_a_stream_of_days_equals_a_fit_on_all_of_them(tiny_model: Path, tmp_path: Path) -> None:
    everything = fitted(tiny_model, dataset(days=8))
    stream = fitted(tiny_model, dataset(days=DAYS))
    for day in range(DAYS, 8):
        stream.update(later(day))
        # Users continue after the recommender was saved and loaded.
        stream.save(tmp_path / str(day))
        stream = BIGRec.load(tmp_path / str(day), device="cpu")
    first, second = model_of(stream).statistics, model_of(everything).statistics
    np.testing.assert_array_equal(first.counts, second.counts)
    np.testing.assert_allclose(first.sums, second.sums, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(first.second_moment, second.second_moment, rtol=1e-5, atol=1e-6)
    for history in HISTORIES:
        lists = [
            [item.item_id for item in model.recommend(history)] for model in (stream, everything)
        ]
        assert lists[0] == lists[1]


def test_users_and_items_may_be_new(tiny_model: Path) -> None:
    model = fitted(tiny_model, dataset(days=DAYS), "fusion.signals=[popularity, text kNN]")
    before = model_of(model).statistics
    new = pl.DataFrame({"item_id": ["new"], "title": ["Heat (1995)"]})
    model.update_catalog(Catalog.from_frame(pl.concat([model.catalog.to_frame(), new])))
    rows = {"user_id": ["stranger"] * 2, "item_id": ["i4", "new"], "timestamp": [1, 2]}
    model.update(pl.DataFrame(rows))
    counts = model_of(model).statistics.counts
    # The first item of a stranger comes after nothing.
    assert counts.sum() == before.counts.sum() + 1
    assert counts[model.catalog.resolve(["new"])] == 1
    assert len(model.recommend(["i4"], k=13, exclude_seen=False)) == 13


def test_a_row_that_cannot_be_used_stops_the_update(tiny_model: Path) -> None:
    model = fitted(tiny_model, dataset(days=DAYS))
    before = model_of(model)
    rows = pl.DataFrame({"user_id": ["u1"] * 2, "item_id": ["i1", "i99"], "timestamp": [1, 2]})
    with pytest.raises(DataError, match=r"1 of 2 interactions cannot be used \(.*unknown items: 1"):
        model.update(rows)
    assert model_of(model) is before


@pytest.mark.parametrize(
    ("column", "reason"), [("user_id", "without a user"), ("timestamp", "without a time")]
)
def test_only_what_makes_a_row_unusable_is_named(
    tiny_model: Path, column: str, reason: str
) -> None:
    model = fitted(tiny_model, dataset(days=DAYS))
    rows: dict[str, list[Any]] = {"user_id": [" u1", "u1"], "item_id": ["i1", "i2"]}
    rows["timestamp"] = [1, 2]
    rows[column] = [rows[column][0], None]
    with pytest.raises(DataError, match=rf"1 of 2 .* used \(interactions {reason}: 1\)\. Remove"):
        model.update(pl.DataFrame(rows))
    with pytest.raises(
        DataError, match="the interactions could not be read: unable to find column"
    ):
        model.update(pl.LazyFrame(rows).with_columns(pl.col("nowhere")))


def test_what_an_update_replaces_is_freed_at_once(tiny_model: Path) -> None:
    # Large arrays that wait for the collector of cycles made a service grow by 130 MiB an update.
    model = fitted(tiny_model, dataset(days=DAYS), "fusion.signals=[popularity, text kNN]")
    new = pl.DataFrame({"item_id": ["new"], "title": ["Heat (1995)"]})
    replaced = []
    gc.collect()  # what fitting left
    gc.disable()
    try:
        for change in ("interactions", "catalog", "interactions", "catalog"):
            model.recommend(["i4"])
            replaced.append(weakref.ref(model.fitted.encoder))
            if change == "interactions":
                model.update(later(DAYS))
            else:
                model.update_catalog(Catalog.from_frame(pl.concat([tiny_frames()[1], new])))
        alive = [encoder() is not None for encoder in replaced]
    finally:
        gc.enable()
    # The latest encoder of the fitted catalog stays: further catalogs are made from it.
    assert alive == [False, False, False, True]


def test_a_trained_mode_cannot_be_updated(tiny_model: Path) -> None:
    model = fitted(tiny_model, tiny_dataset(), mode="retrieval")
    with pytest.raises(ValueError, match="retrieval mode cannot be updated; expected text mode"):
        model.update(later(7))


def test_items_that_are_absent_during_an_update_keep_what_was_learned(
    tiny_model: Path, tmp_path: Path
) -> None:
    model = fitted(tiny_model, dataset(days=DAYS), "fusion.signals=[popularity, text kNN]")
    stored = tmp_path / "fitted"
    model.save(stored)
    rows = pl.DataFrame({"user_id": ["u1", "u2"], "item_id": ["i4", "i5"], "timestamp": [900, 901]})
    expected = BIGRec.load(stored, device="cpu").update(rows)
    every = model.catalog
    some = every.to_frame().filter(pl.col("item_id").is_in(["i9", "i5", "i4"]))
    new = pl.DataFrame({"item_id": ["new"], "title": ["Heat (1995)"]})
    model.update_catalog(Catalog.from_frame(pl.concat([new, some]))).update(rows)
    assert model.catalog.item_ids == ["new", "i4", "i5", "i9"]
    assert len(model.recommend(["i4"], exclude_seen=False)) == 4
    model.save(tmp_path / "updated")
    model = BIGRec.load(tmp_path / "updated", device="cpu").update_catalog(every)
    np.testing.assert_array_equal(model.fitted.counts, expected.fitted.counts)
    for history in HISTORIES:
        found, wanted = (
            {item.item_id: item.score for item in each.recommend(history, k=12)}
            for each in (model, expected)
        )
        assert found.keys() == wanted.keys()
        np.testing.assert_allclose([found[item] for item in wanted], list(wanted.values()), 1e-4)
