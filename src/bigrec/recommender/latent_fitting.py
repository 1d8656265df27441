"""Fitting of latent decoding: statistics of the states, and the hyperparameters of the head."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Protocol

import numpy as np

from bigrec.data.catalog import Catalog
from bigrec.data.dataset import Dataset
from bigrec.data.examples import all_position_windows
from bigrec.evaluation.metrics import SELECTION_METRIC, selection_metric
from bigrec.grounding.gaussian import GaussianParameters
from bigrec.grounding.gaussian_statistics import GaussianStatistics
from bigrec.lm.states import NextTitleStates
from bigrec.models.base import EmbedTitles
from bigrec.models.text.grounded_titles import (
    CollectStatistics,
    GaussianTitles,
    GroundedTitles,
    MeanTitles,
)
from bigrec.printable import get_logger
from bigrec.recommender.fit_store import TEXT_STAGES, FitStore
from bigrec.recommender.latent_query_encoder import (
    LatentQueryEncoder,
    StateModel,
    history_states,
)
from bigrec.recommender.query_encoder import QueryEncoder
from bigrec.recommender.query_encoders import RetrievalQueryEncoder
from bigrec.recommender.throughput import Throughput
from bigrec.recommender.training_data import EvalQueries, PreparedData
from bigrec.recommender.tuning import title_ranks
from bigrec.settings import Settings
from bigrec.settings.baselines import GaussianSettings
from bigrec.storage.temporaries import remove
from bigrec.types import FloatArray, IntArray, ProgressCallback, ProgressFactory

logger = get_logger(__name__)

_PREFIX = "statistics-"
# Sequences between two looks at the clock.
_SEQUENCES = 64
_SAVE_EVERY_S = 60.0

# The simplest first: stronger regularization, less to estimate.
_GRID: Mapping[str, Sequence[float]] = {
    "shrinkage": (0.1, 0.01),
    "popularity_weight": (0.0, 0.25, 1.0, 4.0),
    "ridge": (30_000.0, 3_000.0),
}


def fit_grounded(
    model: StateModel,
    dataset: Dataset,
    prepared: PreparedData,
    settings: Settings,
    *,
    store: FitStore,
    embed: EmbedTitles,
    parameters: GaussianParameters | None,
    progress_factory: ProgressFactory,
) -> GroundedTitles:
    """Ground the titles of a catalog at the states before them.

    Args:
        model: Gives the states.
        dataset: The interactions and the catalog.
        prepared: Its examples.
        settings: Those of latent decoding and of the head.
        store: Holds the statistics, and the states of validation.
        embed: Embeds titles.
        parameters: Hyperparameters of a Gaussian head, if they are selected already.
        progress_factory: Called with the name of each long step; gives its progress callback.
    """
    titles = dataset.catalog.titles
    collect = statistics_collector(
        _TitleStates(model.states, titles),
        dataset,
        prepared,
        settings,
        store=store,
        progress_factory=progress_factory,
    )
    if model.head == "l2":
        return MeanTitles.fit(titles, embed=embed, collect=collect)
    given = parameters or gaussian_parameters(settings.baselines.gaussian)
    grounded = GaussianTitles.fit(titles, given, embed=embed, collect=collect)
    if parameters is not None or settings.baselines.tune == "none":
        return grounded
    states = history_states(
        model.states,
        dataset.catalog,
        prepared.valid_queries.histories,
        parts_folder=store.stage(TEXT_STAGES["valid"]).folder,
        progress=progress_factory("Encoding (valid)"),
    )
    return tune_grounding(
        grounded,
        states,
        prepared.valid_queries,
        catalog=dataset.catalog,
        exclude_seen=prepared.exclude_seen,
        progress=progress_factory("Tuning the head"),
    )


class SequenceStates(Protocol):
    """Gives states within sequences of items."""

    @property
    def dim(self) -> int:
        """Dimensions of a state, ``d``."""
        ...

    def within(self, sequences: Sequence[IntArray]) -> FloatArray:
        """States before every item of sequences but their first, ``[m, d]`` float32."""
        ...


@dataclass(frozen=True)
class _TitleStates:
    """`SequenceStates` of a language model that reads titles."""

    states: NextTitleStates
    titles: Sequence[str]

    @property
    def dim(self) -> int:
        return self.states.dim

    def within(self, sequences: Sequence[IntArray]) -> FloatArray:
        return self.states.within(
            [[self.titles[item] for item in sequence] for sequence in sequences]
        )


def statistics_collector(
    states: SequenceStates,
    dataset: Dataset,
    prepared: PreparedData,
    settings: Settings,
    *,
    store: FitStore,
    progress_factory: ProgressFactory,
) -> CollectStatistics:
    """Gives the statistics of the training data's states, in the store's stage of them.

    Args:
        states: Gives the states.
        dataset: The interactions and the catalog.
        prepared: Its examples.
        settings: What the mode's model is trained on, and the longest history.
        store: Holds the statistics.
        progress_factory: Called with the name of each long step; gives its progress callback.
    """
    stage = store.stage("latent")
    started = time.monotonic()
    throughput = Throughput("sequences", progress_factory("States of the training data"))

    def collect(rows: IntArray, _: FloatArray) -> GaussianStatistics:
        statistics = collect_statistics(
            states,
            state_sequences(dataset, prepared, settings),
            rows=rows,
            folder=stage.folder,
            progress=throughput,
        )
        if not stage.is_complete:
            stage.finish(started, throughput=throughput)
        return statistics

    return collect


def collect_statistics(
    states: SequenceStates,
    sequences: Sequence[IntArray],
    *,
    rows: IntArray,
    folder: Path,
    progress: ProgressCallback | None = None,
) -> GaussianStatistics:
    """Statistics of the states before every item of the sequences but their first.

    They are saved once a minute, so that an interrupted call resumes, to the same bits.

    Args:
        states: Gives the states.
        sequences: Item numbers of each, oldest first, at least two.
        rows: Row of each item's title among the different titles, ``[n]``.
        folder: Holds the statistics so far.
        progress: Called with (sequences done, sequences in total).

    Raises:
        BundleError: If what is in the folder is damaged.
        ModelError: If a state is not finite.
    """
    stored = max(folder.glob(f"{_PREFIX}*.safetensors"), default=None)
    if stored is None:
        done, statistics = 0, GaussianStatistics.empty(int(rows.max()) + 1, states.dim)
    else:
        done = int(stored.stem.removeprefix(_PREFIX))
        statistics = GaussianStatistics.load(stored)
    saved_at = time.monotonic()
    while done < len(sequences):
        some = sequences[done : done + _SEQUENCES]
        vectors = states.within(some)
        targets = np.concatenate([sequence[1:] for sequence in some])
        statistics.partial_fit(vectors, rows[targets])
        done += len(some)
        if done == len(sequences) or time.monotonic() - saved_at > _SAVE_EVERY_S:
            statistics.save(folder / f"{_PREFIX}{done:09d}.safetensors")
            if stored is not None:
                remove(stored)
            stored = folder / f"{_PREFIX}{done:09d}.safetensors"
            saved_at = time.monotonic()
        if progress is not None:
            progress(done, len(sequences))
    return statistics


def state_sequences(dataset: Dataset, prepared: PreparedData, settings: Settings) -> list[IntArray]:
    """Item numbers of the sequences whose states are collected, oldest first.

    Args:
        dataset: The interactions.
        prepared: Its examples.
        settings: What the mode's model is trained on, and the longest history.
    """
    if settings.trains_on_examples:
        return list(prepared.train_items)
    # Half of a window's positions have a history of full length before them, or a longer one.
    windows = all_position_windows(
        dataset.interactions, prepared.train_rows, window=2 * settings.data.max_history_length
    )
    return [dataset.interactions.items[rows].astype(np.int64) for rows in windows]


def gaussian_parameters(settings: GaussianSettings) -> GaussianParameters:
    """The settings' hyperparameters of Gaussian grounding.

    The temperature is 1: only its ratio to the weight of popularity ranks.
    """
    values = settings.model_dump(exclude={"decay", "window"})
    return GaussianParameters(**values, temperature=1.0)


def tune_grounding(
    grounded: GaussianTitles,
    states: FloatArray,
    queries: EvalQueries,
    *,
    catalog: Catalog,
    exclude_seen: bool,
    options: Mapping[str, Sequence[float]] = _GRID,
    progress: ProgressCallback | None = None,
) -> GaussianTitles:
    """Select hyperparameters of the Gaussian model by NDCG@10 on validation, in closed form.

    Args:
        grounded: Fitted, for the catalog.
        states: States after the queries' histories, ``[q, d]``.
        queries: Validation queries.
        catalog: The titles that are ranked.
        exclude_seen: The protocol.
        options: Values of hyperparameters, the simplest first.
        progress: Called with (fits done, fits in total).

    Returns:
        The model with the best hyperparameters; of equal ones the simplest.
    """
    grid = [dict(zip(options, values, strict=True)) for values in product(*options.values())]
    best, best_figure = grounded, -1.0
    models = grounded.variants(
        [replace(grounded.grounding.parameters, **values) for values in grid]
    )
    for number, (values, model) in enumerate(zip(grid, models, strict=True)):
        ranks = title_ranks(
            _title_scores(model, states, catalog), catalog, queries, exclude_seen=exclude_seen
        )
        figure = selection_metric(ranks)
        logger.info("%s %.4f with %s", SELECTION_METRIC.upper(), figure, values)
        if figure > best_figure:
            best, best_figure = model, figure
        if progress is not None:
            progress(number + 1, len(grid))
    return best


def parameters_of(encoder: QueryEncoder) -> GaussianParameters | None:
    """Hyperparameters of an encoder whose head is Gaussian; None of another one."""
    encoder = encoder.state_encoder
    if isinstance(encoder, LatentQueryEncoder) and isinstance(encoder.grounded, GaussianTitles):
        return encoder.grounded.grounding.parameters
    if isinstance(encoder, RetrievalQueryEncoder) and encoder.head is not None:
        return encoder.head.grounding.parameters
    return None


def _title_scores(
    model: GaussianTitles, states: FloatArray, catalog: Catalog
) -> Callable[[slice], FloatArray]:
    """Scores ``[c, t]`` of the catalog's titles for some of the states."""
    title_rows = model.rows[catalog.first_items]
    return lambda rows: model.grounding.scores(states[rows])[:, title_rows]
