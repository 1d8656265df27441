"""Generation by a server that speaks the OpenAI completions protocol.

What servers can do differs, so the first prompt finds out and all others are asked the same way:

- vLLM takes token ids and does beam search, with a ``--max-logprobs`` of twice the beams (20
  unless told otherwise). Its beams end at the tokenizer's end token alone, not at a newline, so
  the ``list`` prompt style wastes them on what follows a title.
- SGLang takes token ids and llama.cpp's ``llama-server`` does too; both draw samples.
- ``transformers serve`` gives no log-probabilities and cannot be used.
"""

import json
import logging
import math
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from bigrec.errors import ModelError
from bigrec.lm.generation.transformers import check_least, check_prompts, merged
from bigrec.lm.prompts import PromptRenderer, read_title
from bigrec.types import GeneratedText, Progress

logger = logging.getLogger(__name__)

Send = Literal["auto", "tokens", "text"]
_Search = Literal["greedy", "beam", "sample"]

_FORMS = {"auto": (True, False), "tokens": (True,), "text": (False,)}
_AS_IT_IS = {"skip_special_tokens": False, "clean_up_tokenization_spaces": False}
# 500 is among them because some servers fail on a field of the wrong type instead of refusing it.
_REFUSALS = frozenset({400, 422, 500, 501})


class _Way(NamedTuple):
    """How a server is asked: fields beyond the protocol or not, prompts as token ids or text."""

    search: _Search
    extended: bool
    tokens: bool


class _Choice(NamedTuple):
    """One text as the server gave it, terminator included where the server tells of it."""

    text: str
    tokens: tuple[str, ...]
    ids: tuple[int, ...] | None
    log_probs: tuple[float, ...]

    @property
    def units(self) -> tuple[int | str, ...]:
        """What tells this text from others."""
        return self.tokens if self.ids is None else self.ids


@dataclass(eq=False)
class _NoAnswerError(Exception):
    """A request without an answer; ``status`` is 0 where the server was not reached."""

    status: int
    said: str


