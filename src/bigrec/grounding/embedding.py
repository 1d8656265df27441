"""Embed texts with checks, and in parts from which an interrupted run is resumed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bigrec.errors import BundleError, ModelError
from bigrec.printable import get_logger
from bigrec.storage import fingerprint
from bigrec.storage.arrays import Expected, check_arrays, read_arrays, write_arrays
from bigrec.types import FloatArray, ProgressCallback, TextEmbedder

_TITLES_PER_PART = 512
_NAME = "embeddings"

logger = get_logger(__name__)


def write_embeddings(path: Path, embeddings: FloatArray) -> None:
    """Write ``[q, d]`` embeddings as a safetensors file, whole or not at all."""
    write_arrays(path, {_NAME: embeddings})


def read_embeddings(path: Path) -> FloatArray:
    """Read what ``write_embeddings`` wrote.

    Raises:
        BundleError: If the file is missing or is not a safetensors file of embeddings.
    """
    arrays = read_arrays(path)
    check_arrays(path, arrays, {_NAME: Expected(("q", "d"))})
    return arrays[_NAME]


def embed_checked(
    texts: Sequence[str], embedder: TextEmbedder, *, progress: ProgressCallback | None = None
) -> FloatArray:
    """Embed texts as ``[q, d]`` float32 and refuse embeddings that cannot be ranked.

    Raises:
        ModelError: If the embedder gives another shape than one row per text, or a NaN or infinity.
    """
    embeddings = np.asarray(embedder.embed(texts, progress=progress), dtype=np.float32)
    if embeddings.ndim != 2 or len(embeddings) != len(texts):
        raise ModelError(
            f"The embedder gave an array of shape {embeddings.shape} for {len(texts)} texts; "
            "expected one row per text. Correct the embedder."
        )
    broken = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if broken.size:
        raise ModelError(
            f"The embedding of {texts[broken[0]]!r} holds NaN or infinity, as do those of "
            f"{broken.size - 1} other texts. Run the model in float32, or in bfloat16 instead of "
            "float16."
        )
    return embeddings


def embed_in_parts(
    titles: Sequence[str],
    embedder: TextEmbedder,
    *,
    folder: Path | None = None,
    progress: ProgressCallback | None = None,
) -> FloatArray:
    """Embed titles part by part, keeping finished parts in ``folder``.

    A part's name is derived from the embedder and the titles in it, so a part of another model or
    catalog is never read. ``remove_parts`` removes finished parts.

    Args:
        titles: At least one title.
        embedder: The embedder.
        folder: Folder of finished parts; None keeps none.
        progress: Called with (titles embedded, titles to embed).

    Returns:
        ``[len(titles), d]`` float32.

    Raises:
        ModelError: If an embedding cannot be used.
    """
    parts = []
    for start in range(0, len(titles), _TITLES_PER_PART):
        part = titles[start : start + _TITLES_PER_PART]
        path = folder / f"{_part_name(part, embedder)}.safetensors" if folder else None
        embeddings = _read_part(path, part) if path else None
        if embeddings is None:
            embeddings = embed_checked(part, embedder)
            if path:
                write_embeddings(path, embeddings)
        parts.append(embeddings)
        if progress:
            progress(start + len(part), len(titles))
    return np.concatenate(parts)


def remove_parts(folder: Path) -> None:
    """Remove every part, stale ones too, and the folder if it is empty then."""
    if not folder.is_dir():
        return
    for path in folder.glob("part-*.safetensors"):
        path.unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def _part_name(titles: Sequence[str], embedder: TextEmbedder) -> str:
    return f"part-{fingerprint([embedder.fingerprint, list(titles)])}"


def _read_part(path: Path, titles: Sequence[str]) -> FloatArray | None:
    if not path.exists():
        return None
    try:
        embeddings = read_embeddings(path)
    except BundleError as error:
        logger.warning("Embedding %d titles again: %s", len(titles), error)
        return None
    return embeddings if len(embeddings) == len(titles) else None
