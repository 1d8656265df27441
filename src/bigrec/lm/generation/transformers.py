"""Step 2, first half: the texts that the fine-tuned model writes for a history."""

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from transformers import DynamicCache

from bigrec.lm.generation.kv_cache import beam_attention, beams_of, can_share_prompts, plain_layers
from bigrec.lm.generation.trie import TitlesOnly, TitleTrie
from bigrec.lm.hardware import QuickProducts
from bigrec.lm.model import LanguageModel
from bigrec.lm.padding import left_padded
from bigrec.lm.prompts import PromptRenderer
from bigrec.types import GeneratedText, IntArray, Progress

logger = logging.getLogger(__name__)

# Fewer common tokens are read again as quickly as their keys and values are copied.
_SHORTEST_FRAME = 4
# transformers fills places that no beam took with beams of -1e9; no real one comes near.
_NO_BEAM = -1e8


class Generator(Protocol):
    """Writes texts for prompts; what a backend has to offer.

    Whether it writes freely or only titles of a catalog is settled when it is made.
    """

    def generate(
        self, prompts: Sequence[Sequence[int]], *, progress: Progress | None = None
    ) -> list[list[GeneratedText]]:
        """Texts of every prompt, best first, in the order of the prompts.

        A prompt may have any number of texts, none included, no two of them the same.
        """
        ...


class _Frame(NamedTuple):
    """The tokens that all prompts of a call begin with, and what the model remembers of them."""

    size: int
    cache: DynamicCache

    def for_batch(self, size: int) -> DynamicCache:
        """The memory of a batch whose prompts have been read as far as the frame."""
        cache = DynamicCache()
        for number, (keys, values, _) in enumerate(self.cache):
            cache.update(keys.expand(size, -1, -1, -1), values.expand(size, -1, -1, -1), number)
        return cache


