"""Generators for tests, with the default settings of decoding unless a test changes them."""

from collections.abc import Sequence
from typing import Any

import pytest

from bigrec.lm.generation.ctranslate2 import CTranslate2Generator
from bigrec.lm.generation.transformers import TransformersGenerator
from bigrec.lm.model import LanguageModel
from bigrec.lm.prompts import PromptRenderer
from bigrec.settings.generative import DecodingSettings
from bigrec.types import GeneratedText

MAX_NEW_TOKENS = 64


def transformers_generator(
    lm: LanguageModel, renderer: PromptRenderer, **changes: Any
) -> TransformersGenerator:
    """A generator of transformers, with arguments of its class."""
    return TransformersGenerator(lm, renderer, **{**search_options(), **changes})


def ctranslate2_generator(
    lm: LanguageModel, renderer: PromptRenderer, **changes: Any
) -> CTranslate2Generator:
    """A generator of CTranslate2, with arguments of its class."""
    defaults = {**search_options(), "compute_type": DecodingSettings().compute_type}
    return CTranslate2Generator(lm, renderer, **{**defaults, **changes})


def search_options() -> dict[str, Any]:
    """Arguments of the search in the default settings."""
    fields = {"num_beams", "batch_size", "length_penalty"}
    return {**DecodingSettings().model_dump(include=fields), "max_new_tokens": MAX_NEW_TOKENS}


def log_probs(texts: Sequence[GeneratedText]) -> dict[str, float]:
    """Log-probability of each text."""
    return {text.text: text.log_prob for text in texts}


def assert_same_texts(
    texts: Sequence[Sequence[GeneratedText]],
    expected: Sequence[Sequence[GeneratedText]],
    *,
    tolerance: float = 1e-4,
) -> None:
    """Compare texts in their order, and log-probabilities up to rounding."""
    for of_prompt, others in zip(texts, expected, strict=True):
        assert [text.text for text in of_prompt] == [text.text for text in others]
        assert [text.log_prob for text in of_prompt] == pytest.approx(
            [text.log_prob for text in others], abs=tolerance
        )
