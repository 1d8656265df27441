"""Queries that arrive together are answered together, in bounded numbers."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from bigrec.serving.batching import Batcher
from bigrec.serving.problems import ServiceError


def squares(numbers: Sequence[int]) -> list[int | Exception]:
    return [ValueError(f"{number}") if number < 0 else number**2 for number in numbers]


def batcher(**options: Any) -> tuple[Batcher[int, int], list[int]]:
    """A batcher of squares, and the sizes of its batches."""
    sizes: list[int] = []
    given = {"max_batch": 4, "max_waiting": 8, "window_s": 0.05, **options}
    return Batcher(given.pop("answer", squares), observe=sizes.append, **given), sizes


def test_queries_within_a_window_are_one_batch_and_each_has_its_answer() -> None:
    async def run() -> tuple[list[Any], list[int]]:
        found, sizes = batcher()
        found.start()
        answers = await asyncio.gather(*(found.submit([n]) for n in range(6)), found.submit([]))
        await found.close()
        return answers, sizes

    answers, sizes = asyncio.run(run())
    assert answers == [[0], [1], [4], [9], [16], [25], []]
    assert sizes == [4, 2]


def test_a_query_that_comes_alone_waits_for_no_others() -> None:
    async def run() -> list[int]:
        found, sizes = batcher(window_s=3600)
        found.start()
        for number in range(3):
            await found.submit([number])
        await found.close()
        return sizes

    assert asyncio.run(run()) == [1, 1, 1]


def test_a_crowd_is_collected() -> None:
    async def run() -> list[int]:
        found, sizes = batcher(window_s=0.5)
        found.start()
        await found.submit([1, 2])
        first = asyncio.create_task(found.submit([3]))
        await asyncio.sleep(0.1)
        await asyncio.gather(first, found.submit([4, 5]))
        await found.close()
        return sizes

    assert asyncio.run(run()) == [2, 3]


def test_an_error_is_the_answer_of_its_query_alone() -> None:
    async def run() -> list[int | Exception]:
        found, _ = batcher()
        found.start()
        answers = await found.submit([1, -1, 2])
        await found.close()
        return answers

    one, error, four = asyncio.run(run())
    assert (one, four) == (1, 4)
    assert isinstance(error, ValueError)


def test_too_many_are_refused_and_what_waits_is_answered_before_the_end() -> None:
    gate = threading.Event()

    def waits(numbers: Sequence[int]) -> list[int | Exception]:
        assert gate.wait(10)
        return squares(numbers)

    async def run() -> tuple[list[Any], int, str, str]:
        found, _ = batcher(answer=waits, max_batch=1, window_s=0.0)
        found.start()
        asked = asyncio.create_task(found.submit(list(range(8))))
        await asyncio.sleep(0.05)
        waiting = found.n_waiting
        with pytest.raises(ServiceError) as refused:
            await found.submit([1, 2])
        closing = asyncio.create_task(found.close())
        await asyncio.sleep(0)
        gate.set()
        await closing
        with pytest.raises(ServiceError) as ended:
            await found.submit([1])
        return await asked, waiting, refused.value.code, ended.value.code

    answers, waiting, refused, ended = asyncio.run(run())
    assert answers == [n**2 for n in range(8)]
    assert (waiting, refused, ended) == (7, "overloaded", "not_ready")
