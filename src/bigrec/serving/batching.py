"""Queries that arrive together are answered together, off the event loop."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from bigrec.serving.problems import ServiceError, not_ready

Q = TypeVar("Q")
A = TypeVar("A")


class Batcher(Generic[Q, A]):
    """Collects queries of one kind for one worker thread.

    While the thread computes, queries wait and become its next batch. A query that comes alone is
    answered at once: only after a batch of several does an incomplete one wait for more. More than
    a number of waiting queries are refused, so that the wait is bounded.

    Args:
        answer: Answers a batch in the worker thread, one answer or exception for each query.
        max_batch: Most queries of a batch.
        max_waiting: Most queries that wait.
        window_s: Time that an incomplete batch waits for more queries, after one of several.
        observe: Called with the size of each batch.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Q]], Sequence[A | Exception]],
        *,
        max_batch: int,
        max_waiting: int,
        window_s: float = 0.0,
        observe: Callable[[int], None] | None = None,
    ) -> None:
        self._answer = answer
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._window_s = window_s
        self._observe = observe
        self._waiting: deque[tuple[Q, asyncio.Future[A | Exception]]] = deque()
        self._arrived = asyncio.Event()
        self._full = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="bigrec")
        self._task: asyncio.Task[None] | None = None

    @property
    def n_waiting(self) -> int:
        """Number of queries that wait."""
        return len(self._waiting)

    def start(self) -> None:
        """Begin to answer; call it within the event loop."""
        self._task = asyncio.create_task(self._run())

    async def submit(self, queries: Sequence[Q]) -> list[A | Exception]:
        """Answers to queries, or the exception of each.

        Raises:
            ServiceError: If too many wait already, or the service stops.
        """
        if self._task is None:
            raise not_ready("The service is not ready, or stops.")
        if len(self._waiting) + len(queries) > self._max_waiting:
            raise ServiceError(
                429,
                "overloaded",
                f"{len(self._waiting)} queries wait, of at most {self._max_waiting}: ask again "
                "later, or ask for fewer at once.",
                retry=True,
            )
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[A | Exception]] = [loop.create_future() for _ in queries]
        self._waiting.extend(zip(queries, futures, strict=True))
        self._arrived.set()
        if len(self._waiting) >= self._max_batch:
            self._full.set()
        return list(await asyncio.gather(*futures))

    async def close(self) -> None:
        """Answer what waits, then stop."""
        task, self._task = self._task, None
        self._arrived.set()
        self._full.set()
        if task is not None:
            await task
        self._thread.shutdown()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        last_size = 0
        while self._task is not None or self._waiting:
            await self._arrived.wait()
            if self._window_s and last_size > 1 and len(self._waiting) < self._max_batch:
                await self._wait_for_more()
            size = min(len(self._waiting), self._max_batch)
            batch = [self._waiting.popleft() for _ in range(size)]
            if not self._waiting and self._task is not None:
                self._arrived.clear()
                self._full.clear()
            if not batch:
                continue
            last_size = len(batch)
            if self._observe is not None:
                self._observe(len(batch))
            await loop.run_in_executor(self._thread, self._answer_all, loop, batch)

    async def _wait_for_more(self) -> None:
        try:
            await asyncio.wait_for(self._full.wait(), self._window_s)
        except TimeoutError:
            return

    def _answer_all(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: Sequence[tuple[Q, "asyncio.Future[A | Exception]"]],
    ) -> None:
        try:
            answers = self._answer([query for query, _ in batch])
        except Exception as error:  # noqa: BLE001 - it is the answer of every query
            answers = [error] * len(batch)
        loop.call_soon_threadsafe(_resolve, [future for _, future in batch], answers)


def _resolve(
    futures: "Sequence[asyncio.Future[A | Exception]]", answers: Sequence[A | Exception]
) -> None:
    for future, answer in zip(futures, answers, strict=True):
        if not future.done():  # whoever asked may have left
            future.set_result(answer)
