"""Hyperparameters selected from a grid on validation."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from bigrec.data.catalog import Catalog
from bigrec.evaluation.metrics import ndcg_at
from bigrec.grounding.ranks import target_ranks
from bigrec.models.base import ScoringModel
from bigrec.models.ease import Ease
from bigrec.models.precomputed import PrecomputedScores
from bigrec.models.registry import NAMES
from bigrec.models.text import GaussianText
from bigrec.recommender.baselines import BaselineFitter
from bigrec.recommender.fitting import no_progress
from bigrec.recommender.training_data import EvalQueries, prepare_examples
from bigrec.recommender.tuning import can_tune, tune_model
from bigrec.settings import Settings
from bigrec.settings.baselines import BaselineSettings
from bigrec.types import IntArray, ProgressCallback
from tests.conftest import tiny_dataset
from tests.models.fakes import N, ring

CATALOG = Catalog.from_frame(
    pl.DataFrame({"item_id": ["a", "b", "c", "d"], "title": ["A", "B", "C", "D"]})
)
HISTORIES = [np.array([0, 1]), np.array([1, 0])]
QUERIES = EvalQueries(["x", "y"], HISTORIES, HISTORIES, targets=np.array([3, 2]))


def ease(settings: BaselineSettings, _: Path) -> ScoringModel:
    """Item 0 predicts 2 and item 1 predicts 3; a decay below 1 follows the newer one."""
    weights = np.zeros((4, 4), dtype=np.float32)
    weights[0, 2], weights[1, 3] = 1, 1
    return Ease(settings.ease.regularization, settings.ease.decay, weights)


def test_the_decay_that_ranks_best_is_selected_and_the_grid_is_kept(tmp_path: Path) -> None:
    tuned = tune_model(
        "EASE", ease, BaselineSettings(), catalog=CATALOG, queries=QUERIES, exclude_seen=True,
        folder=tmp_path,
    )  # fmt: skip
    assert len(tuned.candidates) == 6 * 7
    figures = {candidate["decay"]: candidate["ndcg@10"] for candidate in tuned.candidates}
    # Without decay the two items tie, and a tie counts against the target.
    assert figures[1.0] == pytest.approx(1 / np.log2(3))
    assert all(figures[decay] == 1 for decay in figures if decay < 1)
    assert tuned.selected == {"regularization": 100.0, "decay": 0.95}
    settings = tuned.apply(BaselineSettings())
    assert (settings.ease.regularization, settings.ease.decay) == (100.0, 0.95)
    assert settings.cooccurrence == BaselineSettings().cooccurrence


def test_candidates_that_are_done_are_read(tmp_path: Path) -> None:
    fitted: list[float] = []

    def fit(settings: BaselineSettings, folder: Path) -> ScoringModel:
        fitted.append(settings.ease.regularization)
        if len(fitted) == 3:
            raise KeyboardInterrupt
        return ease(settings, folder)

    def tune() -> object:
        return tune_model(
            "EASE", fit, BaselineSettings(), catalog=CATALOG, queries=QUERIES, exclude_seen=True,
            folder=tmp_path,
        )  # fmt: skip

    with pytest.raises(KeyboardInterrupt):
        tune()
    tune()
    # The first two are not fitted again, the third is.
    assert fitted == [100.0, 250.0, 500.0, 500.0, 1000.0, 2000.0, 5000.0]


def test_the_protocol_decides_what_is_excluded(tmp_path: Path) -> None:
    def figure(exclude_seen: bool) -> float:
        tuned = tune_model(
            "recent popularity",
            lambda _settings, _folder: PrecomputedScores("scores", np.array([[3.0, 2, 1, 0]] * 2)),
            BaselineSettings(),
            catalog=CATALOG,
            queries=QUERIES,
            exclude_seen=exclude_seen,
            folder=tmp_path / str(exclude_seen),
        )
        return float(tuned.candidates[0]["ndcg@10"])

    scores = -np.array([[3.0, 2, 1, 0]] * 2)
    assert figure(False) == ndcg_at(target_ranks(scores, QUERIES.targets), k=10)
    assert figure(True) == ndcg_at(target_ranks(scores, QUERIES.targets, exclude=HISTORIES), k=10)


def test_gaussian_is_fitted_once_for_each_decay_and_ranks_as_when_fitted_anew(
    tmp_path: Path,
) -> None:
    decays: list[float] = []

    def fit(settings: BaselineSettings) -> ScoringModel:
        return GaussianText.fit(
            ring(),
            train=np.ones(len(ring()), dtype=bool),
            titles=titles,
            embed=lambda titles: np.random.default_rng(0).normal(size=(len(titles), 3)),
            **settings.gaussian.model_dump(),
        )

    def counted(settings: BaselineSettings, _: Path) -> ScoringModel:
        decays.append(settings.gaussian.decay)
        return fit(settings)

    rng = np.random.default_rng(1)
    histories: list[IntArray] = [rng.integers(0, N, 3) for _ in range(40)]
    targets = (np.array([history[-1] for history in histories]) + 1) % N
    titles = [f"Title {item}" for item in range(N)]
    catalog = Catalog.from_frame(pl.DataFrame({"item_id": titles, "title": titles}))
    tuned = tune_model(
        "Gaussian", counted, BaselineSettings(), catalog=catalog,
        queries=EvalQueries(titles, histories, histories, targets), exclude_seen=False,
        folder=tmp_path,
    )  # fmt: skip
    assert decays == [0.5, 0.8]
    assert len(tuned.candidates) == 2 * 4 * 2
    for candidate in tuned.candidates:
        selected = {key: value for key, value in candidate.items() if key != "ndcg@10"}
        settings = replace(tuned, selected=selected).apply(BaselineSettings())
        scores = fit(settings).scores(histories)
        assert candidate["ndcg@10"] == ndcg_at(target_ranks(-scores, targets), k=10)


def test_every_model_but_popularity_has_hyperparameters() -> None:
    assert not can_tune("popularity")
    assert all(can_tune(name) for name in NAMES if name != "popularity")


@pytest.mark.parametrize("few_shot", [False, True])
def test_a_tuned_baseline_is_fitted_with_the_selected_hyperparameters(
    tmp_path: Path, few_shot: bool
) -> None:
    settings = Settings.read(overrides=["baselines.tune=grid", "data.max_valid_examples=20"])
    dataset = tiny_dataset()
    fitter = BaselineFitter(
        dataset,
        prepare_examples(dataset, settings),
        settings,
        folder=tmp_path,
        progress_factory=no_progress,
    )
    model = fitter.fit("EASE", few_shot=few_shot)
    assert isinstance(model, Ease)
    (label,) = fitter.tuned
    assert label == ("EASE, few-shot" if few_shot else "EASE")
    selected = fitter.tuned[label].selected
    assert (model.regularization, model.decay) == (selected["regularization"], selected["decay"])
    best = max(candidate["ndcg@10"] for candidate in fitter.tuned[label].candidates)
    (kept,) = (
        candidate["ndcg@10"]
        for candidate in fitter.tuned[label].candidates
        if all(candidate[name] == value for name, value in selected.items())
    )
    assert kept == best


@pytest.mark.model
def test_the_selected_network_is_not_trained_again(tmp_path: Path) -> None:
    changes = ["data.max_valid_examples=20", "baselines.sequential.epochs=1"]
    settings = Settings.read(overrides=["baselines.tune=grid", *changes])
    dataset = tiny_dataset()
    steps: dict[str, int] = {}

    def counted(name: str) -> ProgressCallback:
        def progress(_done: int, _total: int) -> None:
            steps[name] = steps.get(name, 0) + 1

        return progress

    fitter = BaselineFitter(
        dataset,
        prepare_examples(dataset, settings),
        settings,
        folder=tmp_path,
        progress_factory=counted,
    )
    fitter.fit("GRU4Rec")
    # One epoch of one batch for each of the four candidates.
    assert steps == {"Tuning GRU4Rec": 4, "Training GRU4Rec": 4}
