import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from bigrec.errors import BundleError, ModelError, StaleIndexError
from bigrec.grounding.index import ItemIndex
from bigrec.grounding.space import Normalization, Space
from tests.grounding.fakes import FakeEmbedder, TableEmbedder

TITLES = ("Alien", "Brazil", "Casablanca")


@pytest.fixture
def index() -> ItemIndex:
    return ItemIndex.build(TITLES, FakeEmbedder())


def _edit(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text())
    content.update(changes)
    path.write_text(
        json.dumps({key: value for key, value in content.items() if value != "missing"})
    )


def test_building_embeds_every_title_once() -> None:
    embedder = FakeEmbedder()
    index = ItemIndex.build(TITLES, embedder)
    assert embedder.embedded == list(TITLES)
    np.testing.assert_array_equal(index.embeddings, FakeEmbedder().embed(TITLES))


def test_embeddings_cannot_be_written_to(index: ItemIndex) -> None:
    with pytest.raises(ValueError, match="read-only"):
        index.embeddings[0, 0] = 1


def test_adding_an_item_embeds_only_its_title(index: ItemIndex) -> None:
    embedder = FakeEmbedder()
    titles = ("Dune", *TITLES)
    updated = index.updated(titles, embedder)
    assert embedder.embedded == ["Dune"]
    np.testing.assert_array_equal(updated.embeddings, FakeEmbedder().embed(titles))


def test_removing_and_reordering_items_embeds_nothing(index: ItemIndex) -> None:
    embedder = FakeEmbedder()
    updated = index.updated(("Casablanca", "Alien"), embedder)
    assert embedder.calls == []
    np.testing.assert_array_equal(updated.embeddings, index.embeddings[[2, 0]])


def test_updating_keeps_the_space() -> None:
    index = ItemIndex.build(TITLES, FakeEmbedder(), normalization="whiten")
    assert index.updated(TITLES[:2], FakeEmbedder()).normalization == "whiten"


def test_an_index_of_another_embedder_is_not_reused(index: ItemIndex) -> None:
    embedder = FakeEmbedder(fingerprint="other")
    ItemIndex.build(TITLES, embedder, previous=index)
    assert embedder.embedded == list(TITLES)


def test_building_removes_its_parts(tmp_path: Path) -> None:
    ItemIndex.build(TITLES, FakeEmbedder(), parts=tmp_path / "parts")
    assert list(tmp_path.iterdir()) == []


def test_duplicate_titles_are_refused() -> None:
    with pytest.raises(ValueError, match="'Alien' occurs more than once"):
        ItemIndex.build(("Alien", "Brazil", "Alien"), FakeEmbedder())


def test_an_empty_catalog_is_refused() -> None:
    with pytest.raises(ValueError, match="titles is empty"):
        ItemIndex.build((), FakeEmbedder())


def test_an_unknown_normalization_is_refused_before_embedding() -> None:
    embedder = FakeEmbedder()
    with pytest.raises(ValueError, match="Unknown normalization 'cosine'"):
        ItemIndex.build(TITLES, embedder, normalization="cosine")  # type: ignore[arg-type]
    assert embedder.calls == []


def test_a_broken_embedding_is_refused_with_its_title() -> None:
    with pytest.raises(ModelError, match="embedding of 'Brazil' holds NaN"):
        ItemIndex.build(
            TITLES, TableEmbedder({"Alien": [1.0], "Brazil": [np.nan], "Casablanca": [2.0]})
        )


def test_an_embedder_that_changed_its_size_is_refused(index: ItemIndex) -> None:
    with pytest.raises(ModelError, match="vectors of size 5, but the previous index holds size 4"):
        index.updated((*TITLES, "Dune"), FakeEmbedder(size=5))


def test_embeddings_of_another_number_of_titles_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(2, 4\); expected one row for each of the 3"):
        ItemIndex(TITLES, np.zeros((2, 4)), "fake")


def test_embeddings_with_nan_are_refused() -> None:
    with pytest.raises(ValueError, match="embeddings holds NaN or infinity"):
        ItemIndex(("Alien",), np.array([[np.nan]]), "fake")


def test_the_key_changes_with_model_normalization_and_titles(index: ItemIndex) -> None:
    keys = {
        index.key,
        ItemIndex.build(TITLES, FakeEmbedder(fingerprint="other")).key,
        ItemIndex.build(TITLES, FakeEmbedder(), normalization="center").key,
        ItemIndex.build(TITLES[::-1], FakeEmbedder()).key,
    }
    assert len(keys) == 4
    assert ItemIndex.build(TITLES, FakeEmbedder()).key == index.key


def test_checking_accepts_what_the_index_was_built_with(index: ItemIndex) -> None:
    index.check(FakeEmbedder(), list(TITLES), normalization="none")


