"""Beam search: the texts, their probabilities, and what must not change them."""

import dataclasses
import json
import math
import shutil
from collections.abc import Iterator
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

from bigrec.lm.generation.base import Generator, merge_equal_texts
from bigrec.lm.model import LanguageModel, load_language_model
from bigrec.lm.prompts import PromptRenderer
from bigrec.types import GeneratedText
from tests.lm.generation.generators import (
    assert_same_texts,
    log_probs,
    transformers_generator,
)

pytestmark = pytest.mark.model


def architecture(name: str, lm: LanguageModel) -> LanguageModel:
    """A model of random weights whose positions differ from Llama's."""
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
    generator = transformers_generator(
        lm, renderer, num_beams=3, max_new_tokens=6, length_penalty=0
    )
    for texts in generator.generate(prompts):
        assert 1 <= len({text.text for text in texts}) == len(texts) <= 3
        values = [text.log_prob for text in texts]
        assert values == sorted(values, reverse=True)
        assert max(values) <= 0


@pytest.mark.parametrize("num_beams", [1, 4])
def test_a_batch_gives_what_each_prompt_gives_alone(
    lm: LanguageModel, renderer: PromptRenderer, prompts: list[list[int]], num_beams: int
) -> None:
    def generator(batch_size: int) -> Generator:
        return transformers_generator(
            lm, renderer, num_beams=num_beams, max_new_tokens=8, batch_size=batch_size
        )

    together = generator(4).generate(prompts)
    alone = [generator(1).generate([prompt])[0] for prompt in prompts]
    assert_same_texts(together, alone)


@pytest.mark.parametrize("num_beams", [1, 4])
def test_texts_equal_those_of_a_plain_search_that_reads_the_prompt_for_every_beam(
    lm: LanguageModel, renderer: PromptRenderer, prompts: list[list[int]], num_beams: int
) -> None:
    generator = transformers_generator(lm, renderer, num_beams=num_beams, max_new_tokens=8)
    for prompt, texts in zip(prompts, generator.generate(prompts), strict=True):
        ids = torch.tensor([prompt])
        plain = lm.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            num_beams=num_beams,
            num_return_sequences=num_beams,
            do_sample=False,
            max_new_tokens=8,
            eos_token_id=renderer.stop_ids,
            pad_token_id=lm.tokenizer.pad_token_id,
        )
        written = [renderer.read(row) for row in plain[:, len(prompt) :].tolist()]
        expected = list(dict.fromkeys(written))
        assert [text.text for text in texts] == expected


@pytest.mark.parametrize("num_beams", [1, 2])
def test_the_log_probability_is_that_of_the_written_tokens(
    lm: LanguageModel, renderer: PromptRenderer, prompts: list[list[int]], num_beams: int
) -> None:
    # One token only, so the text's probability can be read off the next-token distribution.
    generator = transformers_generator(lm, renderer, num_beams=num_beams, max_new_tokens=1)
    best = max(generator.generate(prompts[:1])[0], key=lambda beam: beam.log_prob)
    with torch.inference_mode():
        logits = lm.model(input_ids=torch.tensor(prompts[:1])).logits[0, -1]
    assert best.log_prob == pytest.approx(float(logits.log_softmax(dim=-1).max()), abs=1e-4)


@pytest.mark.parametrize("num_beams", [1, 2])
def test_the_generation_config_of_a_chat_model_changes_no_probability(
    lm: LanguageModel, renderer: PromptRenderer, prompts: list[list[int]], num_beams: int
) -> None:
    generator = transformers_generator(lm, renderer, num_beams=num_beams, max_new_tokens=8)
    before = generator.generate(prompts)
    lm.model.generation_config.repetition_penalty = 2.0
    assert generator.generate(prompts) == before


def test_equal_texts_are_merged_and_their_probabilities_summed() -> None:
    texts = [
        GeneratedText("a", math.log(0.5)),
        GeneratedText("b", math.log(0.3)),
        GeneratedText("a", math.log(0.125)),
    ]
    merged = merge_equal_texts(texts)
    assert [text.text for text in merged] == ["a", "b"]
    assert [math.exp(text.log_prob) for text in merged] == pytest.approx([0.625, 0.3])


