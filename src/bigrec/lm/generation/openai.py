"""Generation by a server with the OpenAI completions protocol.

Servers differ in what they support, so the first prompt finds out, and all others are sent in the
same form:

- vLLM accepts token IDs and does beam search, with a ``--max-logprobs`` of twice the beams (20 by
  default). Its beams end at the tokenizer's end token only, not at a newline, so the ``list``
  prompt style wastes them on text after a title.
- SGLang and llama.cpp's ``llama-server`` accept token IDs too; both sample.
- ``transformers serve`` returns no log-probabilities and cannot be used.
"""

import json
import math
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from bigrec.errors import ModelError
from bigrec.lm.generation.base import (
    check_least,
    check_prompts,
    merge_equal_texts,
    refuse_excluded,
)
from bigrec.lm.generation.completions import (
    Completion,
    are_beams,
    have_log_probs,
    parse_completions,
)
from bigrec.lm.prompts import PromptRenderer, read_title
from bigrec.printable import get_logger
from bigrec.settings.sections import ServerSettings
from bigrec.types import GeneratedText, ProgressCallback

logger = get_logger(__name__)

PromptForm = Literal["auto", "tokens", "text"]
_Search = Literal["greedy", "beam", "sample"]

_SEND_TOKENS = {"auto": (True, False), "tokens": (True,), "text": (False,)}
_VERBATIM = {"skip_special_tokens": False, "clean_up_tokenization_spaces": False}
# Some servers answer 500, not 400 or 422, to a field of the wrong type.
_REFUSALS = frozenset({400, 422, 500, 501})


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


@dataclass(eq=False)
class _RequestError(Exception):
    """A request that failed; ``status`` is 0 if the server was not reached."""

    status: int
    reason: str


