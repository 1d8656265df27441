"""What a model remembers of prompts while several beams go on from each: every prompt once.

Left to itself transformers keeps keys and values of the whole prompt for every beam, and copies all
of them in every step, to add a token and to reorder beams. Here the beams of a prompt share the
prompt's: in each layer, keys lie as ``[prompt | first token of every beam | second token of every
beam | ...]``, and a mask keeps each beam to its own. Adding a token then writes that token, and
reordering moves what the beams wrote.
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
_STEPS_PER_BLOCK = 16
# The check reads as many tokens before and after beams part.
_CHECKED = 4
# Logits differ by rounding, by less than a hundredth of their spread in bfloat16.
_TOLERANCE = 0.05


def plain_layers(config: Any) -> bool:
    """Whether every layer keeps keys and values of all that it has read, and nothing else."""
    return all(type(one) is DynamicLayer for one in DynamicCache(config=config).layers)


def beams_of(prompts: DynamicCache, *, beams: int) -> DynamicCache:
    """Memory for several beams going on from every prompt.

    Args:
        prompts: What was read of the prompts, ``b`` of them; not to be used again.
        beams: Beams of each, ``n``.

    Returns:
        A cache for ``b * n`` rows of one token at a time, each prompt's beams next to each other.
    """
    cache = DynamicCache()
    cache.layers = [_Beams(keys, values, beams) for keys, values, _ in prompts]
    return cache


@contextmanager
def beam_attention(model: Any) -> Iterator[None]:
    """Have the model's attention read the memory that `beams_of` gives, and no other."""
    before = model.config._attn_implementation
    model.set_attn_implementation(_NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


@torch.inference_mode()
def can_share_prompts(model: Any) -> bool:
    """Whether the model computes the same with its beams sharing their prompt: it is tried.

    Architectures are many, and attention has more forms than can be told from a configuration.
    """
    if getattr(model.config, "_attn_implementation", None) != "sdpa":
        return False
    if not plain_layers(model.config):
        return False
    size = min(model.config.vocab_size, 2 * _CHECKED)
    ids = torch.arange(2 * _CHECKED, device=model.device)[None].expand(2, -1) % size
    # Two beams that are each other's opposite, behind one prompt.
    ids = torch.cat([ids[:, :_CHECKED], torch.stack([ids[0, _CHECKED:], ids[0, :_CHECKED]])], dim=1)
    expected = model(input_ids=ids).logits[:, _CHECKED:].float()
    try:
        found = _step_by_step(model, ids).float()
    except (RuntimeError, TypeError, ValueError, KeyError, AttributeError, NotImplementedError):
        return False
    return bool((found - expected).abs().max() <= _TOLERANCE * expected.std())


def _step_by_step(model: Any, ids: Tensor) -> Tensor:
    cache = DynamicCache()
    model(input_ids=ids[:1, :_CHECKED], past_key_values=cache, use_cache=True)
    cache = beams_of(cache, beams=2)
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
            # The beams change places in every step, as in a search.
            logits.append(last[swapped] if len(logits) % 2 else last)
            cache.reorder_cache(swapped)  # type: ignore[arg-type]
            ids = ids[swapped]
    return torch.stack(logits, dim=1)


class _Beams(DynamicLayer):
    """A layer's keys and values: of ``b`` prompts, and of ``n`` beams of each."""

    keys: Tensor
    values: Tensor

    def __init__(self, keys: Tensor, values: Tensor, beams: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.keys, self.values = keys, values
        self.is_initialized = True
        self._beams = beams
        self._prompt = keys.shape[-2]
        self._steps = 0

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Take in a token of every beam, ``[b * n, heads, 1, size]``.

        Returns:
            Keys and values of prompts and beams, ``[b, heads, prompt + steps * n, size]``.
        """
        start = self._prompt + self._steps * self._beams
        end = start + self._beams
        if end > self.keys.shape[-2]:
            self.keys, self.values = self._longer(self.keys), self._longer(self.values)
        for kept, new in ((self.keys, key_states), (self.values, value_states)):
            of_beams = new.reshape(len(kept), self._beams, *new.shape[1:])
            kept[:, :, start:end] = of_beams[..., 0, :].transpose(1, 2)
        self._steps += 1
        return self.keys[:, :, :end], self.values[:, :, :end]

    def _longer(self, kept: Tensor) -> Tensor:
        count, heads, _, size = kept.shape
        return torch.cat(
            [kept, kept.new_empty(count, heads, _STEPS_PER_BLOCK * self._beams, size)], dim=2
        )

    def get_seq_length(self) -> int:
        """Tokens that each beam has behind it."""
        return self._prompt + self._steps

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Have every beam go on from another of the same prompt: row numbers, ``[b * n]``."""
        if not self._steps:
            return
        n = self._beams
        place = (beam_idx.view(-1, n) % n)[:, None, None, :, None]
        end = self._prompt + self._steps * n
        for kept in (self.keys, self.values):
            part = kept[:, :, self._prompt : end]
            written = part.view(*part.shape[:2], self._steps, n, part.shape[-1])
            chosen = place.expand(-1, *written.shape[1:3], -1, written.shape[-1])
            kept[:, :, self._prompt : end] = written.gather(3, chosen).flatten(2, 3)


def _attend(  # noqa: PLR0917 - transformers calls it so
    _: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    dropout: float = 0.0,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """One token of every beam, ``[b * n, heads, 1, size]``, over what `_Beams.update` gave."""
    if query.shape[2] != 1 or options.get("position_bias") is not None:
        raise NotImplementedError("beams go on by one token at a time, without a bias of positions")
    count, groups = len(key), query.shape[1] // key.shape[1]
    n = len(query) // count
    # [b, n, kv heads, groups, size] -> all that look at the same keys as rows of one matrix.
    rows = query[:, :, 0].view(count, n, key.shape[1], groups, -1).permute(0, 2, 3, 1, 4)
    found = scaled_dot_product_attention(
        rows.reshape(count, key.shape[1], groups * n, -1),
        key,
        value,
        attn_mask=_beam_mask(attention_mask, beams=n, length=key.shape[2], groups=groups),
        dropout_p=dropout,
        scale=scaling,
    )
    per_beam = found.view(count, key.shape[1], groups, n, -1).permute(0, 3, 1, 2, 4)
    return per_beam.reshape(len(query), 1, query.shape[1], -1), None


def _beam_mask(mask: Tensor, *, beams: int, length: int, groups: int) -> Tensor:
    """Which keys each row of queries sees, ``[b, 1, groups * n, length]``.

    Args:
        mask: Tokens of each row that are not padding, ``[b * n, 1, 1, prompt + steps]``.
        beams: ``n``.
        length: Keys, ``prompt + steps * n``.
        groups: Query heads of every head of keys.
    """
    own = mask[::beams, 0].expand(-1, beams, -1)
    if beams > 1:
        steps = (length - mask.shape[-1]) // (beams - 1)
        prompt = mask.shape[-1] - steps
        of_beams = torch.eye(beams, dtype=torch.bool, device=mask.device).repeat(1, steps)
        own = torch.cat([own[..., :prompt], of_beams.expand(len(own), -1, -1)], dim=2)
    return own[:, None].expand(-1, groups, -1, -1).flatten(1, 2)[:, None]


def _mask(*args: Any, **options: Any) -> Tensor | None:
    """The usual mask, never left out: its width tells prompt and beams apart."""
    return sdpa_mask(*args, **{**options, "allow_is_causal_skip": False})


AttentionInterface.register(_NAME, _attend)
AttentionMaskInterface.register(_NAME, _mask)
