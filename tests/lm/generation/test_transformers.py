"""Beam search: the texts, their probabilities, and what must not change them."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    MistralConfig,
    MistralForCausalLM,
)

from bigrec.lm.generation.transformers import TransformersGenerator, merged
from bigrec.lm.model import LanguageModel, load_language_model
from bigrec.lm.prompts import PromptRenderer
from bigrec.types import GeneratedText
from tests.conftest import TITLES, save_tiny_model

pytestmark = pytest.mark.model


def architecture(name: str, lm: LanguageModel) -> LanguageModel:
    """A model of random weights that finds a token's place in another way than Llama does."""
    torch.manual_seed(0)
    size: dict[str, Any] = {"vocab_size": len(lm.tokenizer), "hidden_size": 32}
    layers: dict[str, Any] = {"num_hidden_layers": 2, "num_attention_heads": 4}
    end = {"eos_token_id": lm.tokenizer.eos_token_id, "bos_token_id": None}
    make: dict[str, Any] = {
        "learned positions": lambda: GPT2LMHeadModel(GPT2Config(**size, **layers, **end)),
        "sliding window": lambda: MistralForCausalLM(
            MistralConfig(
                **size,
                **layers,
                **end,
                intermediate_size=64,
                num_key_value_heads=2,
                sliding_window=8,
            )
        ),
        "no positions": lambda: BloomForCausalLM(
            BloomConfig(**size, **end, n_layer=2, n_head=4, pad_token_id=lm.tokenizer.pad_token_id)
        ),
    }
    model: Any = make[name]()
    return dataclasses.replace(lm, model=model.eval())


def plain_log_prob(lm: LanguageModel, prompt: Sequence[int], response: Sequence[int]) -> float:
    """Of a response after a prompt, token by token, from one forward pass over both."""
    with torch.inference_mode():
        logits = lm.model(input_ids=torch.tensor([[*prompt, *response]])).logits[0]
    steps = logits[len(prompt) - 1 : -1].log_softmax(dim=-1)
    return float(steps[range(len(response)), list(response)].sum())


def log_probs(beams: Sequence[GeneratedText]) -> dict[str, float]:
    return {beam.text: beam.log_prob for beam in beams}


@contextmanager
def tokens_read(lm: LanguageModel) -> Iterator[list[tuple[int, ...]]]:
    """Rows and columns of every forward pass, in order."""
    shapes: list[tuple[int, ...]] = []
    hook = lm.model.register_forward_pre_hook(
        lambda _module, _args, options: shapes.append(tuple(options["input_ids"].shape)),
        with_kwargs=True,
    )
    yield shapes
    hook.remove()


def test_all_beams_are_kept_best_first(
    lm: LanguageModel, renderer: PromptRenderer, prompts: list[list[int]]
) -> None:
    generator = TransformersGenerator(lm, renderer, beams=3, max_new_tokens=6, length_penalty=0)
    for beams in generator.generate(prompts):
        assert 1 <= len({beam.text for beam in beams}) == len(beams) <= 3
        found = [beam.log_prob for beam in beams]
        assert found == sorted(found, reverse=True)
        assert max(found) <= 0


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


@pytest.mark.parametrize("beams", [1, 2])
def test_what_a_chat_model_brings_for_chatting_changes_no_probability(
    lm: LanguageModel, renderer: PromptRenderer, prompts: list[list[int]], beams: int
) -> None:
    generator = TransformersGenerator(lm, renderer, beams=beams, max_new_tokens=8)
    before = generator.generate(prompts)
    lm.model.generation_config.repetition_penalty = 2.0
    assert generator.generate(prompts) == before


def test_beams_with_one_text_count_as_one_of_their_summed_probability() -> None:
    beams = [
        GeneratedText("a", math.log(0.5)),
        GeneratedText("b", math.log(0.3)),
        GeneratedText("a", math.log(0.125)),
    ]
    together = merged(beams)
    assert [beam.text for beam in together] == ["a", "b"]
    assert [math.exp(beam.log_prob) for beam in together] == pytest.approx([0.625, 0.3])


def test_what_all_prompts_begin_with_is_read_once(
    lm: LanguageModel, renderer: PromptRenderer, prompts: list[list[int]]
) -> None:
    frame = renderer.prompt_ids(["?"], "movie").index(renderer.title_ids("?")[0])
    beginnings = {tuple(prompt[:frame]) for prompt in prompts}
    assert len(beginnings) == 1
    generator = TransformersGenerator(lm, renderer, beams=2, max_new_tokens=1, batch_size=4)
    generator.generate(prompts[:1])  # tries how it can read
    with tokens_read(lm) as shapes:
        generator.generate(prompts)
    (rows, size), *others = shapes
    assert rows == 1
    assert frame <= size
    longest = sorted(map(len, prompts), reverse=True)
    # For each batch: the rest of the prompt but its last token, then that token for every beam.
    assert others == [(4, longest[0] - size - 1), (8, 1), (2, longest[4] - size - 1), (4, 1)]


