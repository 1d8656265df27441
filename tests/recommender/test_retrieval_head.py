"""Retrieval mode with a Gaussian head: its states, its bundle, changed catalogs and refitting."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from bigrec.data.catalog import Catalog
from bigrec.errors import BundleError, SettingsError
from bigrec.models.llm import LLMRetriever, RetrieverStates
from bigrec.recommender.bigrec import BIGRec
from bigrec.recommender.query_encoders import RetrievalQueryEncoder
from bigrec.settings import Settings
from tests.conftest import TITLES, tiny_dataset, tiny_frames, tiny_settings
from tests.models.llm.fakes import fit as fit_retriever
from tests.models.llm.fakes import load
from torture.damage import resign

pytestmark = pytest.mark.model

HISTORY = ["i0", "i3", "i5"]


def fit(tiny_model: Path, *changes: str) -> BIGRec:
    changes = ("grounding.head=gaussian", *changes)
    return BIGRec(tiny_settings(tiny_model, *changes, mode="retrieval")).fit(tiny_dataset())


def encoder_of(model: BIGRec) -> RetrievalQueryEncoder:
    encoder = model.fitted.encoder
    assert isinstance(encoder, RetrievalQueryEncoder)
    return encoder


@pytest.fixture(scope="module")
def fitted(tiny_model: Path) -> BIGRec:
    return fit(tiny_model)


def test_states_within_a_sequence_are_those_after_its_beginnings(tiny_model: Path) -> None:
    retriever = fit_retriever(load(tiny_model), epochs=1)
    states = RetrieverStates(retriever, max_history_length=10)
    sequences = [np.array([0, 3, 5, 1]), np.array([7, 2])]
    within = states.within(sequences)
    after = states.after([sequences[0][:1], sequences[0][:2], sequences[0][:3], sequences[1][:1]])
    assert within.shape == (4, states.dim)
    np.testing.assert_allclose(within, after, atol=1e-5)
    # Two parts of length 1, and nothing of an empty history.
    np.testing.assert_allclose(np.linalg.norm(after[:, :16], axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(after[:, 16:], axis=1), 1, rtol=1e-5)
    assert not states.after([np.zeros(0, dtype=np.int64)]).any()


def test_only_the_newest_items_are_read(tiny_model: Path) -> None:
    states = RetrieverStates(fit_retriever(load(tiny_model), epochs=1), max_history_length=2)
    whole, newest = states.after([np.array([4, 0, 3]), np.array([0, 3])])
    np.testing.assert_allclose(whole, newest, atol=1e-6)


def test_lists_are_ranked_by_the_gaussian_model(fitted: BIGRec) -> None:
    encoder = encoder_of(fitted)
    assert [method.label for method in encoder.methods.values()] == ["LLM retrieval, Gaussian head"]
    history = fitted.catalog.resolve(HISTORY)
    head = encoder.head
    assert head is not None
    states = RetrieverStates(encoder._retriever, max_history_length=10).after([history])
    best = np.argsort(-head.scores(states)[0])
    listed = fitted.recommend(HISTORY, k=12, exclude_seen=False)
    assert [item.item_id for item in listed] == [fitted.catalog.item_ids[item] for item in best]


def test_a_query_costs_no_pass_over_all_weights(
    fitted: BIGRec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: LLMRetriever) -> str:
        raise AssertionError("the fingerprint is computed for a query")

    before = fitted.recommend(HISTORY)
    monkeypatch.setattr(LLMRetriever, "fingerprint", property(refuse))
    assert fitted.recommend(HISTORY) == before


def test_the_states_are_those_of_all_training_interactions(fitted: BIGRec) -> None:
    head = encoder_of(fitted).head
    assert head is not None
    # All but the first of each of 20 users.
    assert head.statistics.counts.sum() == fitted.fitted.counts.sum() - 20


def test_without_the_setting_there_is_no_head(tiny_model: Path) -> None:
    assert encoder_of(fit(tiny_model, "grounding.head=auto")).head is None


def test_a_bundle_recommends_as_before_and_ranks_new_titles(fitted: BIGRec, tmp_path: Path) -> None:
    fitted.save(tmp_path / "bundle")
    loaded = BIGRec.load(tmp_path / "bundle", device="cpu")
    before = [item.item_id for item in loaded.recommend(HISTORY, k=12, exclude_seen=False)]
    assert loaded.recommend(HISTORY, k=8) == fitted.recommend(HISTORY, k=8)
    _, items = tiny_frames()
    more = pl.concat([items, pl.DataFrame({"item_id": ["new"], "title": ["Alien (1979)"]})])
    loaded.update_catalog(Catalog.from_frame(more))
    after = [item.item_id for item in loaded.recommend(HISTORY, k=13, exclude_seen=False)]
    assert len(after) == len(TITLES) + 1
    assert [item for item in after if item != "new"] == before


def test_a_head_of_another_retriever_is_refused(
    fitted: BIGRec, tiny_model: Path, tmp_path: Path
) -> None:
    for name, model in (
        ("bundle", fitted),
        ("other", fit(tiny_model, "retrieval.embedding_dim=4")),
    ):
        model.save(tmp_path / name)
    (tmp_path / "bundle" / "head").rename(tmp_path / "head")
    (tmp_path / "other" / "head").rename(tmp_path / "bundle" / "head")
    resign(tmp_path / "bundle")
    with pytest.raises(BundleError, match="its states have 12 dimensions and the retriever's 16"):
        BIGRec.load(tmp_path / "bundle", device="cpu")


def test_a_refitted_head_takes_over_what_was_selected(tiny_model: Path) -> None:
    refitted = fit(tiny_model, "evaluation.refit=train+valid")
    first = fit(tiny_model)
    heads = [encoder_of(model).head for model in (first, refitted)]
    assert heads[0] is not None
    assert heads[1] is not None
    assert heads[1].grounding.parameters == heads[0].grounding.parameters
    assert heads[1].statistics.counts.sum() > heads[0].statistics.counts.sum()


def test_a_head_has_no_effect_where_texts_are_written() -> None:
    with pytest.raises(SettingsError, match=r"grounding.head: it has no effect here"):
        Settings.read(overrides=["mode=generative", "grounding.head=gaussian"])
