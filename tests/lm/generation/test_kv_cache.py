"""The cache that beams share: the same texts, from less memory.

The cache replaces parts of transformers. Tests of the second half check each internal name and
behavior that it relies on, so that a failure after an upgrade says which one has changed.
"""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import transformers
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    DynamicCache,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
)
from transformers.cache_utils import DynamicLayer
from transformers.masking_utils import sdpa_mask

from bigrec.lm.generation import kv_cache
from bigrec.lm.generation import transformers as beam_search
from bigrec.lm.generation.kv_cache import (
    beam_attention,
    can_share_prompts,
    has_plain_cache,
    shared_prefix_cache,
)
from bigrec.lm.model import LanguageModel
from bigrec.lm.prompts import PromptRenderer
from tests.lm.generation.generators import log_probs, transformers_generator

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
    # Beams that stay in place while the search moves them.
    monkeypatch.setattr(kv_cache._BeamLayer, "reorder_cache", lambda *_: None)
    assert not can_share_prompts(llama())


def test_the_attention_of_the_model_is_restored() -> None:
    model = llama()
    can_share_prompts(model)
    assert model.config._attn_implementation == "sdpa"


def test_the_prompt_is_kept_once_for_all_beams() -> None:
    shared = shared_prefix_cache(cache_of(llama(), rows=2, width=30), num_beams=4)
    tokens = [(torch.ones(8, 2, 1, 4), torch.ones(8, 2, 1, 4)) for _ in range(3)]
    for number, (keys, values) in enumerate(tokens, start=1):
        read, _ = shared.update(keys, values, 0)
        assert read.shape == (2, 2, 30 + number * 4, 4)
    assert shared.get_seq_length() == 33


@pytest.mark.parametrize("num_beams", [1, 3])
def test_long_texts_are_those_of_beams_with_a_prompt_each(
    lm: LanguageModel,
    renderer: PromptRenderer,
    prompts: list[list[int]],
    num_beams: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def generate() -> list[dict[str, float]]:
        # More tokens than the cache grows by at a time.
        generator = transformers_generator(lm, renderer, num_beams=num_beams, max_new_tokens=40)
        return [log_probs(texts) for texts in generator.generate(prompts)]

    shared = generate()
    monkeypatch.setattr(beam_search, "can_share_prompts", lambda _: False)
    assert generate() == [pytest.approx(texts, abs=1e-3) for texts in shared]


def cache_of(model: Any, *, rows: int, width: int) -> DynamicCache:
    """Cache of a forward pass over some tokens."""
    cache = DynamicCache()
    with torch.inference_mode():
        model(input_ids=torch.ones(rows, width, dtype=torch.long), past_key_values=cache)
    return cache


def changed(expectation: str) -> str:
    """Message of a failure: what transformers no longer does, and what to do."""
    return (
        f"transformers {transformers.__version__} has changed. Expected: {expectation}. "
        "src/bigrec/lm/generation/kv_cache.py relies on it: adapt it to the new transformers, or "
        "exclude this version in pyproject.toml. Until then, texts are right only if "
        "can_share_prompts returns False; each beam then stores its prompt."
    )


def test_transformers_a_config_decides_the_layers_of_a_dynamic_cache() -> None:
    layers = DynamicCache(config=llama().config).layers
    assert [type(layer) for layer in layers] == [DynamicLayer] * 2, changed(
        "DynamicCache(config=...).layers holds one DynamicLayer for each layer of a Llama"
    )
    sliding = MistralConfig(num_hidden_layers=2, sliding_window=8)
    assert not has_plain_cache(sliding), changed(
        "DynamicCache(config=...).layers holds another class than DynamicLayer for layers with "
        "a sliding window"
    )


def test_transformers_a_dynamic_cache_iterates_over_its_layers() -> None:
    entries = list(cache_of(llama(), rows=2, width=5))
    assert [len(entry) for entry in entries] == [3, 3], changed(
        "iterating a DynamicCache gives (keys, values, sliding window) of each layer"
    )
    assert {tuple(tensor.shape) for entry in entries for tensor in entry[:2]} == {(2, 2, 5, 4)}, (
        changed("keys and values are [batch, key heads, tokens, head size]")
    )


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        (DynamicLayer.update, ["self", "key_states", "value_states", "args", "kwargs"]),
        (DynamicLayer.get_seq_length, ["self"]),
        (DynamicLayer.get_mask_sizes, ["self", "query_length"]),
        (DynamicLayer.reorder_cache, ["self", "beam_idx"]),
        (DynamicCache.reorder_cache, ["self", "beam_idx"]),
        (DynamicCache.batch_repeat_interleave, ["self", "repeats"]),
    ],
)
def test_transformers_methods_of_caches_have_these_parameters(
    method: Callable[..., Any], parameters: list[str]
) -> None:
    assert list(inspect.signature(method).parameters) == parameters, changed(
        f"{method.__qualname__}({', '.join(parameters)})"
    )


def test_transformers_an_empty_dynamic_layer_has_these_attributes() -> None:
    assert vars(DynamicLayer()) == {"keys": None, "values": None, "is_initialized": False}, changed(
        "DynamicLayer() sets keys, values and is_initialized, and nothing else"
    )