def test_the_shared_prefix_of_all_prompts_is_read_once(
    lm: LanguageModel, renderer: PromptRenderer, prompts: list[list[int]]
) -> None:
    prefix = renderer.prompt_ids(["?"], "movie").index(renderer.title_token_ids("?")[0])
    beginnings = {tuple(prompt[:prefix]) for prompt in prompts}
    assert len(beginnings) == 1
    generator = transformers_generator(lm, renderer, num_beams=2, max_new_tokens=1, batch_size=4)
    generator.generate(prompts[:1])  # checks how the model can read
    with tokens_read(lm) as shapes:
        generator.generate(prompts)
    (rows, size), *others = shapes
    assert rows == 1
    assert prefix <= size
    longest = sorted(map(len, prompts), reverse=True)
    # For each batch: the rest of the prompt but its last token, then that token for every beam.
    assert others == [(4, longest[0] - size - 1), (8, 1), (2, longest[4] - size - 1), (4, 1)]


def test_a_prompt_alone_is_read_in_one_pass(
    lm: LanguageModel, renderer: PromptRenderer, prompts: list[list[int]]
) -> None:
    generator = transformers_generator(lm, renderer, num_beams=2, max_new_tokens=1)
    generator.generate(prompts[:1])  # checks how the model can read
    with tokens_read(lm) as shapes:
        generator.generate(prompts[:1])
    assert shapes == [(1, len(prompts[0]) - 1), (2, 1)]


def test_prompts_that_are_the_same_or_begin_one_another_are_read_as_any(
    lm: LanguageModel, renderer: PromptRenderer, prompts: list[list[int]]
) -> None:
    generator = transformers_generator(lm, renderer, num_beams=2, max_new_tokens=6)
    several = [prompts[1], prompts[1], prompts[1][:-3]]
    alone = [generator.generate([prompt])[0] for prompt in several]
    for texts, others in zip(generator.generate(several), alone, strict=True):
        assert log_probs(texts) == pytest.approx(log_probs(others), abs=1e-4)


@pytest.mark.parametrize(
    ("name", "shares"),
    [("learned positions", True), ("sliding window", False), ("no positions", False)],
)
def test_other_architectures_share_a_prefix_only_if_it_changes_nothing(
    lm: LanguageModel,
    renderer: PromptRenderer,
    prompts: list[list[int]],
    name: str,
    shares: bool,
) -> None:
    other = architecture(name, lm)
    generator = transformers_generator(other, renderer, num_beams=2, max_new_tokens=6)
    alone = [generator.generate([prompt])[0] for prompt in prompts]
    with tokens_read(other) as shapes:
        together = generator.generate(prompts)
    assert (shapes[0][0] == 1) == shares
    for texts, others in zip(together, alone, strict=True):
        assert log_probs(texts) == pytest.approx(log_probs(others), abs=1e-4)


def test_progress_counts_prompts(
    lm: LanguageModel, renderer: PromptRenderer, prompts: list[list[int]]
) -> None:
    calls: list[tuple[int, int]] = []
    generator = transformers_generator(lm, renderer, num_beams=1, max_new_tokens=2, batch_size=4)
    generator.generate(prompts, progress=lambda *a: calls.append(a))
    assert calls == [(4, 6), (6, 6)]


def test_no_prompts_give_no_texts(lm: LanguageModel, renderer: PromptRenderer) -> None:
    assert transformers_generator(lm, renderer).generate([]) == []


def test_impossible_arguments_are_refused(lm: LanguageModel, renderer: PromptRenderer) -> None:
    with pytest.raises(ValueError, match="num_beams is 0: expected at least 1"):
        transformers_generator(lm, renderer, num_beams=0)
    with pytest.raises(ValueError, match="a prompt is empty"):
        transformers_generator(lm, renderer).generate([[]])


@pytest.mark.parametrize("num_beams", [1, 3])
def test_the_generation_config_of_a_folder_changes_no_text(
    tiny_model: Path, tmp_path: Path, renderer: PromptRenderer, num_beams: int
) -> None:
    plain = load_language_model(str(tiny_model), device="cpu")
    prompts = [renderer.prompt_ids(["Alien (1979)", "Brazil (1985)"], "movie")]
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    (folder / "generation_config.json").write_text(
        json.dumps(
            {
                "do_sample": True,
                "temperature": 0.3,
                "top_k": 2,
                "top_p": 0.1,
                "min_new_tokens": 4,
                "no_repeat_ngram_size": 1,
                "suppress_tokens": list(range(0, 100, 2)),
                "encoder_repetition_penalty": 1.5,
                "max_length": 3,
                "num_return_sequences": 1,
                "eos_token_id": 5,
            }
        ),
        encoding="utf-8",
    )
    configured = load_language_model(str(folder), device="cpu")
    texts = [
        transformers_generator(lm, renderer, num_beams=num_beams, max_new_tokens=6).generate(
            prompts
        )
        for lm in (plain, configured)
    ]
    assert texts[0] == texts[1]
