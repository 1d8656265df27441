"""The tiny model, loaded anew for each test, and prompts of several lengths for it."""

from pathlib import Path

import pytest

from bigrec.lm.model import LanguageModel, load_language_model
from bigrec.lm.prompts import PromptRenderer
from tests.conftest import TITLES


@pytest.fixture
def lm(tiny_model: Path) -> LanguageModel:
    return load_language_model(str(tiny_model), device="cpu")


@pytest.fixture
def renderer(lm: LanguageModel) -> PromptRenderer:
    return PromptRenderer(lm.tokenizer)


@pytest.fixture
def prompts(renderer: PromptRenderer) -> list[list[int]]:
    return [renderer.prompt_ids(TITLES[i : i + 1 + i % 4], "movie") for i in range(6)]
