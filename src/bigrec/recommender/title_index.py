"""An index of titles that is made once and kept in a folder."""

import json
from collections.abc import Sequence
from pathlib import Path

from bigrec.grounding.index import ItemIndex
from bigrec.types import ProgressCallback, TextEmbedder

INDEX_FOLDER = "index"
"""The item index in the folder of a stage or of a bundle."""


def kept_index(
    folder: Path, titles: Sequence[str], embedder: TextEmbedder, *, progress: ProgressCallback
) -> ItemIndex:
    """Index of the titles without normalization: the folder's own, or one made and kept there.

    Args:
        folder: Holds the index, and the parts of one that was interrupted.
        titles: Different titles.
        embedder: Embeds the titles that the folder's index lacks.
        progress: Called with (titles embedded, titles to embed).

    Raises:
        StorageError: If the folder cannot be written.
    """
    place = folder / INDEX_FOLDER
    previous = ItemIndex.load(place) if place.is_dir() else None
    if previous is not None and previous.belongs_to(embedder, titles, normalization="none"):
        return previous
    index = ItemIndex.build(
        titles, embedder, previous=previous, parts=folder / "parts", progress=progress
    )
    index.save(place)
    return index


def json_bytes(titles: Sequence[str]) -> int:
    """Upper bound of the bytes that titles take in a JSON file, a few other values included."""
    return 4096 + sum(8 + len(json.dumps(title)) for title in titles)
