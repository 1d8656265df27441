"""A real HTTP server of the completions protocol on this machine, scripted or with a tiny model."""

import json
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from types import TracebackType
from typing import Any, Literal, Self

import torch

from bigrec.lm.generation.openai import OpenAIGenerator
from bigrec.lm.model import LanguageModel
from bigrec.lm.prompts import PromptRenderer
from bigrec.settings.generative import ServerSettings
from bigrec.types import ProgressCallback

Answer = tuple[int, Any] | Callable[[BufferedIOBase], None]
"""A status and a body, text as it is, anything else as JSON; or what writes the whole answer."""


class CompletionsServer:
    """Serves ``answer`` at ``/v1/completions``, and the names of models, until the block ends.

    Every request's body is kept in ``requests``, its key in ``keys``.
    """

    def __init__(
        self,
        answer: Callable[[dict[str, Any]], Answer],
        *,
        models: Sequence[str] | Callable[[BufferedIOBase], None] = ("tiny",),
    ) -> None:
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.models = models
        self.answer = answer
        owner = self

        class Handler(_Handler):
            server_of_test = owner

        self._http = _Http(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Close the port; a second time does nothing."""
        if self._thread.is_alive():
            self._http.shutdown()
            self._thread.join()
            self._http.server_close()


class _Http(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that gave up waiting is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of_test: CompletionsServer

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Keep the test's output clean."""

    def do_GET(self) -> None:
        models = self.server_of_test.models
        if callable(models):
            self.close_connection = True
            models(self.wfile)
        else:
            self._reply(200, {"data": [{"id": name} for name in models]})

    def do_POST(self) -> None:
        size = int(self.headers["Content-Length"])
        request = json.loads(self.rfile.read(size))
        self.server_of_test.requests.append(request)
        self.server_of_test.keys.append(self.headers["Authorization"])
        answer = self.server_of_test.answer(request)
        if callable(answer):
            self.close_connection = True
            answer(self.wfile)
        else:
            self._reply(*answer)

    def _reply(self, status: int, body: Any) -> None:
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        # Clients wait for half a second and more between attempts unless told otherwise.
        self.send_header("Retry-After-Ms", "1")
        self.end_headers()
        self.wfile.write(data)


def refusal(status: int, message: str) -> Answer:
    """An error as servers word it."""
    return status, {"error": {"message": message, "type": "BadRequestError", "code": status}}


def choice(
    tokens: Sequence[str],
    log_probs: Sequence[float | None] | None,
    ids: Sequence[int] | None = None,
) -> dict[str, Any]:
    """One text of an answer."""
    given = None if log_probs is None else {"tokens": tokens, "token_logprobs": log_probs}
    value = {"index": 0, "text": "".join(tokens), "logprobs": given, "finish_reason": "stop"}
    return value if ids is None else {**value, "token_ids": ids}


def completion(*choices: dict[str, Any]) -> Answer:
    """An answer of these texts."""
    return 200, {"object": "text_completion", "model": "tiny", "choices": list(choices)}


HALF, QUARTER, EIGHTH = math.log(0.5), math.log(0.25), math.log(0.125)
BABE = completion(choice(["Babe"], [HALF]), choice(["Seven"], [QUARTER]))
"""Two texts, in the order of their probability."""


@dataclass
class TinyServer:
    """Answers of a language model, as servers of differing abilities give them.

    Attributes:
        lm: The language model.
        beam_search: Done, refused, or ignored as any unknown field.
        token_prompts: Status of a prompt of token ids, 200 if taken.
        gives_ids: Whether token ids of the texts come back.
        strict: Whether fields beyond the protocol are refused.
    """

    lm: LanguageModel
    beam_search: Literal["yes", "refused", "ignored"] = "yes"
    token_prompts: int = 200
    gives_ids: bool = True
    strict: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, request: dict[str, Any]) -> Answer:
        if self.strict and (beyond := {"top_k", "stop_token_ids"} & set(request)):
            return refusal(400, f"Unrecognized request arguments: {sorted(beyond)}")
        if self.beam_search == "refused" and "use_beam_search" in request:
            return refusal(400, "unknown field use_beam_search")
        prompt = request["prompt"]
        if isinstance(prompt, str):
            prompt = self.lm.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        elif self.token_prompts != 200:
            return refusal(self.token_prompts, "prompt must be a string")
        with self._lock:
            return completion(*self._choices(prompt, request))

    def _choices(self, prompt: list[int], request: dict[str, Any]) -> list[dict[str, Any]]:
        stops = request.get("stop_token_ids", [self.lm.tokenizer.eos_token_id])
        options: dict[str, Any] = {"do_sample": False, "num_return_sequences": request["n"]}
        copies = 1
        if self.beam_search == "yes" and request.get("use_beam_search"):
            options |= {"num_beams": request["n"], "length_penalty": request["length_penalty"]}
        elif request["temperature"] == 0:
            options["num_return_sequences"], copies = 1, request["n"]
        else:
            torch.manual_seed(request["seed"])
            options |= {"do_sample": True, "top_k": 0}
        ids = torch.tensor([prompt])
        with torch.inference_mode():
            written = self.lm.model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=request["max_tokens"],
                eos_token_id=stops,
                pad_token_id=self.lm.tokenizer.pad_token_id,
                **options,
            )
        texts = [self._choice(prompt, row[len(prompt) :].tolist(), stops) for row in written]
        return texts * copies

    def _choice(self, prompt: list[int], written: list[int], stops: list[int]) -> dict[str, Any]:
        end = next((i + 1 for i, token in enumerate(written) if token in stops), len(written))
        written = written[:end]
        with torch.inference_mode():
            logits = self.lm.model(input_ids=torch.tensor([prompt + written])).logits[0]
        steps = logits[len(prompt) - 1 : -1].log_softmax(dim=-1)
        log_probs = steps[torch.arange(end), torch.tensor(written)].tolist()
        tokens = [str(self.lm.tokenizer.decode([token])) for token in written]
        value = choice(tokens, log_probs, written if self.gives_ids else None)
        value["text"] = self.lm.tokenizer.decode(written, skip_special_tokens=True)
        return value


