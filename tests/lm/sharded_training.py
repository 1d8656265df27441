"""A process of `test_sharded`: trains in generative or retrieval mode and writes its loss curve.

accelerate shards weights on accelerators alone, although torch can on a CPU. Here it takes the CPUs
for accelerators.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from torch.distributed.tensor import DTensor

from bigrec.lm.checkpoints import CheckpointCallback
from bigrec.lm.distributed import all_processes
from bigrec.lm.finetune import finetune
from bigrec.lm.model import load_language_model
from bigrec.lm.prompts import PromptRenderer
from bigrec.settings.generative import FinetuneSettings
from tests.lm.test_finetune import EXAMPLES, SETTINGS
from tests.models.llm.fakes import extra_catalog, fit

# The rest are times, those of each process.
_LOSSES = ("step", "loss", "eval_loss")


def main() -> None:
    """Train as the arguments say: the base model, a folder, and trainings by name in JSON."""
    model, out = map(Path, sys.argv[1:3])
    if os.environ.get("ACCELERATE_USE_FSDP") == "true":
        take_for_accelerators()
    results = {
        name: train(model, out / name, training)
        for name, training in json.loads(sys.argv[3]).items()
    }
    (out / f"{all_processes().index}.json").write_text(json.dumps(results))


def train(model: Path, folder: Path, training: int | dict[str, Any]) -> dict[str, Any]:
    """Losses, the number of sharded weights, and the fingerprint of a retriever.

    Args:
        model: The base model.
        folder: For checkpoints.
        training: Settings of fine-tuning, or for retrieval the number of other catalogs.
    """
    lm = load_language_model(str(model), device="cpu", dtype="float32")
    counts = [0]
    fingerprint = None
    if isinstance(training, int):
        fitted = fit(lm, epochs=3, folder=folder, extra=[extra_catalog(lm)] * training)
        fingerprint, log = fitted.fingerprint, [dict(entry) for entry in fitted.log]
    else:
        begin: Any = CheckpointCallback.on_train_begin

        def counting(*args: Any, model: Any, **options: Any) -> None:
            counts.append(sum(isinstance(weight, DTensor) for weight in model.parameters()))
            begin(*args, **options)

        setattr(CheckpointCallback, "on_train_begin", counting)  # noqa: B010
        log = finetune(
            lm,
            PromptRenderer(lm.tokenizer, None),
            settings=FinetuneSettings(**{**SETTINGS, "epochs": 2, "lora_dropout": 0, **training}),
            train=EXAMPLES[:8],
            valid=EXAMPLES[8:],
            folder=folder,
            seed=0,
        ).log
        setattr(CheckpointCallback, "on_train_begin", begin)  # noqa: B010
        # What follows in the same processes works with the whole model.
        with torch.inference_mode():
            lm.model(torch.tensor([[5, 6, 7]]))
    losses = [{name: entry[name] for name in entry if name in _LOSSES} for entry in log]
    return {"losses": losses, "sharded": counts[-1], "fingerprint": fingerprint}


def take_for_accelerators() -> None:
    """Have accelerate shard weights on CPUs."""
    init: Any = PartialState.__init__
    init_all: Any = AcceleratorState.__init__

    def as_accelerators(state: Any, *args: Any, **options: Any) -> None:
        is_first = not PartialState._shared_state
        init(state, *args, **options)
        if is_first:
            state.distributed_type = DistributedType.MULTI_GPU

    def sharding(state: Any, *args: Any, **options: Any) -> None:
        init_all(state, *args, **options)
        if state.distributed_type == DistributedType.FSDP:
            PartialState._shared_state["distributed_type"] = DistributedType.FSDP

    setattr(PartialState, "__init__", as_accelerators)  # noqa: B010
    setattr(AcceleratorState, "__init__", sharding)  # noqa: B010


if __name__ == "__main__":
    main()
