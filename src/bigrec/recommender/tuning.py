"""Hyperparameters of baselines, selected from a small grid on validation."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from bigrec.data.catalog import Catalog
from bigrec.evaluation.metrics import SELECTION_METRIC, query_values, selection_metric
from bigrec.evaluation.selection import within_one_standard_error
from bigrec.grounding.ranks import target_ranks
from bigrec.models.base import Scorer, ScoringModel
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
from bigrec.recommender.windows import WindowQueries
from bigrec.settings.baselines import BaselineSettings
from bigrec.storage import read_json, write_json
from bigrec.types import FloatArray, IntArray, ProgressCallback

_Options = Mapping[str, Sequence[float]]
_Variants = Sequence[Mapping[str, float]]


def _with_fields(model: Any, variants: _Variants) -> Iterator[ScoringModel]:
    for values in variants:
        yield replace(model, **values)


def _with_parameters(model: GaussianText, variants: _Variants) -> Iterator[ScoringModel]:
    parameters = model.grounding.parameters
    return model.variants(replace(parameters, **values) for values in variants)


@dataclass(frozen=True)
class _Grid:
    """The grid of a model, the simplest values first: stronger regularization, less to estimate.

    Attributes:
        section: Section of `BaselineSettings`.
        fitted: Hyperparameters that it is fitted with.
        varied: Hyperparameters that need no other pass over the data.
        vary: Gives the fitted model other values of those, one variant after another.
    """

    section: str
    fitted: _Options = field(default_factory=dict)
    varied: _Options = field(default_factory=dict)
    vary: Callable[[Any, _Variants], Iterator[ScoringModel]] = _with_fields


_DECAYS: _Options = {"decay": (1.0, 0.95, 0.9, 0.8, 0.7, 0.5, 0.3)}
_NETWORK_GRID = _Grid("sequential", {"learning_rate": (1e-3, 3e-3), "dropout": (0.5, 0.2)})
_GRIDS: Mapping[str, _Grid] = {
    RECENT: _Grid("popularity", {"half_life_days": (365.0, 90.0, 30.0, 7.0)}),
    COOCCURRENCE: _Grid("cooccurrence", {"window": (3, 10, 30), "alpha": (0.3, 0.5, 0.7)}, _DECAYS),
    EASE: _Grid("ease", {"regularization": (5000.0, 2000.0, 1000.0, 500.0, 250.0, 100.0)}, _DECAYS),
    TF_IDF: _Grid("tf_idf", varied=_DECAYS),
    TEXT_KNN: _Grid("text_knn", varied=_DECAYS),
    GAUSSIAN: _Grid(
        "gaussian",
        {"decay": (0.5, 0.8)},
        {"popularity_weight": (0.0, 0.25, 1.0, 4.0), "ridge": (30_000.0, 3_000.0)},
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
        candidates: All hyperparameters with their validation figure, ``ndcg@10``: the mean over
            windows. The simplest come first.
        windows: The candidates' figures in each window, ``[candidates, windows]``, the last window
            last.
        best: Position of the best candidate, which is not the selected one where a simpler one is
            within one standard error.
        folder: Holds the checkpoint of the selected network.
    """

    section: str
    selected: Mapping[str, float]
    candidates: Sequence[Mapping[str, float]]
    windows: FloatArray
    best: int
    folder: Path

    def to_log(self) -> list[dict[str, float]]:
        """The candidates, JSON-like."""
        return [dict(candidate) for candidate in self.candidates]

    def describe(self) -> str:
        """The figures, the grid and the choice, as a sentence goes on."""
        mean = self.candidates[self._position][SELECTION_METRIC]
        searched = "; ".join(
            f"{name} {value:g} of {', '.join(f'{other:g}' for other in self._values(name))}"
            for name, value in self.selected.items()
        )
        n_windows = self.windows.shape[1]
        if n_windows == 1:
            return f"{SELECTION_METRIC.upper()} on validation ({mean:.4f}): {searched}."
        figures = self.windows[self._position]
        sentence = (
            f"{SELECTION_METRIC.upper()} on {n_windows} validation windows ({mean:.4f} ± "
            f"{figures.std(ddof=1):.4f} over windows: "
            f"{', '.join(f'{figure:.4f}' for figure in figures)}): {searched}."
        )
        if self.best == self._position:
            return sentence
        best = self.candidates[self.best]
        values = ", ".join(f"{name} {best[name]:g}" for name in self.selected)
        return (
            f"{sentence} It is the simplest within one standard error of the best, {values} "
            f"({best[SELECTION_METRIC]:.4f})."
        )

    @property
    def _position(self) -> int:
        """Position of the selected candidate."""
        return next(
            place
            for place, candidate in enumerate(self.candidates)
            if all(candidate[name] == value for name, value in self.selected.items())
        )

    def _values(self, name: str) -> list[float]:
        return sorted({candidate[name] for candidate in self.candidates})

    def apply(self, settings: BaselineSettings) -> BaselineSettings:
        """The settings with the selected hyperparameters."""
        section = getattr(settings, self.section).model_copy(update=dict(self.selected))
        return settings.model_copy(update={self.section: section})


