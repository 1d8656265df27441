"""Similar items, and why an item is where it is."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from bigrec.data.catalog import Catalog
from bigrec.errors import DataError
from bigrec.models.text.vectors import normalized
from bigrec.recommender.bigrec import BIGRec
from tests.conftest import TITLES, Mode, tiny_dataset, tiny_settings

pytestmark = pytest.mark.model

HISTORY = ["i0", "i3", "i5"]


@pytest.fixture(scope="module")
def plain(tiny_model: Path, mode: Mode) -> BIGRec:
    return BIGRec(tiny_settings(tiny_model, mode=mode)).fit(tiny_dataset())


@pytest.fixture(scope="module")
def fused(tiny_model: Path, mode: Mode) -> BIGRec:
    settings = tiny_settings(tiny_model, mode=mode, signals="[popularity, EASE]")
    return BIGRec(settings).fit(tiny_dataset())


def with_twin(model: BIGRec) -> BIGRec:
    """The recommender with a second item of the title of i7, and a column."""
    twin = pl.DataFrame({"item_id": ["twin"], "title": [TITLES[7]]})
    rows = pl.concat([model.catalog.to_frame(), twin])
    rows = rows.with_columns(even=pl.int_range(pl.len()) % 2 == 0)
    return BIGRec.of(model.fitted).update_catalog(Catalog.from_frame(rows, columns=["even"]))


def test_similar_items_are_the_nearest_in_the_space_of_the_mode(plain: BIGRec) -> None:
    encoder = plain.fitted.encoder
    vectors = encoder.ranker.index.embeddings
    if plain.settings.mode == "text" or plain.settings.decodes_states:
        vectors = normalized(encoder.title_embeddings.embeddings)
    distances = np.linalg.norm(vectors - vectors[7], axis=1)
    distances[7] = np.inf
    found = plain.similar("i7", k=5)
    assert [item.item_id for item in found] == [f"i{n}" for n in distances.argsort()[:5]]
    # The index computes in float32.
    expected = np.sort(distances)[:5]
    np.testing.assert_allclose([item.distance or 0 for item in found], expected, rtol=1e-3)
    assert found.source == ("text" if plain.settings.mode == "text" else "llm")
    assert plain.similar(TITLES[7], k=5) == found


def test_neither_the_item_nor_its_twin_is_similar_to_it(plain: BIGRec) -> None:
    model = with_twin(plain)
    for item in ("i7", "twin"):
        found = model.similar(item, k=20)
        assert {near.item_id for near in found} == {f"i{n}" for n in range(12)} - {"i7"}


def test_similar_items_are_filtered(plain: BIGRec) -> None:
    model = with_twin(plain)
    found = model.similar(
        "i1", k=20, where={"even": True}, exclude=["i4"], items=["i2", "i3", "i4"]
    )
    assert [item.item_id for item in found] == ["i2"]
    with pytest.raises(DataError, match="not in the catalog"):
        model.similar("nothing")
    with pytest.raises(ValueError, match="k is 0; expected at least 1"):
        model.similar("i1", k=0)


@pytest.mark.parametrize("exclude_seen", [True, False])
def test_an_explanation_tells_the_place_in_the_list(fused: BIGRec, exclude_seen: bool) -> None:
    listed = fused.recommend(HISTORY, k=12, exclude_seen=exclude_seen)
    for item in listed[:3]:
        explained = fused.explain(HISTORY, item.item_id, exclude_seen=exclude_seen)
        assert explained.rank == item.rank
        assert explained.title == item.title
        assert explained.score == pytest.approx(item.score)
        assert explained.distance == pytest.approx(item.distance)
        assert explained.generated_text == item.generated_text
        assert explained.source == "fused"
        assert explained.rule
    seen = fused.explain(HISTORY, "i3", exclude_seen=exclude_seen)
    assert (seen.rank is None) == exclude_seen


def test_the_parts_of_a_score_are_the_model_and_the_signals(fused: BIGRec) -> None:
    explained = fused.explain(HISTORY, "i7")
    method = next(iter(fused.fitted.encoder.methods.values())).label
    assert [part.name for part in explained.parts] == [method, "popularity", "EASE"]
    assert {part.name: part.gamma for part in explained.parts[1:]} == dict(fused.signals)
    assert sum(part.share for part in explained.parts) == pytest.approx(1)
    assert all(0 <= part.weight <= 1 for part in explained.parts)
    other = fused.explain(HISTORY, "i7", gammas={"popularity": 0, "EASE": 0})
    assert [part.share for part in other.parts[1:]] == [0, 0]
    assert fused.explain(HISTORY, "i7") == explained


def test_without_signals_the_model_has_the_whole_score(plain: BIGRec, mode: Mode) -> None:
    first = plain.recommend(HISTORY, k=1)[0]
    explained = plain.explain(HISTORY, first.item_id)
    (part,) = explained.parts
    assert part.share == 1
    assert part.gamma is None
    assert explained.rule is None
    assert explained.rank == 1
    assert bool(explained.texts) == (mode == "generative")


def test_an_explanation_shows_what_is_near(plain: BIGRec) -> None:
    explained = plain.explain([*HISTORY, "i3"], "i7")
    assert [near.item_id for near in explained.nearest] == [
        item.item_id for item in plain.similar("i7", k=5)
    ]
    assert {near.item_id for near in explained.history} == set(HISTORY)
    distances = [near.distance for near in explained.history]
    assert distances == sorted(distances)


def test_an_explanation_is_json(fused: BIGRec) -> None:
    values = fused.explain(HISTORY, "i7").to_dict()
    assert json.loads(json.dumps(values, allow_nan=False)) == values


def test_popularity_is_explained_by_itself(fused: BIGRec) -> None:
    listed = fused.recommend([], k=12, unknown="skip")
    for item in listed:
        explained = fused.explain(["gone"], item.item_id, unknown="skip")
        assert explained.rank == item.rank
        assert explained.score == item.score
        assert explained.source == "popularity"
        assert explained.unknown == ("gone",)
        assert [part.name for part in explained.parts] == ["popularity"]
    with pytest.raises(DataError, match="the history is empty"):
        fused.explain([], "i7")
