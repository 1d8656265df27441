"""Query encoders of language models, read from a bundle's folder."""

from pathlib import Path

from bigrec.data.catalog import Catalog
from bigrec.errors import StaleIndexError
from bigrec.grounding.index import ItemIndex
from bigrec.grounding.space import Normalization
from bigrec.lm.model import LanguageModel
from bigrec.lm.trained import load_trained
from bigrec.models.llm import LLMRetriever, title_features
from bigrec.recommender.factory import make_embedder
from bigrec.recommender.joint_query_encoder import JointQueryEncoder
from bigrec.recommender.latent_query_encoder import LatentQueryEncoder, make_state_model
from bigrec.recommender.likelihood_query_encoder import generative_encoder_class
from bigrec.recommender.query_encoder import QueryEncoder
from bigrec.recommender.query_encoders import (
    RETRIEVER_FOLDER,
    RetrievalQueryEncoder,
    load_head,
)
from bigrec.recommender.state_query_encoder import StateContext, load_users
from bigrec.recommender.title_encoder import TitleEncoder
from bigrec.recommender.title_index import INDEX_FOLDER, json_bytes
from bigrec.settings import Settings
from bigrec.types import IntArray, TextEmbedder


def load_lm_encoder(
    folder: Path,
    settings: Settings,
    lm: LanguageModel,
    *,
    title_encoder: TitleEncoder,
    catalog: Catalog,
    counts: IntArray,
    item_type: str,
) -> QueryEncoder:
    """Read what ``save`` wrote into a bundle's folder; see `load_query_encoder`."""
    states: LatentQueryEncoder | None = None
    if settings.decodes_states:
        users = load_users(folder, settings)
        context = StateContext(catalog, counts, title_encoder, users)
        load_trained(lm, folder, method=settings.generative.finetune.method)
        states = LatentQueryEncoder.load(folder, make_state_model(lm, settings, item_type), context)
        if not settings.writes_texts:
            return states
    index = ItemIndex.load(folder / INDEX_FOLDER, max_bytes=json_bytes(catalog.unique_titles))
    if settings.mode == "retrieval":
        _check_index(
            index,
            title_features(lm, catalog),
            catalog,
            folder / INDEX_FOLDER,
            normalization="none",
        )
        retriever = LLMRetriever.load(
            folder / RETRIEVER_FOLDER, lm=lm, index=index, title_ids=catalog.title_ids
        )
        return RetrievalQueryEncoder(
            retriever,
            catalog=catalog,
            counts=counts,
            max_history_length=settings.data.max_history_length,
            head=load_head(folder, retriever) if settings.head == "gaussian" else None,
        )
    if states is None:
        load_trained(lm, folder, method=settings.generative.finetune.method)
    normalization = settings.generative.embedding.normalization
    embedder = make_embedder(lm, settings)
    _check_index(index, embedder, catalog, folder / INDEX_FOLDER, normalization=normalization)
    texts = generative_encoder_class(settings)(
        settings, lm, catalog=catalog, counts=counts, item_type=item_type, index=index
    )
    return texts if states is None else JointQueryEncoder.load(folder, texts, states)


def _check_index(
    index: ItemIndex,
    embedder: TextEmbedder,
    catalog: Catalog,
    folder: Path,
    *,
    normalization: Normalization,
) -> None:
    """Refuse an index of another model, catalog or normalization, naming its folder.

    Raises:
        StaleIndexError: If it is.
    """
    try:
        index.check(embedder, catalog.unique_titles, normalization=normalization)
    except StaleIndexError as error:
        raise StaleIndexError(f"{folder} is not of this bundle: {error}") from None
