"""Embeddings of the catalog's titles: built once, saved, updated, and searched by distance."""

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np

from bigrec.errors import ModelError, StaleIndexError
from bigrec.grounding.embedding import (
    embed_checked,
    embed_in_parts,
    read_embeddings,
    remove_parts,
    write_embeddings,
)
from bigrec.grounding.index_file import INDEX_FORMAT, MAX_JSON_BYTES, damaged, read_index
from bigrec.grounding.search.duplicates import EqualRows
from bigrec.grounding.search.l2 import ExactL2, blocks
from bigrec.grounding.space import Normalization, Space, check_normalization
from bigrec.storage import (
    atomic_folder,
    file_digest,
    fingerprint,
    write_json,
)
from bigrec.storage.sharing import shared
from bigrec.types import FloatArray, ProgressCallback, TextEmbedder

MAX_BYTES = 256 * 1024**2
"""Default working memory of a pass over many queries."""

_LARGEST = 1e15
_JSON = "index.json"
_EMBEDDINGS = "embeddings.safetensors"


@dataclass(frozen=True, eq=False)
class ItemIndex:
    """Embeddings of the catalog's titles, one row for each distinct title.

    Attributes:
        titles: The ``t`` distinct titles, by title id.
        embeddings: Their raw embeddings, ``[t, d]`` float32, read-only.
        embedder_fingerprint: Fingerprint of the embedder that computed them.
        normalization: Normalization of the space in which distances are measured.

    Raises:
        ValueError: If there is no title, a title occurs twice, the normalization is unknown, or
            the embeddings are not one finite row per title.
    """

    titles: tuple[str, ...]
    embeddings: FloatArray = field(repr=False)
    embedder_fingerprint: str
    normalization: Normalization = "none"

    def __post_init__(self) -> None:
        check_normalization(self.normalization)
        _check_titles(self.titles)
        shape = self.embeddings.shape
        if len(shape) != 2 or shape[0] != len(self.titles):
            raise ValueError(
                f"embeddings has shape {shape}; expected one row for each of the "
                f"{len(self.titles)} titles."
            )
        if not np.isfinite(self.embeddings).all():
            raise ValueError("embeddings holds NaN or infinity; expected finite numbers.")
        low, high = self.embeddings.min(initial=0), self.embeddings.max(initial=0)
        largest = max(float(high), -float(low))
        if largest > _LARGEST:
            raise ValueError(
                f"embeddings holds values up to {largest:g}; expected at most {_LARGEST:g}, whose "
                "squares a float can hold."
            )
        read_only = shared(self.embeddings.astype(np.float32, copy=False)).view()
        read_only.flags.writeable = False
        object.__setattr__(self, "embeddings", read_only)

    @classmethod
    def build(
        cls,
        titles: Sequence[str],
        embedder: TextEmbedder,
        *,
        normalization: Normalization = "none",
        previous: "ItemIndex | None" = None,
        parts: Path | None = None,
        progress: ProgressCallback | None = None,
    ) -> Self:
        """Embed the catalog's titles.

        Args:
            titles: The catalog's distinct titles, by title id.
            embedder: The embedder, used for generated texts too.
            normalization: Normalization of the space in which distances are measured.
            previous: Index whose embeddings are reused for equal titles, if the same embedder
                built it.
            parts: Folder of finished parts while the build runs, from which an interrupted build
                is resumed; removed at the end.
            progress: Called with (titles embedded, titles to embed).

        Raises:
            ValueError: If there is no title, a title occurs twice or the normalization is unknown.
            ModelError: If an embedding cannot be used.
        """
        check_normalization(normalization)
        _check_titles(titles)
        rows: dict[str, int] = {}
        if previous is not None and previous.embedder_fingerprint == embedder.fingerprint:
            rows = previous.rows
        missing = [title for title in titles if title not in rows]
        sources = [previous.embeddings] if previous is not None and rows else []
        if missing:
            sources.append(embed_in_parts(missing, embedder, folder=parts, progress=progress))
            n_reused = len(rows)
            rows = rows | {title: n_reused + row for row, title in enumerate(missing)}
        if len({source.shape[1] for source in sources}) > 1:
            raise ModelError(
                f"The embedder gave vectors of size {sources[1].shape[1]}, but the previous index "
                f"holds size {sources[0].shape[1]} under the same fingerprint "
                f"{embedder.fingerprint}. Build the index without the previous one."
            )
        embeddings = np.concatenate(sources)[[rows[title] for title in titles]]
        index = cls(tuple(titles), embeddings, embedder.fingerprint, normalization)
        if parts is not None:
            remove_parts(parts)
        return index

    def updated(
        self,
        titles: Sequence[str],
        embedder: TextEmbedder,
        *,
        progress: ProgressCallback | None = None,
    ) -> Self:
        """The index of a changed catalog in the same space. Only new titles are embedded."""
        return self.build(
            titles, embedder, normalization=self.normalization, previous=self, progress=progress
        )

    def joined(self, other: "ItemIndex | None") -> Self:
        """The index with further titles after its own, of which it keeps the embeddings.

        Args:
            other: An index with more titles. One of another embedder adds none.
        """
        if other is None or other.embedder_fingerprint != self.embedder_fingerprint:
            return self
        new = [title for title in other.titles if title not in self.rows]
        if not new:
            return self
        embeddings = [self.embeddings, other.embeddings[[other.rows[title] for title in new]]]
        return replace(self, titles=(*self.titles, *new), embeddings=np.concatenate(embeddings))

    def without(self, titles: Container[str]) -> Self | None:
        """The index of all other titles; None if there is none."""
        kept = [title for title in self.titles if title not in titles]
        if not kept:
            return None
        if len(kept) == len(self.titles):
            return self
        embeddings = self.embeddings[[self.rows[title] for title in kept]]
        return replace(self, titles=tuple(kept), embeddings=embeddings)

    @cached_property
    def rows(self) -> dict[str, int]:
        """Row of each title."""
        return {title: row for row, title in enumerate(self.titles)}

    @cached_property
    def key(self) -> str:
        """Fingerprint of the embedder, the normalization, the titles and the file format."""
        return fingerprint(
            [INDEX_FORMAT, self.embedder_fingerprint, self.normalization, list(self.titles)]
        )

    def belongs_to(
        self, embedder: TextEmbedder, titles: Sequence[str], *, normalization: Normalization
    ) -> bool:
        """Whether the index was built with an embedder, titles and a normalization."""
        return not self._changes(embedder, titles, normalization)

    def check(
        self, embedder: TextEmbedder, titles: Sequence[str], *, normalization: Normalization
    ) -> None:
        """Refuse an index that was not built with an embedder, titles and a normalization.

        Raises:
            StaleIndexError: If one of them differs; names it.
        """
        changes = self._changes(embedder, titles, normalization)
        if changes:
            raise StaleIndexError(
                f"The item index was built with another {' and another '.join(changes)}. Update "
                "the index for the current model and catalog."
            )

    def _changes(
        self, embedder: TextEmbedder, titles: Sequence[str], normalization: Normalization
    ) -> list[str]:
        changes = []
        if embedder.fingerprint != self.embedder_fingerprint:
            changes.append(f"model ({self.embedder_fingerprint}, now {embedder.fingerprint})")
        if normalization != self.normalization:
            changes.append(f"normalization ({self.normalization}, now {normalization})")
        if tuple(titles) != self.titles:
            added = len(set(titles) - set(self.titles))
            removed = len(set(self.titles) - set(titles))
            detail = f"{added} added, {removed} removed" if added or removed else "reordered"
            changes.append(f"titles ({detail})")
        return changes

    def embed_queries(
        self,
        texts: Sequence[str],
        embedder: TextEmbedder,
        *,
        progress: ProgressCallback | None = None,
    ) -> FloatArray:
        """Embed generated texts; equal texts are embedded once.

        A text that equals a catalog title gets the title's stored embedding, so its distance is
        exactly 0 even if the embedder rounds differently in another batch. An empty text is
        allowed.

        Args:
            texts: ``q`` generated texts.
            embedder: The embedder that built the index.
            progress: Called with (texts embedded, texts to embed).

        Returns:
            Raw embeddings, ``[q, d]`` float32.

        Raises:
            StaleIndexError: If another embedder built the index.
            ModelError: If an embedding cannot be used.
        """
        self.check(embedder, self.titles, normalization=self.normalization)
        new_texts = [text for text in dict.fromkeys(texts) if text not in self.rows]
        embeddings = np.empty((len(texts), self.embeddings.shape[1]), dtype=np.float32)
        new_rows = {text: row for row, text in enumerate(new_texts)}
        new_embeddings = embeddings[:0]
        if new_texts:
            new_embeddings = embed_checked(new_texts, embedder, progress=progress)
        if new_embeddings.shape[1] != embeddings.shape[1]:
            raise ModelError(
                f"The embedder gave vectors of size {new_embeddings.shape[1]}, but the index holds "
                f"size {embeddings.shape[1]} under the same fingerprint {embedder.fingerprint}. "
                "Build the index again."
            )
        for position, text in enumerate(texts):
            row = self.rows.get(text)
            embeddings[position] = (
                new_embeddings[new_rows[text]] if row is None else self.embeddings[row]
            )
        return embeddings

    def distances(self, queries: FloatArray) -> FloatArray:
        """L2 distance of every query to every title in the index's space.

        As accurate as ``ExactL2.distances``. ``scan`` gives ranks and lists by exact distances.

        Args:
            queries: Raw embeddings, ``[q, d]``.

        Returns:
            ``[q, t]`` float32, lower is better; exactly 0 where the raw vectors are equal.

        Raises:
            ValueError: If ``queries`` has another size or holds NaN or infinity.
        """
        return self.l2.distances(self._points_of(queries))

    def iter_distances(
        self, queries: FloatArray, *, max_bytes: int = MAX_BYTES
    ) -> Iterator[tuple[slice, FloatArray]]:
        """Distances of many queries in batches that fit in ``max_bytes``, at least one query each.

        Yields:
            The rows of ``queries`` and their distances, ``[rows, t]``.
        """
        for rows in blocks(len(queries), self.l2.queries_within(max_bytes)):
            yield rows, self.distances(queries[rows])

    def scannable(self, queries: FloatArray) -> tuple[ExactL2, FloatArray]:
        """The titles' points and those of queries, ``[u, d]`` float32, as ``scan`` takes them.

        Args:
            queries: Raw embeddings, ``[u, d]``.

        Raises:
            ValueError: If ``queries`` has another size or holds NaN or infinity.
        """
        return self.l2, self._points_of(queries)

    def save(self, folder: Path) -> None:
        """Write the index to a folder, whole or not at all; replaces the folder.

        Raises:
            StorageError: If the folder cannot be written.
        """
        with atomic_folder(folder) as temporary:
            write_embeddings(temporary / _EMBEDDINGS, self.embeddings)
            content = {
                "format": INDEX_FORMAT,
                "key": self.key,
                "embedder_fingerprint": self.embedder_fingerprint,
                "normalization": self.normalization,
                "embeddings_sha256": file_digest(temporary / _EMBEDDINGS),
                "titles": self.titles,
            }
            write_json(temporary / _JSON, content)

    @classmethod
    def load(cls, folder: Path, *, max_bytes: int = MAX_JSON_BYTES) -> Self:
        """Read a saved index.

        Args:
            folder: Written by `save`.
            max_bytes: The largest size of the file of titles, if it is known.

        Raises:
            BundleError: If a file is missing, damaged or of another version; names it.
        """
        content = read_index(folder / _JSON, max_bytes=max_bytes)
        path = folder / _EMBEDDINGS
        if not path.is_file():
            raise damaged(path, "it is missing")
        if file_digest(path) != content.embeddings_sha256:
            raise damaged(path, "its bytes do not match the checksum in index.json")
        embeddings = read_embeddings(path)
        try:
            index = cls(
                tuple(content.titles),
                embeddings,
                content.embedder_fingerprint,
                content.normalization,
            )
        except ValueError as error:
            raise damaged(
                folder / _JSON, f"its fields do not fit together: {str(error).rstrip('.')}"
            ) from None
        if index.key != content.key:
            raise damaged(folder / _JSON, "its titles, normalization or model do not match its key")
        return index

    @cached_property
    def _space(self) -> Space:
        return Space.fit(self.normalization, self.embeddings)

    @cached_property
    def _stored(self) -> EqualRows:
        return EqualRows(self.embeddings)

    @cached_property
    def _points(self) -> FloatArray:
        if self.normalization == "none":
            return self.embeddings
        points = self._space.transform(self.embeddings)
        positions, rows = self._stored.find(self.embeddings)
        points[positions] = points[rows]
        return points

    @cached_property
    def l2(self) -> ExactL2:
        """The titles' points in the index's space."""
        return ExactL2(self._points)

    def _points_of(self, queries: FloatArray) -> FloatArray:
        points = self._space.transform(queries)
        if not np.isfinite(points).all():
            raise ValueError("queries holds NaN or infinity; expected finite embeddings.")
        if self.normalization != "none":
            # A matrix product can map equal vectors to points that differ by a rounding.
            positions, rows = self._stored.find(queries)
            points[positions] = self._points[rows]
        return points


def _check_titles(titles: Sequence[str]) -> None:
    if not titles:
        raise ValueError("titles is empty; an index needs at least one title.")
    seen: set[str] = set()
    for title in titles:
        if title in seen:
            raise ValueError(
                f"The title {title!r} occurs more than once; pass the catalog's distinct titles, "
                "by title id."
            )
        seen.add(title)
