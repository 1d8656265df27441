"""Generation by a server with the OpenAI completions protocol.

Servers differ in what they support, so the first prompt finds out, and all others are sent in the
same form:

- vLLM accepts token IDs and does beam search, with a ``--max-logprobs`` of twice the beams (20 by
  default). Its beams end at the tokenizer's end token only, not at a newline, so the ``list``
  prompt style wastes them on text after a title.
- SGLang and llama.cpp's ``llama-server`` accept token IDs too; both sample.
- ``transformers serve`` returns no log-probabilities and cannot be used.
"""

import math
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import closing
from itertools import islice
from typing import Any, Literal, NamedTuple

import anyio
import httpx2
from anyio.from_thread import BlockingPortal, start_blocking_portal

from bigrec.errors import ModelError
from bigrec.lm.generation.base import (
    check_least,
    check_prompts,
    merge_equal_texts,
    refuse_excluded,
)
from bigrec.lm.generation.completion_server import CompletionServer, RequestError
from bigrec.lm.generation.completions import (
    Completion,
    are_beams,
    have_log_probs,
    parse_completions,
    parse_model_names,
)
from bigrec.lm.prompts import PromptRenderer, read_title
from bigrec.printable import get_logger
from bigrec.settings.generative import ServerSettings
from bigrec.types import GeneratedText, ProgressCallback

logger = get_logger(__name__)

PromptForm = Literal["auto", "tokens", "text"]
_Search = Literal["greedy", "beam", "sample"]

_SEND_TOKENS = {"auto": (True, False), "tokens": (True,), "text": (False,)}
_VERBATIM = {"skip_special_tokens": False, "clean_up_tokenization_spaces": False}
# Some servers answer 500, not 400 or 422, to a field of the wrong type.
_REFUSALS = frozenset({400, 422, 500, 501})
_LONGEST_EXPLANATION_S = 1.0
"""Time to ask for the names of models after a failure, beyond the time of the prompt."""


class _RequestForm(NamedTuple):
    """Form of a request.

    Attributes:
        search: The search that the server does.
        extended: Whether the request has fields beyond the protocol.
        tokens: Whether prompts are sent as token IDs, not as text.
    """

    search: _Search
    extended: bool
    tokens: bool