def test_a_prompt_alone_is_read_in_one_go(
    lm: LanguageModel, renderer: PromptRenderer, prompts: list[list[int]]
) -> None:
    generator = TransformersGenerator(lm, renderer, beams=2, max_new_tokens=1)
    generator.generate(prompts[:1])  # tries how it can read
    with tokens_read(lm) as shapes:
        generator.generate(prompts[:1])
    assert shapes == [(1, len(prompts[0]) - 1), (2, 1)]


def test_prompts_that_are_the_same_or_begin_one_another_are_read_as_any(
    lm: LanguageModel, renderer: PromptRenderer, prompts: list[list[int]]
) -> None:
    generator = TransformersGenerator(lm, renderer, beams=2, max_new_tokens=6)
    several = [prompts[1], prompts[1], prompts[1][:-3]]
    alone = [generator.generate([prompt])[0] for prompt in several]
    for some, others in zip(generator.generate(several), alone, strict=True):
        assert log_probs(some) == pytest.approx(log_probs(others), abs=1e-4)


@pytest.mark.parametrize(
    ("name", "shares"),
    [("learned positions", True), ("sliding window", False), ("no positions", False)],
)
def test_other_architectures_share_a_beginning_only_where_it_changes_nothing(
    lm: LanguageModel,
    renderer: PromptRenderer,
    prompts: list[list[int]],
    name: str,
    shares: bool,
) -> None:
    other = architecture(name, lm)
    generator = TransformersGenerator(other, renderer, beams=2, max_new_tokens=6)
    alone = [generator.generate([prompt])[0] for prompt in prompts]
    with tokens_read(other) as shapes:
        together = generator.generate(prompts)
    assert (shapes[0][0] == 1) == shares
    for some, others in zip(together, alone, strict=True):
        assert log_probs(some) == pytest.approx(log_probs(others), abs=1e-4)


def test_only_titles_are_written_with_the_probability_that_the_model_gives_them_freely(
    lm: LanguageModel, renderer: PromptRenderer, prompts: list[list[int]]
) -> None:
    # As many beams as titles: every title is written, whatever the model thinks of it.
    generator = TransformersGenerator(
        lm, renderer, beams=len(TITLES), length_penalty=0, titles=TITLES
    )
    for prompt, beams in zip(prompts, generator.generate(prompts), strict=True):
        expected = {
            title: plain_log_prob(lm, prompt, renderer.response_ids(title)) for title in TITLES
        }
        assert log_probs(beams) == pytest.approx(expected, abs=1e-3)
        assert [beam.text for beam in beams] == sorted(TITLES, key=lambda title: -expected[title])


def test_greedy_search_takes_the_most_probable_token_that_a_title_goes_on_with(
    lm: LanguageModel, renderer: PromptRenderer, prompts: list[list[int]]
) -> None:
    responses = {title: renderer.response_ids(title) for title in TITLES}
    generator = TransformersGenerator(lm, renderer, beams=1, titles=TITLES)
    for prompt, [beam] in zip(prompts, generator.generate(prompts), strict=True):
        left = dict(responses)
        for depth in range(max(map(len, responses.values()))):
            with torch.inference_mode():
                ids = torch.tensor([[*prompt, *next(iter(left.values()))[:depth]]])
                logits = lm.model(input_ids=ids).logits[0, -1]
            allowed = {ids[depth] for ids in left.values() if len(ids) > depth}
            best = max(allowed, key=lambda token: float(logits[token]))
            left = {title: ids for title, ids in left.items() if ids[depth : depth + 1] == [best]}
            if len(left) == 1:
                break
        assert [beam.text] == list(left)
        expected = plain_log_prob(lm, prompt, responses[beam.text])
        assert beam.log_prob == pytest.approx(expected, abs=1e-3)


def test_there_are_only_as_many_texts_as_titles(
    lm: LanguageModel, renderer: PromptRenderer, prompts: list[list[int]]
) -> None:
    # The first begins the second, the third has nothing in common with them, one is empty.
    titles = ["Seven", "Seven Samurai", "Babe (1995)", ""]
    generator = TransformersGenerator(lm, renderer, beams=8, titles=titles)
    for prompt, beams in zip(prompts, generator.generate(prompts), strict=True):
        expected = {
            title: plain_log_prob(lm, prompt, renderer.response_ids(title)) for title in titles
        }
        assert log_probs(beams) == pytest.approx(expected, abs=1e-3)


def test_titles_with_the_same_tokens_are_written_as_the_first_of_them(
    lm: LanguageModel, prompts: list[list[int]]
) -> None:
    renderer = PromptRenderer(lm.tokenizer, max_tokens=200)
    long = "Seven (1995) " * 20
    assert renderer.title_ids(long + "b") == renderer.title_ids(long + "a")
    generator = TransformersGenerator(
        lm, renderer, beams=2, titles=["Fargo (1996)", long + "b", long + "a"]
    )
    for beams in generator.generate(prompts):
        assert {beam.text for beam in beams} == {"Fargo (1996)", long + "b"}


