"""A key-value cache in which all beams of a prompt share the prompt's keys and values.

By default transformers keeps keys and values of the whole prompt for every beam, and copies all of
them in every step, to append a token and to reorder beams. Here, in each layer, keys are stored as
``[prompt | first token of every beam | second token of every beam | ...]``, and a mask hides from
each beam the tokens of the others. Appending then writes one token for each beam, and reordering
moves only generated tokens.

This relies on internals of transformers, which tests/lm/generation/test_kv_cache.py checks by name.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache
from transformers.cache_utils import DynamicLayer
from transformers.masking_utils import sdpa_mask

_NAME = "bigrec_beams"
# Steps by which the cache grows at a time.
_STEPS_PER_BLOCK = 16
# Tokens of the prompt, and of each beam after it, in the check of `can_share_prompts`.
_CHECKED = 4
# Logits differ by rounding, by less than a hundredth of their spread in bfloat16.
_TOLERANCE = 0.05


def has_plain_cache(config: Any) -> bool:
    """Whether every layer caches the keys and values of all tokens, and nothing else."""
    return all(type(layer) is DynamicLayer for layer in DynamicCache(config=config).layers)


def shared_prefix_cache(prompts: DynamicCache, *, num_beams: int) -> DynamicCache:
    """A cache for several beams of every prompt.

    Args:
        prompts: Cache of ``b`` prompts. It must not be used afterwards.
        num_beams: Beams of each prompt, ``n``.

    Returns:
        A cache for ``b * n`` rows of one token at a time, the beams of a prompt next to each other.
        Only a model within `beam_attention` can read it.
    """
    cache = DynamicCache()
    cache.layers = [_BeamLayer(keys, values, num_beams) for keys, values, _ in prompts]
    return cache


@contextmanager
def beam_attention(model: Any) -> Iterator[None]:
    """Within the block, the model's attention reads caches of `shared_prefix_cache` only."""
    previous = model.config._attn_implementation
    model.set_attn_implementation(_NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(previous)


@torch.inference_mode()
def can_share_prompts(model: Any) -> bool:
    """Whether the model gives the same logits with a cache that beams share, by a trial.

    The configuration does not describe every form of attention, so it cannot decide this.
    """
    if getattr(model.config, "_attn_implementation", None) != "sdpa":
        return False
    if not has_plain_cache(model.config):
        return False
    size = min(model.config.vocab_size, 2 * _CHECKED)
    ids = torch.arange(2 * _CHECKED, device=model.device)[None].expand(2, -1) % size
    # Two beams of one prompt; the second one repeats the prompt.
    ids = torch.cat([ids[:, :_CHECKED], torch.stack([ids[0, _CHECKED:], ids[0, :_CHECKED]])], dim=1)
    expected = model(input_ids=ids).logits[:, _CHECKED:].float()
    try:
        logits = _logits_step_by_step(model, ids).float()
    except (RuntimeError, TypeError, ValueError, KeyError, AttributeError, NotImplementedError):
        return False
    return bool((logits - expected).abs().max() <= _TOLERANCE * expected.std())


def _logits_step_by_step(model: Any, ids: Tensor) -> Tensor:
    """Logits after each token of two beams that share a prompt and swap places in every step.

    Args:
        model: A causal language model.
        ids: Token IDs of the beams, ``[2, width]``, which agree in the tokens of the prompt.

    Returns:
        ``[2, width - prompt, vocabulary]``.
    """
    cache = DynamicCache()
    model(input_ids=ids[:1, :_CHECKED], past_key_values=cache, use_cache=True)
    cache = shared_prefix_cache(cache, num_beams=2)
    logits: list[Tensor] = []
    swapped = torch.tensor([1, 0], device=ids.device)
    with beam_attention(model):
        for end in range(_CHECKED + 1, ids.shape[1] + 1):
            step = model(
                input_ids=ids[:, end - 1 : end],
                attention_mask=torch.ones_like(ids[:, :end]),
                past_key_values=cache,
                use_cache=True,
            )
            last = step.logits[:, -1]
            logits.append(last[swapped] if len(logits) % 2 else last)
            cache.reorder_cache(swapped)  # type: ignore[arg-type]
            ids = ids[swapped]
    return torch.stack(logits, dim=1)


class _BeamLayer(DynamicLayer):
    """Keys and values of a layer for ``b`` prompts and ``n`` beams of each."""

    keys: Tensor
    values: Tensor

    def __init__(self, keys: Tensor, values: Tensor, num_beams: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.keys, self.values = keys, values
        self.is_initialized = True
        self._num_beams = num_beams
        self._prompt_size = keys.shape[-2]
        self._steps = 0

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Append a token of every beam, ``[b * n, heads, 1, size]``.

        Returns:
            Keys and values of prompts and beams, ``[b, heads, prompt + steps * n, size]``.
        """
        start = self._prompt_size + self._steps * self._num_beams
        end = start + self._num_beams
        if end > self.keys.shape[-2]:
            self.keys, self.values = self._extended(self.keys), self._extended(self.values)
        for stored, new in ((self.keys, key_states), (self.values, value_states)):
            of_beams = new.reshape(len(stored), self._num_beams, *new.shape[1:])
            stored[:, :, start:end] = of_beams[..., 0, :].transpose(1, 2)
        self._steps += 1
        return self.keys[:, :, :end], self.values[:, :, :end]

    def _extended(self, stored: Tensor) -> Tensor:
        count, heads, _, size = stored.shape
        free = stored.new_empty(count, heads, _STEPS_PER_BLOCK * self._num_beams, size)
        return torch.cat([stored, free], dim=2)

    def get_seq_length(self) -> int:
        """Tokens of each beam, with its prompt."""
        return self._prompt_size + self._steps

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Continue every beam from another beam of its prompt: row numbers, ``[b * n]``."""
        if not self._steps:
            return
        n = self._num_beams
        source = (beam_idx.view(-1, n) % n)[:, None, None, :, None]
        end = self._prompt_size + self._steps * n
        for stored in (self.keys, self.values):
            part = stored[:, :, self._prompt_size : end]
            generated = part.view(*part.shape[:2], self._steps, n, part.shape[-1])
            index = source.expand(-1, *generated.shape[1:3], -1, generated.shape[-1])
            stored[:, :, self._prompt_size : end] = generated.gather(3, index).flatten(2, 3)


def _attend(  # noqa: PLR0917 - the signature is transformers'
    _: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    dropout: float = 0.0,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attention of one token of every beam, ``[b * n, heads, 1, size]``, to a `_BeamLayer`."""
    if query.shape[2] != 1 or options.get("position_bias") is not None:
        raise NotImplementedError("expected one token for each beam and no position bias")
    count, groups = len(key), query.shape[1] // key.shape[1]
    n = len(query) // count
    # [b, n, kv heads, groups, size]: all queries of the same keys become rows of one matrix.
    rows = query[:, :, 0].view(count, n, key.shape[1], groups, -1).permute(0, 2, 3, 1, 4)
    attended = scaled_dot_product_attention(
        rows.reshape(count, key.shape[1], groups * n, -1),
        key,
        value,
        attn_mask=_beam_mask(attention_mask, num_beams=n, length=key.shape[2], groups=groups),
        dropout_p=dropout,
        scale=scaling,
    )
    per_beam = attended.view(count, key.shape[1], groups, n, -1).permute(0, 3, 1, 2, 4)
    return per_beam.reshape(len(query), 1, query.shape[1], -1), None


def _beam_mask(mask: Tensor, *, num_beams: int, length: int, groups: int) -> Tensor:
    """Keys that each row of queries attends to, ``[b, 1, groups * n, length]``.

    Args:
        mask: Tokens of each row that are not padding, ``[b * n, 1, 1, prompt + steps]``.
        num_beams: Beams of each prompt, ``n``.
        length: Number of keys, ``prompt + steps * n``.
        groups: Query heads for every key head.
    """
    visible = mask[::num_beams, 0].expand(-1, num_beams, -1)
    if num_beams > 1:
        steps = (length - mask.shape[-1]) // (num_beams - 1)
        prompt = mask.shape[-1] - steps
        of_beams = torch.eye(num_beams, dtype=torch.bool, device=mask.device).repeat(1, steps)
        visible = torch.cat([visible[..., :prompt], of_beams.expand(len(visible), -1, -1)], dim=2)
    return visible[:, None].expand(-1, groups, -1, -1).flatten(1, 2)[:, None]


def _mask(*args: Any, **options: Any) -> Tensor | None:
    """The mask of sdpa attention, never omitted: its width separates prompt and beams."""
    return sdpa_mask(*args, **{**options, "allow_is_causal_skip": False})


AttentionInterface.register(_NAME, _attend)
AttentionMaskInterface.register(_NAME, _mask)
