"""Training over the tokens of titles alone: the output layer and the embeddings."""

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from bigrec.errors import ModelError
from bigrec.lm import finetune
from bigrec.lm.title_logits import logits_of
from tests.lm.test_finetune import EXAMPLES, assert_same, run, weights

pytestmark = pytest.mark.model

READ = np.array([1, 2, 4, 7, 9])
IDS = np.array([2, 5, 9])
TOKENS = torch.tensor([[1, 4, 7, 9], [7, 2, 1, 4]])
# The first row has labels at its last two positions, the second one at the last but one.
LABELED = torch.tensor([[False, True, True], [False, True, False]])
TARGETS = torch.tensor([0, 2, 1])


def make_model(*, tied: bool, bias: bool = False) -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=12,
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        pad_token_id=0,
        tie_word_embeddings=tied,
    )
    model = LlamaForCausalLM(config)
    if bias:
        model.lm_head.bias = torch.nn.Parameter(torch.arange(12) / 10)
    return model


def test_logits_are_those_of_the_tokens_at_the_labeled_positions() -> None:
    model = make_model(tied=True)
    with torch.no_grad():
        expected = model(input_ids=TOKENS).logits[:, -3:][LABELED][:, IDS]
        with logits_of(model, IDS) as head:
            head.positions = LABELED
            found = model(input_ids=TOKENS).logits
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("tied", [True, False])
def test_embeddings_that_are_read_get_their_gradients_and_the_others_stay(
    tied: bool, bias: bool
) -> None:
    model, whole = make_model(tied=tied, bias=bias), make_model(tied=tied, bias=bias)
    logits = whole(input_ids=TOKENS).logits[:, -3:][LABELED][:, IDS]
    torch.autograd.backward(functional.cross_entropy(logits, TARGETS))
    expected = whole.get_input_embeddings().weight
    with logits_of(model, IDS, read=READ) as head:
        head.positions = LABELED
        table, output = model.get_input_embeddings(), model.get_output_embeddings()
        rows = np.union1d(READ, IDS) if tied else READ
        assert table.weight.shape == (len(rows), 8)
        assert (output.weight is table.weight) == tied
        torch.autograd.backward(functional.cross_entropy(model(input_ids=TOKENS).logits, TARGETS))
        torch.testing.assert_close(table.weight.grad, expected.grad[rows])
        if bias:
            torch.testing.assert_close(output.bias.grad, whole.lm_head.bias.grad)
        with torch.no_grad():
            table.weight -= 0.5 * table.weight.grad
            expected -= 0.5 * expected.grad
    after = model.get_input_embeddings().weight
    torch.testing.assert_close(after, expected)
    others = np.setdiff1d(np.arange(12), rows)
    assert torch.equal(after[others], make_model(tied=tied).get_input_embeddings().weight[others])
    assert (model.get_output_embeddings().weight is after) == tied
    with torch.no_grad():
        torch.testing.assert_close(
            model(input_ids=TOKENS).logits,
            functional.linear(
                model.model(input_ids=TOKENS).last_hidden_state,
                model.get_output_embeddings().weight,
                model.get_output_embeddings().bias,
            ),
        )


def test_the_embedding_of_padding_gets_no_gradient_as_in_torch() -> None:
    model = make_model(tied=False)
    assert model.get_input_embeddings().padding_idx == 0
    read = np.union1d(READ, [0])
    with logits_of(model, IDS, read=read):
        table = model.get_input_embeddings()
        table(torch.tensor([0, 1, 2])).sum().backward()
        gradients = zip(read, table.weight.grad, strict=True)
        assert [token for token, gradient in gradients if gradient.any()] == [1, 2]


def test_a_token_that_is_not_among_those_read_is_an_error() -> None:
    model = make_model(tied=False)
    with logits_of(model, IDS, read=READ), pytest.raises(IndexError):
        model.get_input_embeddings()(torch.tensor([0, 1]))


def test_trained_weights_of_the_vocabulary_get_the_gradients_of_their_rows() -> None:
    states = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    gradients = []
    for is_reduced in (True, False):
        model = make_model(tied=True)
        head = model.get_output_embeddings()
        if is_reduced:
            with logits_of(model, IDS):
                logits = head(states)
        else:
            logits = head(states)[:, IDS]
        loss = functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0]))
        gradients.append(torch.autograd.grad(loss, head.weight)[0])
    torch.testing.assert_close(*gradients)


def test_an_output_layer_that_is_no_plain_product_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = make_model(tied=True)
    monkeypatch.setattr(model, "get_output_embeddings", torch.nn.Identity)
    refused = pytest.raises(ModelError, match=r"has Identity\. Set generative\.finetune\.softmax")
    with refused, logits_of(model, IDS):
        pass


FULL: dict[str, Any] = {"method": "full", "loss": "titles", "softmax": "trie"}


def test_weights_are_those_of_a_training_with_all_embeddings(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, of_read = run(tiny_model, tmp_path / "read", **FULL)
    monkeypatch.setattr(finetune, "logits_of", lambda model, ids, **_: logits_of(model, ids))
    _, of_all = run(tiny_model, tmp_path / "all", **FULL)
    found, expected = weights(of_read), weights(of_all)
    assert found.keys() == expected.keys()
    for name, weight in found.items():
        torch.testing.assert_close(weight, expected[name], atol=2e-4, rtol=0)


def interrupt(done: int, _: int) -> None:
    if done == 3:
        signal.raise_signal(signal.SIGINT)


def test_a_training_over_titles_is_resumed_to_the_same_weights(
    tiny_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tiny_model, tmp_path / "a", progress=interrupt, **FULL)
    _, resumed = run(tiny_model, tmp_path / "a", **FULL)
    _, whole = run(tiny_model, tmp_path / "b", **FULL)
    assert_same(resumed, whole)


def test_a_checkpoint_with_all_embeddings_is_resumed_with_all(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as of_an_older_version:
        of_an_older_version.setattr(finetune, "keeps_tokens", lambda *_: False)
        _, whole = run(tiny_model, tmp_path / "whole", **FULL)
        with pytest.raises(KeyboardInterrupt):
            run(tiny_model, tmp_path / "a", progress=interrupt, **FULL)
    _, resumed = run(tiny_model, tmp_path / "a", **FULL)
    assert_same(resumed, whole)


def test_checkpoints_with_the_embeddings_of_other_tokens_are_removed(
    tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tiny_model, tmp_path / "a", progress=interrupt, **FULL)
    other: dict[str, Any] = {**FULL, "train": EXAMPLES[:4]}
    steps: list[int] = []
    _, anew = run(tiny_model, tmp_path / "a", progress=lambda done, _: steps.append(done), **other)
    assert "of other examples or titles" in caplog.text
    assert steps[0] == 0
    _, expected = run(tiny_model, tmp_path / "b", **other)
    assert_same(anew, expected)
