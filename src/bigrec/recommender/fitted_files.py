"""A fitted recommender in a bundle's folder: what was fitted, and a changed catalog."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from bigrec.data.catalog import Catalog
from bigrec.data.stored_tables import damaged_table, read_table
from bigrec.errors import BundleError, DataError
from bigrec.grounding.index import ItemIndex
from bigrec.recommender.approximate import save_graph
from bigrec.recommender.fitted import FittedRecommender
from bigrec.recommender.fusion import SignalFusion
from bigrec.recommender.title_index import json_bytes
from bigrec.recommender.version import save_version
from bigrec.types import FloatArray, IntArray

_CATALOG, _COUNTS, _SIGNALS = "catalog.parquet", "counts.parquet", "signals"
_COUNTS_TABLE = "counts of items"
# A catalog other than the fitted one: the items, and embeddings of titles that are new in it.
_CHANGED, _EMBEDDINGS, _SENTENCES = "changed", "index", "sentences"


def save_fitted(fitted: FittedRecommender, folder: Path) -> None:
    """Write everything but the base model and the settings into a bundle's folder.

    That is the fitted recommender, and a changed catalog with the embeddings of new titles.
    """
    origin = fitted.origin
    save_version(folder, origin.version)
    origin.encoder.save(folder)
    save_graph(origin, folder)
    origin.catalog.save(folder / _CATALOG)
    pl.DataFrame({"count": origin.counts}).write_parquet(folder / _COUNTS)
    if origin.fusion is not None:
        origin.fusion.save(folder / _SIGNALS)
    if origin is not fitted:
        _save_change(fitted, folder / _CHANGED)


def _save_change(fitted: FittedRecommender, folder: Path) -> None:
    folder.mkdir()
    fitted.catalog.save(folder / _CATALOG)
    known = fitted.origin.encoder.title_embeddings.rows
    new = fitted.encoder.title_embeddings.without(known)
    if new is not None:
        new.save(folder / _EMBEDDINGS)
    if fitted.new_titles:
        vectors = np.stack(list(fitted.new_titles.values()))
        ItemIndex(tuple(fitted.new_titles), vectors, _SENTENCES).save(folder / _SENTENCES)


def with_stored_catalog(fitted: FittedRecommender, folder: Path) -> FittedRecommender:
    """A recommender, as loaded from a bundle, with the catalog that it had when saved.

    Args:
        fitted: What was fitted.
        folder: The bundle.

    Raises:
        BundleError: If a file is missing or damaged, or a new title has no embedding.
    """
    changed = folder / _CHANGED
    if not changed.is_dir():
        return fitted
    catalog = _load_catalog(
        changed, text_columns=fitted.settings.data.text_columns, known=fitted.catalog
    )
    embedded, sentences = (
        ItemIndex.load(place, max_bytes=json_bytes(catalog.unique_titles))
        if (place := changed / name).is_dir()
        else None
        for name in (_EMBEDDINGS, _SENTENCES)
    )

    def refuse(titles: Sequence[str]) -> FloatArray:
        raise BundleError(
            f"{changed} cannot be used: it lacks embeddings of {len(titles)} titles, such as "
            f"{titles[0]!r}. Save the recommender again."
        )

    known = fitted.encoder.title_embeddings.joined(embedded).rows
    missing = [title for title in catalog.unique_titles if title not in known]
    if missing:
        refuse(missing)
    vectors = zip(sentences.titles, sentences.embeddings, strict=True) if sentences else ()
    return fitted.changed(catalog, embedded=embedded, sentences=dict(vectors), embed=refuse)


def load_catalog(folder: Path, *, text_columns: Sequence[str]) -> tuple[Catalog, IntArray]:
    """Catalog and counts that `save_fitted` wrote.

    Args:
        folder: The bundle.
        text_columns: Columns that are part of a title's text.

    Raises:
        BundleError: If a file is missing or damaged.
    """
    catalog = _load_catalog(folder, text_columns=text_columns)
    path = folder / _COUNTS
    counts = read_table(path, {"count": pl.Int64}, n_rows=catalog.n_items, what=_COUNTS_TABLE)
    if (counts["count"] < 0).any():
        raise damaged_table(path, "a count is negative", what=_COUNTS_TABLE)
    return catalog, counts["count"].to_numpy()


def _load_catalog(
    folder: Path, *, text_columns: Sequence[str], known: Catalog | None = None
) -> Catalog:
    """A catalog, with the texts of its titles; see `Catalog.reading`."""
    path = folder / _CATALOG
    try:
        return Catalog.load(path).reading(text_columns, known=known)
    except DataError as error:
        raise damaged_table(path, str(error).rstrip("."), what="a catalog") from None


def load_fusion(folder: Path) -> SignalFusion:
    """Signals that `save_fitted` wrote.

    Raises:
        BundleError: If a file is missing, damaged or of another version.
    """
    return SignalFusion.load(folder / _SIGNALS)