class OpenAIGenerator:
    """Texts from a server with the OpenAI completions protocol.

    Prompts go as token ids where the server takes them: as text, its tokenizer may cut titles
    otherwise than in training, or add a start token. Texts are ordered by log-probability over
    length ** ``length_penalty``, whatever the server's own order.

    A server without beam search is asked for as many samples at temperature 1, of which one that
    is drawn twice counts once. Samples miss probable texts that beams find.

    Args:
        renderer: Tells where a title ends and reads texts back.
        tokenizer: The tokenizer of the renderer; writes a prompt as text.
        base_url: Root of the protocol, usually ending in ``/v1``.
        model: What the server calls the fine-tuned model or its adapter; None takes its only one.
        api_key: None takes the environment's ``OPENAI_API_KEY``, if there is one.
        send: How prompts are sent; ``auto`` tries token ids, then text.
        beams: Texts asked for each prompt; 1 is greedy search.
        max_new_tokens: Longest text, in tokens.
        length_penalty: Exponent of the length in the order above; 0 compares probabilities.
        timeout_s: Longest wait for one answer.
        retries: Further attempts where the server is out of reach, busy (429) or failing (5xx).
        concurrency: Requests under way at once.
        seed: Decides the samples.

    Raises:
        ModelError: If the openai package is missing.
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        renderer: PromptRenderer,
        *,
        tokenizer: Any,
        base_url: str,
        model: str | None = None,
        api_key: str | None = None,
        send: Send = "auto",
        beams: int = 4,
        max_new_tokens: int = 64,
        length_penalty: float = 1.0,
        timeout_s: float = 60.0,
        retries: int = 3,
        concurrency: int = 8,
        seed: int = 0,
    ) -> None:
        check_least(1, beams=beams, max_new_tokens=max_new_tokens, concurrency=concurrency)
        check_least(0, timeout_s=timeout_s, retries=retries)
        self._renderer = renderer
        self._tokenizer = tokenizer
        self._model = model or ""
        self._send = send
        self._beams = beams
        self._length_penalty = length_penalty
        self._timeout_s = timeout_s
        self._concurrency = concurrency
        self._request: dict[str, Any] = {"n": beams, "max_tokens": max_new_tokens, "seed": seed}
        self._request |= {"top_p": 1.0, "logprobs": 1, "stop": ["\n"]}
        self._way: _Way | None = None
        self._settling = threading.Lock()
        self._client = _client(base_url, api_key=api_key, timeout_s=timeout_s, retries=retries)
        self._url = str(self._client.base_url).rstrip("/")

    def close(self) -> None:
        """Close the connections to the server, which stay open between calls."""
        self._client.close()

    def generate(
        self, prompts: Sequence[Sequence[int]], *, progress: Progress | None = None
    ) -> list[list[GeneratedText]]:
        """Texts of every prompt, best first, in the order of the prompts.

        When it ends early, by an error or Ctrl-C, prompts that have not been sent never are;
        requests under way end by themselves.

        Args:
            prompts: Token ids of each prompt.
            progress: Called with (prompts done, prompts in all), from the calling thread.

        Raises:
            ValueError: If a prompt is empty.
            ModelError: If the server is out of reach, does not know the model, refuses what it is
                asked or gives no log-probabilities.
        """
        check_prompts(prompts)
        texts: list[list[GeneratedText]] = [[] for _ in prompts]
        done = 0
        pool = ThreadPoolExecutor(max_workers=self._concurrency, thread_name_prefix="bigrec-openai")
        try:
            # The first prompt settles how the server is asked, before many ask at once.
            for part in (range(len(prompts))[:1], range(len(prompts))[1:]):
                futures = {pool.submit(self._write, prompts[i]): i for i in part}
                for future in as_completed(futures):
                    texts[futures[future]] = future.result()
                    done += 1
                    if progress is not None:
                        progress(done, len(prompts))
        except _NoAnswerError as error:
            done_before = f"After {done} of {len(prompts)} prompts, the server at {self._url}"
            raise ModelError(f"{done_before} {self._explain(error)}") from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        return texts

    def _write(self, prompt: Sequence[int]) -> list[GeneratedText]:
        with self._settling:
            way = self._way
            if way is None:
                return self._texts(self._settle(prompt))
        return self._texts(self._ask(prompt, way))

    def _settle(self, prompt: Sequence[int]) -> list[_Choice]:
        """Ask in one way after the other until the server takes one; keep that."""
        searches: list[tuple[_Search, bool]] = [("beam", True), ("sample", True), ("sample", False)]
        if self._beams == 1:
            searches = [("greedy", True), ("greedy", False)]
        refusal = _NoAnswerError(0, "")
        self._model = self._model or self._only_model()
        for search, extended in searches:
            for tokens in _FORMS[self._send]:
                way = _Way(search, extended, tokens)
                try:
                    choices = self._ask(prompt, way)
                except _NoAnswerError as error:
                    if not self._is_refusal(error, way):
                        raise
                    refusal = error
                    continue
                if search == "beam" and not _are_beams(choices):
                    refusal = _NoAnswerError(0, "use_beam_search or its log-probs are ignored")
                    break
                self._way = way
                self._tell(way, reason=refusal.said, given=len(choices))
                return choices
        raise refusal

    def _is_refusal(self, error: _NoAnswerError, way: _Way) -> bool:
        if error.status not in _REFUSALS or self._is_unknown_model(error):
            return False
        # A server that fails on the plainer form too is broken, and was retried already.
        return error.status < 500 or (way.tokens and self._send == "auto")

    def _tell(self, way: _Way, *, reason: str, given: int) -> None:
        form = "token ids" if way.tokens else "text"
        logger.info("%s takes %s and does %s search", self._url, form, way.search)
        if way.search == "sample":
            message = "%s has no beam search (%s): %d samples are taken, which miss probable texts"
            logger.warning(message, self._url, reason, given)

    def _ask(self, prompt: Sequence[int], way: _Way) -> list[_Choice]:
        ids, extra = list(prompt), dict[str, Any]()
        if way.extended:
            # Some servers take sampling defaults from the model's folder: all are set here.
            extra = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
            extra |= {"stop_token_ids": self._renderer.stop_ids, "return_token_ids": True}
            # Without this, vLLM's beam search leaves the terminator out of the log-probabilities.
            extra["include_stop_str_in_output"] = True
            # The text of a prompt begins with its start token already.
            extra["add_special_tokens"] = False
        if way.search == "beam":
            extra |= {"use_beam_search": True, "length_penalty": self._length_penalty}
        body = self._post(
            **self._request,
            model=self._model,
            prompt=ids if way.tokens else self._tokenizer.decode(ids, **_AS_IT_IS),
            temperature=1.0 if way.search == "sample" else 0.0,
            extra_body=extra,
        )
        try:
            choices = _choices(body)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ModelError(
                f"the server at {self._url} answered with something that is not a completion: "
                f"{body[:200]!r}. Check that base_url is the root of the protocol."
            ) from error
        if way.search != "beam" and not _have_log_probs(choices):
            raise ModelError(
                f"the server at {self._url} gives no log-probabilities, which weigh one text "
                "against another. Serve the model with vLLM, SGLang or llama.cpp's llama-server, "
                "or generate with transformers on this machine."
            )
        return choices

    def _post(self, **request: Any) -> str:
        import openai  # noqa: PLC0415 - optional

        try:
            return str(self._client.completions.with_raw_response.create(**request).text)
        except openai.APITimeoutError as error:
            raise _NoAnswerError(0, f"no answer within {self._timeout_s:g} s") from error
        except openai.APIStatusError as error:
            said = error.body
            if isinstance(said, dict):
                said = said.get("message") or said.get("detail") or said
            raise _NoAnswerError(error.status_code, str(said or error.message)[:300]) from error
        except openai.APIError as error:
            raise _NoAnswerError(0, str(error.__cause__ or error)) from error

    def _texts(self, choices: Sequence[_Choice]) -> list[GeneratedText]:
        # Without a token there is no probability either, and 1 would put it before all others.
        known = [choice for choice in choices if choice.log_probs] or choices
        found: dict[tuple[int | str, ...], tuple[float, GeneratedText]] = {}
        for choice in known:
            size = self._size(choice)
            log_prob = min(0.0, math.fsum(choice.log_probs[:size]))
            score = log_prob / max(1, size) ** self._length_penalty
            if choice.ids is not None:
                text = self._renderer.read(choice.ids)
            else:
                text = read_title(choice.text)
            # The same tokens drawn twice are one event; only other tokens for one text add to it.
            found[choice.units[:size]] = (score, GeneratedText(text, log_prob))
        ranked = sorted(found.values(), key=lambda pair: -pair[0])
        return merged([text for _, text in ranked])

    def _size(self, choice: _Choice) -> int:
        """Tokens of a text, its end included; beam search may write on behind a newline."""
        stops = set(self._renderer.stop_ids)
        for i, token in enumerate(choice.tokens):
            if "\n" in token or (choice.ids is not None and choice.ids[i] in stops):
                return i + 1
        return len(choice.tokens)

    def _is_unknown_model(self, error: _NoAnswerError) -> bool:
        if error.status == 400 and self._model in error.said:
            return self._model not in (self._offered() or [self._model])
        return error.status == 404

    def _explain(self, error: _NoAnswerError) -> str:
        if not error.status:
            return f"could not be reached: {error.said}. Start it, or set base_url or timeout_s."
        if error.status in (401, 403):
            what, advice = "refused the key", "Set api_key or the variable OPENAI_API_KEY."
        elif self._is_unknown_model(error):
            what, advice = f"has no model {self._model!r} for completions", self._other_models()
        elif error.status == 429 or error.status >= 500:
            what = "kept failing"
            advice = "Look at its log; lower concurrency or raise retries if it is overloaded."
        else:
            what = "refused a prompt"
            advice = "Check that its model writes completions and its context holds the prompt."
        return f"{what} with status {error.status}: {error.said}. {advice}"

    def _other_models(self) -> str:
        offered = self._offered()
        if self._model in offered or not offered:
            return "Check that base_url is the root of the protocol, usually ending in /v1."
        return f"Serve it by that name, or set model to what is offered: {', '.join(offered)}."

    def _only_model(self) -> str:
        offered = self._offered()
        if len(offered) != 1:
            names = ", ".join(offered) or "no model that it tells of"
            raise ModelError(
                f"the server at {self._url} offers {names}: expected exactly one. Set model to "
                "what it calls the fine-tuned one."
            )
        return offered[0]

    def _offered(self) -> list[str]:
        """Names of the models that the server offers, nothing if it does not tell."""
        import openai  # noqa: PLC0415 - optional

        try:
            answer = self._client.models.with_raw_response.list()
            return [str(entry["id"]) for entry in json.loads(answer.text)["data"]]
        except (openai.OpenAIError, ValueError, LookupError, TypeError):
            return []


def _client(base_url: str, *, api_key: str | None, timeout_s: float, retries: int) -> Any:
    try:
        import openai  # noqa: PLC0415 - optional
    except ImportError:
        raise ModelError(
            "the openai backend needs a package. Run: pip install 'bigrec[openai]'"
        ) from None
    return openai.OpenAI(
        base_url=base_url,
        # The client insists on a key; servers started without one ignore it.
        api_key=api_key or os.environ.get("OPENAI_API_KEY") or "none",
        timeout=timeout_s,
        max_retries=retries,
    )


def _choices(body: str) -> list[_Choice]:
    """Texts of an answer; one of another form raises what Python raises."""
    choices = [_choice(value) for value in json.loads(body)["choices"]]
    if not choices:
        raise ValueError("no choices")
    return choices


def _choice(value: dict[str, Any]) -> _Choice:
    given = value.get("logprobs") or {}
    if "content" in given:
        # llama.cpp answers a completion with the log-probabilities of the chat protocol.
        pairs = [(entry["token"], entry["logprob"]) for entry in given["content"] or ()]
    else:
        found = given.get("tokens") or (), given.get("token_logprobs") or ()
        pairs = list(zip(*found, strict=True))
    if any(log_prob is None for _, log_prob in pairs):
        pairs = []
    ids = value.get("token_ids")
    if ids is not None and len(ids) < len(pairs):
        raise ValueError("fewer token ids than log-probabilities")
    return _Choice(
        text=str(value["text"]),
        tokens=tuple(str(token) for token, _ in pairs),
        ids=None if ids is None else tuple(map(int, ids)),
        log_probs=tuple(float(log_prob) for _, log_prob in pairs),
    )


def _have_log_probs(choices: Sequence[_Choice]) -> bool:
    # A text of no tokens has none to give.
    return all(choice.log_probs or not choice.text for choice in choices)


def _are_beams(choices: Sequence[_Choice]) -> bool:
    """Whether these are beams, which always differ, and not one greedy text again and again."""
    different = {choice.units for choice in choices}
    return len(different) > 1 and _have_log_probs(choices)
