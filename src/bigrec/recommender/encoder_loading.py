"""Query encoders read from a bundle's folder."""

from pathlib import Path
from typing import TYPE_CHECKING

from bigrec.data.catalog import Catalog
from bigrec.recommender.query_encoder import QueryEncoder
from bigrec.recommender.state_query_encoder import StateContext, load_users
from bigrec.recommender.text_query_encoder import TextQueryEncoder
from bigrec.recommender.title_encoder import TitleEncoder
from bigrec.settings import Settings
from bigrec.types import IntArray

if TYPE_CHECKING:
    from bigrec.lm.model import LanguageModel


def load_query_encoder(
    folder: Path,
    settings: Settings,
    lm: "LanguageModel | None",
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
        lm: The base model, truncated; it is the trained one afterwards. None in text mode.
        title_encoder: Embeds new titles in text mode.
        catalog: The bundle's.
        counts: Occurrences of each item in the training split, ``[n]``.
        item_type: What the prompt calls one item.

    Raises:
        BundleError: If a file is missing, damaged, of another version or of another model.
        StaleIndexError: If the item index was made with another model or catalog.
    """
    if lm is None:
        users = load_users(folder, settings)
        return TextQueryEncoder.load(folder, StateContext(catalog, counts, title_encoder, users))
    from bigrec.recommender.lm_encoder_loading import load_lm_encoder  # noqa: PLC0415 - torch

    return load_lm_encoder(
        folder,
        settings,
        lm,
        title_encoder=title_encoder,
        catalog=catalog,
        counts=counts,
        item_type=item_type,
    )
