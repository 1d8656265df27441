"""A retriever that is trained on further catalogs."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bigrec.errors import DataError
from bigrec.lm.distributed import Processes
from bigrec.lm.model import LanguageModel
from bigrec.models.llm.catalogs import extra_sources
from bigrec.models.llm.network import TwoTowerNetwork
from bigrec.models.neural.arguments import TrainingArguments
from bigrec.models.neural.source import TrainingSource, spread_evenly
from tests.models.fakes import N, interactions, ring
from tests.models.llm.fakes import extra_catalog, fit, load


@pytest.fixture
def lm(tiny_model: Path) -> LanguageModel:
    return load(tiny_model)


def trained_with_extra(lm: LanguageModel) -> tuple[TwoTowerNetwork, TrainingSource]:
    """An untrained network, and another catalog whose network shares its weights."""
    network = fit(lm, stop_after=0).network
    return network, extra_sources(network, [extra_catalog(lm)], seed=0)[0]


def test_the_own_catalog_is_learned_beside_another(lm: LanguageModel) -> None:
    options: dict[str, Any] = {"epochs": 20, "early_stopping_patience": 20}
    options |= {"max_length": 8, "learning_rate": 0.005}
    retriever = fit(lm, extra=[extra_catalog(lm)], **options)
    histories = [np.array([start, start + 1]) for start in range(N - 2)]
    scores = retriever.scores(histories)[:, :N]
    # Seen items are excluded in training, so that their scores are arbitrary.
    for row, history in zip(scores, histories, strict=True):
        row[history] = -1
    np.testing.assert_array_equal(scores.argmax(axis=1), np.arange(2, N))
    assert retriever.n_items == N + 1


def test_the_untrained_network_does_not_depend_on_further_catalogs(tiny_model: Path) -> None:
    alone = fit(load(tiny_model), epochs=1)
    lm = load(tiny_model)
    both = fit(lm, epochs=1, extra=[extra_catalog(lm)])
    assert alone.log[0] == both.log[0]
    np.testing.assert_array_equal(alone.network.content, both.network.content)
    # The shared weights are trained on both.
    assert not torch.equal(
        alone.network.query_projection.weight, both.network.query_projection.weight
    )


def test_a_sequence_trains_what_is_shared_and_what_its_own_catalog_has(lm: LanguageModel) -> None:
    network, source = trained_with_extra(lm)
    other = source.network
    assert isinstance(other, TwoTowerNetwork)
    arguments = TrainingArguments(
        learning_rate=1e-3,
        schedule="cosine",
        weight_decay=0.0,
        batch_size=16,
        epochs=1,
        early_stopping_patience=1,
        n_negatives=None,
        robust_weight=0.0,
        robust_temperature=1.0,
        exclude_seen=True,
        seed=0,
    )
    loss, n_targets = source.set_gradients(torch.tensor([[3, 2, 1]]), arguments, Processes())
    assert n_targets == 2
    # A softmax over the titles of this catalog, without those that were seen.
    with torch.no_grad():
        scores = other.scores(other(torch.tensor([[3, 2]]))[0])
    scores[0, 3] = scores[1, 3] = scores[1, 2] = -torch.inf
    expected = torch.nn.functional.cross_entropy(scores, torch.tensor([2, 1]), reduction="sum")
    assert loss == pytest.approx(float(expected), rel=1e-3)
    trained = {name for name, weight in other.named_parameters() if weight.grad is not None}
    assert {"id_embeddings.weight", "item_tower.1.weight"} <= trained
    assert network.id_embeddings is not None
    assert network.id_embeddings.weight.grad is None


def test_a_catalog_has_statistics_of_its_own_features(lm: LanguageModel) -> None:
    _, source = trained_with_extra(lm)
    assert isinstance(source.network, TwoTowerNetwork)
    features = source.network.features
    torch.testing.assert_close(features.mean(dim=0), torch.zeros(features.shape[1]))


def test_a_resumed_training_on_two_catalogs_equals_an_uninterrupted_one(
    tiny_model: Path, tmp_path: Path
) -> None:
    def stop(done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    def fitted(**options: Any) -> Any:
        lm = load(tiny_model)
        options |= dict.fromkeys(("lora_dropout", "feature_dropout", "id_embedding_dropout"), 0.1)
        return fit(lm, epochs=4, extra=[extra_catalog(lm)], **options)

    with pytest.raises(KeyboardInterrupt):
        fitted(folder=tmp_path, progress=stop)
    reported: list[int] = []
    resumed = fitted(folder=tmp_path, progress=lambda done, _: reported.append(done))
    uninterrupted = fitted()
    assert reported[0] > 4 * N
    assert list(resumed.log) == list(uninterrupted.log)
    histories = [np.array([2, 3])]
    np.testing.assert_array_equal(resumed.scores(histories), uninterrupted.scores(histories))


def test_a_checkpoint_of_a_training_on_other_catalogs_is_not_resumed(
    lm: LanguageModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fit(lm, folder=tmp_path, epochs=1)
    with caplog.at_level(logging.WARNING):
        fit(lm, folder=tmp_path, epochs=1, extra=[extra_catalog(lm)])
    assert "starts anew: the checkpoint in" in caplog.text


def test_a_further_catalog_without_sequences_is_named(lm: LanguageModel) -> None:
    lonely = extra_catalog(lm, interactions([0], [1], [2]))
    with pytest.raises(DataError, match=r"Games of data.extra_train_sources: .* no next item"):
        fit(lm, ring(), extra=[lonely])


def test_batches_of_catalogs_are_spread_over_an_epoch() -> None:
    assert "".join(spread_evenly(["aaaaaa", "bb", ""])) == "aabaaaba"
    assert spread_evenly([[3, 1, 2]]) == [3, 1, 2]
