"""Query encoders read from a bundle's folder."""

import json
from collections.abc import Sequence
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
from bigrec.recommender.query_encoders import (
    RETRIEVER_FOLDER,
    GenerativeQueryEncoder,
    QueryEncoder,
    RetrievalQueryEncoder,
    load_head,
)
from bigrec.recommender.state_query_encoder import StateContext
from bigrec.recommender.text_query_encoder import TextQueryEncoder
from bigrec.recommender.title_encoder import TitleEncoder
from bigrec.recommender.title_index import INDEX_FOLDER
from bigrec.recommender.user_histories import USERS_FILE, UserHistories
from bigrec.settings import Settings
from bigrec.types import IntArray, TextEmbedder


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


def json_bytes(titles: Sequence[str]) -> int:
    """Upper bound of the bytes that titles take in a JSON file, a few other values included."""
    return 4096 + sum(8 + len(json.dumps(title)) for title in titles)


def load_query_encoder(
    folder: Path,
    settings: Settings,
    lm: LanguageModel | None,
    *,
    title_encoder: TitleEncoder,
    catalog: Catalog,
    counts: IntArray,
    item_type: str,
) -> QueryEncoder:
    """Read what ``save`` wrote into a bundle's folder.

    Args:
        folder: The bundle.
        settings: The bundle's.
        lm: The base model, as `load_encoder_model` gives it; it is the trained one afterwards.
        title_encoder: Embeds new titles in text mode.
        catalog: The bundle's.
        counts: Occurrences of each item in the training split, ``[n]``.
        item_type: What the prompt calls one item.

    Raises:
        BundleError: If a file is missing, damaged, of another version or of another model.
        StaleIndexError: If the item index was made with another model or catalog.
    """
    states: LatentQueryEncoder | None = None
    if lm is None or settings.decodes_states:
        length = settings.data.max_history_length
        users = UserHistories.load(folder / USERS_FILE, length=length)
        context = StateContext(catalog, counts, title_encoder, users)
        if lm is None:
            return TextQueryEncoder.load(folder, context)
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
    texts = GenerativeQueryEncoder(
        settings, lm, catalog=catalog, counts=counts, item_type=item_type, index=index
    )
    return texts if states is None else JointQueryEncoder.load(folder, texts, states)
