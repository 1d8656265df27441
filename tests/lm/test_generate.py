"""Beam search: the texts, their probabilities, and what must not change them."""

import math
from pathlib import Path

import pytest
import torch

from bigrec.lm.generate import TransformersGenerator, _merged
from bigrec.lm.model import LanguageModel, load_language_model
from bigrec.prompts import PromptRenderer
from bigrec.types import GeneratedText
from tests.conftest import TITLES

pytestmark = pytest.mark.model


@pytest.fixture
def lm(tiny_model: Path) -> LanguageModel:
    return load_language_model(str(tiny_model), device="cpu")


@pytest.fixture
def renderer(lm: LanguageModel) -> PromptRenderer:
    return PromptRenderer(lm.tokenizer)


@pytest.fixture
def prompts(renderer: PromptRenderer) -> list[list[int]]:
    return [renderer.prompt_ids(TITLES[i : i + 1 + i % 4], "movie") for i in range(6)]


def test_all_beams_are_kept_best_first(
    lm: LanguageModel, renderer: PromptRenderer, prompts: list[list[int]]
) -> None:
    generator = TransformersGenerator(lm, renderer, beams=3, max_new_tokens=6, length_penalty=0)
    for beams in generator.generate(prompts):
        assert 1 <= len({beam.text for beam in beams}) == len(beams) <= 3
        log_probs = [beam.log_prob for beam in beams]
        assert log_probs == sorted(log_probs, reverse=True)
        assert max(log_probs) <= 0


@pytest.mark.parametrize("beams", [1, 4])
def test_a_batch_gives_what_each_prompt_gives_alone(
    lm: LanguageModel, renderer: PromptRenderer, prompts: list[list[int]], beams: int
) -> None:
    def generator(batch_size: int) -> TransformersGenerator:
        return TransformersGenerator(
            lm, renderer, beams=beams, max_new_tokens=8, batch_size=batch_size
        )

    together = generator(4).generate(prompts)
    alone = [generator(1).generate([prompt])[0] for prompt in prompts]
    for some, others in zip(together, alone, strict=True):
        assert [beam.text for beam in some] == [beam.text for beam in others]
        assert [beam.log_prob for beam in some] == pytest.approx(
            [beam.log_prob for beam in others], abs=1e-4
        )


@pytest.mark.parametrize("beams", [1, 4])
def test_texts_equal_those_of_a_plain_search_that_reads_the_prompt_for_every_beam(
    lm: LanguageModel, renderer: PromptRenderer, prompts: list[list[int]], beams: int
) -> None:
    generator = TransformersGenerator(lm, renderer, beams=beams, max_new_tokens=8)
    for prompt, texts in zip(prompts, generator.generate(prompts), strict=True):
        ids = torch.tensor([prompt])
        plain = lm.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            num_beams=beams,
            num_return_sequences=beams,
            do_sample=False,
            max_new_tokens=8,
            eos_token_id=renderer.stop_ids,
            pad_token_id=lm.tokenizer.pad_token_id,
        )
        written = [renderer.read(row) for row in plain[:, len(prompt) :].tolist()]
        expected = list(dict.fromkeys(written))
        assert [text.text for text in texts] == expected


@pytest.mark.parametrize("beams", [1, 2])
def test_the_log_probability_is_that_of_the_written_tokens(
    lm: LanguageModel, renderer: PromptRenderer, prompts: list[list[int]], beams: int
) -> None:
    # One token only, so the text's probability can be read off the next-token distribution.
    generator = TransformersGenerator(lm, renderer, beams=beams, max_new_tokens=1)
    best = max(generator.generate(prompts[:1])[0], key=lambda beam: beam.log_prob)
    with torch.inference_mode():
        logits = lm.model(input_ids=torch.tensor(prompts[:1])).logits[0, -1]
    assert best.log_prob == pytest.approx(float(logits.log_softmax(dim=-1).max()), abs=1e-4)


def test_beams_with_one_text_count_as_one_of_their_summed_probability() -> None:
    beams = [
        GeneratedText("a", math.log(0.5)),
        GeneratedText("b", math.log(0.3)),
        GeneratedText("a", math.log(0.125)),
    ]
    merged = _merged(beams)
    assert [beam.text for beam in merged] == ["a", "b"]
    assert [math.exp(beam.log_prob) for beam in merged] == pytest.approx([0.625, 0.3])


def test_progress_counts_prompts(
    lm: LanguageModel, renderer: PromptRenderer, prompts: list[list[int]]
) -> None:
    seen: list[tuple[int, int]] = []
    generator = TransformersGenerator(lm, renderer, beams=1, max_new_tokens=2, batch_size=4)
    generator.generate(prompts, progress=lambda *a: seen.append(a))
    assert seen == [(4, 6), (6, 6)]


def test_no_prompts_give_no_texts(lm: LanguageModel, renderer: PromptRenderer) -> None:
    assert TransformersGenerator(lm, renderer).generate([]) == []


def test_impossible_arguments_are_refused(lm: LanguageModel, renderer: PromptRenderer) -> None:
    with pytest.raises(ValueError, match="beams is 0: expected at least 1"):
        TransformersGenerator(lm, renderer, beams=0)
    with pytest.raises(ValueError, match="a prompt is empty"):
        TransformersGenerator(lm, renderer).generate([[]])
