"""The loss over the tokens of titles: where they branch, and relative to which they are likely."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bigrec.data.examples import TitleExample
from bigrec.lm.batches import (
    IGNORED,
    BranchingNodes,
    BranchingTokens,
    Collator,
    TrieLoss,
    kept_positions_loss,
    tokenize_examples,
)
from bigrec.lm.generation.trie import TitleTrie
from bigrec.lm.model import LanguageModel
from bigrec.lm.prompts import PromptRenderer
from bigrec.lm.title_logits import logits_of
from bigrec.lm.title_tokens import TitleTokens
from bigrec.settings.generative import PromptSettings
from tests.conftest import TITLES
from tests.lm.generation.generators import log_probs, transformers_generator
from tests.lm.test_finetune import losses, run, weights

END = 9
EXAMPLE = TitleExample(tuple(TITLES[:3]), TITLES[3], "movie")

pytestmark = pytest.mark.model


def tokens_of(*rows: list[int]) -> TitleTokens:
    return TitleTokens(TitleTrie(rows, end=END), np.unique(np.concatenate([*rows, [END]])))


def renderer_of(lm: LanguageModel) -> PromptRenderer:
    return PromptRenderer(lm.tokenizer, PromptSettings(style="list"))


def test_a_token_branches_where_several_titles_go_on() -> None:
    tokens = tokens_of([1, 2, 3], [1, 2, 4], [5, 6], [5])
    assert tokens.branches([1, 2, 3]) == [True, False, True, False]
    assert tokens.branches([5, 6]) == [True, True, False]
    assert tokens.branches([5]) == [True, True]


def test_nothing_decides_the_tokens_of_an_unknown_text_or_of_the_only_title() -> None:
    tokens = tokens_of([1, 2], [3])
    assert tokens.branches([1, 4]) == tokens.branches([1, 2, 3])[:3] == [True] * 3
    assert tokens_of([1, 2]).branches([1, 2]) == [True] * 3


@given(st.lists(st.lists(st.integers(1, 3), max_size=4), min_size=2, max_size=8, unique_by=tuple))
def test_branches_are_the_prefixes_that_different_tokens_follow(rows: list[list[int]]) -> None:
    tokens = tokens_of(*rows)
    for row in rows:
        ended = [*row, END]
        follow = [
            {[*other, END][place] for other in rows if other[:place] == row[:place]}
            for place in range(len(ended))
        ]
        assert tokens.branches(row) == [len(following) > 1 for following in follow]


def test_the_softmax_over_titles_renormalizes_the_probabilities(lm: LanguageModel) -> None:
    renderer = renderer_of(lm)
    tokens = TitleTokens.of(renderer, TITLES)
    (row,) = tokenize_examples(renderer, [EXAMPLE], loss="titles")
    with torch.inference_mode():
        logits = lm.model(input_ids=torch.tensor([row["input_ids"]])).logits[0, :-1]
    labels = torch.tensor(row["labels"])[1:]
    log_probs = logits[:, tokens.ids].log_softmax(dim=-1)
    expected = [
        -float(log_probs[place, list(tokens.ids).index(label)])
        for place, label in enumerate(labels)
        if label >= 0
    ]
    batch = Collator(lm)([{**row, "labels": tokens.places(row["labels"])}])
    targets = batch.pop("labels")
    with torch.inference_mode(), logits_of(lm.base, tokens.ids):
        loss = kept_positions_loss(lm.model(**batch), targets)
    assert float(loss) == pytest.approx(np.mean(expected), rel=1e-4)
    with torch.inference_mode():
        after = lm.model(input_ids=torch.tensor([row["input_ids"]])).logits[0, :-1]
    assert torch.equal(after, logits)


def test_labels_are_where_titles_branch(lm: LanguageModel) -> None:
    renderer = renderer_of(lm)
    tokens = TitleTokens.of(renderer, TITLES)
    (every,) = tokenize_examples(renderer, [EXAMPLE], loss="titles")
    (few,) = tokenize_examples(
        renderer, [EXAMPLE], loss="titles", title_labels=BranchingTokens(tokens)
    )
    expected = [
        kept
        for title in EXAMPLE.titles
        for kept in tokens.branches(renderer.title_token_ids(title))
    ]
    start = len(renderer.prompt_parts(EXAMPLE.history, "movie")[0])
    assert [label >= 0 for label in few["labels"][start:]] == expected
    assert 0 < sum(expected) < len(expected)
    assert all(
        label in (-100, full) for label, full in zip(few["labels"], every["labels"], strict=True)
    )


@pytest.mark.parametrize("num_beams", [1, len(TITLES)])
def test_the_trie_loss_is_the_log_probability_of_a_title_among_all(
    lm: LanguageModel, num_beams: int
) -> None:
    renderer = renderer_of(lm)
    tokens = TitleTokens.of(renderer, TITLES)
    loss = {}
    for title in TITLES:
        example = TitleExample(tuple(TITLES[:3]), title, "movie")
        rows = tokenize_examples(
            renderer, [example], loss="completion", title_labels=BranchingNodes(tokens)
        )
        batch = Collator(lm)(rows)
        targets = batch.pop("labels")
        with torch.inference_mode(), logits_of(lm.base, tokens.ids):
            # Divided by 1, so that it is the sum.
            loss[title] = float(TrieLoss(tokens)(lm.model(**batch), targets, 1))
    assert sum(np.exp(-value) for value in loss.values()) == pytest.approx(1, abs=1e-4)
    generator = transformers_generator(
        lm, renderer, num_beams=num_beams, titles=TITLES, renormalize=True, length_penalty=0.0
    )
    (texts,) = generator.generate([renderer.prompt_ids(TITLES[:3], "movie")])
    for text, log_prob in log_probs(texts).items():
        assert log_prob == pytest.approx(-loss[text], abs=1e-3)
    if num_beams > 1:
        assert len(texts) == len(TITLES)


def test_only_what_ends_a_generated_title_ends_one_in_the_trie(lm: LanguageModel) -> None:
    renderer = PromptRenderer(lm.tokenizer, PromptSettings(style="plain"))
    tokens = TitleTokens.of(renderer, TITLES)
    labels = BranchingNodes(tokens)
    title = renderer.title_token_ids(TITLES[0])
    newline = renderer.prompt_parts(TITLES[:2], "movie")[1][0][len(title) :]
    assert newline != [renderer.end_id]
    by_newline, ended = labels([*title, *newline], title), labels([*title, renderer.end_id], title)
    assert by_newline[: len(title)] == ended[:-1]
    assert by_newline[len(title) :] == [IGNORED] * len(newline)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("lora", {"softmax": "titles", "loss_tokens": "branching"}),
        ("full", {"softmax": "titles", "loss_tokens": "branching"}),
        ("lora", {"softmax": "trie"}),
    ],
)
def test_training_over_titles_alone_lowers_its_loss_and_keeps_the_vocabulary(
    tiny_model: Path, tmp_path: Path, method: str, options: dict[str, Any]
) -> None:
    common: dict[str, Any] = {"method": method, "loss": "titles", "epochs": 6, "valid": []}
    lm, result = run(tiny_model, tmp_path / "a", **common, **options)
    values = losses(result, "loss")
    assert values[-1] < values[0] < np.log(len(lm.tokenizer))
    assert lm.model(input_ids=torch.tensor([[1]])).logits.shape[-1] == lm.base.config.vocab_size
    _, plain = run(tiny_model, tmp_path / "b", **common)
    assert weights(result).keys() == weights(plain).keys()
