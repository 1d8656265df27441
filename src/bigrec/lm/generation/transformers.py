"""Step 2, first half: beam search with transformers."""

from collections.abc import Sequence
from contextlib import nullcontext
from functools import cached_property
from typing import Any, NamedTuple

import torch
from transformers import DynamicCache

from bigrec.lm.generation.base import (
    batches_by_length,
    check_least,
    check_prompts,
    common_prefix_size,
    generate_in_batches,
    merge_equal_texts,
    refuse_excluded,
)
from bigrec.lm.generation.kv_cache import (
    beam_attention,
    can_share_prompts,
    has_plain_cache,
    shared_prefix_cache,
)
from bigrec.lm.generation.trie import CatalogConstraint, TitleTrie
from bigrec.lm.hardware import QuickProducts
from bigrec.lm.model import LanguageModel
from bigrec.lm.padding import left_padded
from bigrec.lm.prompts import PromptRenderer
from bigrec.types import GeneratedText, IntArray, ProgressCallback

# Reading fewer common tokens again is as fast as copying their keys and values.
_SHORTEST_PREFIX = 4
# transformers fills missing beams with scores of -1e9, far below those of any beam.
_NO_BEAM = -1e8


class _SharedPrefix(NamedTuple):
    """The tokens that all prompts of a call begin with, and their keys and values."""

    size: int
    cache: DynamicCache

    def for_batch(self, batch_size: int) -> DynamicCache:
        """A cache of the prefix for each prompt of a batch."""
        cache = DynamicCache()
        for layer, (keys, values, _) in enumerate(self.cache):
            cache.update(
                keys.expand(batch_size, -1, -1, -1), values.expand(batch_size, -1, -1, -1), layer
            )
        return cache


