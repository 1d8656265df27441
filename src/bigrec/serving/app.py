"""The service as an ASGI application."""

import asyncio
import contextlib
import functools
import importlib.metadata
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import structlog
from asgi_correlation_id import CorrelationIdMiddleware
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from prometheus_client import CollectorRegistry
from prometheus_fastapi_instrumentator import Instrumentator
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from bigrec.errors import BigrecError
from bigrec.memory import release_freed, settle
from bigrec.recommender.bigrec import BIGRec
from bigrec.serving import problems
from bigrec.serving.api_keys import ApiKeys
from bigrec.serving.journal import Journal
from bigrec.serving.logs import RequestLog
from bigrec.serving.metrics import ServiceMetrics
from bigrec.serving.options import ServingOptions
from bigrec.serving.routes import health, interactions, items, page, recommend, swap
from bigrec.serving.routes.common import READ, AppState, add_state
from bigrec.serving.service import Service
from bigrec.serving.watching import watch

_ABOUT = """Recommendations of real items by a language model or by text alone.

Every request but those of health needs the header `X-API-Key`, if the service has keys. Every error
has one form: `code`, `message`, `request_id` and, with 422, `fields`."""
_LOCAL = ["localhost", "127.0.0.1", "[::1]", "testserver"]


def create_app(
    options: ServingOptions, *, opens: Callable[[Path], BIGRec] | None = None
) -> FastAPI:
    """Make the application. It loads its bundles when it starts.

    Args:
        options: How it runs.
        opens: Opens a bundle; `BIGRec.load` with the options' models by default.

    Raises:
        BigrecError: If the file of keys cannot be used.
        ValueError: If the bundles or the rate limit cannot be used.
    """
    registry = CollectorRegistry()
    state = AppState(
        options=options,
        service=Service(
            options.named_bundles,
            opens=opens or _opener(options),
            journal=Journal(options.journal_path),
            arrays=options.arrays,
        ),
        keys=ApiKeys.read(options.keys) if options.keys else ApiKeys(),
        metrics=ServiceMetrics(registry),
    )

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        state.start()
        loading = asyncio.create_task(_load(state))
        tasks = [loading, asyncio.create_task(_follow(state))]
        if options.watch:
            tasks.append(asyncio.create_task(watch(state)))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await state.close()

    app = FastAPI(
        title="bigrec",
        version=importlib.metadata.version("bigrec"),
        description=_ABOUT,
        lifespan=lifespan,
        # Both pages load scripts of other hosts.
        docs_url=None,
        redoc_url=None,
    )
    add_state(app, state)
    problems.add_handlers(app)
    for module in (health, recommend, interactions, items, swap, page):
        app.include_router(module.router)
    instrumentator = Instrumentator(registry=registry).instrument(app)
    instrumentator.expose(
        app,
        tags=["health"],
        dependencies=[READ],
        response_class=PlainTextResponse,
        responses=problems.responses_of_text(),
    )
    # The first one added is the innermost.
    app.add_middleware(RequestBodyLimitMiddleware, max_body_size=options.max_body_bytes)
    app.add_middleware(problems.DeclaredSize, max_body_bytes=options.max_body_bytes)
    if not state.keys.are_asked:
        # A page elsewhere could else reach an open service through the browser of its user.
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*_LOCAL, *options.hosts])
    app.add_middleware(RequestLog)
    app.add_middleware(
        CorrelationIdMiddleware,
        header_name=problems.REQUEST_ID,
        validator=problems.is_request_id,
    )
    return app


def _opener(options: ServingOptions) -> Callable[[Path], BIGRec]:
    def opens(folder: Path) -> BIGRec:
        return BIGRec.load(
            folder,
            base_model=options.base_model,
            text_encoder=options.text_encoder,
            device=options.device,
            trust_remote_code=options.trust_remote_code,
            base_url=options.base_url,
            verify_key=options.verify_key,
            trust_index=options.trust_index,
        )

    return opens


async def _load(state: AppState) -> None:
    """Load the bundles; where they cannot be, the service stays alive and not ready, and says why.

    Health then tells an orchestrator, which may hold back a rollout.
    """
    try:
        await state.in_writer(state.service.load)
    except BigrecError as error:
        state.failure = str(error)
        state.metrics.load_failures.inc()
        structlog.get_logger(__name__).error("not loaded", reason=str(error))
    else:
        structlog.get_logger(__name__).info("loaded", revision=state.service.snapshot.revision)


async def _follow(state: AppState) -> None:
    """Take over what others changed, and keep the journal and the memory small, again and again."""
    revision, settled = 0, list[int]()
    compact = functools.partial(state.service.compact, min_bytes=state.options.compact_bytes)
    while True:
        await asyncio.sleep(state.options.follow_s)
        if not state.service.is_loaded:
            continue
        try:
            await state.in_writer(state.service.follow)
            await state.in_writer(compact)
            bundles = state.service.snapshot.bundles.values()
            opened = [id(bundle.bundled) for bundle in bundles]
            if opened != settled:
                # After the start and after a swap.
                await state.in_writer(settle)
                settled = opened
            if state.service.snapshot.revision != revision:
                # The arrays of earlier states are large, and the allocator keeps what they took.
                await state.in_writer(release_freed)
                revision = state.service.snapshot.revision
        except BigrecError as error:
            state.metrics.load_failures.inc()
            structlog.get_logger(__name__).error("not followed", reason=str(error))
