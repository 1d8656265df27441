"""Norms of gradients of training examples."""

import numpy as np
import pytest
import torch

from bigrec.data.examples import TitleExample
from bigrec.errors import ModelError
from bigrec.lm.batches import LossTarget, TokenizedExample, tokenize_examples
from bigrec.lm.effort import gradient_norms
from bigrec.lm.model import LanguageModel
from bigrec.lm.prompts import PromptRenderer
from tests.conftest import TITLES

pytestmark = pytest.mark.model


def examples(renderer: PromptRenderer, *, loss: LossTarget) -> list[TokenizedExample]:
    titles = [TITLES[:3], TITLES[2:8], TITLES[5:7], TITLES[1:4]]
    of_titles = [TitleExample(tuple(history), target, "movie") for *history, target in titles]
    return tokenize_examples(renderer, of_titles, loss=loss)


def norm_by_backward_pass(lm: LanguageModel, example: TokenizedExample) -> float:
    """Norm of the gradient in the weights of the output projection."""
    ids, labels = torch.tensor([example["input_ids"]]), torch.tensor([example["labels"]])
    with torch.no_grad():
        states = lm.base.get_decoder()(input_ids=ids).last_hidden_state
    # A copy: the tiny model's input embeddings are the same weights.
    weights = lm.base.get_output_embeddings().weight.detach().clone().requires_grad_()
    logits = states[0, :-1] @ weights.T
    loss = torch.nn.functional.cross_entropy(logits, labels[0, 1:])
    (gradient,) = torch.autograd.grad(loss, weights)
    return float(gradient.norm())


@pytest.mark.parametrize("loss", ["completion", "titles", "full"])
def test_the_norm_is_that_of_a_backward_pass(
    lm: LanguageModel, renderer: PromptRenderer, loss: LossTarget
) -> None:
    tokenized = examples(renderer, loss=loss)
    expected = [norm_by_backward_pass(lm, example) for example in tokenized]
    np.testing.assert_allclose(gradient_norms(lm, tokenized), expected, rtol=1e-4)
    assert len(set(expected)) == len(expected)


def test_batches_and_order_change_no_norm(lm: LanguageModel, renderer: PromptRenderer) -> None:
    tokenized = examples(renderer, loss="titles")
    norms = gradient_norms(lm, tokenized)
    seen: list[tuple[int, int]] = []
    one_by_one = gradient_norms(
        lm, tokenized[::-1], batch_tokens=1, progress=lambda *done: seen.append(done)
    )
    np.testing.assert_allclose(one_by_one[::-1], norms, rtol=1e-5)
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_model_that_computes_no_number_is_refused(
    lm: LanguageModel, renderer: PromptRenderer
) -> None:
    with torch.no_grad():
        lm.base.get_output_embeddings().weight.fill_(torch.nan)
    with pytest.raises(ModelError, match="gradient of NaN"):
        gradient_norms(lm, examples(renderer, loss="titles"))
