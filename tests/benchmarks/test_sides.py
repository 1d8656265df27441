"""Both ways agree at every stage on a tiny model; how fast they are decides nothing here."""

from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.curve import bench_curve
from benchmarks.embed import bench_embed
from benchmarks.generate import bench_generate
from benchmarks.ground import bench_ground_stage, made_up, made_up_ranker, single_beams
from benchmarks.growth import grow_catalog, grow_generation
from benchmarks.inputs import Inputs, attach_adapter
from benchmarks.peak import forward_flops, stages_and_peak
from benchmarks.train import bench_train
from bigrec.lm.generation.transformers import TransformersGenerator
from bigrec.recommender.factory import make_embedder
from bigrec.types import GeneratedText
from tests.conftest import TITLES

pytestmark = pytest.mark.model


class Other:
    """Writes what no model would."""

    def generate(self, prompts: Sequence[Sequence[int]], **_: object) -> list[list[GeneratedText]]:
        return [[GeneratedText("nothing like it", -1.0)] for _ in prompts]


def test_training_both_ways_ends_at_the_same_loss(inputs: Inputs) -> None:
    found = bench_train(inputs.lm, inputs.drawn, settings=inputs.settings, turns=1)
    assert found["agree"]
    assert found["examples"] == 8
    assert found["ours_last_loss"] == pytest.approx(found["reference_last_loss"], abs=0.5)
    assert found["ours_held_out_loss"] != found["untrained_held_out_loss"]
    assert found["titles_ratio"] > found["ratio"] / 2
    assert not inputs.lm.has_adapter


def test_the_loss_comes_down_alike_both_ways(inputs: Inputs) -> None:
    train = inputs.settings.train.model_copy(update={"batch_size": 1, "micro_batch_size": 1})
    settings = inputs.settings.model_copy(update={"train": train})
    found = bench_curve(inputs.lm, inputs.drawn, settings=settings, plain=inputs.lm, n_steps=8)
    steps = [name for name in found if name.startswith("ours_loss_to_step_")]
    assert steps == [f"ours_loss_to_step_{step}" for step in (2, 4, 6, 8)]
    assert abs(found["ours_held_out_loss"] - found["reference_held_out_loss"]) < 0.5
    assert found["most_standard_errors_apart"] >= 0


def test_writing_both_ways_gives_the_same_texts(inputs: Inputs) -> None:
    # Learned by heart, so that texts end: without an end the reference goes on past a line.
    by_heart = inputs.drawn.train[:1] * 400
    attach_adapter(inputs.lm, inputs.renderer, by_heart, adapter=None, learning_rate=1e-2)
    generator = TransformersGenerator(inputs.lm, inputs.renderer, beams=2, max_new_tokens=32)
    found = bench_generate(
        inputs.lm,
        inputs.prompts(inputs.test_histories(4)),
        renderer=inputs.renderer,
        generator=generator,
        low=Other(),
        beams=2,
        turns=1,
    )
    assert found["agree"]
    assert found["same_text_share"] == 1
    assert found["low_same_text_share"] == 0
    assert found["low_ratio"] > 0
    assert found["backend"] == "TransformersGenerator"


def test_writing_something_else_does_not_agree(inputs: Inputs) -> None:
    found = bench_generate(
        inputs.lm,
        inputs.prompts(inputs.test_histories(2)),
        renderer=inputs.renderer,
        generator=Other(),
        beams=2,
        turns=1,
    )
    assert not found["agree"]
    assert found["same_text_share"] == 0


def test_embedding_both_ways_gives_the_same_points(inputs: Inputs) -> None:
    embedder = make_embedder(inputs.lm, inputs.settings)
    found = bench_embed(inputs.lm, [*TITLES, TITLES[0]], embedder=embedder, turns=1)
    assert found["agree"]
    assert (found["texts"], found["different_texts"]) == (13, 12)


def test_embedding_otherwise_does_not_agree(inputs: Inputs) -> None:
    class Reversed:
        fingerprint = "reversed"

        def embed(self, texts: list[str], **_: object) -> np.ndarray:
            return make_embedder(inputs.lm, inputs.settings).embed(texts)[:, ::-1]

    embedder = Reversed()
    found = bench_embed(inputs.lm, TITLES, embedder=embedder, turns=1)  # type: ignore[arg-type]
    assert not found["agree"]


def test_grounding_both_ways_gives_the_same_ranks() -> None:
    found = bench_ground_stage(n_queries=20, n_items=200, size=8, turns=1, k=5)
    assert found["agree"]
    assert found["same_rank_share"] == found["same_list_share"] == 1
    assert found["median_rank"] > 1


def test_made_up_items_are_ranked_as_by_brute_force() -> None:
    items, queries, targets = made_up(5, 30, size=4)
    distances = np.linalg.norm(queries[:, None].astype(float) - items[None], axis=2)
    of_target = distances[np.arange(5), targets][:, None]
    ranks = made_up_ranker(items).target_ranks(single_beams(queries), targets, beams="first")
    assert ranks.tolist() == (distances < of_target).sum(axis=1).tolist()


def test_growth_with_the_catalog_leaves_out_what_does_not_fit() -> None:
    found = grow_catalog([50, 10**12], n_queries=4, size=8, turns=1)
    assert found.keys() == {"items_50_ms_per_query", "items_1000000000000_ms_per_query"}
    assert found["items_1000000000000_ms_per_query"] is None
    fitting = found["items_50_ms_per_query"]
    assert fitting is not None
    assert fitting > 0


def test_growth_of_generation_is_measured_by_history_and_beams(inputs: Inputs) -> None:
    found = grow_generation(inputs, lengths=[1, 2], beams=[1, 2], n_prompts=2, turns=1)
    assert list(found) == [
        "titles_1_ms_per_prompt",
        "titles_2_ms_per_prompt",
        "beams_1_ms_per_prompt",
        "beams_2_ms_per_prompt",
    ]
    assert all(value > 0 for value in found.values())


def test_a_forward_pass_counts_two_operations_for_each_weight_and_token(inputs: Inputs) -> None:
    # Each layer: queries and outputs 32x32, keys and values 32x16, three products of 32x64.
    body = 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64)
    head = 32 * len(inputs.lm.tokenizer)
    assert forward_flops(inputs.lm, tokens=3, outputs=2) == 2 * (3 * body + 2 * head)


def test_an_adapter_changes_no_count(inputs: Inputs) -> None:
    before = forward_flops(inputs.lm, tokens=3, outputs=2)
    attach_adapter(inputs.lm, inputs.renderer, inputs.drawn.train, adapter=None, learning_rate=1e-2)
    assert forward_flops(inputs.lm, tokens=3, outputs=2) == before


def test_every_stage_is_set_beside_the_peak(inputs: Inputs) -> None:
    found = stages_and_peak(inputs, n_examples=4, n_prompts=2, n_titles=12, n_queries=4, n_items=50)
    for stage in ("embed", "train", "generate", "ground"):
        share = found[f"{stage}_gflops"] / found["peak_float32_gflops"]
        assert found[f"{stage}_share"] == pytest.approx(share)
        assert share > 0