def tune_model(
    name: str,
    fit: Callable[[BaselineSettings, Path, int], ScoringModel],
    settings: BaselineSettings,
    *,
    catalog: Catalog,
    windows: Sequence[EvalQueries],
    exclude_seen: bool,
    folder: Path,
    progress: ProgressCallback | None = None,
) -> TunedModel:
    """Select a model's hyperparameters by NDCG@10 on validation windows. What is done is read.

    With several windows, the simplest candidate within one standard error of the best is selected.

    Args:
        name: As in `bigrec.models.registry.NAMES`.
        fit: Fits it with some hyperparameters to what is before a window, given its number;
            networks keep checkpoints in the folder it gets.
        settings: Hyperparameters that the grid does not vary.
        catalog: The titles that are ranked.
        windows: Queries of each window, the validation part last.
        exclude_seen: The protocol.
        folder: Holds the ranks of all candidates, and the networks.
        progress: Called with (fits done, fits in total).
    """
    grid = _NETWORK_GRID if is_network(name) else _GRIDS[name]
    combinations, variants = _combinations(grid.fitted), _combinations(grid.varied)
    section = getattr(settings, grid.section)
    ranks: list[list[IntArray]] = [[] for _ in windows]
    for number, fitted_with in enumerate(combinations):
        with_values = section.model_copy(update=fitted_with)
        candidate = settings.model_copy(update={grid.section: with_values})
        place = folder / with_values.fingerprint()
        for window, queries in enumerate(windows):
            # From the last one, so that a further window changes no names.
            file = place / f"window-{len(windows) - 1 - window}.json"
            if not file.is_file():
                model = fit(candidate, place, window)
                found = [
                    model_ranks(variant, catalog, queries, exclude_seen=exclude_seen).tolist()
                    for variant in (grid.vary(model, variants) if grid.varied else [model])
                ]
                write_json(file, found)
            ranks[window].append(np.array(read_json(file), dtype=np.int64))
            if progress is not None:
                progress(number * len(windows) + window + 1, len(combinations) * len(windows))
    values = [fitted_with | varied for fitted_with in combinations for varied in variants]
    by_window = [np.concatenate(of_window) for of_window in ranks]
    figures = np.array([[selection_metric(row) for row in rows] for rows in by_window]).T
    best, selected = _select(by_window, figures.mean(axis=1), windows)
    fitted_with = {key: values[selected][key] for key in grid.fitted}
    return TunedModel(
        grid.section,
        values[selected],
        [
            {**candidate, SELECTION_METRIC: float(mean)}
            for candidate, mean in zip(values, figures.mean(axis=1), strict=True)
        ],
        figures,
        best,
        folder / section.model_copy(update=fitted_with).fingerprint(),
    )


def _select(
    ranks: Sequence[IntArray], means: FloatArray, windows: Sequence[EvalQueries]
) -> tuple[int, int]:
    """The best of the candidates, and the selected one."""
    best = int(means.argmax())
    if len(windows) < 2:
        return best, best
    values = np.concatenate(
        [np.stack([query_values(row, SELECTION_METRIC) for row in rows], axis=1) for rows in ranks]
    )
    queries = WindowQueries(windows)
    within = within_one_standard_error(
        values, values[:, best], windows=queries.numbers, users=queries.users
    )
    return best, int(within.argmax())


def can_tune(name: str) -> bool:
    """Whether a model has hyperparameters to tune."""
    return name in _GRIDS or is_network(name)


def _combinations(options: _Options) -> list[dict[str, float]]:
    return [dict(zip(options, values, strict=True)) for values in product(*options.values())]


def model_ranks(
    model: Scorer, catalog: Catalog, queries: EvalQueries, *, exclude_seen: bool
) -> IntArray:
    """0-based target ranks of a model by itself, ``[q]``.

    Args:
        model: Scores the catalog's items.
        catalog: The titles that are ranked.
        queries: Histories and targets.
        exclude_seen: The protocol.
    """
    scorer = TitleScorer(model, catalog)
    return title_ranks(
        lambda rows: scorer.scores(queries.histories[rows]),
        catalog,
        queries,
        exclude_seen=exclude_seen,
    )


def title_ranks(
    scores: Callable[[slice], FloatArray],
    catalog: Catalog,
    queries: EvalQueries,
    *,
    exclude_seen: bool,
) -> IntArray:
    """0-based target ranks by scores of titles, ``[q]``.

    Args:
        scores: From rows of the queries to the scores of all titles for them, ``[c, t]``.
        catalog: The titles that are ranked.
        queries: Histories and targets.
        exclude_seen: The protocol.
    """
    targets = catalog.title_ids[queries.targets]
    exclude = queries.seen_titles(catalog) if exclude_seen else None
    ranks: list[IntArray] = []
    for start in range(0, len(queries), _ROWS):
        rows = slice(start, start + _ROWS)
        excluded = None if exclude is None else exclude[rows]
        ranks.append(target_ranks(-scores(rows), targets[rows], exclude=excluded))
    return np.concatenate(ranks)
