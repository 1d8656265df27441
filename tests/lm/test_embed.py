"""Texts as points: the published embedding, and what must not change it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bigrec.errors import ModelError
from bigrec.lm.embed import LanguageModelEmbedder, SentenceEmbedder
from bigrec.lm.model import LanguageModel, load_language_model
from tests.conftest import TITLES

pytestmark = pytest.mark.model


@pytest.fixture
def lm(tiny_model: Path) -> LanguageModel:
    return load_language_model(str(tiny_model), device="cpu")


def test_last_pooling_is_the_last_hidden_state_of_the_last_token(lm: LanguageModel) -> None:
    ids = torch.tensor([lm.tokenizer("Fargo (1996)", add_special_tokens=False)["input_ids"]])
    with torch.inference_mode():
        states = lm.model(input_ids=ids, output_hidden_states=True).hidden_states[-1][0]
    last = LanguageModelEmbedder(lm).embed(["Fargo (1996)"])[0]
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
    seen: list[tuple[int, int]] = []
    found = LanguageModelEmbedder(lm).embed(
        ["Babe (1995)", "Fargo (1996)", "Babe (1995)"], progress=lambda *a: seen.append(a)
    )
    assert seen[-1] == (2, 2)
    np.testing.assert_array_equal(found[0], found[2])


def test_an_empty_text_has_a_place_too(lm: LanguageModel) -> None:
    assert np.isfinite(LanguageModelEmbedder(lm).embed([""])).all()


def test_the_fingerprint_changes_with_the_pooling_only(lm: LanguageModel) -> None:
    first, same = LanguageModelEmbedder(lm), LanguageModelEmbedder(lm, batch_tokens=99)
    assert first.fingerprint == same.fingerprint
    assert first.fingerprint != LanguageModelEmbedder(lm, pooling="mean").fingerprint


def test_a_missing_sentence_encoder_says_which_extra_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bigrec.lm.embed.importlib.util.find_spec", lambda _: None)
    with pytest.raises(ModelError, match=r"pip install 'bigrec\[sentence\]'"):
        SentenceEmbedder("all-MiniLM-L6-v2")
