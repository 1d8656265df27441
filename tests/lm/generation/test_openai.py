"""Generation by a server of the completions protocol: texts, abilities of servers, failures."""

import logging
import math
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bigrec.errors import ModelError
from bigrec.lm.generation.openai import OpenAIGenerator
from bigrec.lm.generation.transformers import TransformersGenerator
from bigrec.lm.model import LanguageModel, load_language_model
from bigrec.lm.prompts import PromptRenderer
from tests.conftest import TITLES
from tests.lm.generation.completions_server import (
    Answer,
    Connect,
    TinyServer,
    always,
    choice,
    completion,
    connections,
    in_turn,
    refusal,
)

pytest.importorskip("openai", reason="the openai package is not installed")
pytestmark = pytest.mark.model

HALF, QUARTER, EIGHTH = math.log(0.5), math.log(0.25), math.log(0.125)
BABE = completion(choice(["Babe"], [HALF]), choice(["Seven"], [QUARTER]))


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


@pytest.mark.parametrize("gives_ids", [True, False])
@pytest.mark.parametrize(("count", "length_penalty"), [(1, 1.0), (3, 1.0), (3, 0.0)])
def test_texts_and_log_probabilities_are_those_of_the_model_on_this_machine(
    *,
    lm: LanguageModel,
    renderer: PromptRenderer,
    connect: Connect,
    gives_ids: bool,
    count: int,
    length_penalty: float,
) -> None:
    options: dict[str, Any] = {"beams": count, "length_penalty": length_penalty}
    there = connect(TinyServer(lm, gives_ids=gives_ids), **options)
    here = TransformersGenerator(lm, renderer, max_new_tokens=6, **options)
    found, expected = there.generator.generate(there.prompts), here.generate(there.prompts)
    for some, others in zip(found, expected, strict=True):
        assert [text.text for text in some] == [text.text for text in others]
        assert [text.log_prob for text in some] == pytest.approx(
            [text.log_prob for text in others], abs=1e-3
        )
    assert there.requests[0]["prompt"] == there.prompts[0]


@pytest.mark.parametrize("status", [400, 422, 500])
def test_a_server_that_refuses_token_ids_gets_text_from_then_on(
    lm: LanguageModel, connect: Connect, status: int
) -> None:
    there = connect(TinyServer(lm, token_prompts=status))
    assert there.texts() == connect(TinyServer(lm)).texts()
    there.texts()
    forms = [isinstance(request["prompt"], str) for request in there.requests]
    assert forms == [False, *[True] * 8]
    assert "<|im_start|>" in there.requests[1]["prompt"]


@pytest.mark.parametrize("beam_search", ["refused", "ignored"])
def test_a_server_without_beam_search_is_asked_for_samples(
    lm: LanguageModel, connect: Connect, beam_search: Any
) -> None:
    there = connect(TinyServer(lm, beam_search=beam_search), beams=3, length_penalty=0)
    for texts in there.generator.generate(there.prompts):
        log_probs = [text.log_prob for text in texts]
        assert log_probs == sorted(log_probs, reverse=True)
        assert 1 <= len(texts) <= 3
    last = there.requests[-1]
    assert (last["n"], last["temperature"], last["top_p"], last["logprobs"]) == (3, 1.0, 1.0, 1)


@pytest.mark.parametrize(
    ("beam_search", "level", "told"),
    [
        ("yes", logging.INFO, "takes token ids and does beam search"),
        ("refused", logging.WARNING, "has no beam search (unknown field use_beam_search): 2 sampl"),
        ("ignored", logging.WARNING, "has no beam search (use_beam_search or its log-probs are ig"),
    ],
)
def test_what_a_server_does_is_told_once(
    *, lm: LanguageModel, connect: Connect, caplog: Any, beam_search: Any, level: int, told: str
) -> None:
    caplog.set_level(level, logger="bigrec")
    connect(TinyServer(lm, beam_search=beam_search)).texts()
    messages = [record.message for record in caplog.records if record.name.startswith("bigrec")]
    assert len(messages) == 1
    assert told in messages[0]


def test_fields_of_beam_search_are_those_that_vllm_reads(
    renderer: PromptRenderer, connect: Connect
) -> None:
    there = connect(lambda _: BABE, length_penalty=0.5)
    there.first()
    sent = there.requests[0]
    assert sent["use_beam_search"] is sent["include_stop_str_in_output"] is True
    assert sent["stop_token_ids"] == renderer.stop_ids
    assert sent["stop"] == ["\n"]
    assert (sent["n"], sent["max_tokens"], sent["temperature"]) == (2, 6, 0.0)
    assert sent["length_penalty"] == 0.5


def test_a_server_that_knows_the_protocol_only_gets_nothing_beyond_it(
    lm: LanguageModel, connect: Connect
) -> None:
    there = connect(TinyServer(lm, strict=True, gives_ids=False))
    assert all(there.texts())
    standard = "model prompt n max_tokens temperature top_p logprobs seed stop"
    assert set(there.requests[-1]) == set(standard.split())


def test_the_same_seed_draws_the_same_samples(lm: LanguageModel, connect: Connect) -> None:
    def drawn(seed: int) -> dict[str, float]:
        return connect(TinyServer(lm, beam_search="refused"), seed=seed).first()

    assert drawn(1) == drawn(1) != drawn(2)


CHAT = {"content": [{"token": "Babe", "logprob": QUARTER, "bytes": [], "top_logprobs": []}]}


