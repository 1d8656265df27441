"""Fitting of generative mode's encoders: the index of titles, and the factors of both decodings."""

import time

import numpy as np

from bigrec.data.dataset import Dataset
from bigrec.evaluation.metrics import SELECTION_METRIC, selection_metric
from bigrec.grounding.beams import EncodedQueries
from bigrec.grounding.index import ItemIndex
from bigrec.grounding.ranker import Ranker
from bigrec.lm.model import LanguageModel
from bigrec.printable import get_logger
from bigrec.recommender.fit_store import TEXT_STAGES, FitStore
from bigrec.recommender.joint_query_encoder import Factors, JointQueryEncoder
from bigrec.recommender.latent_query_encoder import LatentQueryEncoder
from bigrec.recommender.likelihood_query_encoder import generative_encoder_class
from bigrec.recommender.query_encoders import GenerativeQueryEncoder
from bigrec.recommender.throughput import Throughput
from bigrec.recommender.title_index import INDEX_FOLDER
from bigrec.recommender.training_data import PreparedData
from bigrec.settings import Settings
from bigrec.types import ProgressFactory

logger = get_logger(__name__)

# Weight of the states, from 0 to 1; either alone first, as the simplest.
_WEIGHTS = (1.0, 0.0, 0.5, 0.75, 0.25, 0.9, 0.1, 0.97, 0.03)
# Queries that tell the units of distances.
_SAMPLED = 256


def fit_texts(
    lm: LanguageModel,
    dataset: Dataset,
    prepared: PreparedData,
    settings: Settings,
    *,
    store: FitStore,
    progress_factory: ProgressFactory,
) -> GenerativeQueryEncoder:
    """The encoder that writes titles or ranks by their likelihood, with its catalog embedded.

    Args:
        lm: The fine-tuned model.
        dataset: Its catalog is embedded.
        prepared: The items' counts.
        settings: Of prompt, decoding and embedding.
        store: Holds the index.
        progress_factory: Called with the name of each long step; gives its progress callback.
    """
    stage = store.stage("index")
    started = time.monotonic()
    throughput = Throughput("titles", progress_factory("Embedding the catalog"))
    previous = stage.folder / INDEX_FOLDER if stage.is_complete else store.previous_index()
    encoder = generative_encoder_class(settings)(
        settings,
        lm,
        catalog=dataset.catalog,
        counts=prepared.counts,
        item_type=dataset.item_type,
        index=None if previous is None else ItemIndex.load(previous),
        index_parts=stage.folder / "parts",
        progress=throughput,
    )
    if not stage.is_complete:
        encoder.ranker.index.save(stage.folder / INDEX_FOLDER)
        stage.finish(started, throughput=throughput)
    return encoder


def fit_joint(
    texts: GenerativeQueryEncoder,
    states: LatentQueryEncoder,
    prepared: PreparedData,
    settings: Settings,
    *,
    store: FitStore,
    progress_factory: ProgressFactory,
) -> JointQueryEncoder:
    """Both encoders as one; the factors of their distances are selected on validation.

    Args:
        texts: Writes titles.
        states: Reads the state before them.
        prepared: The validation queries.
        settings: The beams that are grounded.
        store: Holds the texts and states of validation.
        progress_factory: Called with the name of each long step; gives its progress callback.
    """
    queries, folder = prepared.valid_queries, store.stage(TEXT_STAGES["valid"]).folder
    written = texts.encode(
        queries.histories, parts_folder=folder, progress=progress_factory("Encoding (valid)")
    )
    read = states.encode(queries.histories, parts_folder=folder)
    units = [_unit(texts.ranker, written), _unit(states.ranker, read)]

    def encoder_with(weight: float) -> JointQueryEncoder:
        factors = np.sqrt([1 - weight, weight]) / units
        return JointQueryEncoder(texts, states, Factors(*factors.tolist()))

    def figure_of(weight: float) -> float:
        encoder = encoder_with(weight)
        ranks = encoder.ranker.target_ranks(
            encoder.join(written, read),
            queries.targets,
            beams=settings.grounding.beams,
            exclude=queries.full_histories if prepared.exclude_seen else None,
        )
        figure = selection_metric(ranks)
        logger.info("%s %.4f with weight %g of the state", SELECTION_METRIC.upper(), figure, weight)
        return figure

    return encoder_with(max(_WEIGHTS, key=figure_of))


def _unit(ranker: Ranker, encoded: EncodedQueries) -> float:
    """Square root of how much squared distances to titles differ for a query, more than 0."""
    sample = encoded.first(min(_SAMPLED, len(encoded)))
    spreads = [
        np.square(batch.combine("top1")[0]).std(axis=1)
        for batch in ranker.iter_distances(sample, beams="top1")
    ]
    return float(np.sqrt(np.concatenate(spreads).mean())) or 1.0
