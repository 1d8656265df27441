"""Logs as one JSON object on each line."""

import logging
import sys
import time

import structlog
from asgi_correlation_id import correlation_id
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.typing import EventDict, Processor

from bigrec.printable import printable

_NAME = "bigrec.serving.requests"


def configure() -> None:
    """Write the logs of this process to its error stream as JSON, those of libraries too."""
    shared: list[Processor] = [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _with_request_id,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        library = logging.getLogger(name)
        library.handlers, library.propagate = [], True
    # One line for each request is ours.
    logging.getLogger("uvicorn.access").disabled = True


def _with_request_id(_: object, __: str, event: EventDict) -> EventDict:
    request_id = correlation_id.get()
    return event if request_id is None else {**event, "request_id": request_id}


class RequestLog:
    """Logs each request: method, path, status, duration and whose key it was, never the key.

    Args:
        app: The application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._log = structlog.get_logger(_NAME)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request and log it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, sent)
        finally:
            # A query may hold what a person searched for: it stays out.
            self._log.info(
                "request",
                method=scope["method"],
                path=printable(scope["path"]),
                status=status,
                ms=round(1000 * (time.perf_counter() - started), 2),
                caller=scope.get("state", {}).get("caller", ""),
            )