class TransformersGenerator:
    """Beam search with transformers, on any device and any causal language model.

    All beams are kept; equal texts are merged, and their probabilities summed. Prompts of similar
    length share a batch and are padded on the left. A prompt is read once for all of its beams, and
    if the architecture allows, its keys and values are stored once for all of them
    (`bigrec.lm.generation.kv_cache`). Tokens that all prompts of a call begin with are then read
    once for all prompts.

    With ``titles``, every text is a title and ends with the end token, so there is one way to
    generate each. Tokens that continue no title are forbidden. The others keep the probability of
    the unconstrained model, unless ``renormalize``: those of all titles sum to at most 1.

    Args:
        lm: The language model, with its adapter if it has one.
        renderer: Knows the tokens that end a title, and reads titles from tokens.
        num_beams: Beams of each prompt, and so the maximum number of texts; 1 is greedy search.
        max_new_tokens: Maximum length of a text, in tokens. With ``titles`` it is ignored: the
            longest title sets the limit.
        batch_size: Prompts in a batch.
        length_penalty: Exponent of the length that divides a beam's log-probability in the search;
            0 compares probabilities, 1 is as in the paper.
        titles: The only texts that can be generated; None generates any text (paper). Of titles
            with the same tokens the first is generated.
        renormalize: With ``titles``, whether a token's probability is relative to those that could
            stand in its place, as in a model that is trained so.

    Raises:
        ValueError: If a number is below 1, or ``titles`` is empty.
    """

    def __init__(
        self,
        lm: LanguageModel,
        renderer: PromptRenderer,
        *,
        num_beams: int,
        max_new_tokens: int,
        batch_size: int,
        length_penalty: float,
        titles: Sequence[str] | None = None,
        renormalize: bool = False,
    ) -> None:
        check_least(1, num_beams=num_beams, max_new_tokens=max_new_tokens, batch_size=batch_size)
        self._lm = lm
        self._renderer = renderer
        self._num_beams = num_beams
        self._batch_size = batch_size
        self._length_penalty = length_penalty
        self._titles = titles
        self._renormalize = renormalize
        self._trie = None if titles is None else TitleTrie.of(renderer, titles)
        self._max_new_tokens = self._trie.longest if self._trie else max_new_tokens
        self._stop_ids = [renderer.end_id] if self._trie else renderer.stop_ids

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        excluded: Sequence[Sequence[str]] | None = None,
        progress: ProgressCallback | None = None,
    ) -> list[list[GeneratedText]]:
        """See `Generator`. Excluded texts that are no titles have no effect."""
        check_prompts(prompts)
        closed = self._closed_nodes(excluded, len(prompts))
        prefix = self._read_prefix(prompts)

        def generate(batch: Sequence[int]) -> list[list[GeneratedText]]:
            # Node 0 is closed if every title is excluded: then there is nothing to search for.
            to_search = [i for i in batch if closed is None or 0 not in closed[i]]
            texts = self._search(
                [prompts[i] for i in to_search],
                prefix=prefix,
                closed=None if closed is None else [closed[i] for i in to_search],
            )
            by_position = dict(zip(to_search, texts, strict=True))
            return [by_position.get(i, []) for i in batch]

        batches = batches_by_length(prompts, self._batch_size)
        return generate_in_batches(batches, generate, count=len(prompts), progress=progress)

    def _closed_nodes(
        self, excluded: Sequence[Sequence[str]] | None, n_prompts: int
    ) -> list[IntArray] | None:
        """Nodes of the trie that each prompt must not enter."""
        if self._trie is None:
            refuse_excluded(excluded)
        if excluded is None or self._trie is None:
            return None
        if len(excluded) != n_prompts:
            raise ValueError(
                f"excluded is given for {len(excluded)} prompts: expected {n_prompts}, one "
                "sequence of titles for each prompt."
            )
        return [
            self._trie.closed([self._renderer.title_token_ids(title) for title in titles])
            for titles in excluded
        ]

    @torch.inference_mode()
    def _read_prefix(self, prompts: Sequence[Sequence[int]]) -> _SharedPrefix | None:
        """Read the tokens that all prompts begin with, if that saves work and changes no result."""
        size = common_prefix_size(prompts) if len(prompts) > 1 else 0
        if size < _SHORTEST_PREFIX:
            return None
        ids = torch.tensor([prompts[0][:size]], device=self._lm.device)
        options = self._lm.forward_options(torch.ones_like(ids), keep=1)
        # Shorter prompts have their padding behind the prefix, so a token's column is not its
        # position: the model must accept positions, and no layer may derive them from columns.
        if "position_ids" not in options or not has_plain_cache(self._lm.model.config):
            return None
        cache = DynamicCache()
        with QuickProducts():
            self._lm.model(input_ids=ids, past_key_values=cache, use_cache=True, **options)
        return _SharedPrefix(size, cache)

    @torch.inference_mode()
    def _search(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        prefix: _SharedPrefix | None,
        closed: Sequence[IntArray] | None,
    ) -> list[list[GeneratedText]]:
        """Texts of each prompt of a batch."""
        if not prompts:
            return []
        input_ids, mask = self._input_rows(prompts, prefix)
        width = input_ids.shape[1]
        options = self._search_options(width, closed)
        if width > 1:
            options["past_key_values"] = self._read_prompts(input_ids, mask, prefix)
        shared = width > 1 and self._shares_prompts
        with QuickProducts(), beam_attention(self._lm.model) if shared else nullcontext():
            result = self._lm.model.generate(input_ids=input_ids, attention_mask=mask, **options)
        texts = self._texts(result, width)
        return [
            merge_equal_texts([text for text in texts[i : i + self._num_beams] if text is not None])
            for i in range(0, len(texts), self._num_beams)
        ]

    def _search_options(self, width: int, closed: Sequence[IntArray] | None) -> dict[str, Any]:
        """Arguments of ``generate`` for prompts of ``width`` tokens."""
        options: dict[str, Any] = {
            "num_beams": self._num_beams,
            "num_return_sequences": self._num_beams,
            "do_sample": False,
            "max_new_tokens": self._max_new_tokens,
            "length_penalty": self._length_penalty,
            # Some chat models set another value, with which scores are no log-probabilities.
            "repetition_penalty": 1.0,
            "eos_token_id": self._stop_ids,
            "pad_token_id": self._lm.tokenizer.pad_token_id or 0,
            "return_dict_in_generate": True,
            "output_scores": self._num_beams > 1 or self._renormalize,
            "output_logits": self._num_beams == 1 and not self._renormalize,
        }
        if self._trie is not None:
            options["logits_processor"] = [
                CatalogConstraint(
                    self._trie,
                    width=width,
                    num_beams=self._num_beams,
                    closed=closed,
                    renormalize=self._renormalize,
                )
            ]
        return options

    def _input_rows(
        self, prompts: Sequence[Sequence[int]], prefix: _SharedPrefix | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens and mask of a batch, ``[b, width]``: prefix, padding, rest of the prompt."""
        size = prefix.size if prefix else 0
        rest, mask = left_padded(
            [prompt[size:] for prompt in prompts], pad=self._lm.tokenizer.pad_token_id or 0
        )
        before = torch.tensor(prompts[0][:size], dtype=rest.dtype).expand(len(prompts), -1)
        input_ids = torch.cat([before, rest], dim=1)
        mask = torch.cat([torch.ones_like(before), mask], dim=1)
        return input_ids.to(self._lm.device), mask.to(self._lm.device)

    def _read_prompts(
        self, input_ids: torch.Tensor, mask: torch.Tensor, prefix: _SharedPrefix | None
    ) -> DynamicCache:
        """Cache of all tokens but the last, which ``generate`` reads itself, for every beam."""
        size = prefix.size if prefix else 0
        cache = prefix.for_batch(len(input_ids)) if prefix else DynamicCache()
        body, body_mask = input_ids[:, size:-1], mask[:, :-1]
        if body.shape[1]:
            options = self._lm.forward_options(body_mask, keep=1)
            if "position_ids" in options:
                options["position_ids"] = options["position_ids"][:, size:]
            with QuickProducts():
                self._lm.model(
                    input_ids=body,
                    attention_mask=body_mask,
                    past_key_values=cache,
                    use_cache=True,
                    **options,
                )
        if self._shares_prompts:
            return shared_prefix_cache(cache, num_beams=self._num_beams)
        cache.batch_repeat_interleave(self._num_beams)
        return cache

    @cached_property
    def _shares_prompts(self) -> bool:
        return can_share_prompts(self._lm.model)

    def _texts(self, result: Any, width: int) -> list[GeneratedText | None]:
        """Text of every beam; None for missing beams of a prompt with few allowed titles."""
        generated = result.sequences[:, width:].cpu().numpy()
        log_probs = self._log_probs(result, [self._length(ids) for ids in generated.tolist()])
        if self._trie is None or self._titles is None:
            texts = [self._renderer.read(ids) for ids in generated.tolist()]
            return list(map(GeneratedText, texts, log_probs))
        return [
            GeneratedText(self._titles[title], log_prob)
            if title >= 0 and log_prob > _NO_BEAM
            else None
            for title, log_prob in zip(self._trie.titles(generated), log_probs, strict=True)
        ]

    def _length(self, ids: Sequence[int]) -> int:
        """Tokens of a text, with the token that ends it."""
        return next((i + 1 for i, token in enumerate(ids) if token in self._stop_ids), len(ids))

    def _log_probs(self, result: Any, lengths: Sequence[int]) -> list[float]:
        if self._num_beams > 1:
            # The score of a beam is its log-probability over length ** penalty.
            scores = result.sequences_scores.tolist()
            return [
                score * length**self._length_penalty
                for score, length in zip(scores, lengths, strict=True)
            ]
        # The scores of tokens that continue no title are minus infinity, their logits are not.
        steps = torch.stack(result.scores if self._renormalize else result.logits, dim=1)
        steps = steps.float().log_softmax(dim=-1)
        tokens = result.sequences[:, -steps.shape[1] :].unsqueeze(-1)
        per_token = steps.gather(-1, tokens).squeeze(-1)
        return [float(row[:length].sum()) for row, length in zip(per_token, lengths, strict=True)]
