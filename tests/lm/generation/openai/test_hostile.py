"""Servers that drip, flood, lie, redirect or echo the key: one error in time, without the key."""

import asyncio
import json
import math
import threading
from collections.abc import Callable
from io import BufferedIOBase
from typing import Any

import pytest

from bigrec.errors import ModelError, SettingsError
from tests.lm.generation.openai.server import (
    BABE,
    HALF,
    QUARTER,
    Answer,
    Connect,
    always,
    choice,
    completion,
    refusal,
)
from torture.server import DRIPS, HEAD

pytestmark = pytest.mark.model

KEY = "sk-proj-Ab1_Cd2-Ef3Gh4Ij5Kl6Mn7"
Write = Callable[[BufferedIOBase], None]


def drip(start: bytes, part: bytes) -> Write:
    """The start, then for at most 20 s one part after the other, each before any read's timeout."""

    def write(stream: BufferedIOBase) -> None:
        stream.write(start)
        for _ in range(2000):
            stream.write(part)
            threading.Event().wait(0.01)

    return write


def whole(status: str, body: bytes, **headers: str) -> Write:
    """One answer with these headers alone."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return lambda stream: send(stream, "\r\n".join([*lines, "", ""]).encode("latin-1") + body)


def send(stream: BufferedIOBase, data: bytes) -> None:
    stream.write(data)


def failure(connect: Connect, answer: Answer, **options: Any) -> str:
    """The error of a server that always gives this answer; it never holds the key."""
    there = connect(lambda _: answer, **{"api_key": KEY, "timeout_s": 30, **options})
    with pytest.raises(ModelError) as caught:
        there.texts()
    message = str(caught.value)
    assert there.server.base_url in message
    letters = "".join(filter(str.isalnum, message))
    assert "Ab1Cd2Ef3Gh4" not in letters
    assert "Gh4Ij5Kl6Mn7" not in letters
    assert caught.value.__cause__ is None
    return message


@pytest.mark.parametrize(
    ("start", "part"),
    DRIPS,
    ids=["status", "headers", "body", "chunks", "continue", "error"],
)
def test_a_dripping_server_does_not_hold_a_prompt_beyond_its_time(
    connect: Connect, start: bytes, part: bytes
) -> None:
    message = failure(connect, drip(start, part), timeout_s=0.3, retries=3)
    assert "After 0 of 4 prompts" in message
    assert "no answer within 0.3 s" in message


def test_retries_share_the_time_of_their_prompt(connect: Connect) -> None:
    there = connect(
        lambda _: whole("503 Busy", b"busy", Retry_After="0.2"), timeout_s=0.5, retries=100
    )
    with pytest.raises(ModelError, match="kept failing with status 503: busy"):
        there.texts()
    assert len(there.requests) <= 3


@pytest.mark.parametrize("wish", ["3600", "inf", "1e400"])
def test_a_wait_beyond_the_time_of_a_prompt_is_not_begun(connect: Connect, wish: str) -> None:
    there = connect(lambda _: whole("429 No", b"busy", Retry_After=wish), retries=3)
    with pytest.raises(ModelError, match="kept failing with status 429: busy"):
        there.texts()
    assert len(there.requests) == 1


@pytest.mark.parametrize("wish", ["nan", "-1", "soon"])
def test_a_wait_that_makes_no_sense_is_ignored(connect: Connect, wish: str) -> None:
    answer = whole("429 No", b"busy", Retry_After_Ms=wish, Retry_After="0")
    there = connect(lambda _: answer, retries=2)
    with pytest.raises(ModelError, match="kept failing with status 429: busy"):
        there.texts()
    assert len(there.requests) == 3


@pytest.mark.parametrize("status", [b"200 OK", b"400 Bad Request"])
@pytest.mark.parametrize("length", [b"Content-Length: 900000000", b"Transfer-Encoding: chunked"])
def test_a_body_is_not_read_beyond_its_limit(
    connect: Connect, status: bytes, length: bytes
) -> None:
    sent: list[int] = []

    def flood(stream: BufferedIOBase) -> None:
        stream.write(b"HTTP/1.1 " + status + b"\r\n" + length + b"\r\n\r\n")
        for _ in range(900):
            stream.write((b"f4240\r\n" if b"chunked" in length else b"") + b" " * 1_000_000)
            stream.write(b"\r\n" if b"chunked" in length else b"")
            sent.append(1)

    # 1 MiB, and for each of two beams 64 KiB and 256 bytes for each of six tokens
    assert "answered with more than 1,182,720 bytes" in failure(connect, flood)
    assert len(sent) < 100


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[" * 1_000_000,
        b"\xff\xfe\x00",
        json.dumps({"choices": [{**choice(["Babe"], [HALF]), "text": None}]}).encode(),
        json.dumps({"choices": [choice(["Babe"], [math.nan])]}).encode(),
        json.dumps({"choices": [choice(["Babe"], [math.inf])]}).encode(),
        json.dumps({"choices": [choice(["Babe"], [3.0])]}).encode(),
        json.dumps({"choices": [choice(["Babe"], [HALF], [-1])]}).encode(),
        json.dumps({"choices": [choice(["Babe"], [HALF], [2**70])]}).encode(),
        json.dumps({"choices": [choice(["Babe"], [HALF])] * 3}).encode(),
        json.dumps({"choices": [{"text": f"{KEY[:9]}\x1b[1m{KEY[9:]}"}], "x": KEY}).encode()[:-1],
    ],
    ids=range(11),
)
def test_an_answer_that_is_no_completion_is_refused(connect: Connect, body: bytes) -> None:
    message = failure(connect, whole("200 OK", body))
    assert "answered with something that is not a completion" in message
    assert len(message) < 1000


@pytest.mark.parametrize("depth", [10, 400_000])
def test_an_error_may_have_any_body(connect: Connect, depth: int) -> None:
    message = failure(connect, whole("404 No", b"[" * depth + b"]" * depth))
    assert "status 404: [[[[[[[[[[" in message
    assert len(message) < 1000


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed_and_the_key_stays_at_its_server(
    connect: Connect, status: int
) -> None:
    other = connect(lambda _: BABE)
    place = f"{other.server.base_url}/completions?key={KEY}"
    message = failure(connect, whole(f"{status} Moved", b"", Location=place))
    assert f"answered with a redirect to {other.server.base_url}/completions?key=[key]" in message
    assert "set it to the final address" in message
    assert other.server.requests == []


def test_a_redirect_to_nowhere_is_an_error_too(connect: Connect) -> None:
    assert "a redirect to nowhere (status 304)" in failure(connect, whole("304 Same", b""))


def test_a_compressed_body_is_refused(connect: Connect) -> None:
    message = failure(connect, whole("200 OK", b"\x1f\x8b", Content_Encoding="gzip"))
    assert "answered with a compressed body" in message


@pytest.mark.parametrize(
    "answer",
    [
        refusal(401, f"Incorrect API key provided: {KEY}."),
        refusal(401, f"Incorrect API key provided: {KEY[:9]}\x1b[31m{KEY[9:]}"),
        refusal(401, [KEY[:9], {"rest": KEY[9:]}]),  # type: ignore[arg-type]
        (401, f"key {KEY[:9]}\\u00{ord(KEY[9]):x}{KEY[10:]}"),
        (401, {"detail": f"%{ord(KEY[0]):x}{KEY[1:]}"}),
        whole(f"401 {KEY}", b""),
        whole("403 No", KEY.encode()),
    ],
    ids=range(7),
)
def test_an_echoed_key_is_not_shown(connect: Connect, answer: Answer) -> None:
    assert "refused the key with status 40" in failure(connect, answer)


@pytest.mark.parametrize(
    "answer",
    [
        lambda stream: send(stream, KEY.encode() + b"\x1b[31m\r\n\r\n"),
        lambda stream: send(stream, b"\x00\xff" * 1000),
        lambda stream: send(stream, HEAD + b"X: " + b"x" * 1_000_000 + b"\r\n\r\n"),
        lambda stream: send(stream, HEAD + b"Content-Length: 100\r\n\r\n{}"),
        lambda stream: send(stream, HEAD + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n"),
        lambda stream: send(stream, b"HTTP/1.1 101 Other\r\nUpgrade: x\r\n\r\n"),
        lambda _: None,
        whole("307 Moved", b"", Location="http://[::" + KEY),
    ],
    ids=range(8),
)
def test_an_answer_that_is_no_http_ends_in_one_error(connect: Connect, answer: Answer) -> None:
    message = failure(connect, answer)
    assert "could not be reached" in message or "a redirect to" in message
    assert "\x1b" not in message


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ([KEY, "films\x1b[31m"], r"offers [key], films\x1b[31m: expected exactly one"),
        (["x" * 100] * 1000, "...: expected exactly one"),
        (drip(HEAD + b"Content-Length: 100000\r\n\r\n", b" "), "no answer within 0.5 s"),
        (whole("200 OK", b"[" * 1_000_000), "offers no model by name: expected exactly one"),
        (whole("302 No", b"", Location="http://x.example"), "offers no model by name"),
    ],
    ids=range(5),
)
def test_a_hostile_list_of_models_ends_in_one_error(
    connect: Connect, models: Any, message: str
) -> None:
    assert message in failure(connect, BABE, model=None, models=models, timeout_s=0.5)


def test_an_explanation_does_not_wait_for_the_names_of_models(connect: Connect) -> None:
    models = drip(HEAD + b"Content-Length: 100000\r\n\r\n", b" ")
    message = failure(connect, refusal(404, "unknown"), models=models, timeout_s=0.3)
    assert "has no model 'tiny' for completions with status 404: unknown" in message


def test_titles_with_control_characters_are_texts_as_others(connect: Connect) -> None:
    hostile = "Ba\x1b[31mbe\x9b"
    there = connect(always(choice([hostile], [HALF]), choice(["Seven"], [QUARTER])))
    assert list(there.first()) == [hostile, "Seven"]


def test_what_a_server_says_is_logged_printably(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    answers = [refusal(400, f"no beams\x1b]0;x\x07 {KEY}"), completion(choice(["Babe"], [HALF]))]
    there = connect(
        lambda request: answers["use_beam_search" not in request], api_key=KEY, concurrency=1
    )
    there.texts()
    (warning,) = [record for record in caplog.messages if "no beam search" in record]
    assert r"(no beams\x1b]0;x\x07 [key])" in warning


def test_texts_are_generated_where_an_event_loop_runs(connect: Connect) -> None:
    there = connect(lambda _: BABE)

    async def cell() -> list[list[str]]:
        return there.texts()

    assert asyncio.run(cell()) == [["Babe", "Seven"]] * 4


@pytest.mark.parametrize(
    "base_url",
    [
        "http://user:hunter2@127.0.0.1/v1",
        "http://127.0.0.1/v1?key=hunter2",
        "http://127.0.0.1/v1#hunter2",
    ],
)
def test_an_address_with_a_password_is_refused_without_showing_it(
    connect: Connect, base_url: str
) -> None:
    with pytest.raises(SettingsError, match="expected an address alone") as caught:
        connect(lambda _: BABE, base_url=base_url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("base_url", ["localhost:8000/v1", "ftp://x/v1", "http://", ""])
def test_what_is_no_address_is_refused(connect: Connect, base_url: str) -> None:
    with pytest.raises(SettingsError, match=r"base_url is .*: expected an address such as"):
        connect(lambda _: BABE, base_url=base_url)


@pytest.mark.parametrize("key", ["hunter2\nX-Other: 1", "hunter2\x1b", "hünter2"])
def test_a_key_that_cannot_be_sent_is_refused_without_showing_it(
    connect: Connect, key: str
) -> None:
    with pytest.raises(ModelError, match="the API key holds a character that cannot") as caught:
        connect(lambda _: BABE, api_key=key)
    assert "nter2" not in str(caught.value)


def test_white_space_around_a_key_is_not_part_of_it(connect: Connect) -> None:
    there = connect(lambda _: BABE, api_key=f" {KEY}\n")
    there.first()
    assert there.server.keys == [f"Bearer {KEY}"]


def test_a_proxy_that_cannot_be_used_is_one_error(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = connect(lambda _: BABE)
    monkeypatch.setenv("ALL_PROXY", "socks9://user:hunter2@127.0.0.1:1")
    with pytest.raises(ModelError, match="Look at the variables HTTP_PROXY") as caught:
        there.texts()
    assert "hunter2" not in str(caught.value)


def test_certificates_that_cannot_be_read_are_one_error(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise OSError(2, "No such file")

    monkeypatch.setattr("bigrec.lm.generation.completion_server.httpx2.create_ssl_context", fail)
    with pytest.raises(ModelError, match="the certificates of this machine cannot be read"):
        connect(lambda _: BABE)
