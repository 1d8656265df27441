"""Log-probabilities of all titles: a law, peers, and what is not read."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from bigrec.data.examples import TitleExample
from bigrec.errors import ModelError
from bigrec.lm.batches import BranchingNodes, Collator, TrieLoss, tokenize_examples
from bigrec.lm.generation.likelihood import TitleLikelihood
from bigrec.lm.model import LanguageModel
from bigrec.lm.prompts import PromptRenderer
from bigrec.lm.title_logits import logits_of
from bigrec.lm.title_tokens import TitleTokens
from bigrec.settings.generative import PromptSettings
from bigrec.types import FloatArray
from tests.conftest import TITLES
from tests.lm.generation.generators import log_probs, transformers_generator

# Some begin as others do, and one of them is where another begins.
MORE = [*TITLES, "Toy Story", "Toy Story (1995) again", "Toy Soldiers (1991)", "Seven Samurai"]
HISTORIES = [TITLES[:1], TITLES[2:6], TITLES[5:7]]

pytestmark = pytest.mark.model


@pytest.fixture
def renderer(lm: LanguageModel) -> PromptRenderer:
    return PromptRenderer(lm.tokenizer, PromptSettings(style="list"))


def computed(
    lm: LanguageModel,
    renderer: PromptRenderer,
    *,
    titles: Sequence[str] = MORE,
    max_read: int = 512,
    batch_size: int = 16,
) -> FloatArray:
    prompts = [renderer.prompt_ids(history, "movie") for history in HISTORIES]
    likelihood = TitleLikelihood(lm, renderer, titles, max_read=max_read, batch_size=batch_size)
    return likelihood.log_probs(prompts)


def test_they_are_what_training_lowers(lm: LanguageModel, renderer: PromptRenderer) -> None:
    found = computed(lm, renderer)
    tokens = TitleTokens.of(renderer, MORE)
    for row, history in enumerate(HISTORIES):
        for column, title in enumerate(MORE):
            example = TitleExample(tuple(history), title, "movie")
            labels = BranchingNodes(tokens)
            rows = tokenize_examples(renderer, [example], loss="completion", title_labels=labels)
            batch = Collator(lm)(rows)
            targets = batch.pop("labels")
            with torch.inference_mode(), logits_of(lm.base, tokens.ids):
                loss = float(TrieLoss(tokens)(lm.model(**batch), targets, 1))
            assert found[row, column] == pytest.approx(-loss, abs=1e-3)
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, atol=1e-5)


def test_the_size_of_a_batch_does_not_change_them(
    lm: LanguageModel, renderer: PromptRenderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    read = TitleLikelihood._batch

    def counted(self: TitleLikelihood, prompts: Sequence[Sequence[int]]) -> FloatArray:
        sizes.append(len(prompts))
        return read(self, prompts)

    monkeypatch.setattr(TitleLikelihood, "_batch", counted)
    together = computed(lm, renderer)
    np.testing.assert_allclose(computed(lm, renderer, batch_size=2), together, atol=1e-4)
    assert sizes == [3, 2, 1]


def test_beams_of_all_titles_have_them(lm: LanguageModel, renderer: PromptRenderer) -> None:
    generator = transformers_generator(
        lm, renderer, num_beams=len(MORE), titles=MORE, renormalize=True, length_penalty=0.0
    )
    texts = generator.generate([renderer.prompt_ids(history, "movie") for history in HISTORIES])
    for beams, row in zip(texts, computed(lm, renderer), strict=True):
        assert log_probs(beams) == pytest.approx(dict(zip(MORE, row, strict=True)), abs=1e-3)


@pytest.mark.parametrize("max_read", [1, 8, 16, 24])
def test_what_is_not_read_shares_the_probability_of_its_beginning(
    lm: LanguageModel, renderer: PromptRenderer, max_read: int
) -> None:
    titles = [" ".join(words) for words in product("ab", "cde", "fgh", "ij")]
    exact = np.exp(computed(lm, renderer, titles=titles))
    found = np.exp(computed(lm, renderer, titles=titles, max_read=max_read))
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    for exact_row, row in zip(exact, found, strict=True):
        # Titles of one value are known as one; together they have what they have.
        for value in np.unique(row):
            of_value = row == value
            assert row[of_value].sum() == pytest.approx(exact_row[of_value].sum(), abs=1e-4)
    n_known = [len(np.unique(row)) for row in found]
    assert min(n_known) >= 2
    assert max_read > 16 or max(n_known) < len(titles)


def test_titles_of_the_same_tokens_share_equally(
    lm: LanguageModel, renderer: PromptRenderer
) -> None:
    long = " ".join(["word"] * 200)
    found = computed(lm, renderer, titles=[f"{long} one", "Babe", f"{long} two"])
    np.testing.assert_array_equal(found[:, 0], found[:, 2])
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, atol=1e-5)


def test_a_single_title_is_certain(lm: LanguageModel, renderer: PromptRenderer) -> None:
    np.testing.assert_array_equal(computed(lm, renderer, titles=["Babe"]), 0)


def test_a_model_that_cannot_read_trees_is_refused(
    lm: LanguageModel, renderer: PromptRenderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "bigrec.lm.generation.likelihood._additive"
    monkeypatch.setattr(name, lambda mask, dtype: torch.zeros(mask[:, None].shape, dtype=dtype))
    with pytest.raises(ModelError, match=r"does not read a tree .* Use beams or latent"):
        computed(lm, renderer)
    monkeypatch.setattr("bigrec.lm.generation.likelihood.has_plain_cache", lambda _: False)
    with pytest.raises(ModelError, match="does not read a tree"):
        computed(lm, renderer)


def test_a_model_that_changes_its_logits_is_refused(
    lm: LanguageModel, renderer: PromptRenderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = lm.base.forward

    def capped(*args: Any, **options: Any) -> Any:
        output = forward(*args, **options)
        output.logits = torch.tanh(output.logits / 2)
        return output

    monkeypatch.setattr(lm.base, "forward", capped)
    with pytest.raises(ModelError, match=r"changes the logits .* use beams or latent"):
        computed(lm, renderer)
