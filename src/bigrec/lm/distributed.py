"""Runs of several processes, as `accelerate launch` starts them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from accelerate import PartialState
from accelerate.utils import reduce


@dataclass(frozen=True)
class Processes:
    """Processes that train one network together.

    Attributes:
        index: Number of this one, from 0.
        count: Number of all.
    """

    index: int = 0
    count: int = 1

    def add(self, vector: torch.Tensor) -> torch.Tensor:
        """The sum of a vector over all processes; every process must call this."""
        if self.count == 1:
            return vector
        summed: torch.Tensor = reduce(vector, reduction="sum")
        return summed


def all_processes() -> Processes:
    """The processes of this run; one, if it was not started as several."""
    state = _state()
    return Processes() if state is None else Processes(state.process_index, state.num_processes)


@contextmanager
def main_process_first() -> Iterator[None]:
    """Run the block in the main process first, so that the others find the files it wrote."""
    state = _state()
    if state is None:
        yield
        return
    with state.main_process_first():
        yield


def _state() -> PartialState | None:
    """The state that the processes share; None for a single one."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return None
    return PartialState(cpu=not torch.cuda.is_available())
