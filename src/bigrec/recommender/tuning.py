"""Hyperparameters of baselines, selected from a small grid on validation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from bigrec.data.catalog import Catalog
from bigrec.evaluation.metrics import SELECTION_METRIC, selection_metric
from bigrec.grounding.ranks import target_ranks
from bigrec.models.base import ScoringModel
from bigrec.models.registry import (
    COOCCURRENCE,
    EASE,
    GAUSSIAN,
    RECENT,
    TEXT_KNN,
    TF_IDF,
    is_network,
)
from bigrec.models.text import GaussianText
from bigrec.recommender.scoring import TitleScorer
from bigrec.recommender.training_data import EvalQueries
from bigrec.settings.baselines import BaselineSettings
from bigrec.storage import read_json, write_json
from bigrec.types import IntArray, ProgressCallback

_Grid = Mapping[str, Sequence[float]]
_DECAYS: _Grid = {"decay": (1.0, 0.95, 0.9, 0.8, 0.7, 0.5, 0.3)}
_NETWORK_GRID = {"learning_rate": (1e-3, 3e-3), "dropout": (0.2, 0.5)}
# By model: its section of the settings, what it is fitted with, and what needs no other fit.
_GRIDS: Mapping[str, tuple[str, _Grid, _Grid]] = {
    RECENT: ("popularity", {"half_life_days": (7.0, 30.0, 90.0, 365.0)}, {}),
    COOCCURRENCE: ("cooccurrence", {"window": (3, 10, 30), "alpha": (0.3, 0.5, 0.7)}, _DECAYS),
    EASE: ("ease", {"regularization": (100.0, 250.0, 500.0, 1000.0, 2000.0, 5000.0)}, _DECAYS),
    TF_IDF: ("tf_idf", {}, _DECAYS),
    TEXT_KNN: ("text_knn", {}, _DECAYS),
    GAUSSIAN: (
        "gaussian",
        {"decay": (0.5, 0.8)},
        {"popularity_weight": (0.0, 0.25, 1.0, 4.0), "ridge": (3_000.0, 30_000.0)},
    ),
}
_ROWS = 512


@dataclass(frozen=True)
class TunedModel:
    """The grid of a model and the selected hyperparameters.

    Attributes:
        section: Section of `BaselineSettings`.
        selected: The selected hyperparameters; empty for a model without any.
        candidates: All hyperparameters with their validation figure, ``ndcg@10``.
    """

    section: str
    selected: Mapping[str, float]
    candidates: Sequence[Mapping[str, float]]

    def apply(self, settings: BaselineSettings) -> BaselineSettings:
        """The settings with the selected hyperparameters."""
        if not self.selected:
            return settings
        section = getattr(settings, self.section).model_copy(update=dict(self.selected))
        return settings.model_copy(update={self.section: section})


def tune_model(
    name: str,
    fit: Callable[[BaselineSettings, Path], ScoringModel],
    settings: BaselineSettings,
    *,
    catalog: Catalog,
    queries: EvalQueries,
    exclude_seen: bool,
    folder: Path,
    progress: ProgressCallback | None = None,
) -> TunedModel:
    """Select a model's hyperparameters by validation NDCG@10. Candidates that are done are read.

    Args:
        name: As in `bigrec.models.registry.NAMES`.
        fit: Fits it with some hyperparameters; networks keep checkpoints in the folder it gets.
        settings: Hyperparameters that the grid does not vary.
        catalog: The titles that are ranked.
        queries: Validation queries.
        exclude_seen: The protocol.
        folder: Holds ``tuning.json`` and the networks of all candidates.
        progress: Called with (candidates done, candidates in total).
    """
    section, grid, variants = _grid(name)
    file = folder / "tuning.json"
    done: dict[str, float] = read_json(file) if file.is_file() else {}
    combinations = _combinations(grid)
    candidates: list[dict[str, float]] = []
    for number, fitted_with in enumerate(combinations):
        varied = [fitted_with | values for values in _combinations(variants)]
        keys = [
            getattr(settings, section).model_copy(update=values).fingerprint() for values in varied
        ]
        if not all(key in done for key in keys):
            update = {section: getattr(settings, section).model_copy(update=fitted_with)}
            model = fit(settings.model_copy(update=update), folder / keys[0])
            for key, values in zip(keys, varied, strict=True):
                variant = _variant(model, {option: values[option] for option in variants})
                done[key] = _figure(variant, catalog, queries, exclude_seen=exclude_seen)
            write_json(file, done)
        candidates += [
            {**values, SELECTION_METRIC: done[key]}
            for key, values in zip(keys, varied, strict=True)
        ]
        if progress is not None:
            progress(number + 1, len(combinations))
    best = max(candidates, key=lambda candidate: candidate[SELECTION_METRIC])
    selected = {key: value for key, value in best.items() if key != SELECTION_METRIC}
    return TunedModel(section, selected, candidates)


def can_tune(name: str) -> bool:
    """Whether a model has hyperparameters to tune."""
    return name in _GRIDS or is_network(name)


def _grid(name: str) -> tuple[str, _Grid, _Grid]:
    return ("sequential", _NETWORK_GRID, {}) if is_network(name) else _GRIDS[name]


def _combinations(grid: _Grid) -> list[dict[str, float]]:
    return [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]


def _variant(model: ScoringModel, values: Mapping[str, float]) -> ScoringModel:
    """The model with other hyperparameters, which need no other pass over the data."""
    if not values:
        return model
    if isinstance(model, GaussianText):
        return model.with_parameters(replace(model.grounding.parameters, **values))
    dataclass_model: Any = model
    variant: ScoringModel = replace(dataclass_model, **values)
    return variant


def _figure(
    model: ScoringModel, catalog: Catalog, queries: EvalQueries, *, exclude_seen: bool
) -> float:
    scorer = TitleScorer(model, catalog)
    targets = catalog.title_ids[queries.targets]
    ranks: list[IntArray] = []
    for start in range(0, len(queries), _ROWS):
        rows = slice(start, start + _ROWS)
        exclude = None
        if exclude_seen:
            exclude = [
                np.unique(catalog.title_ids[items]) for items in queries.full_histories[rows]
            ]
        scores = scorer.scores(queries.histories[rows])
        ranks.append(target_ranks(-scores, targets[rows], exclude=exclude))
    return selection_metric(np.concatenate(ranks))