class OpenAIGenerator:
    """Generates texts with a server of the OpenAI completions protocol.

    Prompts are sent as token IDs if the server accepts them. With text, its tokenizer may split
    titles otherwise than in training, or add a start token. Texts are ordered by log-probability
    over length ** ``length_penalty``, independent of the server's order.

    A server without beam search takes as many samples at temperature 1; equal samples count once.
    Samples miss probable texts that beam search finds.

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
        ModelError: If the openai package is missing.
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
        self._server = server
        self._model = server.model or ""
        self._prompt_form = prompt_form
        self._num_beams = num_beams
        self._length_penalty = length_penalty
        self._request: dict[str, Any] = {"n": num_beams, "max_tokens": max_new_tokens, "seed": seed}
        self._request |= {"top_p": 1.0, "logprobs": 1, "stop": ["\n"]}
        self._form: _RequestForm | None = None
        self._first_prompt = threading.Lock()
        self._client = _client(server, api_key=api_key)
        self._url = str(self._client.base_url).rstrip("/")

    def close(self) -> None:
        """Close the connections to the server, which stay open between calls."""
        self._client.close()

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        excluded: Sequence[Sequence[str]] | None = None,
        progress: ProgressCallback | None = None,
    ) -> list[list[GeneratedText]]:
        """See `Generator`. ``progress`` is called from the calling thread.

        After an error or Ctrl-C no further prompts are sent; open requests finish by themselves.

        Raises:
            ValueError: If a prompt is empty, or ``excluded`` is given.
            ModelError: If the server cannot be reached, does not know the model, refuses a prompt
                or returns no log-probabilities.
        """
        check_prompts(prompts)
        refuse_excluded(excluded)
        texts: list[list[GeneratedText]] = [[] for _ in prompts]
        done = 0
        workers = self._server.concurrency
        pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="bigrec-openai")
        try:
            # The first prompt finds the form of requests, before many are sent at once.
            for part in (range(len(prompts))[:1], range(len(prompts))[1:]):
                futures = {pool.submit(self._generate_one, prompts[i]): i for i in part}
                for future in as_completed(futures):
                    texts[futures[future]] = future.result()
                    done += 1
                    if progress is not None:
                        progress(done, len(prompts))
        except _RequestError as error:
            done_before = f"After {done} of {len(prompts)} prompts, the server at {self._url}"
            raise ModelError(f"{done_before} {self._explain(error)}") from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        return texts

    def _generate_one(self, prompt: Sequence[int]) -> list[GeneratedText]:
        with self._first_prompt:
            form = self._form
            if form is None:
                return self._texts(self._find_form(prompt))
        return self._texts(self._complete(prompt, form))

    def _find_form(self, prompt: Sequence[int]) -> list[Completion]:
        """Try one form of request after the other until the server accepts one, and keep it."""
        searches: list[tuple[_Search, bool]] = [("beam", True), ("sample", True), ("sample", False)]
        if self._num_beams == 1:
            searches = [("greedy", True), ("greedy", False)]
        refusal = _RequestError(0, "")
        self._model = self._model or self._only_model()
        for search, extended in searches:
            for tokens in _SEND_TOKENS[self._prompt_form]:
                form = _RequestForm(search, extended, tokens)
                try:
                    completions = self._complete(prompt, form)
                except _RequestError as error:
                    if not self._is_refusal(error, form):
                        raise
                    refusal = error
                    continue
                if search == "beam" and not are_beams(completions):
                    refusal = _RequestError(0, "use_beam_search or its log-probs are ignored")
                    break
                self._form = form
                self._log_form(form, reason=refusal.reason, n_texts=len(completions))
                return completions
        raise refusal

    def _is_refusal(self, error: _RequestError, form: _RequestForm) -> bool:
        if error.status not in _REFUSALS or self._is_unknown_model(error):
            return False
        # A server that fails on the simpler form too is broken, and was already retried.
        return error.status < 500 or (form.tokens and self._prompt_form == "auto")

    def _log_form(self, form: _RequestForm, *, reason: str, n_texts: int) -> None:
        prompts = "token ids" if form.tokens else "text"
        logger.info("%s takes %s and does %s search", self._url, prompts, form.search)
        if form.search == "sample":
            message = "%s has no beam search (%s): %d samples are taken, which miss probable texts"
            logger.warning(message, self._url, reason, n_texts)

    def _complete(self, prompt: Sequence[int], form: _RequestForm) -> list[Completion]:
        ids = list(prompt)
        body = self._post(
            **self._request,
            model=self._model,
            prompt=ids if form.tokens else self._tokenizer.decode(ids, **_VERBATIM),
            temperature=1.0 if form.search == "sample" else 0.0,
            extra_body=self._extra_fields(form),
        )
        try:
            completions = parse_completions(body)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ModelError(
                f"the server at {self._url} answered with something that is not a completion: "
                f"{body[:200]!r}. Check that base_url is the root of the protocol."
            ) from error
        if form.search != "beam" and not have_log_probs(completions):
            raise ModelError(
                f"the server at {self._url} gives no log-probabilities, which weigh one text "
                "against another. Serve the model with vLLM, SGLang or llama.cpp's llama-server, "
                "or generate with transformers on this machine."
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

    def _post(self, **request: Any) -> str:
        import openai  # noqa: PLC0415 - optional

        try:
            return str(self._client.completions.with_raw_response.create(**request).text)
        except openai.APITimeoutError as error:
            limit_s = self._server.timeout_s
            raise _RequestError(0, f"no answer within {limit_s:g} s") from error
        except openai.APIStatusError as error:
            reason = error.body
            if isinstance(reason, dict):
                reason = reason.get("message") or reason.get("detail") or reason
            raise _RequestError(error.status_code, str(reason or error.message)[:300]) from error
        except openai.APIError as error:
            raise _RequestError(0, str(error.__cause__ or error)) from error

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

    def _is_unknown_model(self, error: _RequestError) -> bool:
        if error.status == 400 and self._model in error.reason:
            return self._model not in (self._model_names() or [self._model])
        return error.status == 404

    def _explain(self, error: _RequestError) -> str:
        if not error.status:
            return f"could not be reached: {error.reason}. Start it, or set base_url or timeout_s."
        if error.status in (401, 403):
            failure, remedy = "refused the key", "Set api_key or the variable OPENAI_API_KEY."
        elif self._is_unknown_model(error):
            failure, remedy = f"has no model {self._model!r} for completions", self._other_models()
        elif error.status == 429 or error.status >= 500:
            failure = "kept failing"
            remedy = "Look at its log; lower concurrency or raise retries if it is overloaded."
        else:
            failure = "refused a prompt"
            remedy = "Check that its model writes completions and its context holds the prompt."
        return f"{failure} with status {error.status}: {error.reason}. {remedy}"

    def _other_models(self) -> str:
        names = self._model_names()
        if self._model in names or not names:
            return "Check that base_url is the root of the protocol, usually ending in /v1."
        return f"Serve it by that name, or set model to one of the server's: {', '.join(names)}."

    def _only_model(self) -> str:
        names = self._model_names()
        if len(names) != 1:
            raise ModelError(
                f"the server at {self._url} offers {', '.join(names) or 'no model by name'}: "
                "expected exactly one. Set model to the server's name for the fine-tuned model."
            )
        return names[0]

    def _model_names(self) -> list[str]:
        """Names of the server's models; empty if it does not list them."""
        import openai  # noqa: PLC0415 - optional

        try:
            response = self._client.models.with_raw_response.list()
            return [str(entry["id"]) for entry in json.loads(response.text)["data"]]
        except (openai.OpenAIError, ValueError, LookupError, TypeError):
            return []


def _client(server: ServerSettings, *, api_key: str | None) -> Any:
    try:
        import openai  # noqa: PLC0415 - optional
    except ImportError:
        raise ModelError(
            "the openai backend needs a package. Run: pip install 'bigrec[openai]'"
        ) from None
    return openai.OpenAI(
        base_url=server.base_url,
        # The client requires a key; servers that were started without one ignore it.
        api_key=api_key or os.environ.get("OPENAI_API_KEY") or "none",
        timeout=server.timeout_s,
        max_retries=server.retries,
    )
