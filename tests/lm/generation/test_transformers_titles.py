"""Beam search constrained to titles: probabilities, excluded titles, and titles of equal tokens."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from bigrec.lm.model import LanguageModel, load_language_model
from bigrec.lm.prompts import PromptRenderer
from bigrec.settings.generative import PromptSettings
from tests.conftest import TITLES, save_tiny_model
from tests.lm.generation.generators import (
    log_probs,
    transformers_generator,
)

pytestmark = pytest.mark.model


def plain_log_prob(lm: LanguageModel, prompt: Sequence[int], response: Sequence[int]) -> float:
    """Of a response after a prompt, token by token, from one forward pass over both."""
    with torch.inference_mode():
        logits = lm.model(input_ids=torch.tensor([[*prompt, *response]])).logits[0]
    steps = logits[len(prompt) - 1 : -1].log_softmax(dim=-1)
    return float(steps[range(len(response)), list(response)].sum())


def test_only_titles_are_generated_with_their_probability_in_the_unconstrained_model(
    lm: LanguageModel, renderer: PromptRenderer, prompts: list[list[int]]
) -> None:
    # As many beams as titles: every title is generated, however improbable.
    generator = transformers_generator(
        lm, renderer, num_beams=len(TITLES), length_penalty=0, titles=TITLES
    )
    for prompt, texts in zip(prompts, generator.generate(prompts), strict=True):
        expected = {
            title: plain_log_prob(lm, prompt, renderer.response_ids(title)) for title in TITLES
        }
        assert log_probs(texts) == pytest.approx(expected, abs=1e-3)
        assert [text.text for text in texts] == sorted(TITLES, key=lambda title: -expected[title])


def test_greedy_search_takes_the_most_probable_token_that_continues_a_title(
    lm: LanguageModel, renderer: PromptRenderer, prompts: list[list[int]]
) -> None:
    responses = {title: renderer.response_ids(title) for title in TITLES}
    generator = transformers_generator(lm, renderer, num_beams=1, titles=TITLES)
    for prompt, [beam] in zip(prompts, generator.generate(prompts), strict=True):
        possible = dict(responses)
        for depth in range(max(map(len, responses.values()))):
            with torch.inference_mode():
                ids = torch.tensor([[*prompt, *next(iter(possible.values()))[:depth]]])
                logits = lm.model(input_ids=ids).logits[0, -1]
            allowed = {ids[depth] for ids in possible.values() if len(ids) > depth}
            best = max(allowed, key=lambda token: float(logits[token]))
            possible = {
                title: ids for title, ids in possible.items() if ids[depth : depth + 1] == [best]
            }
            if len(possible) == 1:
                break
        assert [beam.text] == list(possible)
        expected = plain_log_prob(lm, prompt, responses[beam.text])
        assert beam.log_prob == pytest.approx(expected, abs=1e-3)


def test_there_are_only_as_many_texts_as_titles(
    lm: LanguageModel, renderer: PromptRenderer, prompts: list[list[int]]
) -> None:
    # The first begins the second, the third has nothing in common with them, one is empty.
    titles = ["Seven", "Seven Samurai", "Babe (1995)", ""]
    generator = transformers_generator(lm, renderer, num_beams=8, titles=titles)
    for prompt, texts in zip(prompts, generator.generate(prompts), strict=True):
        expected = {
            title: plain_log_prob(lm, prompt, renderer.response_ids(title)) for title in titles
        }
        assert log_probs(texts) == pytest.approx(expected, abs=1e-3)


def test_of_titles_with_the_same_tokens_the_first_is_generated(
    lm: LanguageModel, prompts: list[list[int]]
) -> None:
    renderer = PromptRenderer(lm.tokenizer, PromptSettings(max_tokens=200))
    long = "Seven (1995) " * 20
    assert renderer.title_token_ids(long + "b") == renderer.title_token_ids(long + "a")
    generator = transformers_generator(
        lm, renderer, num_beams=2, titles=["Fargo (1996)", long + "b", long + "a"]
    )
    for texts in generator.generate(prompts):
        assert {text.text for text in texts} == {"Fargo (1996)", long + "b"}


def test_only_the_end_token_ends_a_title(lm: LanguageModel, prompts: list[list[int]]) -> None:
    class StopsEarly(PromptRenderer):
        """Has a stop token within titles, as tokenizers without a token for newlines have."""

        @property
        def stop_ids(self) -> list[int]:
            return [*super().stop_ids, self.title_token_ids(TITLES[0])[1]]

    generator = transformers_generator(lm, StopsEarly(lm.tokenizer), titles=TITLES[:2])
    for prompt, texts in zip(prompts, generator.generate(prompts), strict=True):
        expected = {
            title: plain_log_prob(lm, prompt, PromptRenderer(lm.tokenizer).response_ids(title))
            for title in TITLES[:2]
        }
        assert log_probs(texts) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("num_beams", [1, 4])
def test_an_empty_title_is_generated_unless_it_is_excluded(tmp_path: Path, num_beams: int) -> None:
    # Here the end token also pads, so a missing beam reads like the empty title. With this penalty
    # missing beams rank before beams of probability 0.
    lm = load_language_model(str(save_tiny_model(tmp_path / "plain", chat=False)), device="cpu")
    renderer = PromptRenderer(lm.tokenizer)
    assert renderer.end_id == lm.tokenizer.pad_token_id
    titles = ["", "Fargo (1996)"]
    generator = transformers_generator(
        lm, renderer, num_beams=num_beams, length_penalty=-1, titles=titles
    )
    prompts = [renderer.prompt_ids(["Babe (1995)"], "movie")] * 4
    excluded = [[], titles[:1], titles[1:], titles]
    generated = generator.generate(prompts, excluded=excluded)
    assert [{text.text for text in texts} for texts in generated[1:]] == [{titles[1]}, {""}, set()]
    assert len(generated[0]) == min(num_beams, 2)


def test_the_longest_title_sets_the_maximum_length(
    lm: LanguageModel, renderer: PromptRenderer, prompts: list[list[int]]
) -> None:
    generator = transformers_generator(lm, renderer, max_new_tokens=1, titles=TITLES[:2])
    for texts in generator.generate(prompts):
        assert {text.text for text in texts} == set(TITLES[:2])


@pytest.mark.parametrize("num_beams", [1, 4, len(TITLES)])
def test_excluded_titles_are_not_generated(
    lm: LanguageModel, renderer: PromptRenderer, prompts: list[list[int]], num_beams: int
) -> None:
    generator = transformers_generator(
        lm, renderer, num_beams=num_beams, length_penalty=0, titles=TITLES, batch_size=4
    )
    excluded = [TITLES[i : i + 2 * i] for i in range(len(prompts))]
    together = generator.generate(prompts, excluded=excluded)
    for prompt, excluded_titles, texts in zip(prompts, excluded, together, strict=True):
        assert len(texts) == min(num_beams, len(TITLES) - len(excluded_titles))
        expected = {
            title: plain_log_prob(lm, prompt, renderer.response_ids(title))
            for title in TITLES
            if title not in excluded_titles
            and (num_beams == len(TITLES) or title in log_probs(texts))
        }
        assert log_probs(texts) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("num_beams", [1, 4])
def test_a_search_does_not_enter_prefixes_of_which_all_titles_are_excluded(
    lm: LanguageModel, renderer: PromptRenderer, prompts: list[list[int]], num_beams: int
) -> None:
    generator = transformers_generator(lm, renderer, num_beams=num_beams, titles=TITLES)
    excluded = [[title for title in TITLES if title != TITLES[i]] for i in range(len(prompts))]
    generated = generator.generate(prompts, excluded=excluded)
    assert [[text.text for text in texts] for texts in generated] == [
        [title] for title in TITLES[: len(prompts)]
    ]


@pytest.mark.parametrize("num_beams", [1, 4])
def test_a_prompt_whose_titles_are_all_excluded_has_no_texts(
    lm: LanguageModel, renderer: PromptRenderer, prompts: list[list[int]], num_beams: int
) -> None:
    generator = transformers_generator(lm, renderer, num_beams=num_beams, titles=TITLES)
    without, with_titles = generator.generate(prompts[:2], excluded=[TITLES, []])
    assert without == []
    assert len(with_titles) == num_beams


def test_an_excluded_text_that_is_no_title_has_no_effect(
    lm: LanguageModel, renderer: PromptRenderer, prompts: list[list[int]]
) -> None:
    generator = transformers_generator(lm, renderer, num_beams=2, titles=TITLES)
    excluded = [["Unknown"]] * len(prompts)
    assert generator.generate(prompts, excluded=excluded) == generator.generate(prompts)


def test_impossible_titles_and_exclusions_are_refused(
    lm: LanguageModel, renderer: PromptRenderer
) -> None:
    with pytest.raises(ValueError, match="there are no titles: expected at least one"):
        transformers_generator(lm, renderer, titles=[])
    with pytest.raises(ValueError, match=r"unconstrained: make a .* with titles="):
        transformers_generator(lm, renderer).generate([[1]], excluded=[[]])
    generator = transformers_generator(lm, renderer, titles=TITLES)
    with pytest.raises(ValueError, match="given for 2 prompts: expected 1, one sequence of titles"):
        generator.generate([[1]], excluded=[[], []])
