"""Batches: the loss covers what it should, token by token."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.nn import functional

from bigrec.data.examples import TitleExample
from bigrec.lm.batches import Collator, Row, SortedBatches, kept_positions_loss, render
from bigrec.lm.model import LanguageModel, load_language_model, quiet_peft
from bigrec.lm.prompts import PromptRenderer, PromptTemplate
from tests.conftest import TITLES

pytestmark = pytest.mark.model

HISTORY = ("Toy Story (1995)", "Two\nLines")
EXAMPLE = TitleExample(HISTORY, "Fargo (1996)", "movie")
EXAMPLES = [
    TitleExample(tuple(TITLES[i : i + 1 + i % 3]), TITLES[i + 3], "movie") for i in range(5)
]
STYLES = ["chat", "plain", "list"]
MODES = ["response", "titles", "all"]


@pytest.fixture(scope="module")
def lm(tiny_model: Path) -> LanguageModel:
    lm = load_language_model(str(tiny_model), device="cpu")
    with quiet_peft():
        lm.model = get_peft_model(lm.model, LoraConfig(r=2, task_type="CAUSAL_LM")).eval()
    return lm


def renderer(tokenizer: Any, style: Any) -> PromptRenderer:
    return PromptRenderer(tokenizer, PromptTemplate(style=style))


def learned(tokenizer: Any, row: Row) -> list[str]:
    """The runs of tokens that the loss covers, as text."""
    text = "".join("\0" if label < 0 else tokenizer.decode([label]) for label in row["labels"])
    return [run for run in text.split("\0") if run]


@pytest.mark.parametrize(
    ("style", "loss_on", "expected"),
    [
        ("chat", "response", ["Fargo (1996)<|im_end|>"]),
        ("plain", "response", ["Fargo (1996)<|im_end|>"]),
        ("list", "response", ["Fargo (1996)\n"]),
        ("chat", "titles", ["Toy Story (1995)\nTwo\\nLines", "Fargo (1996)<|im_end|>"]),
        ("plain", "titles", ["Toy Story (1995)\nTwo\\nLines", "Fargo (1996)<|im_end|>"]),
        ("list", "titles", ["Toy Story (1995)\nTwo\\nLines\nFargo (1996)\n"]),
    ],
)
def test_the_loss_covers_titles_and_what_ends_them(
    tokenizer: Any, style: str, loss_on: Any, expected: list[str]
) -> None:
    row = render(renderer(tokenizer, style), [EXAMPLE], loss_on=loss_on)[0]
    assert learned(tokenizer, row) == expected


@pytest.mark.parametrize("style", STYLES)
def test_the_loss_on_all_covers_every_token_but_the_first(tokenizer: Any, style: str) -> None:
    row = render(renderer(tokenizer, style), [EXAMPLE], loss_on="all")[0]
    assert row["labels"] == [-100, *row["input_ids"][1:]]


@pytest.mark.parametrize("loss_on", MODES)
@pytest.mark.parametrize("style", STYLES)
def test_a_row_is_the_prompt_and_its_response(tokenizer: Any, style: str, loss_on: Any) -> None:
    words = renderer(tokenizer, style)
    row = render(words, [EXAMPLE], loss_on=loss_on)[0]
    assert row["input_ids"] == [
        *words.prompt_ids(HISTORY, "movie"),
        *words.response_ids("Fargo (1996)"),
    ]
    pairs = zip(row["input_ids"], row["labels"], strict=True)
    assert all(label in {token, -100} for token, label in pairs)


@pytest.mark.parametrize("loss_on", MODES)
@pytest.mark.parametrize("style", STYLES)
def test_the_loss_equals_that_of_full_logits_over_each_example(
    lm: LanguageModel, style: str, loss_on: Any
) -> None:
    rows = render(renderer(lm.tokenizer, style), EXAMPLES, loss_on=loss_on)
    total, count = 0.0, 0
    with torch.inference_mode():
        for row in rows:
            ids = torch.tensor([row["input_ids"]])
            log_probs = lm.model(input_ids=ids).logits[0].log_softmax(dim=-1)
            for place, label in enumerate(row["labels"]):
                if label >= 0:
                    total, count = total - float(log_probs[place - 1, label]), count + 1
    assert batch_loss(lm, rows) == pytest.approx(total / count, rel=1e-4)


def test_the_loss_on_the_titles_of_a_list_is_the_plain_one_after_the_instruction(
    lm: LanguageModel,
) -> None:
    words = renderer(lm.tokenizer, "list")
    before, _, _ = words.prompt_parts(HISTORY, "movie")
    ids = torch.tensor(words.prompt_ids([*HISTORY, EXAMPLE.target], "movie"))
    with torch.inference_mode():
        logits = lm.model(input_ids=ids[None]).logits[0]
    expected = functional.cross_entropy(logits[len(before) - 1 : -1], ids[len(before) :])
    found = batch_loss(lm, render(words, [EXAMPLE], loss_on="titles"))
    assert found == pytest.approx(float(expected), rel=1e-5)


def batch_loss(lm: LanguageModel, rows: list[Row]) -> float:
    batch = Collator(lm)(rows)
    labels = batch.pop("labels")
    with torch.inference_mode():
        return float(kept_positions_loss(lm.model(**batch), labels))


def test_logits_are_computed_from_the_first_learned_token_on(lm: LanguageModel) -> None:
    words = renderer(lm.tokenizer, "chat")
    target = len(words.response_ids(EXAMPLE.target))
    prompt = len(words.prompt_ids(HISTORY, "movie"))
    before = len(words.prompt_parts(HISTORY, "movie")[0])
    keeps = {
        mode: Collator(lm)(render(words, [EXAMPLE], loss_on=mode))["logits_to_keep"]
        for mode in ("response", "titles", "all")
    }
    assert keeps == {
        "response": target,
        "titles": prompt - before + target,
        "all": prompt + target - 1,
    }


def test_labels_begin_with_a_column_that_nothing_is_learned_from(lm: LanguageModel) -> None:
    # Trainer counts labels without the first column.
    for mode in ("response", "titles", "all"):
        labels = Collator(lm)(render(renderer(lm.tokenizer, "list"), EXAMPLES, loss_on=mode))[
            "labels"
        ]
        assert (labels[:, 0] == -100).all()


def test_the_given_count_divides_the_loss(lm: LanguageModel) -> None:
    batch = Collator(lm)(render(renderer(lm.tokenizer, "list"), EXAMPLES, loss_on="titles"))
    labels = batch.pop("labels")
    with torch.inference_mode():
        outputs = lm.model(**batch)
    own = kept_positions_loss(outputs, labels)
    counted = kept_positions_loss(outputs, labels, torch.tensor(7))
    torch.testing.assert_close(counted * 7, own * (labels >= 0).sum())


def test_titles_that_find_no_room_are_told_where_each_was_to_be_learned(
    tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    words = PromptRenderer(tokenizer, PromptTemplate(style="list"), max_tokens=128)
    long = TitleExample(tuple(f"Title number {i}" for i in range(30)), "Fargo (1996)", "movie")
    with caplog.at_level(logging.WARNING):
        render(words, [EXAMPLE, long], loss_on="response")
        assert not caplog.messages
        render(words, [EXAMPLE, long], loss_on="titles")
    (message,) = caplog.messages
    assert message.startswith("1 of 2 training examples are longer than 128 tokens: their oldest")


def rows_of(*lengths: int) -> list[Row]:
    return [Row(input_ids=[0] * length, labels=[-100] * length) for length in lengths]


def test_each_step_is_a_random_draw_in_order_of_length() -> None:
    rows = rows_of(*range(1, 11))
    order = list(SortedBatches(rows, batch_size=4, seed=5))
    drawn = torch.randperm(10, generator=torch.Generator().manual_seed(5)).tolist()
    assert order == [
        place for start in (0, 4, 8) for place in sorted(drawn[start : start + 4], reverse=True)
    ]
    assert len(SortedBatches(rows, batch_size=4, seed=5)) == 10


def test_an_epoch_has_an_order_of_its_own_that_comes_again() -> None:
    batches = SortedBatches(rows_of(*range(1, 41)), batch_size=4, seed=0)
    first = list(batches)
    batches.set_epoch(1)
    second = list(batches)
    batches.set_epoch(0)
    assert list(batches) == first != second
