"""What routes share: the state of the application, and who may ask."""

import asyncio
import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import Depends, FastAPI, Request, Security
from fastapi.security import APIKeyHeader
from slowapi import Limiter
from slowapi.util import get_remote_address

from bigrec.errors import BigrecError
from bigrec.serving.api_keys import ApiKeys, Caller, Role
from bigrec.serving.batching import Batcher
from bigrec.serving.entries import InteractionsAdded
from bigrec.serving.items import add_interactions
from bigrec.serving.metrics import ServiceMetrics
from bigrec.serving.options import ServingOptions
from bigrec.serving.problems import ServiceError, not_found, not_ready, service_error
from bigrec.serving.served_bundle import AnyAnswer, AnyQuery, ServedBundle
from bigrec.serving.service import Service, Snapshot

T = TypeVar("T")

_MAX_WRITES = 256
_KEY = APIKeyHeader(name="X-API-Key", auto_error=False)


@dataclass
class AppState:
    """What an application holds.

    Attributes:
        options: How it runs.
        service: Bundles and changes.
        keys: Of its callers.
        metrics: What Prometheus is told.
        failure: Why the bundles could not be loaded; empty if they could, or are being loaded.
        is_draining: Whether the process was asked to end.
    """

    options: ServingOptions
    service: Service
    keys: ApiKeys
    metrics: ServiceMetrics
    failure: str = ""
    is_draining: bool = False
    _writer: ThreadPoolExecutor = field(init=False)

    def __post_init__(self) -> None:
        options = self.options
        self.queries: Batcher[AnyQuery, AnyAnswer] = Batcher(
            self._answer,
            max_batch=options.max_batch,
            max_waiting=options.max_waiting,
            window_s=options.window_ms / 1000 if options.max_batch > 1 else 0.0,
            observe=self.metrics.batch_size.observe,
        )
        self.interactions: Batcher[InteractionsAdded, int] = Batcher(
            self._add, max_batch=_MAX_WRITES, max_waiting=_MAX_WRITES
        )
        self.metrics.waiting.set_function(lambda: self.queries.n_waiting)

    @property
    def snapshot(self) -> Snapshot:
        """The present state.

        Raises:
            ServiceError: If there is none yet, with 503.
        """
        if not self.service.is_loaded:
            raise not_ready(self.failure or "The bundles are being loaded: ask again soon.")
        return self.service.snapshot

    def bundle(self, name: str | None) -> ServedBundle:
        """A bundle by its name; the first without one.

        Raises:
            ServiceError: If there is none of the name, with 404.
        """
        bundles = self.snapshot.bundles
        if name is not None and name not in bundles:
            raise not_found(f"There is no bundle {name!r:.200}: expected {', '.join(bundles)}.")
        return bundles[name] if name is not None else self.snapshot.first

    async def ask(self, query: AnyQuery) -> AnyAnswer:
        """The answer to one query.

        Raises:
            ServiceError: If it cannot be answered.
        """
        answer = (await self.queries.submit([query]))[0]
        if isinstance(answer, Exception):
            raise service_error(answer)
        return answer

    def start(self) -> None:
        """Begin to answer; call it within the event loop."""
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="bigrec-writer")
        self.queries.start()
        self.interactions.start()

    async def in_writer(self, work: Callable[..., T], *args: Any) -> T:
        """Run a change in the thread of changes, one after another."""
        return await asyncio.get_running_loop().run_in_executor(self._writer, work, *args)

    async def swap(
        self,
        name: str,
        folder: Path,
        *,
        includes_interactions: bool = False,
        only_if_new: bool = False,
    ) -> Snapshot:
        """Swap a bundle, see `Service.swap`, and count it.

        Raises:
            BigrecError: If the new one cannot be used.
        """
        swap = functools.partial(
            self.service.swap,
            name,
            folder,
            includes_interactions=includes_interactions,
            only_if_new=only_if_new,
        )
        try:
            snapshot = await self.in_writer(swap)
        except BigrecError:
            self.metrics.swaps.labels("failed").inc()
            self.metrics.load_failures.inc()
            raise
        self.metrics.swaps.labels("done").inc()
        return snapshot

    async def close(self) -> None:
        """Answer what waits, then stop."""
        await self.queries.close()
        await self.interactions.close()
        self._writer.shutdown()

    def _answer(self, queries: Sequence[AnyQuery]) -> Sequence[AnyAnswer | Exception]:
        snapshot = self.snapshot
        answers: dict[int, AnyAnswer | Exception] = {}
        for name in {query.bundle for query in queries}:
            numbers = [n for n, query in enumerate(queries) if query.bundle == name]
            bundle = snapshot.first if name is None else snapshot.bundles[name]
            answered = bundle.answer([queries[number] for number in numbers])
            answers.update(zip(numbers, answered, strict=True))
        ordered = [answers[number] for number in range(len(queries))]
        self.metrics.observe(ordered)
        return ordered

    def _add(self, groups: Sequence[InteractionsAdded]) -> Sequence[int | Exception]:
        return add_interactions(self.service, groups)


def add_state(app: FastAPI, state: AppState) -> None:
    """Give an application its state."""
    limit = state.options.rate_limit
    limiter = Limiter(key_func=_caller_name, enabled=limit is not None)

    @limiter.shared_limit(limit or "1/second", scope="service")
    async def within_rate(request: Request) -> None:
        """Count a request of its caller."""

    app.state.bigrec = state
    app.state.within_rate = within_rate


async def state_of(request: Request) -> AppState:
    """The application's state. It is asynchronous, as no thread has to be waited for."""
    state: AppState = request.app.state.bigrec
    return state


State = Annotated[AppState, Depends(state_of)]


def allows(role: Role) -> Callable[..., Any]:
    """A dependency of routes that callers of a role may use, within their rate."""

    async def allowed(
        request: Request, state: State, key: Annotated[str | None, Security(_KEY)]
    ) -> Caller:
        caller = state.keys.caller(key)
        if caller is None:
            raise ServiceError(
                401, "unauthorized", "The header X-API-Key holds no key of this service."
            )
        # The log's middleware reads it from there.
        request.state.caller = caller.name
        await request.app.state.within_rate(request=request)
        if role == "admin" and caller.role != "admin":
            raise ServiceError(
                403, "forbidden", f"The key {caller.name!r} may read only: use an admin's."
            )
        return caller

    return allowed


READ, ADMIN = Depends(allows("read")), Depends(allows("admin"))


def _caller_name(request: Request) -> str:
    """Whose rate counts: a key's or, without keys, an address's."""
    state: AppState = request.app.state.bigrec
    if not state.keys.are_asked:
        return get_remote_address(request)
    name: str = request.state.caller
    return name
