"""Training of the language model for retrieval, with the text features of the catalog."""

from pathlib import Path

from bigrec.data.catalog import Catalog
from bigrec.lm.distributed import main_process_first
from bigrec.models.llm import LLMRetriever, title_features
from bigrec.models.registry import TrainingData
from bigrec.recommender.factory import load_truncated_model
from bigrec.recommender.fit_store import FitStore
from bigrec.recommender.title_index import kept_index
from bigrec.settings import Settings
from bigrec.types import ProgressCallback, ProgressFactory


def fit_retriever(
    data: TrainingData,
    catalog: Catalog,
    settings: Settings,
    *,
    features_store: FitStore,
    progress_factory: ProgressFactory,
    stop_after: int | None,
    folder: Path | None = None,
    progress: ProgressCallback | None = None,
) -> LLMRetriever:
    """Train the language model for retrieval.

    Args:
        data: What it is trained on.
        catalog: Its titles, whose text features are made once.
        settings: Those of retrieval mode.
        features_store: Keeps the text features.
        progress_factory: Called with the name of each long step; gives its progress callback.
        stop_after: Epochs, without validation; None stops early on validation.
        folder: Holds checkpoints; None keeps none.
        progress: Called with (targets done, targets in all epochs).

    Raises:
        ModelError: If the base model cannot be loaded, or has fewer layers than asked for.
    """
    # A model for each retriever: its adapter stays in it.
    with main_process_first():
        lm = load_truncated_model(settings, "retrieval")
        text_features = title_features(lm, catalog)
        features = kept_index(
            features_store.stage("retrieval").folder,
            catalog.unique_titles,
            text_features,
            progress=progress_factory("Embedding the catalog"),
        )
    return LLMRetriever.fit(
        lm,
        features,
        data,
        settings.retrieval,
        title_ids=catalog.title_ids,
        seed=settings.seed,
        text_features=text_features,
        stop_after=stop_after,
        folder=folder,
        progress=progress,
    )
