"""The one form of every error that the service answers with."""

import re
from http import HTTPStatus
from typing import Any, cast

import structlog
from asgi_correlation_id import correlation_id
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from slowapi.errors import RateLimitExceeded
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from bigrec.errors import (
    BigrecError,
    BundleError,
    DataError,
    ModelError,
    NotFittedError,
    StorageError,
)
from bigrec.printable import printable

REQUEST_ID = "X-Request-ID"
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
_RETRY_S = "1"
_MAX_FIELDS = 10
_CODES = {401: "unauthorized", 403: "forbidden", 404: "not_found", 405: "method_not_allowed"}
_CODES |= {400: "bad_request", 409: "conflict", 413: "too_large", 415: "unsupported_media_type"}


class FieldProblem(BaseModel):
    """What is wrong with one field of a request."""

    field: str
    message: str


class Problem(BaseModel):
    """Every error's body."""

    code: str = Field(description="A fixed word that programs can compare.")
    message: str = Field(description="What came, what was expected and what to do, for people.")
    request_id: str = Field(description="As in the header X-Request-ID and in the logs.")
    fields: list[FieldProblem] = Field(default=[], description="Fields that are wrong, with 422.")


class ServiceError(Exception):
    """An error with its answer.

    Args:
        status: HTTP status.
        code: See `Problem`.
        message: See `Problem`.
        retry: Whether the same request may succeed soon.
    """

    def __init__(self, status: int, code: str, message: str, *, retry: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = {"Retry-After": _RETRY_S} if retry else {}


def is_request_id(text: str) -> bool:
    """Whether a caller's id of a request is used as it is."""
    return _REQUEST_ID.fullmatch(text) is not None


def not_ready(reason: str) -> ServiceError:
    """The service cannot answer at the moment."""
    return ServiceError(503, "not_ready", reason, retry=True)


def not_found(what: str) -> ServiceError:
    """Something that a request names is not there."""
    return ServiceError(404, "not_found", what)


def invalid(message: str) -> ServiceError:
    """A request that is well-formed and cannot be answered."""
    return ServiceError(422, "invalid", message)


def service_error(error: Exception) -> ServiceError:
    """The answer to an error that the library raised for a request.

    Raises:
        Exception: The error itself, if it is none of the request or of the library.
    """
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, StorageError):
        return ServiceError(503, "storage", str(error), retry=True)
    if isinstance(error, BundleError | ModelError | NotFittedError):
        return ServiceError(503, "model", str(error))
    if isinstance(error, DataError | ValueError | TypeError):
        return invalid(str(error))
    raise error


def problem_of(error: ServiceError) -> Problem:
    """The body of an error; its text is safe to show."""
    message = printable(error.message, lines=True)
    return Problem(code=error.code, message=message, request_id=correlation_id.get() or "")


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of a route, for its description; those of every route are included."""
    every = {401, 403, 413, 422, 429, 503, *statuses}
    return {status: {"model": Problem} for status in sorted(every)}


class DeclaredSize:
    """Refuses a request whose header declares too large a body, in the form of every error.

    Starlette bounds what is read, also of a body without a declared size.

    Args:
        app: The application.
        max_body_bytes: The bound.
    """

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        declared = ""
        if scope["type"] == "http":
            declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > self.max_body_bytes:
            message = f"The body has {declared} bytes: expected at most {self.max_body_bytes}."
            await _answer(ServiceError(413, "too_large", message))(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def responses_of_text() -> dict[int | str, dict[str, Any]]:
    """The errors of a route that answers with text; they are JSON all the same."""
    schema = {"$ref": f"#/components/schemas/{Problem.__name__}"}
    content = {"application/json": {"schema": schema}}
    return {
        status: {"description": HTTPStatus(int(status)).phrase, "content": content}
        for status in responses()
    }


def add_handlers(app: FastAPI) -> None:
    """Answer every error of an app in the one form."""

    async def told(_: Request, error: Exception) -> JSONResponse:
        return _answer(service_error(error))

    async def of_http(_: Request, error: Exception) -> JSONResponse:
        # Handlers are typed for every exception; each gets those that it is added for.
        error = cast("HTTPException", error)
        code = _CODES.get(error.status_code, "http")
        answer = _answer(ServiceError(error.status_code, code, f"{error.detail}."))
        answer.headers.update(error.headers or {})
        return answer

    async def of_validation(_: Request, error: Exception) -> JSONResponse:
        error = cast("RequestValidationError", error)
        problem = problem_of(invalid("The request is not as described: see its fields."))
        problem.fields = [
            FieldProblem(
                field=printable(".".join(map(str, found["loc"]))[:200]),
                message=printable(found["msg"][:200]),
            )
            for found in error.errors()[:_MAX_FIELDS]
        ]
        return JSONResponse(problem.model_dump(), 422)

    async def of_rate(_: Request, error: Exception) -> JSONResponse:
        error = cast("RateLimitExceeded", error)
        return _answer(
            ServiceError(429, "rate_limited", f"More than {error.detail}: wait.", retry=True)
        )

    async def unexpected(_: Request, error: Exception) -> JSONResponse:
        structlog.get_logger(__name__).error("unexpected", exc_info=error)
        answer = _answer(ServiceError(500, "internal", "An unexpected error; the log has more."))
        # The middleware that adds it is within the one that calls this.
        answer.headers[REQUEST_ID] = correlation_id.get() or ""
        return answer

    for kind in (ServiceError, BigrecError):
        app.add_exception_handler(kind, told)
    app.add_exception_handler(HTTPException, of_http)
    app.add_exception_handler(RequestValidationError, of_validation)
    app.add_exception_handler(RateLimitExceeded, of_rate)
    app.add_exception_handler(Exception, unexpected)


def _answer(error: ServiceError) -> JSONResponse:
    return JSONResponse(problem_of(error).model_dump(), error.status, headers=error.headers)
