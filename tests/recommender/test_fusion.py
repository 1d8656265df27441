"""Signals beside the language model: what they learn from, and how they move the list."""

from pathlib import Path

import numpy as np
import pytest

from bigrec.data.catalog import Catalog
from bigrec.data.dataset import Dataset
from bigrec.errors import BundleError
from bigrec.grounding.cold_items import Likes
from bigrec.grounding.fusion.rule import Rule
from bigrec.models.popularity import Popularity
from bigrec.models.precomputed import External
from bigrec.recommender.bigrec import BIGRec
from bigrec.recommender.factory import draw
from bigrec.recommender.fusion import BoundSignals, Injected
from bigrec.recommender.query_encoders import writer_of
from bigrec.recommender.scoring import filled
from bigrec.recommender.training_data import few_shot_lessons, lessons_of
from bigrec.settings import Settings
from bigrec.storage import read_json, write_json
from tests.conftest import TITLES, tiny_frames, tiny_overrides

DISTANCES = np.array([[0.0, 1.0, 2.0, 4.0]])
HISTORY = [np.array([0])]


def catalog(*ids: str) -> Catalog:
    import polars as pl

    return Catalog.from_frame(pl.DataFrame({"item_id": ids, "title": [f"T {i}" for i in ids]}))


def injected(counts: list[int], *ids: str) -> Injected:
    return Injected(
        {"popularity": Popularity.fit(np.array(counts))},
        Rule("sum", "all", (1.0,)),
        full_history=False,
        item_ids=ids,
    )


def test_signals_are_put_in_as_the_rule_says() -> None:
    bound = BoundSignals(injected([0, 2, 4, 4], *"abcd"), catalog(*"abcd"))
    # normalised 0, 1/4, 1/2, 1 less weights 0, 1/2, 1, 1
    np.testing.assert_allclose(bound.fuse(DISTANCES, HISTORY), [[0, -0.25, -0.5, 0]])


def test_an_item_that_a_signal_never_met_weighs_nothing() -> None:
    # Of the catalog's b, x, d and a, the signal knows all but x; counts 2, none, 4 and 0.
    bound = BoundSignals(injected([0, 2, 4, 4], *"abcd"), catalog(*"bxda"))
    np.testing.assert_allclose(bound.fuse(DISTANCES, HISTORY), [[-0.5, 0.25, -0.5, 1]])


def test_signals_are_read_back_as_they_were_saved(tmp_path: Path) -> None:
    saved = injected([0, 2, 4, 4], *"abcd")
    saved.save(tmp_path / "signals")
    loaded = Injected.load(tmp_path / "signals")
    assert loaded.name == "BIGRec + popularity"
    assert loaded.rule == saved.rule
    np.testing.assert_array_equal(
        BoundSignals(loaded, catalog(*"abcd")).fuse(DISTANCES, HISTORY),
        BoundSignals(saved, catalog(*"abcd")).fuse(DISTANCES, HISTORY),
    )


def test_a_title_that_signals_never_met_weighs_as_much_as_its_like() -> None:
    # The last item came later; it is like the third, the most popular one.
    likes = Likes(np.array([4]), np.array([[2]]), np.array([[1.0]]))
    distances = np.array([[0.0, 1.0, 1.0, 1.0, 1.0]])
    alone = BoundSignals(injected([0, 2, 4, 3], *"abcd"), catalog(*"abcde"))
    liked = BoundSignals(injected([0, 2, 4, 3], *"abcd"), catalog(*"abcde"), likes=likes)
    assert alone.fuse(distances, HISTORY)[0, 4] == 1
    fused = liked.fuse(distances, HISTORY)[0]
    assert fused[4] == fused[2] < 1
    np.testing.assert_array_equal(fused[:4], alone.fuse(distances, HISTORY)[0, :4])


def test_scores_from_files_know_new_titles_themselves() -> None:
    likes = Likes(np.array([1]), np.array([[0]]), np.array([[1.0]]))
    scores = np.array([[3.0, 7.0]])
    assert filled(External("mine", scores), scores, likes) is scores
    np.testing.assert_array_equal(filled(Popularity.fit(np.array([1, 0])), scores, likes), [[3, 3]])


