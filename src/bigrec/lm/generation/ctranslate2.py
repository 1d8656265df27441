"""Beam search with CTranslate2, an inference engine."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from bigrec.errors import ModelError
from bigrec.lm.generation.base import (
    batches_by_length,
    check_least,
    check_prompts,
    common_prefix_size,
    generate_in_batches,
    merge_equal_texts,
    refuse_excluded,
)
from bigrec.lm.generation.ct2_convert import Convert, converted_folder
from bigrec.lm.model import LanguageModel
from bigrec.lm.prompts import PromptRenderer
from bigrec.types import GeneratedText, ProgressCallback

ComputeType = Literal["auto", "float32", "int8", "bfloat16", "float16"]

# CTranslate2 stops a search when `num_beams * patience` texts have ended. transformers continues as
# long as an unfinished text is likelier per token than the last of the ended ones. Of 64 prompts
# the first text differed for 6 with patience 1, none with 2, and 1 with 3, which stops too late.
_PATIENCE = 2
# Largest difference in length of the prompts of a batch, in tokens. CTranslate2 reads tokens behind
# the shortest prompt one at a time and once for every beam: batches of any lengths took a third
# longer.
_SPREAD = 4


class CTranslate2Generator:
    """Beam search with CTranslate2, on a CPU or CUDA.

    Texts and log-probabilities are defined as in `TransformersGenerator`: the same tokens end a
    title, all beams are kept, equal texts are merged, and log-probabilities are natural and include
    the end. In float32 the probability of a text is the same up to rounding. The search stops a
    little earlier or later, so a beam differs now and then.

    It is faster for single prompts and for one beam. With several beams and many prompts it copies
    more than it computes, and transformers can be faster: measure both.

    The model is converted when the generator is made. An adapter that is attached later has no
    effect.

    Args:
        lm: The language model, with its adapter if it has one. It does not change.
        renderer: Knows the tokens that end a title, and reads titles from tokens.
        num_beams: Beams of each prompt, and so the maximum number of texts; 1 is greedy search.
        max_new_tokens: Maximum length of a text, in tokens.
        batch_size: Maximum number of prompts in a batch, all of similar length.
        length_penalty: Exponent of the length that divides a beam's log-probability in the search;
            0 compares probabilities, 1 is as in the paper.
        compute_type: ``auto`` computes in the model's precision. ``int8`` rounds weights and
            activations to 8 bits: it is faster but changes the texts, with SmolLM2-135M nearly all.
        cache: Folder of converted models; see `converted_folder`.
        convert: Converts the model; by default CTranslate2's converter.

    Raises:
        ValueError: If a number is below 1.
        ModelError: If CTranslate2 is not installed, does not compute what the model computes, or
            has no such ``compute_type`` on the device.
        StorageError: If the cache cannot be written.
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
        compute_type: ComputeType,
        cache: Path | None = None,
        convert: Convert | None = None,
    ) -> None:
        check_least(1, num_beams=num_beams, max_new_tokens=max_new_tokens, batch_size=batch_size)
        self._renderer = renderer
        self._num_beams = num_beams
        self._max_new_tokens = max_new_tokens
        self._batch_size = batch_size
        self._length_penalty = length_penalty
        self._prefix: list[int] | None = None
        folder = converted_folder(lm, cache=cache, convert=convert)
        self._engine = _load(folder, lm, compute_type)

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        excluded: Sequence[Sequence[str]] | None = None,
        progress: ProgressCallback | None = None,
    ) -> list[list[GeneratedText]]:
        """See `Generator`."""
        check_prompts(prompts)
        refuse_excluded(excluded)
        prefix = self._common_prefix(prompts)
        return generate_in_batches(
            _similar_batches(prompts, self._batch_size),
            lambda batch: self._search([prompts[i] for i in batch], prefix),
            count=len(prompts),
            progress=progress,
        )

    def _common_prefix(self, prompts: Sequence[Sequence[int]]) -> list[int]:
        """Tokens that all prompts, of this call and earlier ones, begin with.

        CTranslate2 keeps every prefix that it has read. A prefix that can only get shorter takes
        few values, no matter how many calls there are.
        """
        if len(prompts) < (2 if self._prefix is None else 1):
            return []
        earlier = [] if self._prefix is None else [[*self._prefix, -1]]
        self._prefix = list(prompts[0][: common_prefix_size([*prompts, *earlier])])
        return self._prefix

    def _search(
        self, prompts: Sequence[Sequence[int]], prefix: Sequence[int]
    ) -> list[list[GeneratedText]]:
        """Texts of each prompt of a batch."""
        patience = _PATIENCE if self._num_beams > 1 else 1
        results = self._engine.generate_batch(
            [_token_names(prompt[len(prefix) :]) for prompt in prompts],
            static_prompt=_token_names(prefix),
            beam_size=self._num_beams,
            num_hypotheses=self._num_beams * patience,
            patience=patience,
            length_penalty=self._length_penalty,
            max_length=self._max_new_tokens,
            end_token=self._renderer.stop_ids,
            return_end_token=True,
            include_prompt_in_result=False,
            return_scores=True,
        )
        return [self._texts(result) for result in results]

    def _texts(self, result: Any) -> list[GeneratedText]:
        stops = set(self._renderer.stop_ids)
        ended = [
            # As with transformers, a score is a log-probability over length ** penalty.
            GeneratedText(self._renderer.read(ids), score * len(ids) ** self._length_penalty)
            for ids, score in zip(result.sequences_ids, result.scores, strict=True)
            # If nearly every next token is a stop, CTranslate2 also continues after one.
            if stops.isdisjoint(ids[:-1])
        ]
        return merge_equal_texts(ended[: self._num_beams])


def _load(folder: Path, lm: LanguageModel, compute_type: ComputeType) -> Any:
    import ctranslate2  # noqa: PLC0415 - optional

    device = {"device": lm.device.type, "device_index": lm.device.index or 0}
    try:
        supported = ctranslate2.get_supported_compute_types(**device)
        chosen = _model_type(lm, supported) if compute_type == "auto" else compute_type
        if chosen in supported:
            return ctranslate2.Generator(
                str(folder),
                compute_type=chosen,
                inter_threads=1,
                intra_threads=torch.get_num_threads(),
                **device,
            )
    except (RuntimeError, ValueError) as error:
        raise ModelError(
            f"CTranslate2 could not load the converted model in {folder} ({error}). Remove that "
            "folder to convert the model again, or use the transformers backend."
        ) from error
    raise ModelError(
        f"compute_type is {chosen!r}, which CTranslate2 cannot compute in on this "
        f"{lm.device.type}: expected auto or one of {', '.join(sorted(supported))}."
    )


def _model_type(lm: LanguageModel, supported: Collection[str]) -> str:
    """The model's precision, or float32 if CTranslate2 does not support it."""
    precision = str(lm.model.dtype).removeprefix("torch.")
    return precision if precision in supported else "float32"


def _token_names(ids: Sequence[int]) -> list[str]:
    """Names of tokens in a converted model."""
    return [str(token) for token in ids]


def _similar_batches(prompts: Sequence[Sequence[int]], batch_size: int) -> Iterator[list[int]]:
    """Positions in batches of similar length, longest prompts first."""
    for batch in batches_by_length(prompts, batch_size):
        start = 0
        for end, position in enumerate(batch):
            if len(prompts[batch[start]]) - len(prompts[position]) > _SPREAD:
                yield batch[start:end]
                start = end
        yield batch[start:]