class TransformersGenerator:
    """Beam search with transformers, on any device and any causal language model.

    All beams are kept; those that wrote the same title count as one of their summed probability.
    Prompts of similar length share a batch and are padded on the left. The prompt is read once
    for all beams of a history, not once for each, and where the architecture allows it kept once
    for all of them (`bigrec.lm.generation.kv_cache`); what all prompts of a call begin with is
    then read once for all of them.

    With ``titles``, every text is one of them, spelled as given there, and ends with the end
    token, so that there is one way to write each. Tokens with which no title goes on are out of
    the question, but what is left keeps the probability that the model gives it when it writes
    freely: over all titles these sum to at most 1.

    Args:
        lm: The language model, with its adapter if it has one.
        renderer: Tells where a title ends and reads texts back.
        beams: Beams for each prompt, at most as many texts; 1 is greedy search.
        max_new_tokens: Longest text, in tokens. With ``titles``, the longest of them sets it.
        batch_size: Prompts in a batch.
        length_penalty: Exponent of the length that a beam's log-probability is divided by when
            beams compete; 0 compares plain probabilities, 1 is as published.
        titles: The only texts that can be written; None lets the model write freely, as
            published. Of titles with the same tokens the first is written.

    Raises:
        ValueError: If a number is below 1, or ``titles`` is empty.
    """

    def __init__(
        self,
        lm: LanguageModel,
        renderer: PromptRenderer,
        *,
        beams: int = 4,
        max_new_tokens: int = 64,
        batch_size: int = 16,
        length_penalty: float = 1.0,
        titles: Sequence[str] | None = None,
    ) -> None:
        check_least(1, beams=beams, max_new_tokens=max_new_tokens, batch_size=batch_size)
        self._lm = lm
        self._renderer = renderer
        self._beams = beams
        self._batch_size = batch_size
        self._length_penalty = length_penalty
        self._titles = titles
        self._trie = None if titles is None else _trie(titles, renderer)
        self._max_new_tokens = self._trie.longest if self._trie else max_new_tokens
        self._stop_ids = [renderer.end_id] if self._trie else renderer.stop_ids

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        excluded: Sequence[Sequence[str]] | None = None,
        progress: Progress | None = None,
    ) -> list[list[GeneratedText]]:
        """Texts of every prompt, best first, in the order of the prompts.

        Args:
            prompts: Token ids of each prompt.
            excluded: Titles that must not be written, for each prompt; only with ``titles``. One
                that is none of these changes nothing. A prompt without any other has no texts.
            progress: Called with (prompts done, prompts in all).

        Raises:
            ValueError: If a prompt is empty, or ``excluded`` does not fit the prompts or is given
                to a generator without ``titles``.
        """
        check_prompts(prompts)
        closed = None if excluded is None else self._closed(excluded, len(prompts))
        frame = self._read_frame(prompts)

        def write(batch: Sequence[int]) -> list[list[GeneratedText]]:
            # Node 0 is closed where every title is excluded: there is nothing to search for.
            open_ = [i for i in batch if closed is None or 0 not in closed[i]]
            written = self._batch(
                [prompts[i] for i in open_],
                frame=frame,
                closed=None if closed is None else [closed[i] for i in open_],
            )
            found = dict(zip(open_, written, strict=True))
            return [found.get(i, []) for i in batch]

        batches = by_length(prompts, self._batch_size)
        return in_batches(batches, write, count=len(prompts), progress=progress)

    def _closed(self, excluded: Sequence[Sequence[str]], n_prompts: int) -> list[IntArray]:
        if self._trie is None:
            raise ValueError(
                "excluded is given, but this generator writes freely: make it with titles=, the "
                "titles that can be written."
            )
        if len(excluded) != n_prompts:
            raise ValueError(
                f"excluded is given for {len(excluded)} prompts: expected {n_prompts}, one "
                "sequence of titles for each prompt."
            )
        return [
            self._trie.closed([self._renderer.title_ids(title) for title in titles])
            for titles in excluded
        ]

    @torch.inference_mode()
    def _read_frame(self, prompts: Sequence[Sequence[int]]) -> _Frame | None:
        """Reads what all prompts begin with, where that saves work and changes nothing."""
        size = common_size(prompts) if len(prompts) > 1 else 0
        if size < _SHORTEST_FRAME:
            return None
        ids = torch.tensor([prompts[0][:size]], device=self._lm.device)
        options = self._lm.forward_options(torch.ones_like(ids), keep=1)
        # Behind the frame comes the padding of shorter prompts, so a token's column is not its
        # position: the model must be told positions, and no layer may count columns itself.
        if "position_ids" not in options or not plain_layers(self._lm.model.config):
            return None
        cache = DynamicCache()
        with QuickProducts():
            self._lm.model(input_ids=ids, past_key_values=cache, use_cache=True, **options)
        return _Frame(size, cache)

    @torch.inference_mode()
    def _batch(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        frame: _Frame | None,
        closed: Sequence[IntArray] | None,
    ) -> list[list[GeneratedText]]:
        if not prompts:
            return []
        input_ids, mask = self._rows(prompts, frame)
        width = input_ids.shape[1]
        options = self._search(width, closed)
        if width > 1:
            options["past_key_values"] = self._read_prompts(input_ids, mask, frame)
        shared = width > 1 and self._shares_prompts
        with QuickProducts(), beam_attention(self._lm.model) if shared else nullcontext():
            result = self._lm.model.generate(input_ids=input_ids, attention_mask=mask, **options)
        texts = self._texts(result, width)
        return [
            merged([text for text in texts[i : i + self._beams] if text is not None])
            for i in range(0, len(texts), self._beams)
        ]

    def _search(self, width: int, closed: Sequence[IntArray] | None) -> dict[str, Any]:
        """How to search, for prompts of ``width`` tokens."""
        options: dict[str, Any] = {
            "num_beams": self._beams,
            "num_return_sequences": self._beams,
            "do_sample": False,
            "max_new_tokens": self._max_new_tokens,
            "length_penalty": self._length_penalty,
            # Some chat models bring another value, under which scores are no log-probabilities.
            "repetition_penalty": 1.0,
            "eos_token_id": self._stop_ids,
            "pad_token_id": self._lm.tokenizer.pad_token_id or 0,
            "return_dict_in_generate": True,
            "output_scores": self._beams > 1,
            "output_logits": self._beams == 1,
        }
        if self._trie is not None:
            options["logits_processor"] = [
                TitlesOnly(self._trie, width=width, beams=self._beams, closed=closed)
            ]
        return options

    def _rows(
        self, prompts: Sequence[Sequence[int]], frame: _Frame | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens and mask of a batch, ``[b, width]``: the frame, then padding, then the rest."""
        size = frame.size if frame else 0
        rest, mask = left_padded(
            [prompt[size:] for prompt in prompts], pad=self._lm.tokenizer.pad_token_id or 0
        )
        before = torch.tensor(prompts[0][:size], dtype=rest.dtype).expand(len(prompts), -1)
        input_ids = torch.cat([before, rest], dim=1)
        mask = torch.cat([torch.ones_like(before), mask], dim=1)
        return input_ids.to(self._lm.device), mask.to(self._lm.device)

    def _read_prompts(
        self, input_ids: torch.Tensor, mask: torch.Tensor, frame: _Frame | None
    ) -> DynamicCache:
        """What beams remember: all tokens but the last, which ``generate`` reads itself."""
        size = frame.size if frame else 0
        cache = frame.for_batch(len(input_ids)) if frame else DynamicCache()
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
            return beams_of(cache, beams=self._beams)
        cache.batch_repeat_interleave(self._beams)
        return cache

    @cached_property
    def _shares_prompts(self) -> bool:
        return can_share_prompts(self._lm.model)

    def _texts(self, result: Any, width: int) -> list[GeneratedText | None]:
        """What every beam wrote; None where a prompt had fewer ways to go on than beams."""
        written = result.sequences[:, width:].cpu().numpy()
        log_probs = self._log_probs(result, [self._size(ids) for ids in written.tolist()])
        if self._trie is None or self._titles is None:
            texts = [self._renderer.read(ids) for ids in written.tolist()]
            return list(map(GeneratedText, texts, log_probs))
        return [
            GeneratedText(self._titles[title], log_prob)
            if title >= 0 and log_prob > _NO_BEAM
            else None
            for title, log_prob in zip(self._trie.titles(written), log_probs, strict=True)
        ]

    def _size(self, ids: Sequence[int]) -> int:
        """Tokens of a text, its end included."""
        return next((i + 1 for i, token in enumerate(ids) if token in self._stop_ids), len(ids))

    def _log_probs(self, result: Any, sizes: Sequence[int]) -> list[float]:
        if self._beams > 1:
            # The score of a beam is its log-probability over length ** penalty.
            scores = result.sequences_scores.tolist()
            return [
                score * size**self._length_penalty
                for score, size in zip(scores, sizes, strict=True)
            ]
        # Not the scores: those are minus infinity wherever no title goes on.
        steps = torch.stack(result.logits, dim=1).float().log_softmax(dim=-1)
        chosen = result.sequences[:, -steps.shape[1] :].unsqueeze(-1)
        per_token = steps.gather(-1, chosen).squeeze(-1)
        return [float(row[:size].sum()) for row, size in zip(per_token, sizes, strict=True)]


def _trie(titles: Sequence[str], renderer: PromptRenderer) -> TitleTrie:
    return TitleTrie([renderer.title_ids(title) for title in titles], end=renderer.end_id)


def check_least(least: int, **values: float) -> None:
    """Refuse arguments below a least value.

    Raises:
        ValueError: Naming the first that is.
    """
    for name, value in values.items():
        if value < least:
            raise ValueError(f"{name} is {value}: expected at least {least}")


def check_prompts(prompts: Sequence[Sequence[int]]) -> None:
    """Refuse prompts without a token.

    Raises:
        ValueError: If there is one.
    """
    if any(not prompt for prompt in prompts):
        raise ValueError("a prompt is empty: expected at least one token")


def in_batches(
    batches: Iterable[Sequence[int]],
    write: Callable[[Sequence[int]], Sequence[list[GeneratedText]]],
    *,
    count: int,
    progress: Progress | None,
) -> list[list[GeneratedText]]:
    """What is written batch by batch, in the order of the prompts.

    Args:
        batches: Positions of the prompts of each batch, every one of them once.
        write: From the positions of a batch to the texts of each.
        count: Prompts in all.
        progress: Called with (prompts done, prompts in all) after each batch.
    """
    texts: list[list[GeneratedText]] = [[] for _ in range(count)]
    done = 0
    for batch in batches:
        for position, beams in zip(batch, write(batch), strict=True):
            texts[position] = beams
        done += len(batch)
        if progress is not None:
            progress(done, count)
    return texts


def common_size(prompts: Sequence[Sequence[int]]) -> int:
    """Tokens that all prompts begin with, at least one of each prompt left out."""
    first, last = min(map(tuple, prompts)), max(map(tuple, prompts))
    # What the first and the last in order have in common, all between them have.
    pairs = enumerate(zip(first, last, strict=False))
    common = next((i for i, (one, other) in pairs if one != other), len(first))
    return min(common, min(map(len, prompts)) - 1)


def merged(beams: Sequence[GeneratedText]) -> list[GeneratedText]:
    """Beams in their order, those with one text as one of their summed probability.

    One title can be written in several ways: ended by either stop, or in other tokens.
    """
    together: dict[str, float] = {}
    for beam in beams:
        before = together.get(beam.text, -math.inf)
        together[beam.text] = float(np.logaddexp(before, beam.log_prob))
    return [GeneratedText(text, log_prob) for text, log_prob in together.items()]


def by_length(prompts: Sequence[Sequence[int]], batch_size: int) -> Iterator[list[int]]:
    """Positions in batches, the longest prompts first: what does not fit in memory fails early."""
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]
