"""Texts and log-probabilities of a server of the completions protocol."""

from typing import Any

import pytest

from bigrec.lm.model import LanguageModel
from bigrec.lm.prompts import PromptRenderer
from tests.lm.generation.generators import assert_same_texts, transformers_generator
from tests.lm.generation.openai.server import (
    EIGHTH,
    HALF,
    QUARTER,
    Connect,
    TinyServer,
    always,
    choice,
)

pytestmark = pytest.mark.model


@pytest.mark.parametrize("gives_ids", [True, False])
@pytest.mark.parametrize(("num_beams", "length_penalty"), [(1, 1.0), (3, 1.0), (3, 0.0)])
def test_texts_and_log_probabilities_are_those_of_the_model_on_this_machine(
    *,
    lm: LanguageModel,
    renderer: PromptRenderer,
    connect: Connect,
    gives_ids: bool,
    num_beams: int,
    length_penalty: float,
) -> None:
    options: dict[str, Any] = {"num_beams": num_beams, "length_penalty": length_penalty}
    there = connect(TinyServer(lm, gives_ids=gives_ids), **options)
    here = transformers_generator(lm, renderer, max_new_tokens=6, **options)
    texts, expected = there.generator.generate(there.prompts), here.generate(there.prompts)
    assert_same_texts(texts, expected, tolerance=1e-3)
    assert there.requests[0]["prompt"] == there.prompts[0]


CHAT = {"content": [{"token": "Babe", "logprob": QUARTER, "bytes": [], "top_logprobs": []}]}


@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        pytest.param(
            [choice(["Babe"], [EIGHTH]), choice(["Seven"], [HALF]), choice(["Babe"], [EIGHTH])],
            {"Seven": 1 / 2, "Babe": 1 / 8},
            id="a text that is sampled twice counts once",
        ),
        pytest.param(
            [choice(["Babe", "\n"], [HALF, HALF]), choice(["Ba", "be"], [HALF, QUARTER])],
            {"Babe": 1 / 4 + 1 / 8},
            id="one text in other tokens counts with the sum",
        ),
        pytest.param(
            [
                choice([" Babe", "\n", "Fargo"], [HALF, HALF, QUARTER]),
                choice([" Babe", "\n", "Seven"], [HALF, HALF, EIGHTH]),
            ],
            {"Babe": 1 / 4},
            id="a text ends with its line, and later tokens have no effect",
        ),
        pytest.param(
            [choice([r"Two\nLines"], [HALF]), choice([r"A\\B"], [QUARTER])],
            {"Two\nLines": 1 / 2, "A\\B": 1 / 4},
            id="texts are unescaped",
        ),
        pytest.param(
            [{"index": 0, "text": "Babe", "logprobs": CHAT}, choice(["Seven"], [HALF])],
            {"Seven": 1 / 2, "Babe": 1 / 4},
            id="log-probabilities are read in the form of the chat protocol too",
        ),
        pytest.param(
            [choice([], None), choice(["Babe"], [QUARTER])],
            {"Babe": 1 / 4},
            id="a text without tokens does not come before those with a probability",
        ),
    ],
)
def test_texts_of_a_response(
    connect: Connect, choices: list[dict[str, Any]], expected: dict[str, float]
) -> None:
    texts = connect(always(*choices), prompt_form="text", num_beams=3).first()
    assert list(texts) == list(expected)
    assert texts == pytest.approx(expected)


@pytest.mark.parametrize(("length_penalty", "order"), [(0, ["B", "A"]), (1, ["A", "B"])])
def test_texts_are_ordered_by_log_probability_over_the_length(
    connect: Connect, length_penalty: float, order: list[str]
) -> None:
    # log 1/8 over three tokens is log 1/2 each; log 1/4 over one token is log 1/4.
    answer = always(choice(["A", "", "\n"], [HALF, HALF, HALF]), choice(["B"], [QUARTER]))
    assert list(connect(answer, length_penalty=length_penalty).first()) == order


def test_token_ids_of_a_text_are_read_as_the_renderer_reads_them(
    renderer: PromptRenderer, connect: Connect
) -> None:
    def written(ids: list[int]) -> dict[str, Any]:
        return choice(["?"] * len(ids), [HALF] * len(ids), ids)

    lines, babe = renderer.response_ids("Two\nLines"), renderer.response_ids("Babe (1995)")
    # Not every server stops at the end token of a chat: tokens after it are not part of the title.
    texts = connect(always(written(lines), written([*babe, *lines]))).first()
    assert texts == {
        "Two\nLines": pytest.approx(0.5 ** len(lines)),
        "Babe (1995)": pytest.approx(0.5 ** len(babe)),
    }
