"""The reference implementations compute the documented results."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.inputs import Inputs
from benchmarks.references import (
    collate,
    reference_embed,
    reference_generate,
    reference_rank,
    reference_train,
    response_loss,
)
from bigrec.lm.embed import LanguageModelEmbedder
from tests.conftest import TITLES

pytestmark = pytest.mark.model


def test_ranking_is_in_the_order_of_distance() -> None:
    items = np.array([[0.0], [1.0], [3.0], [7.0]], dtype=np.float32)
    queries = np.array([[2.9], [0.1]], dtype=np.float32)
    ranks, lists = reference_rank(queries, items, np.array([1, 3]), k=2)
    # Distances are 2.9, 1.9, 0.1, 4.1 and 0.1, 0.9, 2.9, 6.9.
    assert ranks.tolist() == [1, 3]
    assert lists.tolist() == [[2, 1], [0, 1]]


def test_embedding_equals_ours(inputs: Inputs) -> None:
    reference = reference_embed(inputs.lm.model, inputs.lm.tokenizer, TITLES, batch_size=5)
    ours = LanguageModelEmbedder(inputs.lm, pooling="last").embed(TITLES)
    np.testing.assert_allclose(reference, ours, atol=1e-5)


def test_a_batch_is_padded_on_the_right_and_labeled_on_its_responses() -> None:
    batch = collate([([5, 6], [7]), ([8], [9, 1, 2])], pad_id=0)
    assert batch["input_ids"].tolist() == [[5, 6, 7, 0], [8, 9, 1, 2]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert batch["labels"].tolist() == [[-100, -100, 7, -100], [-100, 9, 1, 2]]


def test_the_loss_is_the_mean_over_all_response_tokens(inputs: Inputs) -> None:
    rows = [([5, 6], [7]), ([8], [9, 1, 2])]
    total = 0.0
    for prompt, response in rows:
        with torch.inference_mode():
            logits = inputs.lm.model(torch.tensor([prompt + response])).logits[0]
        scores = logits.log_softmax(dim=-1)
        total -= sum(float(scores[len(prompt) - 1 + i, token]) for i, token in enumerate(response))
    loss = response_loss(inputs.lm.model, rows, pad_id=0, batch_size=2)
    assert loss == pytest.approx(total / 4, rel=1e-5)


def test_greedy_generation_takes_the_most_probable_token_each_time(inputs: Inputs) -> None:
    prompts = [[5, 6, 7, 8], [9, 10]]
    end = inputs.renderer.end_id
    generated = reference_generate(
        inputs.lm.model, inputs.lm.tokenizer, prompts, end_ids=[end], num_beams=1, max_new_tokens=3
    )
    for prompt, tokens in zip(prompts, generated, strict=True):
        ids = list(prompt)
        for token in tokens:
            with torch.inference_mode():
                best = int(inputs.lm.model(torch.tensor([ids])).logits[0, -1].argmax())
            assert token == best
            ids.append(best)
            if best == end:
                break


def test_training_lowers_the_loss_and_keeps_the_base_model(inputs: Inputs, tmp_path: Path) -> None:
    before = {name: weight.clone() for name, weight in inputs.lm.model.named_parameters()}
    prompt = inputs.renderer.prompt_ids(TITLES[:2], "movie")
    losses = reference_train(
        inputs.lm.model,
        [(prompt, inputs.renderer.response_ids(TITLES[2]))] * 32,
        folder=tmp_path,
        pad_id=0,
        lora_r=8,
        lora_alpha=16,
        lora_dropout=0.0,
        target_modules=None,
        learning_rate=1e-2,
        batch_size=4,
        per_device_batch_size=2,
        seed=0,
    )
    assert len(losses) == 8
    assert losses[-1] < losses[0]
    after = dict(inputs.lm.model.named_parameters())
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    untrained = response_loss(inputs.lm.model, [(prompt, [1])], pad_id=0)
    inputs.lm.load_adapter(tmp_path)
    assert response_loss(inputs.lm.model, [(prompt, [1])], pad_id=0) != untrained
