"""Runs of several processes, as `accelerate launch` starts them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import PartialState


@contextmanager
def main_process_first() -> Iterator[None]:
    """Run the block in the main process first, so that the others find the files it wrote."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    with PartialState(cpu=not torch.cuda.is_available()).main_process_first():
        yield
