"""Requests to a server that is not trusted: bodies are bounded, and the key goes to it alone.

No redirect is followed, nothing is decompressed, and no message quotes the key.
"""

import math
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import anyio
import httpx2
from pydantic_core import from_json

from bigrec.errors import ModelError, SettingsError
from bigrec.lm.generation.redaction import Secret
from bigrec.settings.generative import ServerSettings

_TRANSIENT = frozenset({0, 408, 409, 429})
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 8.0


@dataclass(eq=False)
class RequestError(Exception):
    """A request that failed.

    Attributes:
        status: Status of the answer; 0 if there was none.
        reason: The server's words, without the key.
        wait_s: Seconds after which the server wants to be asked again; NaN if it did not say.
    """

    status: int
    reason: str
    wait_s: float = math.nan


class CompletionServer:
    """A server, its key, and how it is asked.

    The caller's cancel scope, not a timeout, ends a request at any point.

    Args:
        settings: Address and retries.
        api_key: None takes ``OPENAI_API_KEY`` from the environment, if it is set.
        largest_body: Bytes of an answer, above which it is refused.

    Attributes:
        url: Root of the protocol, without a slash at the end.
        secret: The key, for messages.

    Raises:
        SettingsError: If ``base_url`` is no address, or holds more than an address.
        ModelError: If the key cannot be sent, or the certificates of this machine cannot be read.
    """

    def __init__(self, settings: ServerSettings, *, api_key: str | None, largest_body: int) -> None:
        self.url = _checked_url(settings.base_url)
        self._largest_body = largest_body
        self._retries = settings.retries
        key = (api_key or os.environ.get("OPENAI_API_KEY") or "").strip()
        if not (key.isascii() and key.isprintable()):
            raise ModelError(
                "the API key holds a character that cannot be sent, such as a line break: look at "
                "api_key or the variable OPENAI_API_KEY."
            )
        self.secret = Secret(key)
        # Some servers demand a key, which they ignore.
        headers = {"Authorization": f"Bearer {key or 'none'}", "Accept-Encoding": "identity"}
        self._options: dict[str, Any] = {"headers": headers, "timeout": None}
        self._options["limits"] = httpx2.Limits(max_connections=None)
        try:
            self._options["verify"] = httpx2.create_ssl_context()
        except OSError as error:
            raise ModelError(f"the certificates of this machine cannot be read: {error}") from error

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[httpx2.AsyncClient]:
        """Connections of one event loop.

        Raises:
            ModelError: If the environment names a proxy that cannot be used.
        """
        try:
            client = httpx2.AsyncClient(follow_redirects=False, **self._options)
        except (ValueError, ImportError) as error:
            raise ModelError(
                f"no connection to {self.url} can be made: {error}. Look at the variables "
                "HTTP_PROXY, HTTPS_PROXY and ALL_PROXY."
            ) from None
        async with client:
            yield client

    async def get(self, http: httpx2.AsyncClient, path: str) -> bytes:
        """The body of an answer, asked for once; see `post`."""
        return await self._send(http, "GET", path)

    async def post(self, http: httpx2.AsyncClient, path: str, *, body: dict[str, Any]) -> bytes:
        """The body of the answer to a JSON body, asked for again after a transient failure.

        Args:
            http: From `connect`.
            path: Path below the root, without a slash.
            body: A JSON-like value.

        Raises:
            RequestError: If the server cannot be reached, or refuses.
            ModelError: If it answers with a redirect, a compressed body or a larger one.
        """
        for retry in count():
            try:
                return await self._send(http, "POST", path, json=body)
            except RequestError as error:
                wait_s = error.wait_s
                if math.isnan(wait_s):
                    wait_s = min(_FIRST_WAIT_S * 2**retry, _LONGEST_WAIT_S)
                is_transient = error.status in _TRANSIENT or error.status >= 500
                # The reason says more than a timeout would.
                is_late = anyio.current_time() + wait_s >= anyio.current_effective_deadline()
                if retry >= self._retries or not is_transient or is_late:
                    raise
            await anyio.sleep(wait_s)
        raise AssertionError  # pragma: no cover - count() has no end

    def refusal(self, answer: str, *, advice: str | None = None) -> ModelError:
        """The error of an answer that is no answer.

        Args:
            answer: What it was, without words of the server's.
            advice: What to do; by default, to look at the address.
        """
        advice = advice or "Check that base_url is the root of the protocol."
        return ModelError(f"the server at {self.url} answered with {answer}. {advice}")

    async def _send(
        self, http: httpx2.AsyncClient, method: str, path: str, **content: Any
    ) -> bytes:
        try:
            async with http.stream(method, f"{self.url}/{path}", **content) as response:
                self._check_head(response)
                body = await self._read(response)
        except httpx2.HTTPError as error:
            # Its words quote what the server sent, and it holds the request.
            raise RequestError(0, self.secret.redact(_root_cause(error))) from None
        if not 200 <= response.status_code < 300:
            reason = self.secret.redact(_reason(body) or response.reason_phrase)
            raise RequestError(response.status_code, reason, _wait_s(response.headers))
        return body

    def _check_head(self, response: httpx2.Response) -> None:
        if 300 <= response.status_code < 400:
            place = self.secret.redact(response.headers.get("Location", "nowhere"))
            raise self.refusal(
                f"a redirect to {place} (status {response.status_code})",
                advice="No redirect is followed, because the key is meant for base_url: set it to "
                "the final address if you trust that.",
            )
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise self.refusal("a compressed body, which was not asked for")

    async def _read(self, response: httpx2.Response) -> bytes:
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > self._largest_body:
                raise self.refusal(f"more than {self._largest_body:,} bytes")
        return bytes(body)


def _checked_url(base_url: str) -> str:
    if set("@?#") & set(base_url):
        raise SettingsError(
            "generative.decoding.server.base_url holds '@', '?' or '#': expected an address alone, "
            "because it is stored and shown. Give the key by the variable OPENAI_API_KEY."
        )
    try:
        url = httpx2.URL(base_url)
    except httpx2.InvalidURL:
        url = httpx2.URL()
    if url.scheme not in {"http", "https"} or not url.host:
        raise SettingsError(
            f"generative.decoding.server.base_url is {base_url!r}: expected an address such as "
            "http://localhost:8000/v1."
        )
    return str(url).rstrip("/")


def _root_cause(error: BaseException) -> str:
    """The words of the first error of a chain: "Connection refused", not "attempts failed"."""
    cause: BaseException | None = error
    while cause is not None:
        error = cause.exceptions[0] if isinstance(cause, BaseExceptionGroup) else cause
        cause = error.__cause__ or error.__context__
    if isinstance(error, ConnectionError) and error.errno:
        return os.strerror(error.errno)
    return str(error).rstrip(".") or type(error).__name__


def _reason(body: bytes) -> str:
    """The message in the body of an error, in the forms of several servers; else the body."""
    try:
        reason = from_json(body)
    except ValueError:
        return body.decode(errors="replace")
    for name in ("error", "message", "detail"):
        if isinstance(reason, dict) and reason.get(name):
            reason = reason[name]
    return str(reason or "")


def _wait_s(headers: httpx2.Headers) -> float:
    """Seconds after which the server wants to be asked again; NaN without a usable wish."""
    for name, unit_s in (("Retry-After-Ms", 1e-3), ("Retry-After", 1.0)):
        try:
            wait_s = float(headers[name]) * unit_s
        except (KeyError, ValueError):
            continue
        if wait_s >= 0:
            return wait_s
    return math.nan
