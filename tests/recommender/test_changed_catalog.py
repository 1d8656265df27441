"""Catalogs that change: items leave, return, are renamed, and nothing learned is lost."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bigrec.data.catalog import Catalog
from bigrec.errors import BundleError
from bigrec.recommender.bigrec import BIGRec
from bigrec.storage import read_json, write_json
from bigrec.types import FloatArray
from tests.conftest import MODES, TITLES, UNTRACED, Mode, tiny_dataset, tiny_settings

pytestmark = [pytest.mark.model, UNTRACED]

HISTORY = ["i0", "i3", "i5"]
SIGNALS = "[popularity, co-occurrence, EASE, tf-idf, text kNN, Gaussian]"
ROWS = [(f"i{number}", title) for number, title in enumerate(TITLES)]
# Titles of new items, one of them that of a known item.
NEW = ["New A", "New B", TITLES[2]]

Rows = list[tuple[str, str]]


def _rows(known: Rows, renamed: set[int], new: list[str]) -> Rows:
    """Some of the known items in any order, some of them renamed, beside new items."""
    rows = [
        (item, title + " (renamed)" * (place in renamed))
        for place, (item, title) in enumerate(known)
    ]
    return rows + [(f"n{number}", title) for number, title in enumerate(new)]


CATALOGS = st.builds(
    _rows,
    known=st.lists(st.sampled_from(ROWS), min_size=1, max_size=12, unique=True),
    renamed=st.sets(st.integers(0, 11), max_size=2),
    new=st.lists(st.sampled_from(NEW), max_size=2),
)


class _SentenceEmbedder:
    """In place of a sentence encoder: vectors of a title's letters."""

    def __init__(self, name: str, **_: Any) -> None: ...

    fingerprint = "0123456789abcdef"

    def embed(self, texts: list[str], **_: Any) -> FloatArray:
        return np.array(
            [[text.lower().count(letter) for letter in "aeiorst1"] for text in texts],
            dtype=np.float32,
        )


@pytest.fixture(scope="module", autouse=True)
def _no_sentence_encoder() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bigrec.recommender.factory.SentenceEmbedder", _SentenceEmbedder)
        yield


@pytest.fixture(scope="module", params=MODES)
def bundle(
    request: pytest.FixtureRequest, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A bundle whose recommender fuses a signal of every kind."""
    mode: Mode = request.param
    folder = tmp_path_factory.mktemp("fitted") / "bundle"
    BIGRec(tiny_settings(tiny_model, mode=mode, signals=SIGNALS)).fit(tiny_dataset()).save(folder)
    return folder


@pytest.fixture(scope="module")
def fitted(bundle: Path) -> BIGRec:
    return BIGRec.load(bundle, device="cpu")


def changed(model: BIGRec, rows: Rows) -> BIGRec:
    """The recommender with another catalog; the one given keeps its own."""
    frame = pl.DataFrame(rows, schema=["item_id", "title"], orient="row")
    return BIGRec.of(model.fitted).update_catalog(Catalog.from_frame(frame))


def scores(model: BIGRec, history: list[str] | None = None) -> Mapping[str, tuple[float, float]]:
    """Score and distance of every listed item."""
    every = model.recommend(history or HISTORY, k=100, exclude_seen=False)
    return {item.item_id: (item.score, item.distance or 0.0) for item in every}


def assert_equal(actual: BIGRec, expected: BIGRec, history: list[str] | None = None) -> None:
    found, wanted = scores(actual, history), scores(expected, history)
    assert found.keys() == wanted.keys()
    # New titles are embedded in other batches, which round differently.
    for item, pair in wanted.items():
        np.testing.assert_allclose(found[item], pair, rtol=1e-4, atol=1e-4)


@settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    path=st.lists(CATALOGS, min_size=1, max_size=3),
    stored=st.booleans(),
    order=st.permutations(ROWS),
)
def test_scores_depend_on_the_catalog_and_not_on_those_before_it(
    fitted: BIGRec, tmp_path: Path, path: list[Rows], stored: bool, order: Rows
) -> None:
    model = fitted
    for rows in path:
        model = changed(model, rows)
    if stored:
        model.save(tmp_path / "changed")
        model = BIGRec.load(tmp_path / "changed", device="cpu")
    last = path[-1]
    assert_equal(model, changed(fitted, last), [last[0][0]])
    assert_equal(changed(model, order), fitted)


def test_an_item_that_returns_has_exactly_its_scores(fitted: BIGRec, tmp_path: Path) -> None:
    expected = fitted.recommend(HISTORY, k=12, exclude_seen=False)
    first = expected[0]
    without = changed(fitted, [row for row in ROWS if row[0] != first.item_id])
    assert first.item_id not in scores(without, ["i0" if first.item_id != "i0" else "i1"])
    without.save(tmp_path / "without")
    loaded = BIGRec.load(tmp_path / "without", device="cpu")
    assert loaded.catalog.item_ids == without.catalog.item_ids
    for model in (without, loaded):
        assert changed(model, ROWS).recommend(HISTORY, k=12, exclude_seen=False) == expected


def test_counts_of_items_that_left_come_back(fitted: BIGRec) -> None:
    counts = fitted.fitted.counts
    assert counts.min() > 0
    only_first = changed(fitted, [*ROWS[:1], ("new", "New A")])
    assert only_first.fitted.counts.tolist() == [counts[0], 0]
    np.testing.assert_array_equal(changed(only_first, ROWS).fitted.counts, counts)


def test_a_stored_catalog_needs_no_embedding_when_it_is_loaded(
    fitted: BIGRec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [("new", "New A"), *ROWS[3:]]
    model = changed(fitted, rows)
    model.save(tmp_path / "bundle")
    expected = model.recommend(["new", "i4"], k=100)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.setattr("bigrec.grounding.index.embed_in_parts", refuse)
    monkeypatch.setattr(_SentenceEmbedder, "embed", refuse)
    assert BIGRec.load(tmp_path / "bundle", device="cpu").recommend(["new", "i4"], k=100) == (
        expected
    )


def test_the_model_of_a_changed_catalog_leaves_the_fitted_one_as_it_was(fitted: BIGRec) -> None:
    before = fitted.recommend(HISTORY, k=12)
    changed(changed(fitted, [("new", "New A"), *ROWS[6:]]), ROWS[:2])
    assert fitted.recommend(HISTORY, k=12) == before


def damage(bundle: Path, part: str) -> None:
    """Remove a part of a bundle and sign it again, as an author with a grudge could."""
    shutil.rmtree(bundle / part)
    manifest = read_json(bundle / "manifest.json")
    files = manifest["files"]
    manifest["files"] = {name: files[name] for name in files if not name.startswith(part)}
    write_json(bundle / "manifest.json", manifest)


@pytest.mark.parametrize("part", ["changed/index", "changed/sentences"])
def test_a_bundle_without_embeddings_of_its_new_titles_is_refused(
    fitted: BIGRec, tmp_path: Path, part: str
) -> None:
    changed(fitted, [("new", "New A"), *ROWS]).save(tmp_path / "bundle")
    damage(tmp_path / "bundle", part)
    with pytest.raises(BundleError, match="changed cannot be used: it lacks embeddings of 1 title"):
        BIGRec.load(tmp_path / "bundle", device="cpu")