@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        pytest.param(
            [choice(["Babe"], [EIGHTH]), choice(["Seven"], [HALF]), choice(["Babe"], [EIGHTH])],
            {"Seven": 1 / 2, "Babe": 1 / 8},
            id="a text that is drawn twice counts once",
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
            id="a text ends at its line and what follows has no weight",
        ),
        pytest.param(
            [choice([r"Two\nLines"], [HALF]), choice([r"A\\B"], [QUARTER])],
            {"Two\nLines": 1 / 2, "A\\B": 1 / 4},
            id="escapes of a text are undone",
        ),
        pytest.param(
            [{"index": 0, "text": "Babe", "logprobs": CHAT}, choice(["Seven"], [HALF])],
            {"Seven": 1 / 2, "Babe": 1 / 4},
            id="log-probabilities are read in the form of the chat protocol too",
        ),
        pytest.param(
            [choice([], None), choice(["Babe"], [QUARTER])],
            {"Babe": 1 / 4},
            id="a text of no token does not come before those with a probability",
        ),
    ],
)
def test_texts_of_an_answer(
    connect: Connect, choices: list[dict[str, Any]], expected: dict[str, float]
) -> None:
    found = connect(always(*choices), send="text").first()
    assert list(found) == list(expected)
    assert found == pytest.approx(expected)


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
    # The end token of a chat is not every server's own: what follows it is none of the title.
    found = connect(always(written(lines), written([*babe, *lines]))).first()
    assert found == {
        "Two\nLines": pytest.approx(0.5 ** len(lines)),
        "Babe (1995)": pytest.approx(0.5 ** len(babe)),
    }


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
def test_one_error_says_what_the_server_did_and_what_to_do(
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
        r"set model to what is offered: base, films\.",
    ):
        there.texts()
    assert len(there.requests) == 1


def test_a_refusal_that_names_a_known_model_is_no_unknown_model(connect: Connect) -> None:
    there = connect(in_turn(refusal(400, "tiny cannot do beams"), BABE))
    assert list(there.first()) == ["Babe", "Seven"]


def test_the_only_model_of_a_server_is_taken_unless_one_is_named(connect: Connect) -> None:
    there = connect(lambda _: BABE, model=None, models=["films"])
    there.texts()
    assert {request["model"] for request in there.requests} == {"films"}
    there = connect(lambda _: BABE, model=None, models=["base", "films"])
    with pytest.raises(ModelError, match=r"offers base, films: expected exactly one\. Set model"):
        there.texts()


def test_results_come_in_the_order_of_the_prompts_and_progress_from_the_calling_thread(
    connect: Connect, prompts: list[list[int]]
) -> None:
    last_came = threading.Event()

    def answer(request: dict[str, Any]) -> Answer:
        number = prompts.index(request["prompt"])
        if number == 3:
            last_came.set()
        elif number > 0:
            # They wait for the last prompt, so they are not ready in order by chance.
            last_came.wait(20)
        return completion(choice([f"Text {number}"], [HALF]), choice(["Other"], [QUARTER]))

    seen: list[tuple[int, int, threading.Thread]] = []
    there = connect(answer, concurrency=3)
    texts = there.texts(progress=lambda *a: seen.append((*a, threading.current_thread())))
    assert [found[0] for found in texts] == ["Text 0", "Text 1", "Text 2", "Text 3"]
    here = threading.current_thread()
    assert seen == [(1, 4, here), (2, 4, here), (3, 4, here), (4, 4, here)]


def test_no_more_requests_are_under_way_than_allowed(connect: Connect) -> None:
    under_way = threading.Semaphore(2)
    refused: list[bool] = []

    def answer(_: dict[str, Any]) -> Answer:
        entered = under_way.acquire(blocking=False)
        refused.append(not entered)
        threading.Event().wait(0.02)
        if entered:
            under_way.release()
        return BABE

    there = connect(answer, concurrency=2)
    there.generator.generate(there.prompts * 3)
    assert refused == [False] * 12


def test_an_interrupt_cancels_what_has_not_started(connect: Connect) -> None:
    def interrupt(done: int, _: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    there = connect(lambda _: BABE, concurrency=1)
    with pytest.raises(KeyboardInterrupt):
        there.generator.generate(there.prompts * 50, progress=interrupt)
    assert len(there.requests) < 100


@pytest.mark.parametrize(
    ("environment", "argument", "sent"),
    [("", None, "none"), ("environment", None, "environment"), ("environment", "given", "given")],
)
def test_the_key_is_the_argument_or_the_environment(
    *,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
    environment: str,
    argument: str | None,
    sent: str,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", environment)
    there = connect(lambda _: BABE, api_key=argument)
    there.first()
    assert there.server.keys == [f"Bearer {sent}"]


def test_no_prompts_ask_nothing(connect: Connect) -> None:
    there = connect(lambda _: BABE)
    assert there.generator.generate([]) == []
    assert there.requests == []


def test_a_missing_package_says_which_extra_to_install(
    renderer: PromptRenderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ModelError, match=r"pip install 'bigrec\[openai\]'"):
        OpenAIGenerator(renderer, tokenizer=None, base_url="http://x/v1", model="tiny")


@pytest.mark.parametrize(
    ("argument", "value", "least"),
    [("beams", 0, 1), ("max_new_tokens", 0, 1), ("concurrency", 0, 1), ("retries", -1, 0)],
)
def test_impossible_arguments_are_refused(
    connect: Connect, argument: str, value: int, least: int
) -> None:
    with pytest.raises(ValueError, match=f"{argument} is {value}: expected at least {least}"):
        connect(lambda _: BABE, **{argument: value})


def test_an_empty_prompt_is_refused(connect: Connect) -> None:
    with pytest.raises(ValueError, match="a prompt is empty: expected at least one token"):
        connect(lambda _: BABE).generator.generate([[1], []])
