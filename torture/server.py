"""Completions from a hostile server: each try is one generator against random answers.

A try survives if it ends in texts that can be used or in one of bigrec's errors, within the time of
its prompts, and if no message, log or traceback holds the key. A fault names the try:
``--first N --tries 1`` with the same seed repeats it.
"""

import argparse
import json
import logging
import math
import os
import random
import resource
import socketserver
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from bigrec.errors import BigrecError
from bigrec.lm.generation.openai import OpenAIGenerator
from bigrec.lm.prompts import PromptRenderer
from bigrec.settings.generative import ServerSettings
from tests.conftest import TITLES, make_tokenizer
from torture.tally import Tally, finish

TIMEOUT_S = 0.5
# Two prompts one after the other, the names of models, and a busy machine.
LIMIT_S = 2 * TIMEOUT_S + 0.5 + 4
MEMORY_MIB = 1024
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
NASTY: tuple[Any, ...] = (
    *(None, True, -1, 0, 3, 2**31, 10**30, 0.5, -1e308, 1e308, math.nan, math.inf, -math.inf),
    *("", "x" * 100_000, "\x1b]0;x\x07\x9b31m\u202e", "\ud800", [], {}, [[]], [None] * 1000),
)

Write = Callable[[bytes], None]
Kind = Callable[[Write, random.Random, str], None]


def valid(rng: random.Random, *, n: int) -> dict[str, Any]:
    """An answer of the protocol."""
    choices = []
    for _ in range(n):
        tokens = [f"t{rng.randrange(50)}" for _ in range(rng.randint(1, 5))]
        log_probs = [-rng.random() for _ in tokens]
        choice: dict[str, Any] = {"index": 0, "text": "".join(tokens), "finish_reason": "stop"}
        if rng.random() < 0.3:
            pairs = zip(tokens, log_probs, strict=True)
            choice["logprobs"] = {"content": [{"token": t, "logprob": p} for t, p in pairs]}
        else:
            choice["logprobs"] = {"tokens": tokens, "token_logprobs": log_probs}
        if rng.random() < 0.5:
            choice["token_ids"] = [rng.randrange(300) for _ in tokens]
        choices.append(choice)
    return {"object": "text_completion", "choices": choices, "data": [{"id": "tiny"}]}


