"""Both sides of every stage agree on a tiny model. Their speed is not tested."""

from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.curve import bench_curve
from benchmarks.embed import bench_embed
from benchmarks.generate import bench_generate
from benchmarks.ground import bench_ground_stage, synthetic_embeddings, synthetic_ranker
from benchmarks.growth import grow_catalog, grow_generation
from benchmarks.inputs import Inputs, attach_adapter, change_generative
from benchmarks.peak import forward_flops, stages_and_peak
from benchmarks.train import bench_train
from bigrec.grounding.beams import EncodedQueries
from bigrec.lm.generation.transformers import TransformersGenerator
from bigrec.recommender.factory import make_embedder
from bigrec.types import GeneratedText
from tests.conftest import TITLES

pytestmark = pytest.mark.model


class OtherGenerator:
    """Generates a text that no model would."""

    def generate(self, prompts: Sequence[Sequence[int]], **_: object) -> list[list[GeneratedText]]:
        return [[GeneratedText("nothing like it", -1.0)] for _ in prompts]


def test_both_sides_of_training_end_at_the_same_loss(inputs: Inputs) -> None:
    figures = bench_train(inputs.lm, inputs.prepared, settings=inputs.settings, turns=1)
    assert figures["agree"]
    assert figures["examples"] == 8
    assert figures["ours_last_loss"] == pytest.approx(figures["reference_last_loss"], abs=0.5)
    assert figures["ours_held_out_loss"] != figures["untrained_held_out_loss"]
    assert figures["titles_ratio"] > 0
    assert not inputs.lm.has_adapter


def test_the_losses_of_both_sides_fall_alike(inputs: Inputs) -> None:
    settings = change_generative(inputs.settings, "finetune", batch_size=1, per_device_batch_size=1)
    figures = bench_curve(
        inputs.lm, inputs.prepared, settings=settings, reference_lm=inputs.lm, n_steps=8
    )
    steps = [name for name in figures if name.startswith("ours_loss_to_step_")]
    assert steps == [f"ours_loss_to_step_{step}" for step in (2, 4, 6, 8)]
    assert abs(figures["ours_held_out_loss"] - figures["reference_held_out_loss"]) < 0.5
    assert figures["largest_gap_in_standard_errors"] >= 0


def test_both_sides_of_generation_give_the_same_texts(inputs: Inputs) -> None:
    # Overfitted, so that texts end: without an end the reference continues past a newline.
    examples = inputs.prepared.train[:1] * 400
    attach_adapter(inputs.lm, inputs.renderer, examples, adapter=None, learning_rate=1e-2)
    generator = TransformersGenerator(
        inputs.lm,
        inputs.renderer,
        num_beams=2,
        max_new_tokens=32,
        batch_size=16,
        length_penalty=1.0,
    )
    figures = bench_generate(
        inputs.lm,
        inputs.prompts(inputs.test_histories(4)),
        renderer=inputs.renderer,
        generator=generator,
        low_precision=OtherGenerator(),
        num_beams=2,
        turns=1,
    )
    assert figures["agree"]
    assert figures["same_text_share"] == 1
    assert figures["low_precision_same_text_share"] == 0
    assert figures["low_precision_ratio"] > 0
    assert figures["backend"] == "TransformersGenerator"


def test_other_texts_do_not_agree(inputs: Inputs) -> None:
    figures = bench_generate(
        inputs.lm,
        inputs.prompts(inputs.test_histories(2)),
        renderer=inputs.renderer,
        generator=OtherGenerator(),
        num_beams=2,
        turns=1,
    )
    assert not figures["agree"]
    assert figures["same_text_share"] == 0


def test_both_sides_of_embedding_give_the_same_vectors(inputs: Inputs) -> None:
    embedder = make_embedder(inputs.lm, inputs.settings)
    figures = bench_embed(inputs.lm, [*TITLES, TITLES[0]], embedder=embedder, turns=1)
    assert figures["agree"]
    assert (figures["texts"], figures["different_texts"]) == (13, 12)


def test_other_embeddings_do_not_agree(inputs: Inputs) -> None:
    class ReversedEmbedder:
        fingerprint = "reversed"

        def embed(self, texts: list[str], **_: object) -> np.ndarray:
            return make_embedder(inputs.lm, inputs.settings).embed(texts)[:, ::-1]

    embedder = ReversedEmbedder()
    figures = bench_embed(inputs.lm, TITLES, embedder=embedder, turns=1)  # type: ignore[arg-type]
    assert not figures["agree"]


def test_both_sides_of_grounding_give_the_same_ranks() -> None:
    figures = bench_ground_stage(n_queries=20, n_items=200, size=8, turns=1, k=5)
    assert figures["agree"]
    assert figures["same_rank_share"] == figures["same_list_share"] == 1
    assert figures["median_rank"] > 1


def test_synthetic_items_are_ranked_as_by_brute_force() -> None:
    items, queries, targets = synthetic_embeddings(5, 30, size=4)
    distances = np.linalg.norm(queries[:, None].astype(float) - items[None], axis=2)
    target_distances = distances[np.arange(5), targets][:, None]
    encoded = EncodedQueries.from_vectors(queries)
    ranks = synthetic_ranker(items).target_ranks(encoded, targets, beams="top1")
    assert ranks.tolist() == (distances < target_distances).sum(axis=1).tolist()


def test_catalogs_that_do_not_fit_the_memory_are_skipped() -> None:
    figures = grow_catalog([50, 10**12], n_queries=4, size=8, turns=1)
    assert figures.keys() == {"items_50_ms_per_query", "items_1000000000000_ms_per_query"}
    assert figures["items_1000000000000_ms_per_query"] is None
    fitting = figures["items_50_ms_per_query"]
    assert fitting is not None
    assert fitting > 0


def test_generation_is_timed_by_history_length_and_beams(inputs: Inputs) -> None:
    figures = grow_generation(inputs, lengths=[1, 2], num_beams=[1, 2], n_prompts=2, turns=1)
    assert list(figures) == [
        "titles_1_ms_per_prompt",
        "titles_2_ms_per_prompt",
        "beams_1_ms_per_prompt",
        "beams_2_ms_per_prompt",
    ]
    assert all(value > 0 for value in figures.values())


def test_a_forward_pass_counts_two_operations_for_each_weight_and_token(inputs: Inputs) -> None:
    # Each layer: queries and outputs 32x32, keys and values 32x16, three MLP products of 32x64.
    body = 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64)
    head = 32 * len(inputs.lm.tokenizer)
    assert forward_flops(inputs.lm, tokens=3, outputs=2) == 2 * (3 * body + 2 * head)


def test_an_adapter_does_not_change_the_count(inputs: Inputs) -> None:
    before = forward_flops(inputs.lm, tokens=3, outputs=2)
    attach_adapter(
        inputs.lm, inputs.renderer, inputs.prepared.train, adapter=None, learning_rate=1e-2
    )
    assert forward_flops(inputs.lm, tokens=3, outputs=2) == before


def test_every_stage_has_its_share_of_the_peak(inputs: Inputs) -> None:
    figures = stages_and_peak(
        inputs, n_examples=4, n_prompts=2, n_titles=12, n_queries=4, n_items=50
    )
    for stage in ("embed", "train", "generate", "ground"):
        share = figures[f"{stage}_gflops"] / figures["peak_float32_gflops"]
        assert figures[f"{stage}_share"] == pytest.approx(share)
        assert share > 0
