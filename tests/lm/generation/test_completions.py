import json
import math
from typing import Any

import pytest

from bigrec.lm.generation.completions import (
    Completion,
    have_log_probs,
    parse_completions,
    parse_model_names,
)


def parse(*choices: Any, n: int = 2, vocabulary_size: int = 10) -> list[Completion]:
    body = json.dumps({"choices": choices}).encode()
    return parse_completions(body, n=n, vocabulary_size=vocabulary_size)


def choice(**changes: Any) -> dict[str, Any]:
    log_probs = {"tokens": ["a", "b"], "token_logprobs": [-0.5, -0.25]}
    return {"text": "ab", "logprobs": log_probs, "token_ids": [3, 9], **changes}


def log_probs(*values: Any) -> dict[str, Any]:
    return choice(
        logprobs={"tokens": ["a"] * len(values), "token_logprobs": values}, token_ids=None
    )


def test_a_completion_is_read_with_its_tokens() -> None:
    assert parse(choice(index=0, finish_reason="stop", beyond={"the": ["protocol"]})) == [
        Completion("ab", ("a", "b"), (3, 9), (-0.5, -0.25))
    ]


def test_the_form_of_the_chat_protocol_is_read() -> None:
    content = [{"token": "a", "logprob": -1, "bytes": []}, {"token": "b", "logprob": 0.0}]
    (read,) = parse({"text": "ab", "logprobs": {"content": content}})
    assert read == Completion("ab", ("a", "b"), None, (-1.0, 0.0))


@pytest.mark.parametrize("given", [None, {}, {"tokens": None}, {"content": []}])
def test_a_completion_may_lack_log_probabilities(given: Any) -> None:
    (read,) = parse({"text": "ab", "logprobs": given})
    assert read == Completion("ab", (), None, ())
    assert not have_log_probs([read])


def test_one_missing_log_probability_is_as_none_at_all() -> None:
    assert parse(log_probs(-1.0, None))[0].log_probs == ()


def test_rounding_above_0_is_no_fault() -> None:
    assert parse(log_probs(1e-7))[0].log_probs == (1e-7,)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (choice(text=None), r"choices\.0\.text: Input should be a valid string"),
        (choice(text=7), r"choices\.0\.text: Input should be a valid string"),
        ({"logprobs": None}, r"choices\.0\.text: Field required"),
        (choice(text="x" * 70_000), r"choices\.0\.text: String should have at most"),
        ("text", r"choices\.0: "),
        (log_probs(math.nan), r"token_logprobs\.0: .*finite"),
        (log_probs(-math.inf), r"token_logprobs\.0: .*finite"),
        (log_probs(-0.5, math.inf), r"token_logprobs\.1: .*finite"),
        (log_probs(0.5), r"token_logprobs\.0: .*less than or equal to"),
        (log_probs(-1e300), r"token_logprobs\.0: .*greater than or equal to"),
        (log_probs("-0.5"), r"token_logprobs\.0: .*valid number"),
        (log_probs(True), r"token_logprobs\.0: .*valid number"),
        (log_probs([-0.5]), r"token_logprobs\.0: .*valid number"),
        (choice(logprobs={"content": [{"token": "a", "logprob": math.nan}]}), "finite"),
        (choice(logprobs={"content": [{"token": "a", "logprob": 3}]}), "less than or equal"),
        (choice(logprobs={"content": [{"token": None, "logprob": -1}]}), "valid string"),
        (choice(logprobs={"tokens": [1], "token_logprobs": [-1]}), "valid string"),
        (choice(logprobs={"tokens": ["a"], "token_logprobs": [0, 0]}), "1 tokens and 2 log-prob"),
        (choice(logprobs={"tokens": ["a"]}), "1 tokens and 0 log-probabilities"),
        (choice(logprobs=[]), "logprobs: "),
        (choice(token_ids=[3]), "1 token ids and 2 log-probabilities"),
        (choice(token_ids=[3, -1]), r"token_ids\.1: .*greater than or equal to 0"),
        (choice(token_ids=[3, 10]), "a token id above the 10 tokens of the vocabulary"),
        (choice(token_ids=[3, 10**30]), "a token id above the 10 tokens of the vocabulary"),
        (choice(token_ids=[3, 1.0]), r"token_ids\.1: .*valid integer"),
        (choice(token_ids=[3, "4"]), r"token_ids\.1: .*valid integer"),
        (choice(token_ids=[1] * 70_000), "token_ids: List should have at most"),
    ],
)
def test_a_wrong_completion_is_refused_by_place(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(value)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "Invalid JSON"),
        (b"\xff\xfe", "Invalid JSON"),
        (b'{"choices": [{"text": "\\ud800"}]}', "Invalid JSON"),
        (b"[" * 3_000_000, "Invalid JSON: recursion limit"),
        (b'{"a":' * 1_000_000, "Invalid JSON: recursion limit"),
        (b"NaN", "Input should be"),
        (b'{"object": "list"}', "choices: Field required"),
        (b'{"choices": null}', "choices: Input should be a valid"),
        (b'{"choices": {}}', "choices: Input should be a valid"),
        (b'{"choices": []}', "choices: List should have at least 1 item"),
        (b'{"choices": [' + b"{}," * 1_000_000 + b"{}]}", r"choices\.0\.text: Field required"),
        (
            b'{"choices": [{"text": "a"}, {"text": "a"}, {"text": "a"}]}',
            "3 choices, 2 were asked for",
        ),
    ],
    ids=range(12),
)
def test_a_body_that_is_no_list_of_completions_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_completions(body, n=2, vocabulary_size=10)


def test_a_refusal_quotes_nothing_of_the_body() -> None:
    with pytest.raises(ValueError, match="valid string") as caught:
        parse(choice(text=["secret"]))
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_names_of_models_are_read() -> None:
    assert parse_model_names(b'{"data": [{"id": "a", "x": 1}, {"id": "b"}]}') == ["a", "b"]
    with pytest.raises(ValueError, match=r"data\.0\.id"):
        parse_model_names(b'{"data": [{"id": null}]}')
