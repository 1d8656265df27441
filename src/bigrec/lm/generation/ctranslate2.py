"""Generation with CTranslate2, an engine for inference alone."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from bigrec.errors import ModelError
from bigrec.lm.generation.ct2_convert import Convert, can_convert, converted_folder
from bigrec.lm.generation.transformers import (
    by_length,
    check_least,
    check_prompts,
    common_size,
    in_batches,
    merged,
)
from bigrec.lm.model import LanguageModel
from bigrec.lm.prompts import PromptRenderer
from bigrec.types import GeneratedText, Progress

__all__ = ["CTranslate2Generator", "ComputeType", "can_convert"]

ComputeType = Literal["auto", "float32", "int8", "bfloat16", "float16"]

# CTranslate2 stops a search once `beams * patience` texts have ended; transformers goes on for as
# long as a text under way is likelier per token than the last of the ended ones. Of 64 prompts the
# first text was another for 6 with patience 1, none with 2, and 1 with 3, which goes on too long.
_PATIENCE = 2
# Tokens that prompts of a batch may differ in length by. What is past the shortest prompt is read
# one token at a time and once for every beam: batches of any lengths took a third longer.
_SPREAD = 4


class CTranslate2Generator:
    """Beam search with CTranslate2, on a CPU or CUDA.

    Its texts mean what those of `TransformersGenerator` do: the same stops, all beams kept, equal
    texts as one of their summed probability, natural log-probabilities with the end included. In
    float32 the probability of a text is the same but for rounding. The search itself stops a
    little earlier or later, so that now and then another text makes it into the beams.

    It is the faster one for single prompts and for one beam. With several beams and many prompts
    it copies more than it computes, and transformers can well be faster: measure both.

    The model is taken as it is when the generator is made: an adapter that is attached later does
    not count.

    Args:
        lm: The language model, with its adapter if it has one. Stays as it is.
        renderer: Tells where a title ends and reads texts back.
        beams: Beams for each prompt, at most as many texts; 1 is greedy search.
        max_new_tokens: Longest text, in tokens.
        batch_size: Most prompts in a batch; prompts of very different length never share one.
        length_penalty: Exponent of the length that a beam's log-probability is divided by when
            beams compete; 0 compares plain probabilities, 1 is as published.
        compute_type: ``auto`` computes in the model's precision. ``int8`` rounds weights and what
            they are multiplied with to 8 bits: faster, but other texts; with SmolLM2-135M hardly
            any stays the same.
        cache: Where converted models are kept; see `converted_folder`.
        convert: Does the conversion; CTranslate2's own converter by default.

    Raises:
        ValueError: If a number is below 1.
        ModelError: If CTranslate2 is not installed, cannot run the model rightly, or knows no such
            ``compute_type`` on the device.
        StorageError: If the cache cannot be written to.
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
        compute_type: ComputeType = "auto",
        cache: Path | None = None,
        convert: Convert | None = None,
    ) -> None:
        check_least(1, beams=beams, max_new_tokens=max_new_tokens, batch_size=batch_size)
        self._renderer = renderer
        self._beams = beams
        self._max_new_tokens = max_new_tokens
        self._batch_size = batch_size
        self._length_penalty = length_penalty
        self._frame: list[int] | None = None
        folder = converted_folder(lm, cache=cache, convert=convert)
        self._engine = _load(folder, lm, compute_type)

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
        check_prompts(prompts)
        frame = self._common_frame(prompts)
        return in_batches(
            _alike_batches(prompts, self._batch_size),
            lambda batch: self._batch([prompts[i] for i in batch], frame),
            count=len(prompts),
            progress=progress,
        )

    def _common_frame(self, prompts: Sequence[Sequence[int]]) -> list[int]:
        """Tokens that all prompts, of this call and earlier ones, begin with.

        CTranslate2 never forgets a frame that it has read. Of a frame that only ever gets
        shorter there are few, however many calls there are.
        """
        if len(prompts) < (2 if self._frame is None else 1):
            return []
        known = [] if self._frame is None else [[*self._frame, -1]]
        self._frame = list(prompts[0][: common_size([*prompts, *known])])
        return self._frame

    def _batch(
        self, prompts: Sequence[Sequence[int]], frame: Sequence[int]
    ) -> list[list[GeneratedText]]:
        patience = _PATIENCE if self._beams > 1 else 1
        results = self._engine.generate_batch(
            [_named(prompt[len(frame) :]) for prompt in prompts],
            static_prompt=_named(frame),
            beam_size=self._beams,
            num_hypotheses=self._beams * patience,
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
            # Where little but stops could follow, CTranslate2 also goes on after them.
            if stops.isdisjoint(ids[:-1])
        ]
        return merged(ended[: self._beams])


def _load(folder: Path, lm: LanguageModel, compute_type: ComputeType) -> Any:
    import ctranslate2  # noqa: PLC0415 - optional

    place = {"device": lm.device.type, "device_index": lm.device.index or 0}
    try:
        known = ctranslate2.get_supported_compute_types(**place)
        chosen = _own_type(lm, known) if compute_type == "auto" else compute_type
        if chosen in known:
            return ctranslate2.Generator(
                str(folder),
                compute_type=chosen,
                inter_threads=1,
                intra_threads=torch.get_num_threads(),
                **place,
            )
    except (RuntimeError, ValueError) as error:
        raise ModelError(
            f"CTranslate2 could not load the model that it converted to {folder} ({error}). "
            "Remove that folder to have it converted again, or use the transformers backend."
        ) from error
    raise ModelError(
        f"compute_type is {chosen!r}, which CTranslate2 cannot compute in on this "
        f"{lm.device.type}: expected auto or one of {', '.join(sorted(known))}."
    )


def _own_type(lm: LanguageModel, known: Collection[str]) -> str:
    """The model's own precision, float32 where CTranslate2 has not got it."""
    own = str(lm.model.dtype).removeprefix("torch.")
    return own if own in known else "float32"


def _named(ids: Sequence[int]) -> list[str]:
    """Tokens by the names that they have in a converted model."""
    return [str(token) for token in ids]


def _alike_batches(prompts: Sequence[Sequence[int]], batch_size: int) -> Iterator[list[int]]:
    """Positions in batches of nearly equal length, the longest prompts first."""
    for batch in by_length(prompts, batch_size):
        start = 0
        for end, position in enumerate(batch):
            if len(prompts[batch[start]]) - len(prompts[position]) > _SPREAD:
                yield batch[start:end]
                start = end
        yield batch[start:]