def test_checking_names_another_model(index: ItemIndex) -> None:
    with pytest.raises(StaleIndexError, match=r"with another model \(fake, now other\)\. Update"):
        index.check(FakeEmbedder(fingerprint="other"), TITLES, normalization="none")


def test_checking_names_another_normalization(index: ItemIndex) -> None:
    with pytest.raises(
        StaleIndexError, match=r"another normalization \(none, now center\)\. Update"
    ):
        index.check(FakeEmbedder(), TITLES, normalization="center")


def test_checking_names_other_titles(index: ItemIndex) -> None:
    with pytest.raises(StaleIndexError, match=r"another titles \(1 added, 2 removed\)\. Update"):
        index.check(FakeEmbedder(), ("Alien", "Dune"), normalization="none")


def test_checking_names_reordered_titles(index: ItemIndex) -> None:
    with pytest.raises(StaleIndexError, match=r"another titles \(reordered\)\. Update"):
        index.check(FakeEmbedder(), TITLES[::-1], normalization="none")


def test_checking_names_everything_that_changed(index: ItemIndex) -> None:
    with pytest.raises(StaleIndexError, match=r"another model .* another normalization .* anoth"):
        index.check(FakeEmbedder(fingerprint="other"), TITLES[:1], normalization="center")


def test_equal_queries_are_embedded_once_and_titles_never(index: ItemIndex) -> None:
    embedder = FakeEmbedder()
    embeddings = index.embed_queries(["Dune", "Brazil", "Dune", ""], embedder)
    assert embedder.embedded == ["Dune", ""]
    np.testing.assert_array_equal(embeddings, FakeEmbedder().embed(["Dune", "Brazil", "Dune", ""]))


def test_queries_that_are_all_titles_need_no_embedder_call(index: ItemIndex) -> None:
    embedder = FakeEmbedder()
    np.testing.assert_array_equal(index.embed_queries(TITLES, embedder), index.embeddings)
    assert embedder.calls == []


def test_no_queries_give_no_rows(index: ItemIndex) -> None:
    assert index.embed_queries([], FakeEmbedder()).shape == (0, 4)


def test_queries_of_another_embedder_are_refused(index: ItemIndex) -> None:
    with pytest.raises(StaleIndexError, match="another model"):
        index.embed_queries(["Dune"], FakeEmbedder(fingerprint="other"))


def test_queries_of_another_size_are_refused(index: ItemIndex) -> None:
    with pytest.raises(ModelError, match="vectors of size 5, but the index holds size 4"):
        index.embed_queries(["Dune"], FakeEmbedder(size=5))


@pytest.mark.parametrize("normalization", get_args(Normalization))
def test_distances_are_those_of_the_space(normalization: Normalization) -> None:
    titles = [f"title {number}" for number in range(50)]
    index = ItemIndex.build(titles, FakeEmbedder(size=6), normalization=normalization)
    queries = FakeEmbedder(size=6).embed(["x", "y"])
    space = Space.fit(normalization, index.embeddings)
    expected = cdist(
        space.transform(queries).astype(np.float64),
        space.transform(index.embeddings).astype(np.float64),
    )
    np.testing.assert_allclose(index.distances(queries), expected, rtol=1e-5)


@pytest.mark.parametrize("normalization", get_args(Normalization))
def test_a_stored_vector_is_at_distance_exactly_0_in_any_batch(
    normalization: Normalization,
) -> None:
    titles = [f"title {number}" for number in range(200)]
    index = ItemIndex.build(titles, FakeEmbedder(size=48), normalization=normalization)
    for rows in (slice(0, 200), slice(7, 8), slice(3, 20)):
        distances = index.distances(index.embeddings[rows])
        to_itself = distances[np.arange(len(distances)), np.arange(200)[rows]]
        np.testing.assert_array_equal(to_itself, np.zeros(len(distances)))
        assert np.count_nonzero(distances == 0) == len(distances)


@pytest.mark.parametrize("normalization", get_args(Normalization))
def test_titles_of_equal_vectors_have_equal_distances(normalization: Normalization) -> None:
    embeddings = FakeEmbedder(size=48).embed([f"title {number}" for number in range(1200)])
    embeddings[1100:] = embeddings[:100]
    index = ItemIndex(tuple(map(str, range(1200))), embeddings, "fake", normalization)
    l2, points = index.scannable(FakeEmbedder(size=48).embed(["x"]))
    squares = l2.squared(points, np.zeros(1200, dtype=int), np.arange(1200))
    np.testing.assert_array_equal(squares[:100], squares[1100:])


def test_queries_with_nan_are_refused(index: ItemIndex) -> None:
    with pytest.raises(ValueError, match="queries holds NaN or infinity"):
        index.distances(np.full((1, 4), np.nan, dtype=np.float32))


