"""Texts of titles from further columns, through the package: data.text."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from bigrec.data.catalog import Catalog
from bigrec.data.dataset import Dataset
from bigrec.errors import DataError
from bigrec.experiments.pipeline import Pipeline
from bigrec.recommender.bigrec import BIGRec
from bigrec.recommender.title_encoder import TitleEncoder
from bigrec.types import FloatArray
from tests.conftest import MODES, TITLES, tiny_frames, tiny_settings

COLUMN = "data.text=[title, category]"
SIGNALS = "[tf-idf, text kNN, Gaussian]"
HISTORY = ["i1", "i6", "i11"]


def rich_items() -> pl.DataFrame:
    items: pl.DataFrame = tiny_frames()[1]
    groups = [None if number == 0 else f"group {number % 3}" for number in range(len(items))]
    return items.with_columns(category=pl.Series(groups))


def rich_dataset() -> Dataset:
    return Dataset.from_frames(
        tiny_frames()[0], rich_items(), item_type="movie", category="category"
    )


def fitted(model: Path, *changes: str, mode: Any = "text", signals: str = SIGNALS) -> BIGRec:
    settings = tiny_settings(model, COLUMN, *changes, mode=mode, signals=signals)
    return BIGRec(settings).fit(rich_dataset())


def new_catalog(category: str, *, of_known: str = "group 1") -> Catalog:
    rows = rich_items().with_columns(
        category=pl.when(pl.col("item_id") == "i1")
        .then(pl.lit(of_known))
        .otherwise(pl.col("category"))
    )
    new = pl.DataFrame({"item_id": ["new"], "title": ["A New One"], "category": [category]})
    return Catalog.from_frame(pl.concat([rows, new]), category="category")


def scores(recommender: BIGRec) -> dict[str, float]:
    lists = recommender.recommend(HISTORY, k=20, exclude_seen=False)
    return {row.item_id: row.score for row in lists}


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All that the encoder of titles reads."""
    texts: list[str] = []
    embed = TitleEncoder.embed

    def recorded(self: TitleEncoder, some: Sequence[str], **options: Any) -> FloatArray:
        texts.extend(some)
        return embed(self, some, **options)

    monkeypatch.setattr(TitleEncoder, "embed", recorded)
    return texts


def test_the_encoder_reads_the_text_and_lists_show_the_title(
    tiny_model: Path, read: list[str]
) -> None:
    recommender = fitted(tiny_model)
    assert set(read) == {TITLES[0]} | {
        f"{title}\ngroup {number % 3}" for number, title in enumerate(TITLES) if number
    }
    assert {row.title for row in recommender.recommend(HISTORY, k=20)} <= set(TITLES)


def test_a_new_item_is_read_with_its_columns(tiny_model: Path, read: list[str]) -> None:
    recommender = fitted(tiny_model)
    read.clear()
    recommender.update_catalog(new_catalog("group 2"))
    assert set(read) == {"A New One\ngroup 2"}


def test_lists_do_not_depend_on_the_columns_that_a_new_item_had_before(
    tiny_model: Path,
) -> None:
    recommender = fitted(tiny_model)
    direct = scores(fitted(tiny_model).update_catalog(new_catalog("group 2")))
    other = scores(recommender.update_catalog(new_catalog("another group")))
    assert other["new"] != direct["new"]
    assert scores(recommender.update_catalog(new_catalog("group 2"))) == direct


def test_a_fitted_title_keeps_its_text(tiny_model: Path, read: list[str]) -> None:
    recommender = fitted(tiny_model)
    before = scores(recommender.update_catalog(new_catalog("group 2")))
    read.clear()
    after = scores(recommender.update_catalog(new_catalog("group 2", of_known="changed")))
    assert (after, read) == (before, [])


@pytest.mark.parametrize("mode", MODES)
def test_a_bundle_with_texts_gives_the_same_lists(
    tiny_model: Path, tmp_path: Path, mode: Any
) -> None:
    signals = SIGNALS if mode == "text" else "[]"
    recommender = fitted(tiny_model, mode=mode, signals=signals)
    recommender.update_catalog(new_catalog("group 2"))
    recommender.save(tmp_path / "bundle")
    loaded = BIGRec.load(
        tmp_path / "bundle",
        base_model=None if mode == "text" else str(tiny_model),
        text_encoder=str(tiny_model),
        device="cpu",
    )
    assert scores(loaded) == pytest.approx(scores(recommender))
    loaded.update_catalog(new_catalog("group 0"))
    assert scores(loaded) == pytest.approx(
        scores(recommender.update_catalog(new_catalog("group 0")))
    )


def test_retrieval_mode_computes_features_of_texts(tiny_model: Path) -> None:
    rich = fitted(tiny_model, mode="retrieval", signals="[]").fitted.encoder.title_embeddings
    settings = tiny_settings(tiny_model, mode="retrieval")
    plain = BIGRec(settings).fit(rich_dataset()).fitted.encoder.title_embeddings
    assert rich.titles == plain.titles
    assert rich.embedder_fingerprint != plain.embedder_fingerprint
    same = np.isclose(rich.embeddings, plain.embeddings).all(axis=1)
    assert same.tolist() == [True] + [False] * (len(TITLES) - 1)


def test_a_column_that_the_items_lack_is_refused(tiny_model: Path) -> None:
    settings = tiny_settings(tiny_model, "data.text=[title, brand]", mode="text")
    with pytest.raises(DataError, match=r"no column 'brand'.*title, category.*text\[1\]"):
        BIGRec(settings).fit(rich_dataset())


def test_another_text_keeps_the_folders_of_what_reads_none(
    tiny_model: Path, tmp_path: Path
) -> None:
    plain, rich = (
        Pipeline(tmp_path, tiny_settings(tiny_model, *changes, mode="text"))
        for changes in ((), (COLUMN,))
    )
    assert rich.data_stage == plain.data_stage
    assert rich.stage("models") == plain.stage("models")
    assert rich.stage("text") != plain.stage("text")
    assert rich.stage("retrieval") != plain.stage("retrieval")
    assert rich.stage("finetune") == plain.stage("finetune")
    assert rich.evaluation_stage != plain.evaluation_stage
    further = Pipeline(tmp_path, tiny_settings(tiny_model, "data.text=[title, brand]", mode="text"))
    assert further.data_stage != plain.data_stage
