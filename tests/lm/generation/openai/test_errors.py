"""Failures of a server, and wrong arguments: retries, and one error that says what to do."""

import threading
from typing import Any

import pytest

from bigrec.errors import ModelError
from tests.lm.generation.openai.server import (
    BABE,
    HALF,
    Answer,
    Connect,
    choice,
    completion,
    in_turn,
    refusal,
)

pytestmark = pytest.mark.model


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_fails_twice_is_asked_a_third_time(connect: Connect, status: int) -> None:
    busy = refusal(status, "busy")
    there = connect(in_turn(busy, busy, BABE), retries=2)
    assert list(there.first()) == ["Babe", "Seven"]
    assert len(there.requests) == 3


def test_a_server_that_fails_from_the_start_is_not_asked_for_less(connect: Connect) -> None:
    there = connect(lambda _: refusal(500, "broken"), retries=1)
    with pytest.raises(ModelError, match=r"After 0 of 4 prompts.*kept failing with status 500"):
        there.texts()
    # As token ids and as text, each twice.
    assert len(there.requests) == 4


NO_LOG_PROBS = r"gives no log-probabilities.*vLLM, SGLang or llama"


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (
            [BABE, refusal(429, "busy")],
            r"After 1 of 4 .* kept failing with status 429: busy\. Look",
        ),
        (
            [BABE, refusal(500, "oops")],
            r"After 1 of 4 .* kept failing with status 500: oops\. Look",
        ),
        (
            [refusal(422, "too long")],
            r"refused a prompt with status 422: too long\. Check that its",
        ),
        ([(404, {"detail": "Not Found"})], r"status 404: Not Found\. Check that base_url is the"),
        ([refusal(401, "Unauthorized")], r"refused the key with status 401.*OPENAI_API_KEY"),
        ([completion(choice(["Babe"], None))], NO_LOG_PROBS),
        ([completion(choice(["Babe"], [None]))], NO_LOG_PROBS),
    ],
)
def test_one_error_says_how_the_server_failed_and_what_to_do(
    connect: Connect, answers: list[Answer], message: str
) -> None:
    there = connect(in_turn(*answers), concurrency=1, api_key="secret")
    with pytest.raises(ModelError, match=message) as info:
        there.texts()
    assert there.server.base_url in str(info.value)
    assert "secret" not in str(info.value)


@pytest.mark.parametrize(
    "body",
    [
        "{oops",
        "[]",
        {"choices": []},
        {"choices": [7]},
        {"choices": [{"text": "a", "logprobs": {"tokens": ["a"], "token_logprobs": [0, 0]}}]},
        {"choices": [choice(["a", "b"], [HALF, HALF], [1])]},
    ],
)
def test_an_answer_that_is_no_completion_is_refused(connect: Connect, body: Any) -> None:
    with pytest.raises(ModelError, match=r"answered with something that is not a completion"):
        connect(lambda _: (200, body)).texts()


def test_a_slow_server_ends_in_an_error_that_names_the_limit(connect: Connect) -> None:
    enough = threading.Event()

    def answer(_: dict[str, Any]) -> Answer:
        enough.wait(20)
        return BABE

    there = connect(answer, timeout_s=0.3)
    with pytest.raises(ModelError, match=r"could not be reached: no answer within 0\.3 s\."):
        there.texts()
    enough.set()


def test_a_server_that_is_not_there_ends_in_an_error_that_names_the_address(
    connect: Connect,
) -> None:
    there = connect(lambda _: BABE)
    there.server.stop()
    with pytest.raises(
        ModelError, match=f"{there.server.base_url} could not be reached: .*refused"
    ):
        there.texts()


@pytest.mark.parametrize("status", [400, 404])
def test_an_unknown_model_ends_in_an_error_that_lists_those_there_are(
    connect: Connect, status: int
) -> None:
    unknown = refusal(status, "The model `movies` does not exist")
    there = connect(lambda _: unknown, model="movies", models=["base", "films"])
    with pytest.raises(
        ModelError,
        match=rf"has no model 'movies' for completions with status {status}: .*"
        r"set model to one of the server's: base, films\.",
    ):
        there.texts()
    assert len(there.requests) == 1


@pytest.mark.parametrize("argument", ["num_beams", "max_new_tokens"])
def test_impossible_arguments_are_refused(connect: Connect, argument: str) -> None:
    with pytest.raises(ValueError, match=f"{argument} is 0: expected at least 1"):
        connect(lambda _: BABE, **{argument: 0})


@pytest.mark.parametrize(
    ("argument", "value", "limit"),
    [("concurrency", 0, "at least|or equal to 1"), ("retries", -1, "at least|or equal to 0")],
)
def test_impossible_settings_of_the_server_are_refused(
    connect: Connect, argument: str, value: int, limit: str
) -> None:
    with pytest.raises(ValueError, match=rf"(?s){argument}.*{limit}"):
        connect(lambda _: BABE, **{argument: value})


def test_an_empty_prompt_is_refused(connect: Connect) -> None:
    with pytest.raises(ValueError, match="a prompt is empty: expected at least one token"):
        connect(lambda _: BABE).generator.generate([[1], []])


def test_excluded_titles_are_refused(connect: Connect) -> None:
    with pytest.raises(ValueError, match="this generator is unconstrained: make a Transformers"):
        connect(lambda _: BABE).generator.generate([[1]], excluded=[[]])
