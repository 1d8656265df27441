"""Hyperparameters of baselines, selected from a small grid on validation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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

_Options = Mapping[str, Sequence[float]]


def _with_fields(model: Any, values: Mapping[str, float]) -> ScoringModel:
    varied: ScoringModel = replace(model, **values)
    return varied


def _with_parameters(model: GaussianText, values: Mapping[str, float]) -> ScoringModel:
    return model.with_parameters(replace(model.grounding.parameters, **values))


@dataclass(frozen=True)
class _Grid:
    """The grid of a model.

    Attributes:
        section: Section of `BaselineSettings`.
        fitted: Hyperparameters that it is fitted with.
        varied: Hyperparameters that need no other pass over the data.
        vary: Gives the fitted model other values of those.
    """

    section: str
    fitted: _Options = field(default_factory=dict)
    varied: _Options = field(default_factory=dict)
    vary: Callable[[Any, Mapping[str, float]], ScoringModel] = _with_fields


_DECAYS: _Options = {"decay": (1.0, 0.95, 0.9, 0.8, 0.7, 0.5, 0.3)}
_NETWORK_GRID = _Grid("sequential", {"learning_rate": (1e-3, 3e-3), "dropout": (0.2, 0.5)})
_GRIDS: Mapping[str, _Grid] = {
    RECENT: _Grid("popularity", {"half_life_days": (7.0, 30.0, 90.0, 365.0)}),
    COOCCURRENCE: _Grid("cooccurrence", {"window": (3, 10, 30), "alpha": (0.3, 0.5, 0.7)}, _DECAYS),
    EASE: _Grid("ease", {"regularization": (100.0, 250.0, 500.0, 1000.0, 2000.0, 5000.0)}, _DECAYS),
    TF_IDF: _Grid("tf_idf", varied=_DECAYS),
    TEXT_KNN: _Grid("text_knn", varied=_DECAYS),
    GAUSSIAN: _Grid(
        "gaussian",
        {"decay": (0.5, 0.8)},
        {"popularity_weight": (0.0, 0.25, 1.0, 4.0), "ridge": (3_000.0, 30_000.0)},
        _with_parameters,
    ),
}
_ROWS = 512


@dataclass(frozen=True)
class TunedModel:
    """The grid of a model and the selected hyperparameters.

    Attributes:
        section: Section of `BaselineSettings`.
        selected: The selected hyperparameters.
        candidates: All hyperparameters with their validation figure, ``ndcg@10``.
        folder: Holds the checkpoint of the selected network.
    """

    section: str
    selected: Mapping[str, float]
    candidates: Sequence[Mapping[str, float]]
    folder: Path

    def apply(self, settings: BaselineSettings) -> BaselineSettings:
        """The settings with the selected hyperparameters."""
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
    grid = _NETWORK_GRID if is_network(name) else _GRIDS[name]
    section = getattr(settings, grid.section)
    file = folder / "tuning.json"
    done: dict[str, float] = read_json(file) if file.is_file() else {}
    combinations, variants = _combinations(grid.fitted), _combinations(grid.varied)
    exclude = queries.seen_titles(catalog) if exclude_seen else None
    candidates: list[dict[str, float]] = []
    for number, fitted_with in enumerate(combinations):
        varied = [fitted_with | values for values in variants]
        keys = [section.model_copy(update=values).fingerprint() for values in varied]
        if not all(key in done for key in keys):
            update = {grid.section: section.model_copy(update=fitted_with)}
            model = fit(settings.model_copy(update=update), folder / keys[0])
            for key, values in zip(keys, variants, strict=True):
                variant = grid.vary(model, values) if values else model
                done[key] = _figure(variant, catalog, queries, exclude=exclude)
            write_json(file, done)
        candidates += [
            {**values, SELECTION_METRIC: done[key]}
            for key, values in zip(keys, varied, strict=True)
        ]
        if progress is not None:
            progress(number + 1, len(combinations))
    best = max(candidates, key=lambda candidate: candidate[SELECTION_METRIC])
    selected = {key: value for key, value in best.items() if key != SELECTION_METRIC}
    selected_folder = folder / section.model_copy(update=selected).fingerprint()
    return TunedModel(grid.section, selected, candidates, selected_folder)


def can_tune(name: str) -> bool:
    """Whether a model has hyperparameters to tune."""
    return name in _GRIDS or is_network(name)


def _combinations(options: _Options) -> list[dict[str, float]]:
    return [dict(zip(options, values, strict=True)) for values in product(*options.values())]


def _figure(
    model: ScoringModel,
    catalog: Catalog,
    queries: EvalQueries,
    *,
    exclude: Sequence[IntArray] | None,
) -> float:
    scorer = TitleScorer(model, catalog)
    targets = catalog.title_ids[queries.targets]
    ranks: list[IntArray] = []
    for start in range(0, len(queries), _ROWS):
        rows = slice(start, start + _ROWS)
        scores = scorer.scores(queries.histories[rows])
        excluded = None if exclude is None else exclude[rows]
        ranks.append(target_ranks(-scores, targets[rows], exclude=excluded))
    return selection_metric(np.concatenate(ranks))
