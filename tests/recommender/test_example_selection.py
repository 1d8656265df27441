"""The choice of the few training examples."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bigrec.data.examples import TitleExample
from bigrec.lm.effort import gradient_norms
from bigrec.lm.model import LanguageModel
from bigrec.models.influence import influence_on_risk
from bigrec.recommender.bigrec import BIGRec
from bigrec.recommender.example_scores import ExampleScorer
from bigrec.recommender.example_selection import InfluenceAlone
from bigrec.recommender.fit_store import FolderStore
from bigrec.recommender.training_data import PreparedData, prepare_examples, prepare_test_queries
from bigrec.settings import Settings
from bigrec.types import FloatArray, no_progress
from tests.conftest import tiny_dataset, tiny_settings

Effort = Callable[[Sequence[TitleExample]], FloatArray]

EFFORT = "data.example_selection.method=influence_effort"


class OwnEffort(InfluenceAlone):
    """Scores with an effort that a test gives."""

    def __init__(self, effort: Effort) -> None:
        self._effort = effort

    def effort(self, examples: Sequence[TitleExample]) -> FloatArray:
        return self._effort(examples)


def prepared(*overrides: str, effort: Effort | None = None) -> PreparedData:
    settings = Settings.read(overrides=["mode=generative", *overrides])
    scores = InfluenceAlone() if effort is None else OwnEffort(effort)
    return prepare_examples(tiny_dataset(), settings, scores=scores)


def by_length(examples: Sequence[TitleExample]) -> FloatArray:
    """An effort that can be told by hand."""
    return np.array([len(example.history) for example in examples], dtype=np.float32)


@pytest.mark.parametrize("window", [[], ["generative.finetune.window=3"]])
def test_influence_chooses_exactly_the_budget_of_examples_that_random_draws_from(
    window: list[str],
) -> None:
    influence = "data.example_selection.method=influence"
    every = set(prepared("data.max_train_examples=null", *window).train)
    chosen = prepared("data.max_train_examples=9", influence, *window).train
    assert len(chosen) == 9
    assert set(chosen) < every
    assert set(chosen) != set(prepared("data.max_train_examples=9", *window).train)


def test_validation_and_test_examples_do_not_depend_on_the_choice() -> None:
    chosen = prepared("data.max_train_examples=9", "data.example_selection.method=influence")
    random = prepared("data.max_train_examples=9")
    for split in ("valid", "test"):
        np.testing.assert_array_equal(chosen.queries(split).targets, random.queries(split).targets)


def test_as_many_as_there_are_examples_are_all_of_them() -> None:
    sizes = prepared().sizes
    chosen = prepared(f"data.max_train_examples={sizes['train']}", EFFORT)
    assert len(chosen.train) == sizes["train"]


def test_effort_of_much_weight_decides_what_is_chosen() -> None:
    overrides = ["data.max_train_examples=20", EFFORT, "data.example_selection.n_strata=2"]
    lengths = [
        by_length(prepared(*overrides, *weight, effort=by_length).train)
        for weight in (
            ["data.example_selection.effort_weight=0"],
            ["data.example_selection.effort_weight=1000"],
        )
    ]
    # Both halves of the lengths, 1 to 3 and 4 to 5, give half of the examples.
    assert (lengths[1] >= 4).sum() == 10
    assert (lengths[0] >= 4).sum() != 10


def test_effort_is_computed_for_the_pool_and_never_for_fewer_than_are_chosen() -> None:
    sizes = []

    def counted(examples: Sequence[TitleExample]) -> FloatArray:
        sizes.append(len(examples))
        return by_length(examples)

    for pool in (20, 5, "null"):
        pooled = f"data.example_selection.effort_pool={pool}"
        chosen = prepared("data.max_train_examples=10", EFFORT, pooled, effort=counted)
        assert len(chosen.train) == 10
    assert sizes == [20, 10, prepared().sizes["train"]]


def test_examples_cannot_be_chosen_by_an_effort_that_nothing_computes() -> None:
    with pytest.raises(ValueError, match=r"effort of .* without a language model"):
        prepared("data.max_train_examples=10", EFFORT)


def test_test_examples_alone_need_no_effort() -> None:
    settings = Settings.read(overrides=["mode=generative", "data.max_train_examples=10", EFFORT])
    alone = prepare_test_queries(tiny_dataset(), settings)
    np.testing.assert_array_equal(alone.targets, prepared().test_queries.targets)
    assert alone.user_ids == prepared().test_queries.user_ids


@pytest.fixture
def settings(tiny_model: Path) -> Settings:
    chosen: Settings = tiny_settings(tiny_model, EFFORT, mode="latent")
    return chosen


def scorer(settings: Settings, folder: Path) -> ExampleScorer:
    return ExampleScorer(settings, store=FolderStore(folder), progress_factory=no_progress)


@pytest.mark.model
def test_efforts_are_computed_once_and_go_on_where_they_were_interrupted(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = prepared("data.max_train_examples=null").train[:100]
    expected = scorer(settings, tmp_path / "at once").effort(examples)
    computed: list[int] = []

    def interrupted(lm: LanguageModel, part: Sequence[Any], **options: Any) -> FloatArray:
        computed.append(len(part))
        if len(computed) == 2:
            raise KeyboardInterrupt
        return gradient_norms(lm, part, **options)

    monkeypatch.setattr("bigrec.recommender.example_scores.gradient_norms", interrupted)
    with pytest.raises(KeyboardInterrupt):
        scorer(settings, tmp_path / "parts").effort(examples)
    np.testing.assert_allclose(
        scorer(settings, tmp_path / "parts").effort(examples), expected, rtol=1e-5
    )
    # Only what the first call had not written.
    assert computed == [64, 36, 36]
    scorer(settings, tmp_path / "parts").effort(examples)
    assert len(computed) == 3


def test_influence_is_computed_once(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sequences = [np.array([0, 1, 2]), np.array([1, 2]), np.array([0, 2])]
    expected = influence_on_risk(sequences, all_positions=True).astype(np.float32)
    first = scorer(settings, tmp_path).influence(sequences, all_positions=True)
    monkeypatch.delattr("bigrec.recommender.example_scores.influence_on_risk")
    again = scorer(settings, tmp_path).influence(sequences, all_positions=True)
    for found in (first, again):
        np.testing.assert_array_equal(found, expected)
    # Other sequences, or other targets of the same, are computed anew.
    with pytest.raises(NameError):
        scorer(settings, tmp_path).influence(sequences[:2], all_positions=True)
    with pytest.raises(NameError):
        scorer(settings, tmp_path).influence(sequences, all_positions=False)


@pytest.mark.model
def test_a_recommender_fits_on_chosen_examples_and_reads_their_effort(
    settings: Settings, tmp_path: Path
) -> None:
    model = BIGRec(settings).fit(tiny_dataset(), folder=tmp_path)
    assert len(model.recommend(["i0"], k=3)) == 3
    assert list(tmp_path.glob("effort/*/all.safetensors"))
    assert list(tmp_path.glob("influence/*.safetensors"))
