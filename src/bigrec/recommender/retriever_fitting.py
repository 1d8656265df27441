"""Training of the language model for retrieval, with the text features of the catalog."""

from collections.abc import Sequence
from pathlib import Path

from bigrec.data.catalog import Catalog
from bigrec.grounding.index import ItemIndex
from bigrec.lm.distributed import main_process_first
from bigrec.models.llm import LLMRetriever, title_features
from bigrec.models.llm.catalogs import ExtraCatalog
from bigrec.models.registry import TrainingData
from bigrec.recommender.factory import load_truncated_model
from bigrec.recommender.fit_store import FitStore
from bigrec.recommender.title_index import kept_index
from bigrec.recommender.training_data import ExtraSource, few_shot_interactions
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
    extra_sources: Sequence[ExtraSource] = (),
    on_examples: bool = False,
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
        extra_sources: Further datasets that it is trained on too.
        on_examples: Whether that is on their training examples, or on all their interactions.
        progress: Called with (targets done, targets in all epochs).

    Raises:
        DataError: If a dataset has no sequence to train on.
        ModelError: If the base model cannot be loaded, or has fewer layers than asked for.
    """
    # A model for each retriever: its adapter stays in it.
    with main_process_first():
        lm = load_truncated_model(settings, "retrieval")
        text_features = title_features(lm, catalog)
        folder_of_features = features_store.stage("retrieval").folder
        embedding = progress_factory("Embedding the catalog")
        features = kept_index(
            folder_of_features, catalog.unique_titles, text_features, progress=embedding
        )
        extra_catalogs = [
            _extra_catalog(
                source,
                kept_index(
                    folder_of_features / f"extra-{number}",
                    source.dataset.catalog.unique_titles,
                    title_features(lm, source.dataset.catalog),
                    progress=progress_factory(f"Embedding {source.dataset.name}"),
                ),
                on_examples=on_examples,
            )
            for number, source in enumerate(extra_sources)
        ]
    return LLMRetriever.fit(
        lm,
        features,
        data,
        settings.retrieval,
        title_ids=catalog.title_ids,
        seed=settings.seed,
        extra_catalogs=extra_catalogs,
        text_features=text_features,
        stop_after=stop_after,
        folder=folder,
        progress=progress,
    )


def _extra_catalog(source: ExtraSource, index: ItemIndex, *, on_examples: bool) -> ExtraCatalog:
    interactions, train = source.dataset.interactions, source.train_rows
    if on_examples:
        interactions, train = few_shot_interactions(source.train_items)
    dataset = source.dataset
    return ExtraCatalog(dataset.name, index, interactions, train, dataset.catalog.title_ids)
