"""Step 2, first half: the texts that the fine-tuned model writes for a history."""

import logging
import math
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from transformers import DynamicCache

from bigrec.lm.model import LanguageModel
from bigrec.lm.padding import left_padded
from bigrec.prompts import PromptRenderer
from bigrec.types import GeneratedText, Progress

logger = logging.getLogger(__name__)


class Generator(Protocol):
    """Writes texts for prompts; what a backend has to offer."""

    def generate(
        self, prompts: Sequence[Sequence[int]], *, progress: Progress | None = None
    ) -> list[list[GeneratedText]]:
        """Texts of every prompt, best first, in the order of the prompts."""
        ...


class TransformersGenerator:
    """Beam search with transformers, on any device and any causal language model.

    All beams are kept; those that wrote the same title count as one of their summed probability.
    Prompts of similar length share a batch and are padded on the left. The prompt is read once
    for all beams of a history, not once for each.

    Args:
        lm: The language model, with its adapter if it has one.
        renderer: Tells where a title ends and reads texts back.
        beams: Beams for each prompt, at most as many texts; 1 is greedy search.
        max_new_tokens: Longest text, in tokens.
        batch_size: Prompts in a batch.
        length_penalty: Exponent of the length that a beam's log-probability is divided by when
            beams compete; 0 compares plain probabilities, 1 is as published.
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
    ) -> None:
        for name, value in (
            ("beams", beams),
            ("max_new_tokens", max_new_tokens),
            ("batch_size", batch_size),
        ):
            if value < 1:
                raise ValueError(f"{name} is {value}: expected at least 1")
        self._lm = lm
        self._renderer = renderer
        self._beams = beams
        self._max_new_tokens = max_new_tokens
        self._batch_size = batch_size
        self._length_penalty = length_penalty

    def generate(
        self, prompts: Sequence[Sequence[int]], *, progress: Progress | None = None
    ) -> list[list[GeneratedText]]:
        """Texts of every prompt, best first, in the order of the prompts.

        Args:
            prompts: Token ids of each prompt.
            progress: Called with (prompts done, prompts in all).

        Raises:
            ValueError: If a prompt is empty.
        """
        if any(not prompt for prompt in prompts):
            raise ValueError("a prompt is empty: expected at least one token")
        texts: list[list[GeneratedText]] = [[] for _ in prompts]
        done = 0
        for batch in _by_length(prompts, self._batch_size):
            written = self._batch([prompts[i] for i in batch])
            for position, beams in zip(batch, written, strict=True):
                texts[position] = beams
            done += len(batch)
            if progress is not None:
                progress(done, len(prompts))
        return texts

    @torch.inference_mode()
    def _batch(self, prompts: Sequence[Sequence[int]]) -> list[list[GeneratedText]]:
        model = self._lm.model
        input_ids, mask = left_padded(prompts, pad=self._lm.tokenizer.pad_token_id or 0)
        input_ids, mask = input_ids.to(self._lm.device), mask.to(self._lm.device)
        options: dict[str, Any] = {}
        if input_ids.shape[1] > 1:
            cache = self._read_prompts(input_ids, mask)
            cache.batch_repeat_interleave(self._beams)
            options["past_key_values"] = cache
        result = model.generate(
            input_ids=input_ids,
            attention_mask=mask,
            num_beams=self._beams,
            num_return_sequences=self._beams,
            do_sample=False,
            max_new_tokens=self._max_new_tokens,
            length_penalty=self._length_penalty,
            eos_token_id=self._renderer.stop_ids,
            pad_token_id=self._lm.tokenizer.pad_token_id or 0,
            return_dict_in_generate=True,
            output_scores=True,
            **options,
        )
        written = result.sequences[:, input_ids.shape[1] :].tolist()
        sizes = [self._size(ids) for ids in written]
        log_probs = self._log_probs(result, sizes)
        flat = [
            GeneratedText(self._renderer.read(ids), log_prob)
            for ids, log_prob in zip(written, log_probs, strict=True)
        ]
        return [_merged(flat[i : i + self._beams]) for i in range(0, len(flat), self._beams)]

    def _read_prompts(self, input_ids: torch.Tensor, mask: torch.Tensor) -> DynamicCache:
        """Keys and values of all tokens but the last, which ``generate`` reads itself."""
        body, body_mask = input_ids[:, :-1], mask[:, :-1]
        cache = DynamicCache()
        self._lm.model(
            input_ids=body,
            attention_mask=body_mask,
            past_key_values=cache,
            use_cache=True,
            **self._lm.forward_options(body_mask, keep=1),
        )
        return cache

    def _size(self, ids: Sequence[int]) -> int:
        """Tokens of a text, its end included."""
        stops = set(self._renderer.stop_ids)
        return next((i + 1 for i, token in enumerate(ids) if token in stops), len(ids))

    def _log_probs(self, result: Any, sizes: Sequence[int]) -> list[float]:
        if self._beams > 1:
            # The score of a beam is its log-probability over length ** penalty.
            scores = result.sequences_scores.tolist()
            return [
                score * size**self._length_penalty
                for score, size in zip(scores, sizes, strict=True)
            ]
        steps = torch.stack(result.scores, dim=1).log_softmax(dim=-1)
        chosen = result.sequences[:, -steps.shape[1] :].unsqueeze(-1)
        per_token = steps.gather(-1, chosen).squeeze(-1)
        return [float(row[:size].sum()) for row, size in zip(per_token, sizes, strict=True)]


def _merged(beams: Sequence[GeneratedText]) -> list[GeneratedText]:
    """Beams in their order, those with one text as one of their summed probability.

    One title can be written in several ways: ended by either stop, or in other tokens.
    """
    together: dict[str, float] = {}
    for beam in beams:
        before = together.get(beam.text, -math.inf)
        together[beam.text] = float(np.logaddexp(before, beam.log_prob))
    return [GeneratedText(text, log_prob) for text, log_prob in together.items()]


def _by_length(prompts: Sequence[Sequence[int]], batch_size: int) -> Iterator[list[int]]:
    """Positions in batches, the longest prompts first: what does not fit in memory fails early."""
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]
