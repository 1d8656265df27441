"""Fitting of retrieval mode's Gaussian head: statistics of states, and hyperparameters."""

from collections.abc import Mapping, Sequence

from bigrec.data.dataset import Dataset
from bigrec.grounding.gaussian import GaussianParameters
from bigrec.models.llm import LLMRetriever, RetrieverStates, title_vectors
from bigrec.models.text.grounded_titles import GaussianTitles
from bigrec.recommender.fit_store import FitStore
from bigrec.recommender.latent_fitting import (
    gaussian_parameters,
    statistics_collector,
    tune_grounding,
)
from bigrec.recommender.training_data import PreparedData
from bigrec.settings import Settings
from bigrec.types import ProgressFactory

# The simplest first. A network was trained on the very states that the head is fitted to, which are
# nearer to their items than later ones: far more shrinkage is needed than for untrained states.
_GRID: Mapping[str, Sequence[float]] = {
    "shrinkage": (100.0, 30.0, 10.0, 3.0, 0.1),
    "popularity_weight": (1.0, 2.0, 4.0),
    "ridge": (30_000.0,),
    "prior_strength": (30.0,),
}


def fit_retrieval_head(
    retriever: LLMRetriever,
    dataset: Dataset,
    prepared: PreparedData,
    settings: Settings,
    *,
    store: FitStore,
    parameters: GaussianParameters | None,
    progress_factory: ProgressFactory,
) -> GaussianTitles | None:
    """Ground titles at the retriever's states before them, if the settings say so.

    Args:
        retriever: Gives the states, and vectors of titles as features.
        dataset: The interactions and the catalog.
        prepared: Its examples.
        settings: Those of the retriever and of the head.
        store: Holds the statistics.
        parameters: Hyperparameters that are selected already.
        progress_factory: Called with the name of each long step; gives its progress callback.

    Returns:
        None where titles are ranked by the retriever's own vectors.
    """
    if settings.head != "gaussian":
        return None
    states = RetrieverStates(retriever, max_history_length=settings.data.max_history_length)
    collect = statistics_collector(
        states, dataset, prepared, settings, store=store, progress_factory=progress_factory
    )
    given = parameters or gaussian_parameters(settings.baselines.gaussian)
    head = GaussianTitles.fit(
        dataset.catalog.titles, given, embed=title_vectors(retriever), collect=collect
    )
    if parameters is not None or settings.baselines.tune == "none":
        return head
    return tune_grounding(
        head,
        states.after(prepared.valid_queries.histories),
        prepared.valid_queries,
        catalog=dataset.catalog,
        exclude_seen=prepared.exclude_seen,
        options=_GRID,
        progress=progress_factory("Tuning the head"),
    )
