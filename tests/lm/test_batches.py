"""Batches: which tokens the loss covers, and the order of examples."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.nn import functional

from bigrec.data.examples import TitleExample
from bigrec.lm.batches import (
    Collator,
    SortedBatches,
    TokenizedExample,
    kept_positions_loss,
    tokenize_examples,
)
from bigrec.lm.model import LanguageModel, load_language_model, quiet_peft
from bigrec.lm.prompts import PromptRenderer
from bigrec.settings.generative import PromptSettings
from tests.conftest import TITLES

pytestmark = pytest.mark.model

HISTORY = ("Toy Story (1995)", "Two\nLines")
EXAMPLE = TitleExample(HISTORY, "Fargo (1996)", "movie")
EXAMPLES = [
    TitleExample(tuple(TITLES[i : i + 1 + i % 3]), TITLES[i + 3], "movie") for i in range(5)
]
STYLES = ["chat", "plain", "list"]
LOSSES = ["completion", "titles", "full"]


@pytest.fixture(scope="module")
def lm(tiny_model: Path) -> LanguageModel:
    lm = load_language_model(str(tiny_model), device="cpu")
    with quiet_peft():
        lm.model = get_peft_model(lm.model, LoraConfig(r=2, task_type="CAUSAL_LM")).eval()
    return lm


def renderer_of(tokenizer: Any, style: Any) -> PromptRenderer:
    return PromptRenderer(tokenizer, PromptSettings(style=style))


def learned(tokenizer: Any, row: TokenizedExample) -> list[str]:
    """The runs of tokens that the loss covers, as text."""
    text = "".join("\0" if label < 0 else tokenizer.decode([label]) for label in row["labels"])
    return [run for run in text.split("\0") if run]


@pytest.mark.parametrize(
    ("style", "loss", "expected"),
    [
        ("chat", "completion", ["Fargo (1996)<|im_end|>"]),
        ("plain", "completion", ["Fargo (1996)<|im_end|>"]),
        ("list", "completion", ["Fargo (1996)\n"]),
        ("chat", "titles", ["Toy Story (1995)\nTwo\\nLines", "Fargo (1996)<|im_end|>"]),
        ("plain", "titles", ["Toy Story (1995)\nTwo\\nLines", "Fargo (1996)<|im_end|>"]),
        ("list", "titles", ["Toy Story (1995)\nTwo\\nLines\nFargo (1996)\n"]),
    ],
)
def test_the_loss_covers_titles_and_their_end_tokens(
    tokenizer: Any, style: str, loss: Any, expected: list[str]
) -> None:
    row = tokenize_examples(renderer_of(tokenizer, style), [EXAMPLE], loss=loss)[0]
    assert learned(tokenizer, row) == expected


@pytest.mark.parametrize("style", STYLES)
def test_the_full_loss_covers_every_token_but_the_first(tokenizer: Any, style: str) -> None:
    row = tokenize_examples(renderer_of(tokenizer, style), [EXAMPLE], loss="full")[0]
    assert row["labels"] == [-100, *row["input_ids"][1:]]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("style", STYLES)
def test_a_row_is_the_prompt_and_its_response(tokenizer: Any, style: str, loss: Any) -> None:
    renderer = renderer_of(tokenizer, style)
    row = tokenize_examples(renderer, [EXAMPLE], loss=loss)[0]
    assert row["input_ids"] == [
        *renderer.prompt_ids(HISTORY, "movie"),
        *renderer.response_ids("Fargo (1996)"),
    ]
    pairs = zip(row["input_ids"], row["labels"], strict=True)
    assert all(label in {token, -100} for token, label in pairs)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("style", STYLES)
def test_the_loss_equals_that_of_full_logits_over_each_example(
    lm: LanguageModel, style: str, loss: Any
) -> None:
    rows = tokenize_examples(renderer_of(lm.tokenizer, style), EXAMPLES, loss=loss)
    total, count = 0.0, 0
    with torch.inference_mode():
        for row in rows:
            ids = torch.tensor([row["input_ids"]])
            log_probs = lm.model(input_ids=ids).logits[0].log_softmax(dim=-1)
            for place, label in enumerate(row["labels"]):
                if label >= 0:
                    total, count = total - float(log_probs[place - 1, label]), count + 1
    assert batch_loss(lm, rows) == pytest.approx(total / count, rel=1e-4)


def test_the_titles_loss_of_a_list_is_the_plain_one_after_the_instruction(
    lm: LanguageModel,
) -> None:
    renderer = renderer_of(lm.tokenizer, "list")
    before, _, _ = renderer.prompt_parts(HISTORY, "movie")
    ids = torch.tensor(renderer.prompt_ids([*HISTORY, EXAMPLE.target], "movie"))
    with torch.inference_mode():
        logits = lm.model(input_ids=ids[None]).logits[0]
    expected = functional.cross_entropy(logits[len(before) - 1 : -1], ids[len(before) :])
    loss = batch_loss(lm, tokenize_examples(renderer, [EXAMPLE], loss="titles"))
    assert loss == pytest.approx(float(expected), rel=1e-5)


def batch_loss(lm: LanguageModel, rows: list[TokenizedExample]) -> float:
    batch = Collator(lm)(rows)
    labels = batch.pop("labels")
    with torch.inference_mode():
        return float(kept_positions_loss(lm.model(**batch), labels))


def test_logits_are_computed_from_the_first_learned_token_on(lm: LanguageModel) -> None:
    renderer = renderer_of(lm.tokenizer, "chat")
    target = len(renderer.response_ids(EXAMPLE.target))
    prompt = len(renderer.prompt_ids(HISTORY, "movie"))
    before = len(renderer.prompt_parts(HISTORY, "movie")[0])
    keeps = {
        loss: Collator(lm)(tokenize_examples(renderer, [EXAMPLE], loss=loss))["logits_to_keep"]
        for loss in ("completion", "titles", "full")
    }
    assert keeps == {
        "completion": target,
        "titles": prompt - before + target,
        "full": prompt + target - 1,
    }


def test_labels_begin_with_an_ignored_column(lm: LanguageModel) -> None:
    # Trainer counts labels without the first column.
    for loss in ("completion", "titles", "full"):
        labels = Collator(lm)(
            tokenize_examples(renderer_of(lm.tokenizer, "list"), EXAMPLES, loss=loss)
        )["labels"]
        assert (labels[:, 0] == -100).all()


def test_the_given_count_divides_the_loss(lm: LanguageModel) -> None:
    batch = Collator(lm)(
        tokenize_examples(renderer_of(lm.tokenizer, "list"), EXAMPLES, loss="titles")
    )
    labels = batch.pop("labels")
    with torch.inference_mode():
        outputs = lm.model(**batch)
    mean = kept_positions_loss(outputs, labels)
    counted = kept_positions_loss(outputs, labels, torch.tensor(7))
    torch.testing.assert_close(counted * 7, mean * (labels >= 0).sum())


def test_dropped_titles_are_logged_if_the_loss_covers_titles(
    tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    renderer = PromptRenderer(tokenizer, PromptSettings(style="list", max_tokens=128))
    long = TitleExample(tuple(f"Title number {i}" for i in range(30)), "Fargo (1996)", "movie")
    with caplog.at_level(logging.WARNING):
        tokenize_examples(renderer, [EXAMPLE, long], loss="completion")
        assert not caplog.messages
        tokenize_examples(renderer, [EXAMPLE, long], loss="titles")
    (message,) = caplog.messages
    assert message.startswith("1 of 2 training examples are longer than 128 tokens: their oldest")


def examples_of(*lengths: int) -> list[TokenizedExample]:
    return [TokenizedExample(input_ids=[0] * length, labels=[-100] * length) for length in lengths]


def test_each_step_is_a_random_sample_in_order_of_length() -> None:
    rows = examples_of(*range(1, 11))
    order = list(SortedBatches(rows, batch_size=4, seed=5))
    permutation = torch.randperm(10, generator=torch.Generator().manual_seed(5)).tolist()
    assert order == [
        place
        for start in (0, 4, 8)
        for place in sorted(permutation[start : start + 4], reverse=True)
    ]
    assert len(SortedBatches(rows, batch_size=4, seed=5)) == 10


def test_each_epoch_has_another_order_that_is_repeatable() -> None:
    batches = SortedBatches(examples_of(*range(1, 41)), batch_size=4, seed=0)
    first = list(batches)
    batches.set_epoch(1)
    second = list(batches)
    batches.set_epoch(0)
    assert list(batches) == first != second
