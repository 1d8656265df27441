"""Requests: what each server is sent, in which order, and how many at once."""

import logging
import threading
from typing import Any

import pytest

from bigrec.errors import ModelError
from bigrec.lm.model import LanguageModel
from bigrec.lm.prompts import PromptRenderer
from tests.lm.generation.openai.server import (
    BABE,
    HALF,
    QUARTER,
    Answer,
    Connect,
    TinyServer,
    choice,
    completion,
    in_turn,
    refusal,
)

pytestmark = pytest.mark.model


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
    there = connect(TinyServer(lm, beam_search=beam_search), num_beams=3, length_penalty=0)
    for texts in there.generator.generate(there.prompts):
        log_probs = [text.log_prob for text in texts]
        assert log_probs == sorted(log_probs, reverse=True)
        assert 1 <= len(texts) <= 3
    last = there.requests[-1]
    assert (last["n"], last["temperature"], last["top_p"], last["logprobs"]) == (3, 1.0, 1.0, 1)


@pytest.mark.parametrize(
    ("beam_search", "level", "message"),
    [
        ("yes", logging.INFO, "takes token ids and does beam search"),
        ("refused", logging.WARNING, "has no beam search (unknown field use_beam_search): 2 sampl"),
        ("ignored", logging.WARNING, "has no beam search (use_beam_search or its log-probs are ig"),
    ],
)
def test_the_search_of_a_server_is_logged_once(
    *, lm: LanguageModel, connect: Connect, caplog: Any, beam_search: Any, level: int, message: str
) -> None:
    caplog.set_level(level, logger="bigrec")
    connect(TinyServer(lm, beam_search=beam_search)).texts()
    logged = [record.message for record in caplog.records if record.name.startswith("bigrec")]
    assert len(logged) == 1
    assert message in logged[0]


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


def test_the_same_seed_gives_the_same_samples(lm: LanguageModel, connect: Connect) -> None:
    def samples(seed: int) -> dict[str, float]:
        return connect(TinyServer(lm, beam_search="refused"), seed=seed).first()

    assert samples(1) == samples(1) != samples(2)


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
    assert [of_prompt[0] for of_prompt in texts] == ["Text 0", "Text 1", "Text 2", "Text 3"]
    here = threading.current_thread()
    assert seen == [(1, 4, here), (2, 4, here), (3, 4, here), (4, 4, here)]


def test_no_more_requests_are_open_than_allowed(connect: Connect) -> None:
    open_requests = threading.Semaphore(2)
    refused: list[bool] = []

    def answer(_: dict[str, Any]) -> Answer:
        entered = open_requests.acquire(blocking=False)
        refused.append(not entered)
        threading.Event().wait(0.02)
        if entered:
            open_requests.release()
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
