"""The language model as a retriever: training, encoding, loading, and new titles."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from bigrec.data.catalog import Catalog
from bigrec.errors import BundleError, ModelError, StaleIndexError
from bigrec.grounding.cold_items import ColdItemImputer
from bigrec.lm.model import LanguageModel
from bigrec.models.llm import ItemTextFeatures, LLMRetriever
from bigrec.models.llm.network import impute_rows
from tests.conftest import TITLES, save_tiny_model
from tests.models.fakes import N, ring
from tests.models.llm.fakes import TITLE_IDS, fit, load
from tests.trackers import tracked_figures


@pytest.fixture
def lm(tiny_model: Path) -> LanguageModel:
    return load(tiny_model)


def test_the_next_title_is_learned(lm: LanguageModel) -> None:
    retriever = fit(lm, epochs=20, early_stopping_patience=20, max_length=8, learning_rate=0.005)
    histories = [np.array([2, 3]), np.array([0, 1]), np.array([5])]
    scores = retriever.scores(histories)
    # Seen items are excluded in training, so that their scores are arbitrary.
    for row, history in zip(scores, histories, strict=True):
        row[history] = -1
    assert scores[:, :N].argmax(axis=1).tolist() == [4, 2, 6]


def test_loss_and_validation_are_reported_to_a_tracker(lm: LanguageModel, tmp_path: Path) -> None:
    retriever = fit(lm, epochs=3, folder=tmp_path, report_to=["tensorboard"])
    curves = tracked_figures(tmp_path)
    # Epoch 0 is the untrained network. Every user of the ring has as many targets in an epoch.
    steps, figures = zip(*curves["eval/ndcg_at_10"], strict=True)
    assert list(figures) == pytest.approx([entry["ndcg@10"] for entry in retriever.log])
    assert [step / steps[1] for step in steps] == [0, 1, 2, 3]
    assert curves["train/loss"][-1][0] == steps[-1]
    assert curves["train/learning_rate"][-1][1] == pytest.approx(0, abs=1e-9)


def test_items_of_one_title_have_one_score_and_are_read_alike(lm: LanguageModel) -> None:
    retriever = fit(lm, epochs=1)
    scores = retriever.scores([np.array([7, 0]), np.array([7, 8])])
    np.testing.assert_array_equal(scores[:, 0], scores[:, 8])
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-6)


def test_distances_in_the_item_index_rank_like_the_scores(lm: LanguageModel) -> None:
    retriever = fit(lm, epochs=2)
    histories = [np.array([3, 4]), np.array([1])]
    distances = retriever.item_index().distances(retriever.encode(histories))
    expected = np.argsort(-retriever.scores(histories)[:, :N], axis=1)
    np.testing.assert_array_equal(np.argsort(distances, axis=1), expected)


def test_a_loaded_retriever_can_be_saved_again(
    lm: LanguageModel, tiny_model: Path, tmp_path: Path
) -> None:
    retriever = fit(lm, epochs=2)
    retriever.save(tmp_path / "first")
    known: dict[str, Any] = {"index": retriever.index, "title_ids": TITLE_IDS}
    loaded = LLMRetriever.load(tmp_path / "first", lm=load(tiny_model), **known)
    loaded.save(tmp_path / "second")
    again = LLMRetriever.load(tmp_path / "second", lm=load(tiny_model), **known)
    histories = [np.array([3, 4]), np.array([1])]
    np.testing.assert_array_equal(again.scores(histories), retriever.scores(histories))
    assert loaded.fingerprint == again.fingerprint == retriever.fingerprint


def test_weights_of_another_base_model_are_refused(lm: LanguageModel, tmp_path: Path) -> None:
    retriever = fit(lm, epochs=1)
    retriever.save(tmp_path / "retriever")
    other = load(save_tiny_model(tmp_path / "m", chat=True))
    other.truncate(1)
    with pytest.raises(BundleError, match=r"it holds decoder\.layers\.1.*, which nothing reads"):
        LLMRetriever.load(
            tmp_path / "retriever", lm=other, index=retriever.index, title_ids=TITLE_IDS
        )


def test_the_trained_part_of_a_cold_title_is_imputed_from_its_neighbors() -> None:
    # Content vectors along three axes; trained parts of two numbers. The last title is cold, and
    # its content is that of the first one.
    content = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]
    trained = torch.tensor([[1.0, 0], [0, 1], [0, 1], [-1, 0]])
    imputer = ColdItemImputer.fit(content, np.array([True, True, True, False]))
    imputed = impute_rows(
        trained,
        rows=torch.from_numpy(imputer.cold),
        neighbors=torch.from_numpy(imputer.neighbors),
        weights=torch.from_numpy(imputer.weights).float(),
    )
    np.testing.assert_array_equal(imputed[:3], trained[:3])
    # The first neighbor weighs e^10 times as much as each of the others.
    expected = np.array([np.exp(10), 2.0])
    np.testing.assert_allclose(imputed[3], expected / np.linalg.norm(expected), rtol=1e-5)


def test_without_cold_titles_nothing_is_imputed() -> None:
    vectors, none = torch.ones(2, 4), torch.zeros(0, dtype=torch.long)
    imputed = impute_rows(vectors, rows=none, neighbors=none[:, None], weights=none[:, None])
    assert imputed is vectors


def test_a_cold_title_has_no_id_embedding_in_a_history(lm: LanguageModel) -> None:
    interactions = ring()
    # The ring without its last item.
    retriever = fit(lm, interactions, interactions.items != N - 1, epochs=1)
    id_inputs = retriever.network.id_inputs
    assert id_inputs is not None
    lengths = id_inputs.weight.detach().norm(dim=1).numpy()
    assert 0 < retriever.known.sum() < len(retriever.known)
    np.testing.assert_array_equal(lengths > 0, retriever.known)


def test_a_history_reads_a_cold_title_alike_before_and_after_a_change_of_the_catalog(
    lm: LanguageModel,
) -> None:
    interactions = ring()
    # The ring without its last item.
    retriever = fit(lm, interactions, interactions.items != N - 1, epochs=2)
    histories = [np.array([2, N - 1]), np.array([N - 1, 3])]
    expected = retriever.encode(histories)
    titles = [*TITLES[:N], TITLES[8]]
    changed = retriever.with_catalog(
        Catalog(titles, titles, pl.DataFrame(), np.arange(N + 1), titles)
    )
    np.testing.assert_allclose(changed.encode(histories), expected, atol=1e-6)
    # Its ID embedding is 0 in both, as that of a new title is.
    for network, cold in ((retriever.network, [N - 1]), (changed.network, [N - 1, N])):
        assert network.id_inputs is not None
        assert not network.id_inputs.weight[cold].any()
        network.id_inputs.weight.data[cold] = 0
    np.testing.assert_array_equal(retriever.encode(histories), expected)


def test_early_stopping_judges_the_vectors_that_are_served(lm: LanguageModel) -> None:
    interactions = ring()
    retriever = fit(lm, interactions, interactions.items != N - 1, epochs=1)
    assert not retriever.known.all()
    with torch.inference_mode():
        judged = retriever.network.item_vectors().numpy()
    served = retriever.item_index().embeddings
    np.testing.assert_array_equal(served, judged / np.float32(2**0.5))


def test_the_untrained_network_is_logged_as_epoch_0(lm: LanguageModel) -> None:
    first, *others = fit(lm, epochs=2).log
    assert set(first) == {"epoch", "ndcg@10"}
    assert [entry["epoch"] for entry in (first, *others)] == [0, 1, 2]


def test_new_titles_need_no_training_and_change_no_other_scores(lm: LanguageModel) -> None:
    retriever = fit(lm, epochs=2)
    before = retriever.scores([np.array([2, 3])])
    titles = [TITLES[8], *TITLES[:N]]
    grown = retriever.with_catalog(
        Catalog(
            [str(number) for number in range(N + 1)],
            titles,
            pl.DataFrame(),
            np.arange(N + 1),
            titles,
        )
    )
    # Every old item's number is one more, the new one's is 0.
    after = grown.scores([np.array([3, 4])])
    assert after.shape == (1, N + 1)
    np.testing.assert_allclose(after[0, 1:], before[0, :N], atol=1e-5)
    # The original retriever still serves its own catalog.
    np.testing.assert_array_equal(retriever.scores([np.array([2, 3])]), before)


def test_id_embeddings_separate_titles_of_equal_features(
    lm: LanguageModel,
) -> None:
    def closeness(id_embedding_dropout: float) -> float:
        retriever = fit(lm, epochs=4, id_embedding_dropout=id_embedding_dropout)
        features = torch.from_numpy(retriever.index.embeddings.copy())
        twins = retriever.network.with_features(
            torch.cat([features[:1], features[:1]]), torch.tensor([0, 1])
        )
        first, second = twins.item_vectors().detach()
        return float(first @ second)

    assert closeness(1.0) == pytest.approx(2, abs=1e-5)
    assert closeness(0.2) < 2 - 1e-4


def test_a_resumed_training_equals_an_uninterrupted_one(tiny_model: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    options: dict[str, Any] = {"epochs": 4, "lora_dropout": 0.1, "feature_dropout": 0.1}
    options |= {"embedding_dropout": 0.1, "id_embedding_dropout": 0.2}
    with pytest.raises(KeyboardInterrupt):
        fit(load(tiny_model), folder=tmp_path, progress=stop, **options)
    resumed = fit(load(tiny_model), folder=tmp_path, **options)
    uninterrupted = fit(load(tiny_model), **options)
    np.testing.assert_array_equal(
        resumed.scores([np.array([2, 3])]), uninterrupted.scores([np.array([2, 3])])
    )


@pytest.mark.parametrize(
    "change", [{"lora_alpha": 16}, {"lora_dropout": 0.5}, {"target_modules": ["q_proj"]}], ids=str
)
def test_a_checkpoint_of_another_adapter_is_not_resumed(
    change: dict[str, Any], lm: LanguageModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fit(lm, folder=tmp_path, epochs=1)
    with caplog.at_level(logging.WARNING):
        fit(lm, folder=tmp_path, epochs=1, **change)
    assert "starts anew: the checkpoint in" in caplog.text


def test_an_index_of_another_model_is_refused(lm: LanguageModel) -> None:
    index = fit(lm, epochs=1).index
    lm.truncate(1)
    with pytest.raises(StaleIndexError, match="built with another model"):
        fit(lm, index=index)


def test_a_model_is_not_truncated_to_more_layers_than_it_has(lm: LanguageModel) -> None:
    with pytest.raises(ModelError, match=r"3 layers of base model .* cannot be used: it has 2"):
        lm.truncate(3)


def test_truncation_changes_the_fingerprint(lm: LanguageModel) -> None:
    before = ItemTextFeatures(lm).fingerprint
    lm.truncate(1)
    assert ItemTextFeatures(lm).fingerprint != before


def test_an_untrained_history_is_the_recency_weighted_content_of_its_items(
    lm: LanguageModel,
) -> None:
    retriever = fit(lm, epochs=1, learning_rate=1e-9)
    # The trained part of a history starts at 0, so that the content part has length 1.
    content = retriever.item_index().embeddings[:, :16] * 2**0.5
    alone, both = retriever.encode([np.array([3]), np.array([5, 3])])
    np.testing.assert_allclose(alone[:16], content[3], atol=1e-3)
    mixed = content[3] + 0.7 * content[5]
    np.testing.assert_allclose(both[:16], mixed / np.linalg.norm(mixed), atol=1e-3)
    np.testing.assert_allclose(both[16:], 0, atol=1e-3)


def test_the_selected_number_of_epochs_gives_the_selected_weights(tiny_model: Path) -> None:
    stopped = fit(load(tiny_model), epochs=4)
    epoch = stopped.selected_epoch
    assert epoch is not None
    # Epoch 0 is the untrained network.
    figures = [entry["ndcg@10"] for entry in stopped.log]
    assert figures[epoch] == max(figures)
    again = fit(load(tiny_model), epochs=4, stop_after=epoch)
    assert len(again.log) == epoch
    histories = [np.array([2, 3]), np.array([6])]
    np.testing.assert_array_equal(again.scores(histories), stopped.scores(histories))


def test_no_epoch_keeps_the_untrained_network(lm: LanguageModel) -> None:
    assert fit(lm, stop_after=0).log == []