def test_transformers_the_mask_of_a_layer_covers_its_sequence_length() -> None:
    layer = kv_cache._BeamLayer(torch.ones(1, 2, 5, 4), torch.ones(1, 2, 5, 4), 3)
    layer.update(torch.ones(3, 2, 1, 4), torch.ones(3, 2, 1, 4))
    assert layer.get_mask_sizes(1) == (7, 0), changed(
        "DynamicLayer.get_mask_sizes gives (get_seq_length() + new tokens, 0)"
    )


def test_transformers_the_layers_of_a_cache_can_be_replaced() -> None:
    shared = shared_prefix_cache(cache_of(llama(), rows=1, width=5), num_beams=3)
    shared.update(torch.ones(3, 2, 1, 4), torch.ones(3, 2, 1, 4), 0)
    assert [shared.get_seq_length(layer) for layer in range(2)] == [6, 5], changed(
        "DynamicCache.update passes keys and values to the layer with the given number in .layers"
    )


def test_transformers_attention_and_mask_are_registered_by_name() -> None:
    name = kv_cache._NAME
    assert AttentionInterface()[name] is kv_cache._attend, changed(
        "AttentionInterface.register(name, function) makes the function available by its name"
    )
    assert AttentionMaskInterface()[name] is kv_cache._mask, changed(
        "AttentionMaskInterface.register(name, function) makes the function available by its name"
    )
    assert "allow_is_causal_skip" in inspect.signature(sdpa_mask).parameters, changed(
        "sdpa_mask(..., allow_is_causal_skip=False) never omits the mask"
    )


def test_transformers_a_model_tells_and_changes_its_attention() -> None:
    model = llama()
    assert getattr(model.config, "_attn_implementation", None) == "sdpa", changed(
        "model.config._attn_implementation is 'sdpa' by default"
    )
    with beam_attention(model):
        assert model.config._attn_implementation == kv_cache._NAME, changed(
            "model.set_attn_implementation(name) sets model.config._attn_implementation"
        )


@pytest.fixture
def attention_calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[inspect.BoundArguments]]:
    """Arguments of every call of the attention of beams."""
    calls: list[inspect.BoundArguments] = []

    def record(*args: Any, **options: Any) -> Any:
        calls.append(inspect.signature(kv_cache._attend).bind(*args, **options))
        return kv_cache._attend(*args, **options)

    AttentionInterface.register(kv_cache._NAME, record)
    yield calls
    AttentionInterface.register(kv_cache._NAME, kv_cache._attend)


def test_transformers_attention_is_called_with_these_tensors(
    attention_calls: list[inspect.BoundArguments],
) -> None:
    model = llama()
    shared = shared_prefix_cache(cache_of(model, rows=2, width=5), num_beams=3)
    with torch.inference_mode(), beam_attention(model):
        model(
            input_ids=torch.ones(6, 1, dtype=torch.long),
            attention_mask=torch.ones(6, 6, dtype=torch.long),
            past_key_values=shared,
        )
    assert len(attention_calls) == 2, changed(
        "each layer calls the function that is registered for the model's attention"
    )
    values = attention_calls[0].arguments
    names = ["query", "key", "value", "attention_mask"]
    assert {name: tuple(values[name].shape) for name in names} == {
        "query": (6, 6, 1, 4),
        "key": (2, 2, 5 + 3, 4),
        "value": (2, 2, 5 + 3, 4),
        "attention_mask": (6, 1, 1, 6),
    }, changed(
        "attention gets query [rows, heads, tokens, head size], keys and values as the cache "
        "returned them, and a mask [rows, 1, tokens, tokens of the cache] that is never omitted"
    )
    assert values["attention_mask"].dtype == torch.bool, changed("the mask is boolean")


def test_transformers_a_model_reads_the_shared_cache_without_an_error() -> None:
    # can_share_prompts catches errors and returns False. Here they show.
    ids = torch.tensor([[0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3, 0, 1, 2, 3]])
    model = llama()
    with torch.inference_mode():
        logits = kv_cache._logits_step_by_step(model, ids)
        expected = model(input_ids=ids).logits[:, 4:]
    torch.testing.assert_close(
        logits,
        expected,
        msg=changed("a forward pass with past_key_values reads only what its layers return"),
    )


def test_transformers_a_search_continues_and_reorders_the_given_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    orders: list[list[int]] = []
    reorder = kv_cache._BeamLayer.reorder_cache

    def record(layer: Any, beam_idx: torch.Tensor) -> None:
        orders.append(beam_idx.tolist())
        reorder(layer, beam_idx)

    monkeypatch.setattr(kv_cache._BeamLayer, "reorder_cache", record)
    model = llama()
    shared = shared_prefix_cache(cache_of(model, rows=1, width=5), num_beams=3)
    ids = torch.ones(1, 6, dtype=torch.long)
    with torch.inference_mode(), beam_attention(model):
        model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            past_key_values=shared,
            num_beams=3,
            max_new_tokens=4,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
    assert shared.get_seq_length() == 5 + 4, changed(
        "generate(past_key_values=cache) reads the prompt's last token, and appends every "
        "generated token but the last to the cache"
    )
    assert orders, changed("generate(num_beams=...) calls reorder_cache(beam_idx) of each layer")
    assert {len(order) for order in orders} == {3}, changed("beam_idx has one row for each beam")