def test_only_the_end_token_ends_a_title(lm: LanguageModel, prompts: list[list[int]]) -> None:
    class StopsEarly(PromptRenderer):
        """As with a tokenizer that writes a newline as it writes other rare characters."""

        @property
        def stop_ids(self) -> list[int]:
            return [*super().stop_ids, self.title_ids(TITLES[0])[1]]

    generator = TransformersGenerator(lm, StopsEarly(lm.tokenizer), titles=TITLES[:2])
    for prompt, beams in zip(prompts, generator.generate(prompts), strict=True):
        expected = {
            title: plain_log_prob(lm, prompt, PromptRenderer(lm.tokenizer).response_ids(title))
            for title in TITLES[:2]
        }
        assert log_probs(beams) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("beams", [1, 4])
def test_an_empty_title_is_written_only_where_it_is_not_excluded(
    tmp_path: Path, beams: int
) -> None:
    # Here the end token also pads: a place that no beam took reads like the empty title. The
    # penalty lets such places outlive what copies of a beam, of no probability, end in.
    lm = load_language_model(str(save_tiny_model(tmp_path / "plain", chat=False)), device="cpu")
    renderer = PromptRenderer(lm.tokenizer)
    assert renderer.end_id == lm.tokenizer.pad_token_id
    titles = ["", "Fargo (1996)"]
    generator = TransformersGenerator(lm, renderer, beams=beams, length_penalty=-1, titles=titles)
    prompts = [renderer.prompt_ids(["Babe (1995)"], "movie")] * 4
    excluded = [[], titles[:1], titles[1:], titles]
    written = generator.generate(prompts, excluded=excluded)
    assert [{text.text for text in texts} for texts in written[1:]] == [{titles[1]}, {""}, set()]
    assert len(written[0]) == min(beams, 2)


def test_the_longest_title_sets_how_long_a_text_may_be(
    lm: LanguageModel, renderer: PromptRenderer, prompts: list[list[int]]
) -> None:
    generator = TransformersGenerator(lm, renderer, max_new_tokens=1, titles=TITLES[:2])
    for beams in generator.generate(prompts):
        assert {beam.text for beam in beams} == set(TITLES[:2])


@pytest.mark.parametrize("beams", [1, 4, len(TITLES)])
def test_excluded_titles_are_not_written(
    lm: LanguageModel, renderer: PromptRenderer, prompts: list[list[int]], beams: int
) -> None:
    generator = TransformersGenerator(
        lm, renderer, beams=beams, length_penalty=0, titles=TITLES, batch_size=4
    )
    excluded = [TITLES[i : i + 2 * i] for i in range(len(prompts))]
    together = generator.generate(prompts, excluded=excluded)
    for prompt, hidden, texts in zip(prompts, excluded, together, strict=True):
        assert len(texts) == min(beams, len(TITLES) - len(hidden))
        expected = {
            title: plain_log_prob(lm, prompt, renderer.response_ids(title))
            for title in TITLES
            if title not in hidden and (beams == len(TITLES) or title in log_probs(texts))
        }
        assert log_probs(texts) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("beams", [1, 4])
def test_a_search_does_not_lead_to_where_everything_is_excluded(
    lm: LanguageModel, renderer: PromptRenderer, prompts: list[list[int]], beams: int
) -> None:
    generator = TransformersGenerator(lm, renderer, beams=beams, titles=TITLES)
    excluded = [[title for title in TITLES if title != TITLES[i]] for i in range(len(prompts))]
    written = generator.generate(prompts, excluded=excluded)
    assert [[text.text for text in texts] for texts in written] == [
        [title] for title in TITLES[: len(prompts)]
    ]


@pytest.mark.parametrize("beams", [1, 4])
def test_a_prompt_whose_titles_are_all_excluded_has_no_texts(
    lm: LanguageModel, renderer: PromptRenderer, prompts: list[list[int]], beams: int
) -> None:
    generator = TransformersGenerator(lm, renderer, beams=beams, titles=TITLES)
    none, some = generator.generate(prompts[:2], excluded=[TITLES, []])
    assert none == []
    assert len(some) == beams


def test_an_excluded_title_that_cannot_be_written_changes_nothing(
    lm: LanguageModel, renderer: PromptRenderer, prompts: list[list[int]]
) -> None:
    generator = TransformersGenerator(lm, renderer, beams=2, titles=TITLES)
    excluded = [["Unknown"]] * len(prompts)
    assert generator.generate(prompts, excluded=excluded) == generator.generate(prompts)


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
    with pytest.raises(ValueError, match="there are no titles: expected at least one"):
        TransformersGenerator(lm, renderer, titles=[])
    with pytest.raises(ValueError, match="this generator writes freely: make it with titles="):
        TransformersGenerator(lm, renderer).generate([[1]], excluded=[[]])
    generator = TransformersGenerator(lm, renderer, titles=TITLES)
    with pytest.raises(ValueError, match="given for 2 prompts: expected 1, one sequence of titles"):
        generator.generate([[1]], excluded=[[], []])
