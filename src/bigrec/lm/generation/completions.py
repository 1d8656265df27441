"""Responses of the OpenAI completions protocol."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple


class Completion(NamedTuple):
    """A text from the server.

    Attributes:
        text: The text.
        tokens: Its tokens, with the one that ends it if the server returns it.
        ids: Their IDs, if the server returns them.
        log_probs: Natural log-probability of each token.
    """

    text: str
    tokens: tuple[str, ...]
    ids: tuple[int, ...] | None
    log_probs: tuple[float, ...]

    @property
    def key(self) -> tuple[int | str, ...]:
        """Equal for equal token sequences only."""
        return self.tokens if self.ids is None else self.ids


def parse_completions(body: str) -> list[Completion]:
    """Completions in the body of a response, at least one.

    Raises:
        ValueError: If the body is not JSON, or lists do not have the expected length.
        LookupError: If a field is missing.
        TypeError: If a value has another type.
        AttributeError: If a value is not an object.
    """
    completions = [_parse_completion(value) for value in json.loads(body)["choices"]]
    if not completions:
        raise ValueError("no choices")
    return completions


def _parse_completion(value: dict[str, Any]) -> Completion:
    given = value.get("logprobs") or {}
    if "content" in given:
        # llama.cpp returns log-probabilities of a completion in the form of the chat protocol.
        pairs = [(entry["token"], entry["logprob"]) for entry in given["content"] or ()]
    else:
        columns = given.get("tokens") or (), given.get("token_logprobs") or ()
        pairs = list(zip(*columns, strict=True))
    if any(log_prob is None for _, log_prob in pairs):
        pairs = []
    ids = value.get("token_ids")
    if ids is not None and len(ids) < len(pairs):
        raise ValueError("fewer token ids than log-probabilities")
    return Completion(
        text=str(value["text"]),
        tokens=tuple(str(token) for token, _ in pairs),
        ids=None if ids is None else tuple(map(int, ids)),
        log_probs=tuple(float(log_prob) for _, log_prob in pairs),
    )


def have_log_probs(completions: Sequence[Completion]) -> bool:
    """Whether every completion has log-probabilities, empty texts aside, which have no tokens."""
    return all(completion.log_probs or not completion.text for completion in completions)


def are_beams(completions: Sequence[Completion]) -> bool:
    """Whether the texts are beams, which always differ, not one greedy text repeated."""
    distinct = {completion.key for completion in completions}
    return len(distinct) > 1 and have_log_probs(completions)
