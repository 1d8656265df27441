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
from bigrec.recommender.title_encoder import TitleEncoder
from bigrec.recommender.training_data import EvalQueries, prepare_examples, prepare_windows
from bigrec.recommender.tuning import can_tune, tune_model
from bigrec.settings import Settings
from bigrec.settings.baselines import BaselineSettings
from bigrec.types import IntArray, ProgressCallback, ProgressFactory, no_progress
from tests.conftest import save_tiny_model, tiny_dataset
from tests.models.fakes import N, ring

CATALOG = Catalog.from_frame(
    pl.DataFrame({"item_id": ["a", "b", "c", "d"], "title": ["A", "B", "C", "D"]})
)
HISTORIES = [np.array([0, 1]), np.array([1, 0])]
QUERIES = EvalQueries(["x", "y"], HISTORIES, HISTORIES, targets=np.array([3, 2]))


def ease(settings: BaselineSettings, _: Path, _window: int) -> ScoringModel:
    """Item 0 predicts 2 and item 1 predicts 3; a decay below 1 follows the newer one."""
    weights = np.zeros((4, 4), dtype=np.float32)
    weights[0, 2], weights[1, 3] = 1, 1
    return Ease(settings.ease.regularization, settings.ease.decay, weights)


def test_the_decay_that_ranks_best_is_selected_and_the_grid_is_kept(tmp_path: Path) -> None:
    tuned = tune_model(
        "EASE", ease, BaselineSettings(), catalog=CATALOG, windows=[QUERIES], exclude_seen=True,
        folder=tmp_path,
    )  # fmt: skip
    assert len(tuned.candidates) == 6 * 7
    figures = {candidate["decay"]: candidate["ndcg@10"] for candidate in tuned.candidates}
    # Without decay the two items tie, and a tie counts against the target.
    assert figures[1.0] == pytest.approx(1 / np.log2(3))
    assert all(figures[decay] == 1 for decay in figures if decay < 1)
    assert tuned.selected == {"regularization": 5000.0, "decay": 0.95}
    settings = tuned.apply(BaselineSettings())
    assert (settings.ease.regularization, settings.ease.decay) == (5000.0, 0.95)
    assert settings.cooccurrence == BaselineSettings().cooccurrence


def test_candidates_that_are_done_are_read(tmp_path: Path) -> None:
    fitted: list[float] = []

    def fit(settings: BaselineSettings, folder: Path, window: int) -> ScoringModel:
        fitted.append(settings.ease.regularization)
        if len(fitted) == 3:
            raise KeyboardInterrupt
        return ease(settings, folder, window)

    def tune() -> object:
        return tune_model(
            "EASE", fit, BaselineSettings(), catalog=CATALOG, windows=[QUERIES], exclude_seen=True,
            folder=tmp_path,
        )  # fmt: skip

    with pytest.raises(KeyboardInterrupt):
        tune()
    tune()
    # The first two are not fitted again, the third is.
    assert fitted == [5000.0, 2000.0, 1000.0, 1000.0, 500.0, 250.0, 100.0]


