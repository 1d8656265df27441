"""Vectors of titles."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bigrec.data.catalog import Catalog
from bigrec.storage import fingerprint
from bigrec.types import FloatArray, ProgressCallback, TextEmbedder


@dataclass(frozen=True)
class TitleEmbedder:
    """Embeds titles of a catalog by their texts; a `TextEmbedder` of titles.

    Attributes:
        embedder: Embeds the texts.
        catalog: Has them, see `Catalog.texts`.
    """

    embedder: TextEmbedder
    catalog: Catalog

    @property
    def fingerprint(self) -> str:
        """Identifies the embedder and the columns of a text."""
        columns = self.catalog.text_columns
        embedder = self.embedder.fingerprint
        return fingerprint([embedder, *columns]) if columns else embedder

    def embed(
        self, texts: Sequence[str], *, progress: ProgressCallback | None = None
    ) -> FloatArray:
        """Embed titles of the catalog as ``[q, d]`` float32, in the order given.

        Args:
            texts: Titles, ``q`` of them.
            progress: Called with (titles embedded, titles to embed).

        Raises:
            KeyError: If the catalog lacks one.
        """
        text_of = self.catalog.text_of
        return self.embedder.embed([text_of[title] for title in texts], progress=progress)


def remembering(
    embed: Callable[[Sequence[str]], FloatArray], vectors: dict[str, FloatArray]
) -> Callable[[Sequence[str]], FloatArray]:
    """A function that embeds titles and asks ``embed`` only for those that it does not know.

    Args:
        embed: From different titles to their vectors ``[m, d]``.
        vectors: Known vectors by title, to which new ones are added.
    """

    def embed_new(titles: Sequence[str]) -> FloatArray:
        new = [title for title in dict.fromkeys(titles) if title not in vectors]
        if new:
            vectors.update(zip(new, embed(new), strict=True))
        return np.stack([vectors[title] for title in titles])

    return embed_new


def checked_vectors(vectors: FloatArray, *, n_titles: int) -> FloatArray:
    """What a function that embeds titles gave, as an array.

    Args:
        vectors: Its result.
        n_titles: Number of titles that it got.

    Raises:
        ValueError: If it is not a matrix of finite numbers with a row for each title.
    """
    array = np.asarray(vectors)
    check_vectors(array)
    if len(array) != n_titles:
        raise ValueError(
            f"embed gave {len(array)} vectors for {n_titles} titles; expected one for each."
        )
    return array


def check_vectors(vectors: FloatArray) -> None:
    """Refuse vectors that are not finite or not a matrix.

    Raises:
        ValueError: If so.
    """
    if vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise ValueError(
            f"vectors has shape {vectors.shape} and "
            f"{np.count_nonzero(~np.isfinite(vectors))} values that are not finite; expected "
            "finite numbers of shape [n, d], a row for each item of the catalog."
        )


def normalized(vectors: FloatArray) -> FloatArray:
    """Rows of length 1, float32. Zero rows stay zero."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    scales = 1 / np.where(lengths > 0, lengths, 1)
    return vectors * scales[:, None].astype(np.float32)