def always(*choices: dict[str, Any]) -> Callable[[dict[str, Any]], Answer]:
    """These texts for every request."""
    return lambda _: completion(*choices)


def in_turn(*answers: Answer) -> Callable[[dict[str, Any]], Answer]:
    """These answers, the last one from then on."""
    left = list(answers)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


@dataclass
class Connection:
    """A server, its generator, and prompts to send."""

    server: CompletionsServer
    generator: OpenAIGenerator
    prompts: list[list[int]]

    @property
    def requests(self) -> list[dict[str, Any]]:
        return self.server.requests

    def texts(self, *, progress: ProgressCallback | None = None) -> list[list[str]]:
        """Texts of every prompt."""
        by_prompt = self.generator.generate(self.prompts, progress=progress)
        return [[text.text for text in texts] for texts in by_prompt]

    def first(self) -> dict[str, float]:
        """Texts of the first prompt with their probabilities, in order."""
        texts = self.generator.generate(self.prompts[:1])[0]
        return {text.text: math.exp(text.log_prob) for text in texts}


SEARCH: dict[str, Any] = {"num_beams": 2, "max_new_tokens": 6, "length_penalty": 1.0, "seed": 0}

Connect = Callable[..., Connection]


@contextmanager
def connections(
    renderer: PromptRenderer, tokenizer: Any, prompts: list[list[int]]
) -> Iterator[Connect]:
    """Gives a function that starts a server with these answers and connects a generator to it.

    Its options are arguments of the generator and fields of `ServerSettings`. Servers and
    connections are closed at the end of the block.
    """
    with ExitStack() as stack:

        def start(
            answer: Callable[[dict[str, Any]], Answer],
            *,
            models: Sequence[str] | Callable[[BufferedIOBase], None] = ("tiny",),
            **options: Any,
        ) -> Connection:
            server = stack.enter_context(CompletionsServer(answer, models=models))
            options = {"model": "tiny", "retries": 0, **SEARCH, **options}
            names = set(options) & set(ServerSettings.model_fields)
            fields = {name: options.pop(name) for name in names}
            settings = ServerSettings(**{"base_url": server.base_url, **fields})
            generator = OpenAIGenerator(renderer, tokenizer=tokenizer, server=settings, **options)
            return Connection(server, generator, prompts)

        yield start
