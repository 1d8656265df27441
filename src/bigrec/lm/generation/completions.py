"""Responses of the OpenAI completions protocol."""

from collections.abc import Sequence
from typing import Annotated, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

_LONGEST = 65_536
"""Characters or tokens of a text, and choices; far above what is asked for."""
# Without these each of millions of wrong entries would be an error in memory.
_LIST = Field(max_length=_LONGEST, fail_fast=True)
# Rounding takes a server's sums slightly above 0.
_LogProb = Annotated[float, Field(ge=-1e9, le=1e-6)]
_TokenId = Annotated[int, Field(ge=0)]
_Text = Annotated[str, Field(max_length=_LONGEST)]


class Completion(NamedTuple):
    """A text from the server.

    Attributes:
        text: The text.
        tokens: Its tokens, with the one that ends it if the server returns it.
        ids: Their IDs, if the server returns them.
        log_probs: Natural log-probability of each token, finite.
    """

    text: str
    tokens: tuple[str, ...]
    ids: tuple[int, ...] | None
    log_probs: tuple[float, ...]

    @property
    def key(self) -> tuple[int | str, ...]:
        """Equal for equal token sequences only."""
        return self.tokens if self.ids is None else self.ids


class _Received(BaseModel):
    """A part of a response: no type is converted, and fields beyond the protocol are ignored."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


_R = TypeVar("_R", bound=_Received)


class _Token(_Received):
    token: str
    logprob: _LogProb | None


class _LogProbs(_Received):
    tokens: Annotated[list[str], _LIST] | None = None
    token_logprobs: Annotated[list[_LogProb | None], _LIST] | None = None
    content: Annotated[list[_Token], _LIST] | None = None
    """llama.cpp returns log-probabilities of a completion in the form of the chat protocol."""


class _Choice(_Received):
    text: _Text
    logprobs: _LogProbs | None = None
    token_ids: Annotated[list[_TokenId], _LIST] | None = None


class _Response(_Received):
    choices: Annotated[list[_Choice], Field(min_length=1), _LIST]


class _Model(_Received):
    id: _Text


class _Models(_Received):
    data: Annotated[list[_Model], _LIST]


def parse_completions(body: bytes, *, n: int, vocabulary_size: int) -> list[Completion]:
    """Completions in the body of a response, at least one.

    Args:
        body: JSON in UTF-8.
        n: Number of completions that were asked for; servers may return fewer.
        vocabulary_size: Token IDs are below it.

    Raises:
        ValueError: If it is not JSON of the protocol, a log-probability is no number at most 0,
            lists do not have the expected length or a token is not of the vocabulary. The message
            quotes nothing of the body.
    """
    choices = _parse(_Response, body).choices
    if len(choices) > n:
        raise ValueError(f"{len(choices)} choices, {n} were asked for")
    return [_completion(choice, vocabulary_size) for choice in choices]


def parse_model_names(body: bytes) -> list[str]:
    """Names in the body of a response that lists models.

    Raises:
        ValueError: If it is not JSON of the protocol.
    """
    return [model.id for model in _parse(_Models, body).data]


def _parse(kind: type[_R], body: bytes) -> _R:
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, problem["loc"]))
        raise ValueError(f"{place}: {problem['msg']}" if place else problem["msg"]) from None


def _completion(choice: _Choice, vocabulary_size: int) -> Completion:
    given = choice.logprobs or _LogProbs()
    pairs: list[tuple[str, float | None]]
    if given.content is not None:
        pairs = [(entry.token, entry.logprob) for entry in given.content]
    else:
        tokens, log_probs = given.tokens or [], given.token_logprobs or []
        if len(tokens) != len(log_probs):
            raise ValueError(f"{len(tokens)} tokens and {len(log_probs)} log-probabilities")
        pairs = list(zip(tokens, log_probs, strict=True))
    known = [(token, log_prob) for token, log_prob in pairs if log_prob is not None]
    if len(known) < len(pairs):
        known = []
    ids = choice.token_ids
    if ids is not None and len(ids) < len(known):
        raise ValueError(f"{len(ids)} token ids and {len(known)} log-probabilities")
    if ids and max(ids) >= vocabulary_size:
        raise ValueError(f"a token id above the {vocabulary_size} tokens of the vocabulary")
    return Completion(
        text=choice.text,
        tokens=tuple(token for token, _ in known),
        ids=None if ids is None else tuple(ids),
        log_probs=tuple(log_prob for _, log_prob in known),
    )


def have_log_probs(completions: Sequence[Completion]) -> bool:
    """Whether every completion has log-probabilities, empty texts aside, which have no tokens."""
    return all(completion.log_probs or not completion.text for completion in completions)


def are_beams(completions: Sequence[Completion]) -> bool:
    """Whether the texts are beams, which always differ, not one greedy text repeated."""
    distinct = {completion.key for completion in completions}
    return len(distinct) > 1 and have_log_probs(completions)