def mutated(value: Any, rng: random.Random) -> Any:
    """The value with one part replaced, dropped or doubled."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.15:
        return rng.choice(NASTY)
    changed: Any = value.copy()
    place = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
    action = rng.random()
    if action < 0.15:
        del changed[place]
    elif action < 0.25 and isinstance(value, list):
        changed.insert(place, changed[place])
    else:
        changed[place] = mutated(changed[place], rng)
    return changed


def reply(write: Write, body: bytes, *, status: str = "200 OK", head: str = "") -> None:
    """A whole answer."""
    lines = f"HTTP/1.1 {status}\r\n{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    write(lines.encode("latin-1") + body)


def sound(write: Write, rng: random.Random, _key: str) -> None:
    """An answer of the protocol."""
    reply(write, json.dumps(valid(rng, n=rng.randint(1, 2))).encode())


def mutant(write: Write, rng: random.Random, _key: str) -> None:
    """An answer with up to three parts that are wrong."""
    value = valid(rng, n=rng.randint(1, 3))
    for _ in range(rng.randint(1, 3)):
        value = mutated(value, rng)
    reply(write, json.dumps(value).encode())


def damaged(write: Write, rng: random.Random, _key: str) -> None:
    """An answer with wrong bytes, cut anywhere."""
    body = bytearray(json.dumps(valid(rng, n=2)).encode())
    for _ in range(rng.randint(1, 20)):
        body[rng.randrange(len(body))] = rng.randrange(256)
    reply(write, bytes(body[: rng.randint(0, len(body))]))


def short(write: Write, rng: random.Random, _key: str) -> None:
    """Fewer bytes than announced."""
    body = json.dumps(valid(rng, n=2)).encode()
    write(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body[: rng.randrange(len(body))])


def deep(write: Write, rng: random.Random, _key: str) -> None:
    """Brackets up to half a million deep."""
    unit = rng.choice([b"[", b'{"choices":', b'{"a":[', b'{"choices":[{"text":'])
    reply(write, unit * rng.randint(100, 500_000), status=rng.choice(["200 OK", "400 No"]))


def huge(write: Write, rng: random.Random, _key: str) -> None:
    """A body of 400 MB."""
    is_chunked = rng.random() < 0.5
    write(HEAD + (b"Transfer-Encoding: chunked" if is_chunked else b"Content-Length: 400000000"))
    write(b"\r\n\r\n")
    unit = rng.choice([b" ", b'{"choices":[', b"0,", b"{},"]) * 50_000
    for _ in range(400_000_000 // len(unit)):
        write(b"%x\r\n" % len(unit) + unit + b"\r\n" if is_chunked else unit)


def many(write: Write, rng: random.Random, _key: str) -> None:
    """As many choices as a body may hold."""
    entry = rng.choice([b"{}", b'{"text":""}', b'{"text":"a","logprobs":{"tokens":[1]}}', b"1"])
    count = 1_100_000 // (len(entry) + 1)
    reply(write, b'{"choices":[' + b",".join([entry] * count) + b"]}")


DRIPS = (
    (b"", b"H"),
    (HEAD, b"X-Y: z\r\n"),
    (HEAD + b"Content-Length: 100000\r\n\r\n", b" "),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    (b"HTTP/1.1 503 Busy\r\nContent-Length: 100000\r\n\r\n", b"x"),
)
"""Beginnings of answers, with the part that comes again and again after each."""


def drip(write: Write, rng: random.Random, _key: str) -> None:
    """Parts that come one after the other, for 20 s."""
    start, part = rng.choice(DRIPS)
    write(start)
    pause_s = rng.choice([0.001, 0.01, 0.1])
    for _ in range(round(20 / pause_s)):
        write(part)
        time.sleep(pause_s)


def silent(_write: Write, rng: random.Random, _key: str) -> None:
    """Nothing, now or after 20 s."""
    time.sleep(rng.choice([0.0, 0.1, 20.0]))


def noise(write: Write, rng: random.Random, key: str) -> None:
    """Random bytes, after a sound start or none."""
    start = rng.choice([b"", b"HTTP/1.1 ", b"HTTP/1.1 200 ", HEAD, HEAD + b"X: ", key.encode()])
    write(start + rng.randbytes(rng.choice([0, 10, 10_000, 300_000])) + b"\r\n\r\n")


def redirect(write: Write, rng: random.Random, key: str) -> None:
    """A redirect that would take the key elsewhere."""
    places = ("http://127.0.0.1:9/{}", "//x.example/?key={}", "http://[::{}", "\x9b{}", "/{}", "")
    status = rng.choice([300, 301, 302, 303, 304, 307, 308, 399])
    head = f"Location: {rng.choice(places).format(key)}\r\n"
    reply(write, b"", status=f"{status} Moved", head=head)


def echo(write: Write, rng: random.Random, key: str) -> None:
    """A status with the key in one of many forms."""
    at = rng.randint(4, len(key) - 4)
    forms = (
        f"Incorrect key {key}",
        f"{key[:at]}\x1b[31m{key[at:]}",
        f"{key[:at]}\x9b0m\u200b{key[at:]}",
        f"{key[:at]}\x1b]0;x\x07{key[at:]}",
        "".join(f"%{ord(letter):02x}" for letter in key),
        "".join(f"\\u{ord(letter):04x}" for letter in key),
        "".join(f"&#{ord(letter)};" for letter in key),
        "-".join(key),
        "x" * rng.randint(280, 300) + key,
        key * rng.choice([1, 100, 10_000]),
    )
    text = rng.choice(forms)
    names = ("message", "detail", "x")
    bodies: tuple[Any, ...] = (
        {"error": {"message": text}},
        {rng.choice(names): text},
        {"detail": [text[:at], text[at:]]},
        text,
    )
    body = rng.choice([*(json.dumps(value) for value in bodies), text]).encode()
    status = rng.choice([200, 204, 400, 401, 403, 404, 409, 422, 429, 500, 501, 503, 599, 999])
    wishes = ("", "Retry-After: 0\r\n", "Retry-After: nan\r\n", "Retry-After: 1e999\r\n")
    reply(write, body, status=f"{status} {rng.choice(['No', key])}", head=rng.choice(wishes))


def headers(write: Write, rng: random.Random, key: str) -> None:
    """A sound body below headers that do not fit it."""
    lines = (
        "Content-Encoding: gzip",
        "Content-Encoding: deflate, br",
        "Content-Length: -1",
        "Content-Length: 5\r\nContent-Length: 6",
        "Transfer-Encoding: x",
        f"Set-Cookie: a={key}; expires=\x9b",
        "Upgrade: websocket\r\nConnection: upgrade",
        "Content-Type: text/html; charset=utf-7",
    )
    body = json.dumps(valid(rng, n=2))
    status = rng.choice(["200 OK", "101 Other", "206 Part"])
    write(f"HTTP/1.1 {status}\r\n{rng.choice(lines)}\r\n\r\n{body}".encode("latin-1"))


KINDS: tuple[Kind, ...] = (
    *(sound, mutant, mutant, mutant, damaged, short, deep, huge, many, drip, drip, silent),
    *(noise, redirect, echo, echo, headers),
)


class HostileServer(socketserver.ThreadingTCPServer):
    """Answers each request in a random way; a third of the tries begin with a sound answer."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, rng: random.Random, key: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.rng, self.key = rng, key
        self.kinds: list[str] = []
        self._lock = threading.Lock()
        self._is_friendly_first = rng.random() < 0.3

    def next_kind(self) -> tuple[Kind, random.Random]:
        """How the next request is answered."""
        with self._lock:
            is_first = not self.kinds
            kind = sound if is_first and self._is_friendly_first else self.rng.choice(KINDS)
            self.kinds.append(kind.__name__)
            return kind, random.Random(self.rng.random())

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: the client may leave at any time."""


class _Handler(socketserver.StreamRequestHandler):
    server: HostileServer

    def handle(self) -> None:
        size = 0
        for line in iter(self.rfile.readline, b"\r\n"):
            if not line:
                return
            if line.lower().startswith(b"content-length:"):
                size = int(line.split(b":")[1])
        self.rfile.read(size)
        kind, rng = self.server.next_kind()
        kind(self.request.sendall, rng, self.server.key)


class _Kept(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def shows(text: str, key: str) -> bool:
    """Whether a text holds twelve letters of the key in a row, also between other signs."""
    letters = "".join(filter(str.isalnum, text))
    plain = "".join(filter(str.isalnum, key))
    return any(plain[i : i + 12] in letters for i in range(len(plain) - 11))


def attack(
    renderer: PromptRenderer, tokenizer: Any, server: HostileServer, kept: _Kept
) -> str | None:
    """One try; the fault, if there is one."""
    rng = server.rng
    settings = ServerSettings(
        base_url=f"http://127.0.0.1:{server.server_address[1]}/v1",
        model=rng.choice(["tiny", None]),
        timeout_s=TIMEOUT_S,
        retries=rng.randint(0, 2),
        concurrency=2,
    )
    generator = OpenAIGenerator(
        renderer,
        tokenizer=tokenizer,
        server=settings,
        num_beams=rng.randint(1, 2),
        max_new_tokens=8,
        length_penalty=1.0,
        seed=0,
        api_key=server.key,
    )
    prompts = [renderer.prompt_ids(TITLES[:size], "movie") for size in (1, 2)]
    start, shown = time.monotonic(), ""
    try:
        texts = generator.generate(prompts)
    except BigrecError as error:
        shown = "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001 - what must not happen
        return traceback.format_exc()
    else:
        if not all(
            isinstance(text.text, str) and -math.inf < text.log_prob <= 0
            for of_prompt in texts
            for text in of_prompt
        ):
            return f"texts that cannot be used: {texts}"
    seconds = time.monotonic() - start
    if seconds > LIMIT_S:
        return f"{seconds:.1f} s, with {TIMEOUT_S} s for each of two prompts"
    if shows("\n".join([shown, *kept.messages]), server.key):
        return "a message holds the key"
    return None


def tries(*, first: int, count: int, seed: int) -> Iterator[tuple[int, str | None]]:
    """Numbers of the tries and their faults."""
    os.environ["NO_PROXY"] = "127.0.0.1"
    tokenizer = make_tokenizer(chat=True)
    renderer = PromptRenderer(tokenizer)
    for number in range(first, first + count):
        rng = random.Random(f"{seed} {number}")
        key = "sk-" + "".join(rng.choices("abcdefghijkmnopqrstuvwxyzABCDEF0123456789-_", k=40))
        kept = _Kept()
        logger = logging.getLogger("bigrec")
        logger.addHandler(kept)
        with HostileServer(rng, key) as server:
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            fault = attack(renderer, tokenizer, server, kept)
            server.shutdown()
        logger.removeHandler(kept)
        yield number, fault and f"try {number} ({', '.join(server.kinds)}): {fault}"


def main() -> None:
    """Run the tries, print the table, and exit with 1 on a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first try")
    options = parser.parse_args()
    # Warnings on what servers lack are part of every try; they are searched, not shown.
    logging.getLogger("bigrec").propagate = False
    tally = Tally("hostile completions servers")
    for _, fault in tries(first=options.first, count=options.tries, seed=options.seed):
        tally.count(fault)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    if peak_mib > MEMORY_MIB:
        tally.faults.append(f"{peak_mib} MiB of memory at the peak")
    finish("Hostile servers", [tally])


if __name__ == "__main__":
    main()
