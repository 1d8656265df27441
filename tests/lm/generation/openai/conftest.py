"""The tiny model behind a server of the completions protocol, and prompts for it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bigrec.lm.model import LanguageModel, load_language_model
from bigrec.lm.prompts import PromptRenderer
from tests.conftest import TITLES
from tests.lm.generation.openai.server import Connect, connections


@pytest.fixture(scope="module")
def lm(tiny_model: Path) -> LanguageModel:
    return load_language_model(str(tiny_model), device="cpu")


@pytest.fixture(scope="module")
def renderer(tokenizer: Any) -> PromptRenderer:
    return PromptRenderer(tokenizer)


@pytest.fixture(scope="module")
def prompts(renderer: PromptRenderer) -> list[list[int]]:
    return [renderer.prompt_ids(TITLES[i : i + 1 + i % 3], "movie") for i in range(4)]


@pytest.fixture
def connect(
    *,
    renderer: PromptRenderer,
    tokenizer: Any,
    prompts: list[list[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Connect]:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with connections(renderer, tokenizer, prompts) as start:
        yield start
