"""A language model that points at titles: learned, asked, kept, and given new titles."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bigrec.data.catalog import Catalog
from bigrec.errors import BundleError, ModelError
from bigrec.grounding.cold_items import Likes
from bigrec.grounding.index import ItemIndex
from bigrec.lm.model import LanguageModel, load_language_model
from bigrec.models.llm import DirectGrounder, TitleFeatures
from bigrec.models.llm.retriever import _taken_over
from bigrec.models.registry import Lessons
from tests.conftest import TITLES, save_tiny_model
from tests.models.fakes import every_row
from tests.models.neural.fakes import N, ring

# Item 8 is another edition of title 0.
GROUP = np.array([*range(N), 0])


@pytest.fixture
def lm(tiny_model: Path) -> LanguageModel:
    return load_language_model(str(tiny_model), device="cpu")


def lessons() -> Lessons:
    """Users who walk a ring of titles: title i is always followed by i + 1, the last by 0."""
    of = ring()
    return Lessons(
        interactions=of,
        train=every_row(of),
        n_items=N + 1,
        valid_histories=[np.array([2, 3]), np.array([6, 7])],
        valid_targets=np.array([4, 8]),
    )


def fit(lm: LanguageModel, **options: Any) -> DirectGrounder:
    index = ItemIndex.build(TITLES[:N], TitleFeatures(lm))
    settings: dict[str, Any] = {
        "rank": 4,
        "alpha": 8,
        "max_length": 4,
        "title_size": 16,
        "size": 16,
        "hidden_size": 32,
        "lora_dropout": 0.0,
        "item_dropout": 0.0,
        "input_dropout": 0.0,
        "id_dropout": 0.0,
        "learning_rate": 0.02,
        "batch_size": 16,
        "epochs": 8,
        "patience": 8,
    }
    return DirectGrounder.fit(lm, index, lessons(), group=GROUP, **(settings | options))


def test_the_next_title_is_learned(lm: LanguageModel) -> None:
    grounder = fit(lm, epochs=20, patience=20, max_length=8, learning_rate=0.005)
    histories = [np.array([2, 3]), np.array([0, 1]), np.array([5])]
    scores = grounder.scores(histories)
    # Whoever asks leaves out what was seen, so nothing is learned about that.
    for row, history in zip(scores, histories, strict=True):
        row[history] = -1
    assert scores[:, :N].argmax(axis=1).tolist() == [4, 2, 6]


def test_items_of_one_title_have_one_score_and_are_read_alike(lm: LanguageModel) -> None:
    grounder = fit(lm, epochs=1)
    scores = grounder.scores([np.array([7, 0]), np.array([7, 8])])
    np.testing.assert_array_equal(scores[:, 0], scores[:, 8])
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-6)


def test_one_query_scores_as_it_does_in_a_batch(lm: LanguageModel) -> None:
    grounder = fit(lm, epochs=1)
    histories = [np.array([1]), np.array([4, 5, 6, 7]), np.array([2, -1, 3])]
    together = grounder.scores(histories)
    for row, history in zip(together, histories, strict=True):
        np.testing.assert_allclose(grounder.scores([history])[0], row, atol=1e-5)


def test_an_empty_history_prefers_nothing(lm: LanguageModel) -> None:
    assert not fit(lm, epochs=1).scores([np.zeros(0, dtype=np.int64)]).any()


def test_distances_in_the_item_index_rank_as_the_scores_do(lm: LanguageModel) -> None:
    grounder = fit(lm, epochs=2)
    histories = [np.array([3, 4]), np.array([1])]
    distances = grounder.item_index().distances(grounder.points(histories))
    expected = np.argsort(-grounder.scores(histories)[:, :N], axis=1)
    np.testing.assert_array_equal(np.argsort(distances, axis=1), expected)


def test_saved_and_loaded_it_gives_the_same_scores(
    lm: LanguageModel, tiny_model: Path, tmp_path: Path
) -> None:
    grounder = fit(lm, epochs=2)
    grounder.save(tmp_path / "direct")
    fresh = load_language_model(str(tiny_model), device="cpu")
    loaded = DirectGrounder.load(tmp_path / "direct", lm=fresh, index=grounder.index, group=GROUP)
    loaded.save(tmp_path / "again")
    again = DirectGrounder.load(
        tmp_path / "again",
        lm=load_language_model(str(tiny_model), device="cpu"),
        index=grounder.index,
        group=GROUP,
    )
    histories = [np.array([3, 4]), np.array([1])]
    for one in (loaded, again):
        np.testing.assert_array_equal(one.scores(histories), grounder.scores(histories))
    assert loaded.fingerprint == grounder.fingerprint


def test_weights_of_another_base_model_are_refused(lm: LanguageModel, tmp_path: Path) -> None:
    grounder = fit(lm, epochs=1)
    grounder.save(tmp_path / "direct")
    other = load_language_model(str(save_tiny_model(tmp_path / "m", chat=True)), device="cpu")
    other.cut(1)
    with pytest.raises(BundleError, match="its weights do not fit base model"):
        DirectGrounder.load(tmp_path / "direct", lm=other, index=grounder.index, group=GROUP)


def test_a_title_that_was_not_learned_from_takes_over_what_its_likes_learned() -> None:
    # Places along three axes; the learned parts are two numbers. The last title is new, and lies
    # where the first one does.
    places = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]
    learned = np.array([[1, 0], [0, 1], [0, 1], [-1, 0]], dtype=np.float32)
    vectors = np.concatenate([places, learned], axis=1)
    known = np.array([True, True, True, False])
    found = _taken_over(vectors, Likes.of(places, known), title_size=3)
    np.testing.assert_array_equal(found[:3], vectors[:3])
    np.testing.assert_array_equal(found[3, :3], places[3])
    # The first counts e^10 times as much as each of the others.
    expected = np.array([np.exp(10), 2.0])
    np.testing.assert_allclose(found[3, 3:], expected / np.linalg.norm(expected), rtol=1e-5)


def test_where_nothing_was_learned_points_stay() -> None:
    vectors = np.ones((2, 4), dtype=np.float32)
    likes = Likes.of(vectors[:, :2], np.zeros(2, bool))
    np.testing.assert_array_equal(_taken_over(vectors, likes, title_size=2), vectors)


def test_new_titles_need_no_training_and_move_no_other(lm: LanguageModel) -> None:
    grounder = fit(lm, epochs=2)
    before = grounder.scores([np.array([2, 3])])
    titles = [TITLES[8], *TITLES[:N]]
    grown = grounder.with_catalog(
        Catalog([str(number) for number in range(N + 1)], titles, None, np.arange(N + 1), titles)
    )
    # Every old item's number is one more, the new one's is 0.
    after = grown.scores([np.array([3, 4])])
    assert after.shape == (1, N + 1)
    np.testing.assert_allclose(after[0, 1:], before[0, :N], atol=1e-5)
    # The one before still serves its own catalog.
    np.testing.assert_array_equal(grounder.scores([np.array([2, 3])]), before)


def test_two_titles_of_the_same_features_are_told_apart_by_their_own_vectors(
    lm: LanguageModel,
) -> None:
    def closeness(id_dropout: float) -> float:
        grounder = fit(lm, epochs=4, id_dropout=id_dropout)
        features = torch.from_numpy(grounder.index.embeddings.copy())
        twins = grounder.network.with_features(
            torch.cat([features[:1], features[:1]]), torch.tensor([0, 1])
        )
        first, second = twins.vectors().detach()
        return float(first @ second)

    assert closeness(1.0) == pytest.approx(2, abs=1e-5)
    assert closeness(0.2) < 2 - 1e-4


def test_an_interrupted_training_ends_as_an_uninterrupted_one(
    tiny_model: Path, tmp_path: Path
) -> None:
    def stop(done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    def model() -> LanguageModel:
        return load_language_model(str(tiny_model), device="cpu")

    options: dict[str, Any] = {"epochs": 4, "lora_dropout": 0.1, "item_dropout": 0.1}
    options |= {"input_dropout": 0.1, "id_dropout": 0.2}
    with pytest.raises(KeyboardInterrupt):
        fit(model(), folder=tmp_path, progress=stop, **options)
    resumed, whole = fit(model(), folder=tmp_path, **options), fit(model(), **options)
    np.testing.assert_array_equal(
        resumed.scores([np.array([2, 3])]), whole.scores([np.array([2, 3])])
    )


@pytest.mark.parametrize(
    "change", [{"alpha": 16}, {"lora_dropout": 0.5}, {"target_modules": ["q_proj"]}], ids=str
)
def test_a_checkpoint_of_another_adapter_is_not_gone_on_with(
    change: dict[str, Any], lm: LanguageModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fit(lm, folder=tmp_path, epochs=1)
    with caplog.at_level(logging.WARNING):
        fit(lm, folder=tmp_path, epochs=1, **change)
    assert "starts anew: the checkpoint in" in caplog.text


@pytest.mark.parametrize("item", [-2, N + 1])
def test_an_item_that_the_catalog_lacks_is_refused(item: int, lm: LanguageModel) -> None:
    with pytest.raises(ValueError, match=f"a history holds {item}; expected numbers from 0 to 8"):
        fit(lm, epochs=1).points([np.array([1, item])])


def test_a_model_cannot_be_cut_to_more_layers_than_it_has(lm: LanguageModel) -> None:
    with pytest.raises(ModelError, match=r"3 layers of base model .* cannot be used: it has 2"):
        lm.cut(3)


def test_a_cut_model_is_another_model(lm: LanguageModel) -> None:
    before = TitleFeatures(lm).fingerprint
    lm.cut(1)
    assert TitleFeatures(lm).fingerprint != before


def test_untrained_it_points_at_what_was_read_the_newest_first(lm: LanguageModel) -> None:
    grounder = fit(lm, epochs=1, learning_rate=1e-9)
    # The part that is learned has no length yet, and that of titles is all there is.
    places = grounder.item_index().embeddings[:, :16] * 2**0.5
    alone, both = grounder.points([np.array([3]), np.array([5, 3])])
    np.testing.assert_allclose(alone[:16], places[3], atol=1e-3)
    mixed = places[3] + 0.7 * places[5]
    np.testing.assert_allclose(both[:16], mixed / np.linalg.norm(mixed), atol=1e-3)
    np.testing.assert_allclose(both[16:], 0, atol=1e-3)