def test_the_protocol_decides_what_is_excluded(tmp_path: Path) -> None:
    def figure(exclude_seen: bool) -> float:
        tuned = tune_model(
            "recent popularity",
            lambda *_: PrecomputedScores("scores", np.array([[3.0, 2, 1, 0]] * 2)),
            BaselineSettings(),
            catalog=CATALOG,
            windows=[QUERIES],
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

    def counted(settings: BaselineSettings, *_: object) -> ScoringModel:
        decays.append(settings.gaussian.decay)
        return fit(settings)

    rng = np.random.default_rng(1)
    histories: list[IntArray] = [rng.integers(0, N, 3) for _ in range(40)]
    targets = (np.array([history[-1] for history in histories]) + 1) % N
    titles = [f"Title {item}" for item in range(N)]
    catalog = Catalog.from_frame(pl.DataFrame({"item_id": titles, "title": titles}))
    tuned = tune_model(
        "Gaussian", counted, BaselineSettings(), catalog=catalog,
        windows=[EvalQueries(titles, histories, histories, targets)], exclude_seen=False,
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


def baseline_fitter(
    settings: Settings, folder: Path, *, progress_factory: ProgressFactory = no_progress
) -> BaselineFitter:
    dataset = tiny_dataset()
    return BaselineFitter(
        dataset,
        prepare_examples(dataset, settings),
        settings,
        title_encoder=TitleEncoder(settings),
        folder=folder,
        progress_factory=progress_factory,
    )


def test_other_examples_leave_what_is_tuned_on_all_data(tmp_path: Path) -> None:
    few, more = (
        Settings.read(
            overrides=[
                "mode=generative",
                "baselines.tune=grid",
                f"data.max_train_examples={count}",
            ]
        )
        for count in (8, 12)
    )
    first = baseline_fitter(few, tmp_path)
    first.fit("co-occurrence")
    first.fit("co-occurrence", few_shot=True)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    second = baseline_fitter(more, tmp_path)
    second.fit("co-occurrence")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")} == files
    second.fit("co-occurrence", few_shot=True)
    assert {path: path.stat().st_mtime_ns for path in files} == files
    n_few_shot = sum("few-shot" in str(path) for path in files)
    assert len(list(tmp_path.rglob("*.json"))) == len(files) + n_few_shot


@pytest.mark.parametrize("few_shot", [False, True])
def test_a_tuned_baseline_is_fitted_with_the_selected_hyperparameters(
    tmp_path: Path, few_shot: bool
) -> None:
    settings = Settings.read(overrides=["baselines.tune=grid", "data.max_valid_examples=20"])
    fitter = baseline_fitter(settings, tmp_path)
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
    steps: dict[str, int] = {}

    def counted(name: str) -> ProgressCallback:
        def progress(_done: int, _total: int) -> None:
            steps[name] = steps.get(name, 0) + 1

        return progress

    baseline_fitter(settings, tmp_path, progress_factory=counted).fit("GRU4Rec")
    # One epoch of one batch for each of the four candidates.
    assert steps == {"Tuning GRU4Rec": 4, "Training GRU4Rec": 4}


def windows_of(*targets: list[int]) -> list[EvalQueries]:
    """Windows of the same two users."""
    return [replace(QUERIES, targets=np.array(of_window)) for of_window in targets]


def test_the_best_mean_over_windows_wins_where_nothing_simpler_is_close(tmp_path: Path) -> None:
    asked: list[int] = []

    def fit(settings: BaselineSettings, folder: Path, window: int) -> ScoringModel:
        asked.append(window)
        return ease(settings, folder, window)

    tuned = tune_model(
        "EASE", fit, BaselineSettings(), catalog=CATALOG, windows=windows_of([3, 2], [3, 3]),
        exclude_seen=True, folder=tmp_path,
    )  # fmt: skip
    assert asked == [0, 1] * 6
    # With decay the newer item predicts: all of the first window, one of two in the second.
    position = [candidate["decay"] for candidate in tuned.candidates].index(0.95)
    low = 1 / np.log2(3)
    np.testing.assert_allclose(tuned.windows[position], [1, (1 + low) / 2])
    assert tuned.candidates[position]["ndcg@10"] == pytest.approx(tuned.windows[position].mean())
    # The first user is always right by it, so its error is small.
    assert tuned.selected == {"regularization": 5000.0, "decay": 0.95}
    assert tuned.best == position
    assert "on 2 validation windows (0.9077 ± 0.1305 over windows: 1.0000, 0.8155)" in (
        tuned.describe()
    )


def test_within_one_standard_error_the_simpler_hyperparameters_win(tmp_path: Path) -> None:
    # Decay is right for one of the users in each window and wrong for the other: a matter of luck.
    tuned = tune_model(
        "EASE", ease, BaselineSettings(), catalog=CATALOG,
        windows=windows_of([3, 3], [3, 3], [3, 3]), exclude_seen=True, folder=tmp_path,
    )  # fmt: skip
    best = tuned.candidates[tuned.best]
    assert best["decay"] < 1
    assert tuned.selected == {"regularization": 5000.0, "decay": 1.0}
    assert tuned.describe().endswith(
        f"It is the simplest within one standard error of the best, regularization 5000, decay "
        f"{best['decay']:g} ({best['ndcg@10']:.4f})."
    )


def test_a_window_that_is_added_keeps_what_is_done(tmp_path: Path) -> None:
    fitted: list[int] = []

    def fit(settings: BaselineSettings, folder: Path, window: int) -> ScoringModel:
        fitted.append(window)
        return ease(settings, folder, window)

    for windows in (windows_of([3, 2]), windows_of([2, 2], [3, 2])):
        tune_model(
            "EASE", fit, BaselineSettings(), catalog=CATALOG, windows=windows, exclude_seen=True,
            folder=tmp_path,
        )  # fmt: skip
    assert fitted == [0] * 12


@pytest.mark.model
def test_another_encoder_of_titles_is_tuned_anew(tiny_model: Path, tmp_path: Path) -> None:
    other = save_tiny_model(tmp_path / "other", chat=True, seed=9)
    for encoder in (tiny_model, other, tiny_model):
        settings = Settings.read(overrides=[f"text.encoder={encoder}"])
        baseline_fitter(settings, tmp_path / "models").fit("text kNN")
    assert len(list((tmp_path / "models" / "text-knn").glob("*/tuning"))) == 2


@pytest.mark.parametrize("changes", [["data.split_method=leave_one_out"], []], ids=str)
def test_windows_of_a_dataset_grow_to_the_training_part(changes: list[str]) -> None:
    settings = Settings.read(overrides=["baselines.windows=3", *changes])
    dataset = tiny_dataset()
    older, newer = prepare_windows(dataset, settings)
    last = prepare_examples(dataset, settings)
    assert older.train_rows.sum() < newer.train_rows.sum() < last.train_rows.sum()
    assert not (older.train_rows & ~newer.train_rows).any()
    assert not (newer.train_rows & ~last.train_rows).any()
    for window in (older, newer):
        assert window.counts.sum() == window.train_rows.sum()
        # Few shots are drawn from what is before the window.
        assert len(window.train_items) == window.sizes["train"] < last.sizes["train"]


def test_the_validation_part_is_the_only_window_by_default() -> None:
    assert prepare_windows(tiny_dataset(), Settings.read()) == []
