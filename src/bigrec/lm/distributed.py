"""Several processes at work on one run, as `accelerate launch` starts them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import PartialState


@contextmanager
def main_process_first() -> Iterator[None]:
    """The block runs in the main process first, so that the others find what it wrote."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    with PartialState(cpu=not torch.cuda.is_available()).main_process_first():
        yield
