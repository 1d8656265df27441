"""The protocol of generators, and what their backends have in common."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np

from bigrec.types import GeneratedText, ProgressCallback


class Generator(Protocol):
    """Generates texts for prompts.

    A generator is made either unconstrained or constrained to the titles of a catalog.
    """

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        excluded: Sequence[Sequence[str]] | None = None,
        progress: ProgressCallback | None = None,
    ) -> list[list[GeneratedText]]:
        """Distinct texts of every prompt, best first, in the order of the prompts.

        Args:
            prompts: Token IDs of each prompt.
            excluded: Titles that must not be generated, for each prompt; only for a generator that
                is constrained to titles. A prompt with all titles excluded has no texts.
            progress: Called with (prompts done, prompts in all).

        Raises:
            ValueError: If a prompt is empty, ``excluded`` is not one sequence for each prompt, or
                ``excluded`` is given to an unconstrained generator.
        """
        ...


def check_least(least: int, **values: float) -> None:
    """Refuse arguments below a minimum.

    Raises:
        ValueError: If there is one; names the first.
    """
    for name, value in values.items():
        if value < least:
            raise ValueError(f"{name} is {value}: expected at least {least}")


def check_prompts(prompts: Sequence[Sequence[int]]) -> None:
    """Refuse empty prompts.

    Raises:
        ValueError: If there is one.
    """
    if any(not prompt for prompt in prompts):
        raise ValueError("a prompt is empty: expected at least one token")


def refuse_excluded(excluded: Sequence[Sequence[str]] | None) -> None:
    """Refuse excluded titles, for an unconstrained generator.

    Raises:
        ValueError: If there are any.
    """
    if excluded is not None:
        raise ValueError(
            "excluded is given, but this generator is unconstrained: make a TransformersGenerator "
            "with titles=, the titles that can be generated."
        )


def generate_in_batches(
    batches: Iterable[Sequence[int]],
    generate: Callable[[Sequence[int]], Sequence[list[GeneratedText]]],
    *,
    count: int,
    progress: ProgressCallback | None,
) -> list[list[GeneratedText]]:
    """Texts that are generated batch by batch, in the order of the prompts.

    Args:
        batches: Positions of the prompts of each batch; each position occurs once.
        generate: Returns the texts of each prompt of a batch, given its positions.
        count: Number of prompts.
        progress: Called with (prompts done, prompts in all) after each batch.
    """
    texts: list[list[GeneratedText]] = [[] for _ in range(count)]
    done = 0
    for batch in batches:
        for position, texts_of_prompt in zip(batch, generate(batch), strict=True):
            texts[position] = texts_of_prompt
        done += len(batch)
        if progress is not None:
            progress(done, count)
    return texts


def batches_by_length(prompts: Sequence[Sequence[int]], batch_size: int) -> Iterator[list[int]]:
    """Positions in batches, longest prompts first, so that a lack of memory shows early."""
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def common_prefix_size(prompts: Sequence[Sequence[int]]) -> int:
    """Tokens that all prompts begin with, without the last token of the shortest prompt."""
    first, last = min(map(tuple, prompts)), max(map(tuple, prompts))
    # Every prompt is between the first and the last in order, so it shares their common prefix.
    pairs = enumerate(zip(first, last, strict=False))
    common = next((i for i, (token, other) in pairs if token != other), len(first))
    return min(common, min(map(len, prompts)) - 1)


def merge_equal_texts(texts: Sequence[GeneratedText]) -> list[GeneratedText]:
    """Texts in their order; equal ones are merged, and their probabilities summed.

    A title can be generated in several ways: with either end token, or in other tokens.
    """
    log_probs: dict[str, float] = {}
    for text in texts:
        before = log_probs.get(text.text, -math.inf)
        # A NaN is told by who uses the probabilities.
        with np.errstate(invalid="ignore"):
            log_probs[text.text] = float(np.logaddexp(before, text.log_prob))
    return [GeneratedText(text, log_prob) for text, log_prob in log_probs.items()]
