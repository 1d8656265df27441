"""Peak rate of the machine's matrix products, and the share of it that each stage reaches.

A forward pass counts two operations for each weight and token, without padding and without
attention, which is a few percent at these lengths.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from benchmarks.ground import synthetic_embeddings, synthetic_ranker
from benchmarks.harness import timed
from benchmarks.inputs import Inputs, change_generative, load_inputs, paper_small
from benchmarks.train import token_rows
from bigrec.grounding.beams import EncodedQueries
from bigrec.lm.hardware import QuickProducts
from bigrec.lm.model import LanguageModel
from bigrec.lm.prompts import TextEncoder
from bigrec.recommender.factory import make_embedder, make_generator, train_model

_TOKENS = 2048
_REPEATS = 20
_LONGEST_S = 1.0


def bench_peak_stage() -> dict[str, Any]:
    """Run `stages_and_peak` for SmolLM2 on MovieLens-100K."""
    return stages_and_peak(load_inputs(paper_small()))


def stages_and_peak(
    inputs: Inputs,
    *,
    n_examples: int = 32,
    n_prompts: int = 8,
    n_titles: int = 200,
    n_queries: int = 1000,
    n_items: int = 10_681,
) -> dict[str, Any]:
    """Billions of operations per second of a matrix product and of every stage.

    Args:
        inputs: Data and base model; the model has an adapter afterwards.
        n_examples: Training examples.
        n_prompts: Prompts for generation.
        n_titles: Titles to embed.
        n_queries: Synthetic queries to ground.
        n_items: Synthetic items to rank.

    Returns:
        ``peak_float32_gflops`` and ``peak_bfloat16_gflops`` at the shape of the model's widest
        layer. For each stage its rate, and its ``share`` of the float32 peak.
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
        # With the adapter of the line above: a base model does not end its titles.
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
    """Billions of operations per second of ``[m, k] @ [k, n]``, the median of several products.

    In float32 on a CPU, the faster of torch's two libraries computes them.

    Args:
        shape: ``m``, ``k`` and ``n``.
        dtype: Precision of factors and product.
        device: Device of the product.
    """
    m, k, n = shape
    states, weight = (torch.ones(size, dtype=dtype, device=device) for size in ((m, k), (n, k)))

    def product() -> float:
        # Reading a number waits for the device to finish.
        with torch.inference_mode(), QuickProducts():
            return float(functional.linear(states, weight)[0, 0])

    seconds = [timed(product)[0]]
    # The first product includes set-up. If it takes seconds, set-up hardly matters.
    if seconds[0] < _LONGEST_S:
        seconds = [timed(product)[0] for _ in range(_REPEATS)]
    return 2 * m * k * n / float(np.median(seconds)) / 1e9


def forward_flops(lm: LanguageModel, *, tokens: int, outputs: int) -> float:
    """Operations of a forward pass of the base model.

    Args:
        lm: The language model.
        tokens: Tokens of the input.
        outputs: Tokens with logits.
    """
    with lm.base_only() as base:
        head: int = base.get_output_embeddings().weight.numel()
        body = sum(weight.numel() for weight in _weights(base.get_decoder()))
    return 2.0 * (body * tokens + head * outputs)


def _weights(decoder: torch.nn.Module) -> list[torch.nn.Parameter]:
    """Weights of the linear layers, without those of an adapter."""
    return [
        weight
        for name, weight in decoder.named_parameters()
        if weight.ndim == 2 and "lora_" not in name and "embed" not in name
    ]


def _embed_gflops(inputs: Inputs, n_titles: int) -> float:
    embedder = make_embedder(inputs.lm, inputs.settings)
    titles = inputs.dataset.catalog.unique_titles[:n_titles]
    encoder = TextEncoder(inputs.lm.tokenizer)
    embedder.embed(titles[:8])
    seconds, _ = timed(lambda: embedder.embed(titles))
    tokens = sum(len(encoder.encode(title)) for title in titles)
    return forward_flops(inputs.lm, tokens=tokens, outputs=0) / seconds / 1e9


def _train_gflops(inputs: Inputs, n_examples: int) -> float:
    examples = inputs.prepared.train[:n_examples]
    with TemporaryDirectory() as folder:
        seconds, _ = timed(
            lambda: train_model(
                inputs.lm,
                replace(inputs.prepared, train=examples, valid=[]),
                change_generative(inputs.settings, "finetune", epochs=1, loss="completion"),
                folder=Path(folder) / "train",
            )
        )
    rows = token_rows(inputs.renderer, examples)
    outputs = sum(len(response) for _, response in rows)
    tokens = outputs + sum(len(prompt) for prompt, _ in rows)
    forward = forward_flops(inputs.lm, tokens=tokens, outputs=outputs)
    # The backward pass costs one forward pass, not two, because frozen weights need no gradients.
    return 2 * forward / seconds / 1e9


def _generate_gflops(inputs: Inputs, n_prompts: int) -> float:
    prompts = inputs.prompts(inputs.test_histories(n_prompts))
    titles = inputs.dataset.catalog.unique_titles
    generator = make_generator(inputs.lm, inputs.renderer, titles, settings=inputs.settings)
    generator.generate(prompts[:1])
    seconds, generated = timed(lambda: generator.generate(prompts))
    outputs = sum(_longest_text(inputs, [beam.text for beam in texts]) for texts in generated)
    outputs *= inputs.settings.generative.decoding.num_beams
    tokens = sum(map(len, prompts)) + outputs
    return forward_flops(inputs.lm, tokens=tokens, outputs=outputs) / seconds / 1e9


def _longest_text(inputs: Inputs, texts: Sequence[str]) -> int:
    """Tokens of the longest text, which are the steps of the search."""
    return max(len(inputs.renderer.response_ids(text)) for text in texts)


def _ground_gflops(n_queries: int, n_items: int, *, size: int) -> float:
    items, vectors, targets = synthetic_embeddings(n_queries, n_items, size=size)
    ranker, queries = synthetic_ranker(items), EncodedQueries.from_vectors(vectors)
    ranker.rank(EncodedQueries.from_vectors(vectors[:1]), k=1, beams="top1")
    seconds, _ = timed(lambda: ranker.evaluate(queries, targets, k=10, modes=("top1",)))
    return 2.0 * n_queries * n_items * size / seconds / 1e9
