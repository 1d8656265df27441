"""Beams that share what is remembered of their prompt: the same texts, from less memory."""

from typing import Any

import pytest
import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

from bigrec.lm.generation import kv_cache, transformers
from bigrec.lm.generation.kv_cache import beams_of, can_share_prompts
from bigrec.lm.generation.transformers import TransformersGenerator
from bigrec.lm.model import LanguageModel
from bigrec.lm.prompts import PromptRenderer

pytestmark = pytest.mark.model


def llama(**changes: Any) -> Any:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "vocab_size": 50,
        "hidden_size": 24,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
    }
    return LlamaForCausalLM(LlamaConfig(**{**sizes, **changes})).eval()


@pytest.mark.parametrize("kv_heads", [1, 2, 6])
def test_llama_computes_the_same_with_shared_prompts(kv_heads: int) -> None:
    assert can_share_prompts(llama(num_key_value_heads=kv_heads))


def test_attention_of_another_kind_is_left_as_it_is() -> None:
    assert not can_share_prompts(llama(attn_implementation="eager"))


def test_a_model_that_computes_something_else_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Beams that stay where they are while the search moves them.
    monkeypatch.setattr(kv_cache._Beams, "reorder_cache", lambda *_: None)
    assert not can_share_prompts(llama())


def test_the_attention_of_the_model_is_put_back() -> None:
    model = llama()
    can_share_prompts(model)
    assert model.config._attn_implementation == "sdpa"


def test_the_prompt_is_kept_once_for_all_beams() -> None:
    cache = DynamicCache()
    llama()(input_ids=torch.ones(2, 30, dtype=torch.long), past_key_values=cache)
    shared = beams_of(cache, beams=4)
    tokens = [(torch.ones(8, 2, 1, 4), torch.ones(8, 2, 1, 4)) for _ in range(3)]
    for number, (keys, values) in enumerate(tokens, start=1):
        read, _ = shared.update(keys, values, 0)
        assert read.shape == (2, 2, 30 + number * 4, 4)
    assert shared.get_seq_length() == 33


@pytest.mark.parametrize("beams", [1, 3])
def test_long_texts_are_those_of_beams_with_a_prompt_each(
    lm: LanguageModel,
    renderer: PromptRenderer,
    prompts: list[list[int]],
    beams: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def write() -> list[dict[str, float]]:
        # Longer than what memory grows by at a time.
        generator = TransformersGenerator(lm, renderer, beams=beams, max_new_tokens=40)
        return [
            {text.text: text.log_prob for text in texts} for texts in generator.generate(prompts)
        ]

    shared = write()
    monkeypatch.setattr(transformers, "can_share_prompts", lambda _: False)
    assert write() == [pytest.approx(texts, abs=1e-3) for texts in shared]
