import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from bigrec.data.dataset import Dataset
from bigrec.errors import BundleError, DataError
from tests.conftest import needs

INTERACTIONS = {"user_id": ["u", "u", "v"], "item_id": [1, 2, 9], "timestamp": [2, 1, 3]}
ITEMS = {"item_id": [1, 2], "title": ["A", "B &amp; C"]}


def dataset(**options: Any) -> Dataset:
    return Dataset.from_frames(pl.DataFrame(INTERACTIONS), pl.DataFrame(ITEMS), **options)


def test_two_frames_make_a_dataset() -> None:
    made = dataset(name="tiny", item_type="movie")
    assert (made.name, made.item_type) == ("tiny", "movie")
    assert made.catalog.titles == ["A", "B & C"]
    np.testing.assert_array_equal(made.interactions.items, [1, 0])


def test_lazy_frames_make_the_same_dataset(tmp_path: Path) -> None:
    path = tmp_path / "interactions.parquet"
    pl.DataFrame(INTERACTIONS).write_parquet(path)
    lazy = pl.scan_parquet(path).filter(pl.col("timestamp") > 0)
    made = Dataset.from_frames(lazy, pl.LazyFrame(ITEMS))
    assert made.repairs.to_json() == dataset().repairs.to_json()
    assert made.catalog.fingerprint == dataset().catalog.fingerprint
    np.testing.assert_array_equal(made.interactions.items, dataset().interactions.items)


@pytest.mark.parametrize("what", ["interactions", "items"])
def test_a_lazy_frame_that_cannot_be_computed_is_named(what: str, tmp_path: Path) -> None:
    frames: dict[str, Any] = {
        "interactions": pl.LazyFrame(INTERACTIONS),
        "items": pl.LazyFrame(ITEMS),
    }
    for faulty in (
        pl.scan_csv(tmp_path / "missing.csv"),
        frames[what].with_columns(pl.lit("word").cast(pl.Int64).alias("item_id")),
    ):
        with pytest.raises(DataError, match=f"the {what} could not be read: .* lazy frame"):
            Dataset.from_frames(**{**frames, what: faulty})


def test_repairs_of_both_frames_are_collected() -> None:
    counts = {row.name: row.count for row in dataset().repairs.as_rows()}
    assert counts["HTML entities in titles"] == 1
    assert counts["interactions with unknown items"] == 1


def test_columns_of_other_names_are_named_by_the_same_options() -> None:
    interactions = {"u": ["u"], "i": [1], "when": [1], "stars": [5], "part": ["train"]}
    items = {"i": [1], "name": ["A, The"], "kind": ["K"], "y": [1999]}
    made = Dataset.from_frames(
        pl.DataFrame(interactions),
        pl.DataFrame(items),
        user_id="u",
        item_id="i",
        time="when",
        rating="stars",
        split="part",
        min_rating=5,
        title="name",
        category="kind",
        year="y",
        article_first=True,
    )
    assert made.catalog.titles == ["The A (1999)"]
    assert made.catalog.categories == ["K"]
    assert made.interactions.ratings is not None
    assert made.interactions.splits is not None


@needs("pandas")
def test_pandas_frames_are_read() -> None:
    import pandas as pd

    made = Dataset.from_frames(pd.DataFrame(INTERACTIONS), pd.DataFrame(ITEMS))
    np.testing.assert_array_equal(made.interactions.items, [1, 0])


def test_another_type_than_a_frame_is_refused() -> None:
    with pytest.raises(TypeError, match="the interactions are a list: expected a polars"):
        Dataset.from_frames([1], pl.DataFrame(ITEMS))


def test_saving_never_replaces_a_folder_that_is_no_dataset(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(ValueError, match="exists and is no dataset: choose another folder"):
        dataset().save(tmp_path)
    assert (tmp_path / "precious.txt").read_text() == "mine"
    dataset(name="first").save(tmp_path / "saved")
    dataset(name="second").save(tmp_path / "saved")
    assert Dataset.load(tmp_path / "saved").name == "second"


def test_a_saved_dataset_is_read_back(tmp_path: Path) -> None:
    made = dataset(name="tiny", item_type="movie")
    made.save(tmp_path / "saved")
    loaded = Dataset.load(tmp_path / "saved")
    assert (loaded.name, loaded.item_type) == ("tiny", "movie")
    assert loaded.catalog.fingerprint == made.catalog.fingerprint
    np.testing.assert_array_equal(loaded.interactions.items, made.interactions.items)
    assert loaded.repairs.as_rows() == made.repairs.as_rows()


@pytest.mark.parametrize("name", ["dataset.json", "catalog.parquet", "interactions.parquet"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    dataset().save(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(BundleError, match=name):
        Dataset.load(tmp_path)


@pytest.mark.parametrize("name", ["dataset.json", "catalog.parquet", "interactions.parquet"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    dataset().save(tmp_path)
    (tmp_path / name).write_bytes(b"damaged")
    with pytest.raises(BundleError, match=name):
        Dataset.load(tmp_path)


def test_another_format_version_is_refused(tmp_path: Path) -> None:
    dataset().save(tmp_path)
    (tmp_path / "dataset.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(BundleError, match="has format 99; this bigrec reads format 2"):
        Dataset.load(tmp_path)


@pytest.mark.parametrize("change", [{"name": None}, {"repairs": [{"name": "x"}]}])
def test_an_incomplete_dataset_json_is_reported(tmp_path: Path, change: dict[str, Any]) -> None:
    dataset().save(tmp_path)
    file = tmp_path / "dataset.json"
    about = json.loads(file.read_text()) | change
    file.write_text(json.dumps({name: value for name, value in about.items() if value is not None}))
    with pytest.raises(BundleError, match=r"dataset\.json is damaged: KeyError"):
        Dataset.load(tmp_path)


def test_interactions_that_do_not_fit_the_catalog_are_reported(tmp_path: Path) -> None:
    dataset().save(tmp_path)
    pl.DataFrame({"item_id": ["1"], "title": ["A"]}).write_parquet(tmp_path / "catalog.parquet")
    with pytest.raises(BundleError, match=r"names item 1, but .*catalog\.parquet holds 1 items"):
        Dataset.load(tmp_path)