class OpenAIGenerator:
    """Generates texts with a server of the OpenAI completions protocol.

    Prompts are sent as token IDs if the server accepts them. With text, its tokenizer may split
    titles otherwise than in training, or add a start token. Texts are ordered by log-probability
    over length ** ``length_penalty``, independent of the server's order.

    A server without beam search takes as many samples at temperature 1; equal samples count once.
    Samples miss probable texts that beam search finds.

    The server is not trusted. Each prompt has one deadline, retries included, which ends a request
    at any point. Answers are checked before anything is computed from them, and no message quotes
    the key (`CompletionServer`).

    Args:
        renderer: Knows the tokens that end a title, and reads titles from tokens.
        tokenizer: The renderer's tokenizer, which decodes a prompt to text.
        server: Address, model, timeout, retries and concurrency.
        num_beams: Texts for each prompt; 1 is greedy search.
        max_new_tokens: Maximum length of a text, in tokens.
        length_penalty: Exponent of the length in the order above; 0 compares probabilities.
        seed: Decides the samples.
        api_key: None takes ``OPENAI_API_KEY`` from the environment, if it is set.
        prompt_form: Form of prompts; ``auto`` tries token IDs, then text.

    Raises:
        SettingsError: If the address cannot be used.
        ModelError: If the key cannot be sent.
        ValueError: If a number is below 1.
    """

    def __init__(
        self,
        renderer: PromptRenderer,
        *,
        tokenizer: Any,
        server: ServerSettings,
        num_beams: int,
        max_new_tokens: int,
        length_penalty: float,
        seed: int,
        api_key: str | None = None,
        prompt_form: PromptForm = "auto",
    ) -> None:
        check_least(1, num_beams=num_beams, max_new_tokens=max_new_tokens)
        self._renderer = renderer
        self._tokenizer = tokenizer
        # A choice has its tokens, twice and with quotes, and the IDs of the prompt.
        largest_body = 2**20 + num_beams * (2**16 + 256 * max_new_tokens)
        self._server = CompletionServer(server, api_key=api_key, largest_body=largest_body)
        self._timeout_s = server.timeout_s
        self._concurrency = server.concurrency
        self._model = server.model or ""
        self._prompt_form = prompt_form
        self._num_beams = num_beams
        self._length_penalty = length_penalty
        self._request: dict[str, Any] = {"n": num_beams, "max_tokens": max_new_tokens, "seed": seed}
        self._request |= {"top_p": 1.0, "logprobs": 1, "stop": ["\n"]}
        self._form: _RequestForm | None = None

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        excluded: Sequence[Sequence[str]] | None = None,
        progress: ProgressCallback | None = None,
    ) -> list[list[GeneratedText]]:
        """See `Generator`. ``progress`` is called from the calling thread.

        After an error or Ctrl-C no further prompts are sent, and open requests are canceled.

        Raises:
            ValueError: If a prompt is empty, or ``excluded`` is given.
            ModelError: If the server cannot be reached, is late, does not know the model, refuses
                a prompt, returns no log-probabilities or something that is no completion.
        """
        check_prompts(prompts)
        refuse_excluded(excluded)
        texts: list[list[GeneratedText]] = [[] for _ in prompts]
        done = 0
        # Another thread, because the calling one may run an event loop, as in notebooks.
        with (
            start_blocking_portal(name="bigrec-openai") as portal,
            portal.wrap_async_context_manager(self._server.connect()) as http,
            closing(self._generate_all(portal, http, prompts)) as finished,
        ):
            try:
                for i, future in finished:
                    texts[i] = future.result()
                    done += 1
                    if progress is not None:
                        progress(done, len(prompts))
            except RequestError as error:
                place = f"After {done} of {len(prompts)} prompts, the server at {self._server.url}"
                explanation = portal.call(self._explain, http, error)
                raise ModelError(f"{place} {explanation}") from None
        return texts

    def _generate_all(
        self, portal: BlockingPortal, http: httpx2.AsyncClient, prompts: Sequence[Sequence[int]]
    ) -> Generator[tuple[int, Future[list[GeneratedText]]], None, None]:
        """Positions of the prompts and their texts, as they come; open requests end with it."""
        left = iter(range(len(prompts)))
        # The first prompt finds the form of requests, before many are sent at once.
        at_once = 1 if self._form is None else self._concurrency
        open_prompts = dict[Future[list[GeneratedText]], int]()
        try:
            while True:
                for i in islice(left, at_once - len(open_prompts)):
                    future = portal.start_task_soon(self._generate_one, http, prompts[i])
                    open_prompts[future] = i
                if not open_prompts:
                    return
                for future in wait(open_prompts, return_when=FIRST_COMPLETED).done:
                    yield open_prompts.pop(future), future
                at_once = self._concurrency
        finally:
            for future in open_prompts:
                future.cancel()

    async def _generate_one(
        self, http: httpx2.AsyncClient, prompt: Sequence[int]
    ) -> list[GeneratedText]:
        try:
            with anyio.fail_after(self._timeout_s):
                if self._form is None:
                    return self._texts(await self._find_form(http, prompt))
                return self._texts(await self._complete(http, prompt, self._form))
        except TimeoutError:
            raise RequestError(0, f"no answer within {self._timeout_s:g} s") from None

    async def _find_form(self, http: httpx2.AsyncClient, prompt: Sequence[int]) -> list[Completion]:
        """Try one form of request after the other until the server accepts one, and keep it."""
        searches: list[tuple[_Search, bool]] = [("beam", True), ("sample", True), ("sample", False)]
        if self._num_beams == 1:
            searches = [("greedy", True), ("greedy", False)]
        refusal = RequestError(0, "")
        self._model = self._model or await self._only_model(http)
        for search, extended in searches:
            for tokens in _SEND_TOKENS[self._prompt_form]:
                form = _RequestForm(search, extended, tokens)
                try:
                    completions = await self._complete(http, prompt, form)
                except RequestError as error:
                    if not await self._is_refusal(http, error, form):
                        raise
                    refusal = error
                    continue
                if search == "beam" and not are_beams(completions):
                    refusal = RequestError(0, "use_beam_search or its log-probs are ignored")
                    break
                self._form = form
                self._log_form(form, reason=refusal.reason, n_texts=len(completions))
                return completions
        raise refusal

    async def _is_refusal(
        self, http: httpx2.AsyncClient, error: RequestError, form: _RequestForm
    ) -> bool:
        if error.status not in _REFUSALS or await self._is_unknown_model(http, error):
            return False
        # A server that fails on the simpler form too is broken, and was already retried.
        return error.status < 500 or (form.tokens and self._prompt_form == "auto")

    def _log_form(self, form: _RequestForm, *, reason: str, n_texts: int) -> None:
        prompts = "token ids" if form.tokens else "text"
        logger.info("%s takes %s and does %s search", self._server.url, prompts, form.search)
        if form.search == "sample":
            message = "%s has no beam search (%s): %d samples are taken, which miss probable texts"
            logger.warning(message, self._server.url, reason, n_texts)

    async def _complete(
        self, http: httpx2.AsyncClient, prompt: Sequence[int], form: _RequestForm
    ) -> list[Completion]:
        ids = list(prompt)
        request = {
            **self._request,
            **self._extra_fields(form),
            "model": self._model,
            "prompt": ids if form.tokens else self._tokenizer.decode(ids, **_VERBATIM),
            "temperature": 1.0 if form.search == "sample" else 0.0,
        }
        body = await self._server.post(http, "completions", body=request)
        try:
            completions = parse_completions(
                body, n=self._num_beams, vocabulary_size=len(self._tokenizer)
            )
        except ValueError as error:
            start = self._server.secret.redact(body.decode(errors="replace")) or "nothing"
            raise self._server.refusal(
                f"something that is not a completion ({error}): {start}"
            ) from None
        if form.search != "beam" and not have_log_probs(completions):
            raise ModelError(
                f"the server at {self._server.url} gives no log-probabilities, which weigh one "
                "text against another. Serve the model with vLLM, SGLang or llama.cpp's "
                "llama-server, or generate with transformers on this machine."
            )
        return completions

    def _extra_fields(self, form: _RequestForm) -> dict[str, Any]:
        """Fields beyond the protocol."""
        extra = dict[str, Any]()
        if form.extended:
            # Some servers read sampling defaults from the model's folder, so all are set here.
            extra = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
            extra |= {"stop_token_ids": self._renderer.stop_ids, "return_token_ids": True}
            # By default vLLM's beam search omits the end token from the log-probabilities.
            extra["include_stop_str_in_output"] = True
            # The text of a prompt already begins with its start token.
            extra["add_special_tokens"] = False
        if form.search == "beam":
            extra |= {"use_beam_search": True, "length_penalty": self._length_penalty}
        return extra

    def _texts(self, completions: Sequence[Completion]) -> list[GeneratedText]:
        # A completion without tokens has no probability; an empty sum would give it probability 1.
        weighted = [completion for completion in completions if completion.log_probs] or completions
        by_tokens: dict[tuple[int | str, ...], tuple[float, GeneratedText]] = {}
        for completion in weighted:
            length = self._length(completion)
            log_prob = min(0.0, math.fsum(completion.log_probs[:length]))
            score = log_prob / max(1, length) ** self._length_penalty
            if completion.ids is not None:
                text = self._renderer.read(completion.ids)
            else:
                text = read_title(completion.text)
            # Equal samples are one event. Only other tokens of one text add to its probability.
            by_tokens[completion.key[:length]] = (score, GeneratedText(text, log_prob))
        ranked = sorted(by_tokens.values(), key=lambda pair: -pair[0])
        return merge_equal_texts([text for _, text in ranked])

    def _length(self, completion: Completion) -> int:
        """Tokens of a text, with the one that ends it; beam search can continue after a newline."""
        stops = set(self._renderer.stop_ids)
        for i, token in enumerate(completion.tokens):
            if "\n" in token or (completion.ids is not None and completion.ids[i] in stops):
                return i + 1
        return len(completion.tokens)

    async def _is_unknown_model(self, http: httpx2.AsyncClient, error: RequestError) -> bool:
        if error.status == 400 and self._model in error.reason:
            return self._model not in (await self._model_names(http) or [self._model])
        return error.status == 404

    async def _explain(self, http: httpx2.AsyncClient, error: RequestError) -> str:
        if not error.status:
            return f"could not be reached: {error.reason}. Start it, or set base_url or timeout_s."
        names: list[str] = []
        is_unknown = error.status == 404
        with anyio.move_on_after(min(self._timeout_s, _LONGEST_EXPLANATION_S)):
            is_unknown = await self._is_unknown_model(http, error)
            names = await self._model_names(http) if is_unknown else []
        if error.status in (401, 403):
            failure, remedy = "refused the key", "Set api_key or the variable OPENAI_API_KEY."
        elif is_unknown:
            model = self._server.secret.redact(self._model)
            failure, remedy = f"has no model {model!r} for completions", self._other_models(names)
        elif error.status == 429 or error.status >= 500:
            failure = "kept failing"
            remedy = "Look at its log; lower concurrency or raise retries if it is overloaded."
        else:
            failure = "refused a prompt"
            remedy = "Check that its model writes completions and its context holds the prompt."
        return f"{failure} with status {error.status}: {error.reason}. {remedy}"

    def _other_models(self, names: Sequence[str]) -> str:
        if self._model in names or not names:
            return "Check that base_url is the root of the protocol, usually ending in /v1."
        listed = self._server.secret.redact(", ".join(names))
        return f"Serve it by that name, or set model to one of the server's: {listed}."

    async def _only_model(self, http: httpx2.AsyncClient) -> str:
        names = await self._model_names(http)
        if len(names) != 1:
            listed = self._server.secret.redact(", ".join(names)) or "no model by name"
            raise ModelError(
                f"the server at {self._server.url} offers {listed}: expected exactly one. Set "
                "model to the server's name for the fine-tuned model."
            )
        return names[0]

    async def _model_names(self, http: httpx2.AsyncClient) -> list[str]:
        """Names of the server's models; empty if it does not list them."""
        try:
            return parse_model_names(await self._server.get(http, "models"))
        except (RequestError, ModelError, ValueError):
            return []