def test_signals_of_another_format_are_told(tmp_path: Path) -> None:
    injected([1, 1], *"ab").save(tmp_path / "signals")
    about = tmp_path / "signals" / "injection.json"
    write_json(about, {**read_json(about), "format": 99})
    with pytest.raises(BundleError, match=r"injection\.json has format 99.*Make the bundle again"):
        Injected.load(tmp_path / "signals")


@pytest.mark.model
def test_few_shot_lessons_are_the_language_models_own_examples() -> None:
    settings = Settings.read(overrides=["data.train_examples=5", "data.history_length=3"])
    dataset = Dataset.from_frames(*tiny_frames(), noun="movie")
    drawn = draw(dataset, settings)
    lessons = few_shot_lessons(dataset, drawn)
    rows = np.split(lessons.interactions.items, lessons.interactions.user_start[1:-1])
    titles = {(*map(TITLES.__getitem__, row),) for row in rows}
    assert titles == {(*example.history, example.target) for example in drawn.train}
    assert lessons.train.all()
    everything = lessons_of(dataset, drawn)
    assert everything.train.sum() == drawn.counts.sum() > len(lessons.interactions)


@pytest.mark.model
def test_networks_are_stopped_by_more_examples_than_the_model_writes_for() -> None:
    settings = Settings.read(overrides=["data.valid_examples=1"])
    dataset = Dataset.from_frames(*tiny_frames(), noun="movie")
    drawn = draw(dataset, settings)
    assert len(drawn.valid_queries) == 1 < drawn.sizes["valid"]
    assert len(lessons_of(dataset, drawn).valid_targets) == drawn.sizes["valid"]


@pytest.fixture(scope="module")
def fitted(tiny_model: Path) -> BIGRec:
    overrides = [*tiny_overrides(tiny_model), "recommend.inject=[popularity, EASE]"]
    return BIGRec(Settings.read(overrides=overrides)).fit(
        Dataset.from_frames(*tiny_frames(), noun="movie")
    )


@pytest.mark.model
def test_a_recommender_with_signals_lists_by_the_fused_distances(fitted: BIGRec) -> None:
    parts = fitted.parts
    assert parts.bound is not None
    assert list(parts.bound.injected.signals) == ["popularity", "EASE"]
    history = fitted.catalog.resolve(["i0", "i3"])
    writer = writer_of(parts.answerer)
    queries = parts.ranker.queries(writer.write([history]), writer.embedder)
    (chunk,) = parts.ranker.iter_distances(queries, beams="all")
    fused = parts.bound.fuse(chunk.combine(parts.beams)[0], [history])[0]
    fused[history] = np.inf
    expected = [fitted.catalog.item_ids[item] for item in np.argsort(fused, kind="stable")[:5]]
    assert [one.item_id for one in fitted.recommend(["i0", "i3"], k=5)] == expected


@pytest.mark.model
def test_the_bundle_holds_the_signals_and_gives_the_same_list(
    fitted: BIGRec, tmp_path: Path
) -> None:
    fitted.save(tmp_path / "bundle")
    loaded = BIGRec.load(tmp_path / "bundle")
    assert loaded.recommend(["i0", "i3"], k=6) == fitted.recommend(["i0", "i3"], k=6)


@pytest.mark.model
def test_a_new_catalog_keeps_the_signals_for_what_they_know(fitted: BIGRec, tmp_path: Path) -> None:
    import polars as pl

    fitted.save(tmp_path / "bundle")
    model = BIGRec.load(tmp_path / "bundle")
    _, items = tiny_frames()
    new = pl.concat([pl.DataFrame({"item_id": ["new"], "title": ["Heat (1995)"]}), items])
    model.update_catalog(Catalog.from_frame(new))
    listed = [one.item_id for one in model.recommend(["i0", "new"], k=11)]
    assert set(listed) == {f"i{number}" for number in range(1, 12)}