def test_batches_within_little_memory_give_the_same_as_one_batch() -> None:
    titles = [f"title {number}" for number in range(30)]
    index = ItemIndex.build(titles, FakeEmbedder())
    queries = FakeEmbedder().embed([f"query {number}" for number in range(10)])
    batches = list(index.iter_distances(queries, max_bytes=1))
    assert [rows for rows, _ in batches] == [slice(i, i + 1) for i in range(10)]
    np.testing.assert_allclose(
        np.concatenate([distances for _, distances in batches]), index.distances(queries), rtol=1e-6
    )
    assert len(list(index.iter_distances(queries))) == 1


def test_saving_then_loading_gives_the_same_index(tmp_path: Path) -> None:
    index = ItemIndex.build(TITLES, FakeEmbedder(), normalization="center")
    index.save(tmp_path / "index")
    loaded = ItemIndex.load(tmp_path / "index")
    assert loaded.key == index.key
    np.testing.assert_array_equal(loaded.embeddings, index.embeddings)
    queries = FakeEmbedder().embed(["x"])
    np.testing.assert_array_equal(loaded.distances(queries), index.distances(queries))


def test_an_index_replaces_an_older_one_in_its_folder(index: ItemIndex, tmp_path: Path) -> None:
    ItemIndex.build(("Dune",), FakeEmbedder()).save(tmp_path / "index")
    index.save(tmp_path / "index")
    assert ItemIndex.load(tmp_path / "index").titles == TITLES
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_a_loaded_index_can_be_updated(index: ItemIndex, tmp_path: Path) -> None:
    index.save(tmp_path / "index")
    embedder = FakeEmbedder()
    ItemIndex.load(tmp_path / "index").updated((*TITLES, "Dune"), embedder)
    assert embedder.embedded == ["Dune"]


@pytest.mark.parametrize("name", ["index.json", "embeddings.safetensors"])
def test_a_missing_file_is_named(index: ItemIndex, tmp_path: Path, name: str) -> None:
    index.save(tmp_path / "index")
    (tmp_path / "index" / name).unlink()
    with pytest.raises(BundleError, match=rf"{name}.* is missing"):
        ItemIndex.load(tmp_path / "index")


def test_damaged_embeddings_are_named(index: ItemIndex, tmp_path: Path) -> None:
    index.save(tmp_path / "index")
    path = tmp_path / "index" / "embeddings.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(
        BundleError, match=r"embeddings\.safetensors cannot be used: its bytes do not match"
    ):
        ItemIndex.load(tmp_path / "index")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": 3}, "has format 3; this bigrec reads format 2"),
        ({"format": "missing"}, "has format None; this bigrec reads format 2"),
        ({"titles": "missing", "key": "missing"}, "it lacks key, titles"),
        ({"titles": ["Alien", "Brazil", "Dune"]}, "do not match its key"),
        ({"titles": ["Alien"]}, "its fields do not fit together: embeddings has shape"),
        ({"normalization": "cosine"}, "its fields do not fit together: Unknown norm"),
    ],
)
def test_a_damaged_description_is_named(
    index: ItemIndex, tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    index.save(tmp_path / "index")
    _edit(tmp_path / "index" / "index.json", **changes)
    with pytest.raises(BundleError, match=rf"index\.json.*{reason}"):
        ItemIndex.load(tmp_path / "index")


def test_embeddings_under_a_matching_checksum_must_still_be_embeddings(
    index: ItemIndex, tmp_path: Path
) -> None:
    # sha256 of the bytes "no"
    digest = "9390298f3fb0c5b160498935d79cb139aef28e1c47358b4bbba61862b9c26e59"
    index.save(tmp_path / "index")
    (tmp_path / "index" / "embeddings.safetensors").write_bytes(b"no")
    _edit(tmp_path / "index" / "index.json", embeddings_sha256=digest)
    with pytest.raises(BundleError, match="not a safetensors file of arrays"):
        ItemIndex.load(tmp_path / "index")


def test_a_joined_index_has_its_own_titles_first(index: ItemIndex) -> None:
    other = ItemIndex.build(("Dune", "Brazil"), FakeEmbedder())
    joined = index.joined(other)
    assert joined.titles == (*TITLES, "Dune")
    np.testing.assert_array_equal(joined.embeddings[:3], index.embeddings)
    np.testing.assert_array_equal(joined.embeddings[3], other.embeddings[0])
    assert index.joined(None) is index
    assert index.joined(ItemIndex.build(("Brazil",), FakeEmbedder())) is index


def test_an_index_of_another_embedder_joins_no_titles(index: ItemIndex) -> None:
    other = ItemIndex(("Dune",), np.zeros_like(index.embeddings[:1]), "another")
    assert index.joined(other) is index


def test_an_index_without_some_titles_keeps_the_others(index: ItemIndex) -> None:
    rest = index.without({"Brazil", "Dune"})
    assert rest is not None
    assert rest.titles == ("Alien", "Casablanca")
    np.testing.assert_array_equal(rest.embeddings, index.embeddings[[0, 2]])
    assert index.without(TITLES) is None
