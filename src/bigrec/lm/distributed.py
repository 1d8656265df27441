"""Runs of several processes, as `accelerate launch` starts them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import reduce
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.tensor import DTensor

from bigrec.errors import SettingsError

# The others wait while the first process reads data, embeds a catalog or scores examples.
_LONGEST_WAIT = timedelta(days=1)


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


def is_sharding() -> bool:
    """Whether ``accelerate`` was told to shard what is trained over the processes (FSDP).

    Raises:
        SettingsError: If it is of version 1, which wraps modules in others of other names.
    """
    if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() != "true":
        return False
    if (version := os.environ.get("FSDP_VERSION", "1")) != "2":
        raise SettingsError(
            f"accelerate was configured for version {version} of FSDP: expected 2. Set "
            "fsdp_version: 2 in its configuration, as in examples/accelerate-fsdp.yaml."
        )
    return True


def whole_weights(model: torch.nn.Module) -> dict[str, torch.Tensor] | None:
    """The weights of a sharded model as a whole, on the CPU; every process must call this.

    Returns:
        None if the model is not sharded, and nothing but in the main process.
    """
    if not any(isinstance(weight, DTensor) for weight in model.parameters()):
        return None
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights: dict[str, Any] = get_model_state_dict(model, options=options)
    return weights


def process_state() -> PartialState:
    """The state that the processes share, also of a single one; made if there is none yet."""
    return PartialState(cpu=not torch.cuda.is_available(), timeout=_LONGEST_WAIT)


def _state() -> PartialState | None:
    """The state that the processes share; None for a single one."""
    return None if int(os.environ.get("WORLD_SIZE", "1")) == 1 else process_state()
