"""What the machine's matrix products can do, and how much of it each stage does.

Only useful operations are counted: two for each weight and token in a forward pass, without padding
and without attention (a few percent at these lengths).
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from benchmarks.ground import made_up, made_up_ranker, single_beams
from benchmarks.harness import timed
from benchmarks.inputs import Inputs, few_shot, load_inputs
from bigrec.lm.hardware import QuickProducts
from bigrec.lm.model import LanguageModel
from bigrec.lm.prompts import TextEncoder
from bigrec.recommender.factory import make_embedder, make_generator, train_adapter

_TOKENS = 2048
_REPEATS = 20
_LONGEST_S = 1.0


def bench_peak_stage() -> dict[str, Any]:
    """As `stages_and_peak`, of SmolLM2 on MovieLens-100K."""
    return stages_and_peak(load_inputs(few_shot()))


def stages_and_peak(
    inputs: Inputs,
    *,
    n_examples: int = 32,
    n_prompts: int = 8,
    n_titles: int = 200,
    n_queries: int = 1000,
    n_items: int = 10_681,
) -> dict[str, Any]:
    """Billions of operations a second of a matrix product and of every stage.

    Args:
        inputs: Data and base model; the model carries an adapter afterwards.
        n_examples: Training examples.
        n_prompts: Prompts for generation.
        n_titles: Titles to embed.
        n_queries: Queries to ground among made-up items.
        n_items: Those items.

    Returns:
        ``peak_float32_gflops`` and ``peak_bfloat16_gflops`` at the shape of the model's widest
        layer; for each stage its rate and, as ``share``, what this is of the float32 peak.
    """
    config = inputs.lm.model.config
    shape = (_TOKENS, config.hidden_size, config.intermediate_size)
    peaks = {
        name: matmul_gflops(shape, dtype=dtype, device=inputs.lm.device)
        for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16))
    }
    rates = {
        "embed": _embed_gflops(inputs, n_titles),
        "train": _train_gflops(inputs, n_examples),
        # With the adapter of the line before: a bare model would not end its titles.
        "generate": _generate_gflops(inputs, n_prompts),
        "ground": _ground_gflops(n_queries, n_items, size=config.hidden_size),
    }
    return {
        **{f"peak_{name}_gflops": peak for name, peak in peaks.items()},
        **{f"{name}_gflops": rate for name, rate in rates.items()},
        **{f"{name}_share": rate / peaks["float32"] for name, rate in rates.items()},
    }


def matmul_gflops(
    shape: tuple[int, int, int], *, dtype: torch.dtype, device: torch.device
) -> float:
    """Billions of operations a second of ``[m, k] @ [k, n]``, at the median of some products.

    In float32 it is the quicker of the two libraries that torch has on a CPU.

    Args:
        shape: ``m``, ``k`` and ``n``.
        dtype: Precision of factors and product.
        device: Where.
    """
    m, k, n = shape
    states, weight = (torch.ones(size, dtype=dtype, device=device) for size in ((m, k), (n, k)))

    def product() -> float:
        # Reading one number makes the device finish.
        with torch.inference_mode(), QuickProducts():
            return float(functional.linear(states, weight)[0, 0])

    seconds = [timed(product)[0]]
    # The first includes set-up; where even so it takes seconds, it will do.
    if seconds[0] < _LONGEST_S:
        seconds = [timed(product)[0] for _ in range(_REPEATS)]
    return 2 * m * k * n / float(np.median(seconds)) / 1e9


def forward_flops(lm: LanguageModel, *, tokens: int, outputs: int) -> float:
    """Operations of a forward pass of the base model.

    Args:
        lm: The language model.
        tokens: Tokens that are read.
        outputs: Tokens after which there are logits.
    """
    with lm.base_only() as base:
        head: int = base.get_output_embeddings().weight.numel()
        body = sum(one.numel() for one in _weights(base.get_decoder()))
    return 2.0 * (body * tokens + head * outputs)


def _weights(decoder: torch.nn.Module) -> list[torch.nn.Parameter]:
    """Weights of the linear layers, those of an adapter aside."""
    return [
        one
        for name, one in decoder.named_parameters()
        if one.ndim == 2 and "lora_" not in name and "embed" not in name
    ]


def _embed_gflops(inputs: Inputs, n_titles: int) -> float:
    embedder = make_embedder(inputs.lm, inputs.settings)
    titles = inputs.dataset.catalog.group_titles[:n_titles]
    encoder = TextEncoder(inputs.lm.tokenizer)
    embedder.embed(titles[:8])
    seconds, _ = timed(lambda: embedder.embed(titles))
    tokens = sum(len(encoder.encode(title)) for title in titles)
    return forward_flops(inputs.lm, tokens=tokens, outputs=0) / seconds / 1e9


def _train_gflops(inputs: Inputs, n_examples: int) -> float:
    examples = inputs.drawn.train[:n_examples]
    train = inputs.settings.train.model_copy(update={"epochs": 1, "loss_on": "response"})
    with TemporaryDirectory() as folder:
        seconds, _ = timed(
            lambda: train_adapter(
                inputs.lm,
                replace(inputs.drawn, train=examples, valid=[]),
                inputs.settings.model_copy(update={"train": train}),
                folder=Path(folder) / "train",
            )
        )
    outputs = sum(len(inputs.renderer.response_ids(one.target)) for one in examples)
    prompts = sum(len(inputs.renderer.prompt_ids(one.history, one.noun)) for one in examples)
    forward = forward_flops(inputs.lm, tokens=prompts + outputs, outputs=outputs)
    # Back through every layer, but frozen weights need no gradient: twice a forward pass, not
    # three times.
    return 2 * forward / seconds / 1e9


def _generate_gflops(inputs: Inputs, n_prompts: int) -> float:
    prompts = inputs.prompts(inputs.test_histories(n_prompts))
    titles = inputs.dataset.catalog.group_titles
    generator = make_generator(inputs.lm, inputs.renderer, titles, settings=inputs.settings)
    generator.generate(prompts[:1])
    seconds, written = timed(lambda: generator.generate(prompts))
    outputs = sum(_longest_written(inputs, [one.text for one in texts]) for texts in written)
    outputs *= inputs.settings.generate.beams
    tokens = sum(map(len, prompts)) + outputs
    return forward_flops(inputs.lm, tokens=tokens, outputs=outputs) / seconds / 1e9


def _longest_written(inputs: Inputs, texts: Sequence[str]) -> int:
    """Steps that a search took: until its longest text ended."""
    return max(len(inputs.renderer.response_ids(text)) for text in texts)


def _ground_gflops(n_queries: int, n_items: int, *, size: int) -> float:
    items, vectors, targets = made_up(n_queries, n_items, size=size)
    ranker, queries = made_up_ranker(items), single_beams(vectors)
    ranker.rank(single_beams(vectors[:1]), k=1, beams="first")
    seconds, _ = timed(lambda: ranker.evaluate(queries, targets, k=10, modes=("first",)))
    return 2.0 * n_queries * n_items * size / seconds / 1e9
