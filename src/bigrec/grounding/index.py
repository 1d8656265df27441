"""The catalog's titles as points: built once, saved, kept up to date and measured against."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from bigrec.errors import BundleError, ModelError, StaleIndexError
from bigrec.grounding.embedding import (
    embed_checked,
    embed_in_parts,
    read_embeddings,
    remove_parts,
    write_embeddings,
)
from bigrec.grounding.search.duplicates import EqualRows
from bigrec.grounding.search.l2 import ExactL2, blocks
from bigrec.grounding.space import Space, SpaceKind, check_kind
from bigrec.storage import atomic_folder, file_digest, fingerprint, read_json, write_json
from bigrec.types import FloatArray, Progress, TextEmbedder

MAX_BYTES = 256 * 1024**2
"""Working memory of a pass over many queries, unless the caller says otherwise."""

_FORMAT = 1
_JSON = "index.json"
_EMBEDDINGS = "embeddings.safetensors"


@dataclass(frozen=True, eq=False)
class ItemIndex:
    """Embeddings of the catalog's titles, one per group of same-titled items.

    Attributes:
        titles: The ``g`` different titles, in the catalog's order of groups.
        embeddings: Their raw embeddings, ``[g, d]`` float32, read-only.
        embedder_fingerprint: Of the embedder that made them.
        space_kind: The space in which distances are measured.

    Raises:
        ValueError: If there is no title, a title comes twice, the space is unknown, or the
            embeddings are not one finite row per title.
    """

    titles: tuple[str, ...]
    embeddings: FloatArray = field(repr=False)
    embedder_fingerprint: str
    space_kind: SpaceKind = "raw"

    def __post_init__(self) -> None:
        check_kind(self.space_kind)
        _check_titles(self.titles)
        shape = self.embeddings.shape
        if len(shape) != 2 or shape[0] != len(self.titles):
            raise ValueError(
                f"embeddings has shape {shape}; expected one row for each of the "
                f"{len(self.titles)} titles."
            )
        if not np.isfinite(self.embeddings).all():
            raise ValueError("embeddings holds NaN or infinity; expected finite numbers.")
        kept = self.embeddings.astype(np.float32, copy=False).view()
        kept.flags.writeable = False
        object.__setattr__(self, "embeddings", kept)

    @classmethod
    def build(
        cls,
        titles: Sequence[str],
        embedder: TextEmbedder,
        *,
        space: SpaceKind = "raw",
        previous: "ItemIndex | None" = None,
        parts: Path | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Embed the catalog's titles.

        Args:
            titles: Different titles, in the catalog's order of groups.
            embedder: The one that will embed generated texts too.
            space: The space in which distances are measured.
            previous: An index whose embeddings are taken over where the title is the same; used
                only if the same embedder made it.
            parts: Folder where finished parts are kept while the build runs, so that an
                interrupted build goes on from there; removed at the end.
            progress: Called with titles embedded and titles to embed.

        Raises:
            ValueError: If there is no title, a title comes twice or the space is unknown.
            ModelError: If an embedding cannot be used.
        """
        check_kind(space)
        _check_titles(titles)
        rows: dict[str, int] = {}
        if previous is not None and previous.embedder_fingerprint == embedder.fingerprint:
            rows = previous.rows
        missing = [title for title in titles if title not in rows]
        sources = [previous.embeddings] if previous is not None and rows else []
        if missing:
            fresh = embed_in_parts(missing, embedder, folder=parts, progress=progress)
            first = len(rows)
            rows = rows | {title: first + row for row, title in enumerate(missing)}
            sources.append(fresh)
        if len({source.shape[1] for source in sources}) > 1:
            raise ModelError(
                f"The embedder gave vectors of size {sources[1].shape[1]}, but the previous index "
                f"holds size {sources[0].shape[1]} under the same fingerprint "
                f"{embedder.fingerprint}. Build the index without the previous one."
            )
        embeddings = np.concatenate(sources)[[rows[title] for title in titles]]
        index = cls(tuple(titles), embeddings, embedder.fingerprint, space)
        if parts is not None:
            remove_parts(parts)
        return index

    def updated(
        self, titles: Sequence[str], embedder: TextEmbedder, *, progress: Progress | None = None
    ) -> Self:
        """The index of a changed catalog in the same space; only new titles are embedded."""
        return self.build(titles, embedder, space=self.space_kind, previous=self, progress=progress)

    @cached_property
    def rows(self) -> dict[str, int]:
        """Row of each title."""
        return {title: row for row, title in enumerate(self.titles)}

    @cached_property
    def key(self) -> str:
        """Changes whenever the embedder, the space, the titles or the file format do."""
        return fingerprint([_FORMAT, self.embedder_fingerprint, self.space_kind, list(self.titles)])

    def belongs_to(
        self, embedder: TextEmbedder, titles: Sequence[str], *, space: SpaceKind
    ) -> bool:
        """Whether the index is that of an embedder, a catalog and a space."""
        return not self._changes(embedder, titles, space)

    def check(self, embedder: TextEmbedder, titles: Sequence[str], *, space: SpaceKind) -> None:
        """Make sure that the index belongs to an embedder, a catalog and a space.

        Raises:
            StaleIndexError: If one of them is another; says which.
        """
        changes = self._changes(embedder, titles, space)
        if changes:
            raise StaleIndexError(
                f"The item index was built with another {' and another '.join(changes)}. Update "
                "the index for the current model and catalog."
            )

    def _changes(
        self, embedder: TextEmbedder, titles: Sequence[str], space: SpaceKind
    ) -> list[str]:
        changes = []
        if embedder.fingerprint != self.embedder_fingerprint:
            changes.append(f"model ({self.embedder_fingerprint}, now {embedder.fingerprint})")
        if space != self.space_kind:
            changes.append(f"space ({self.space_kind}, now {space})")
        if tuple(titles) != self.titles:
            added = len(set(titles) - set(self.titles))
            removed = len(set(self.titles) - set(titles))
            detail = f"{added} added, {removed} removed" if added or removed else "reordered"
            changes.append(f"titles ({detail})")
        return changes

    def embed_queries(
        self, texts: Sequence[str], embedder: TextEmbedder, *, progress: Progress | None = None
    ) -> FloatArray:
        """Embed generated texts; equal texts are embedded once.

        A text that equals a catalog title takes the title's stored embedding, so its distance is
        exactly 0 whatever the embedder's rounding in another batch. An empty text is allowed.

        Args:
            texts: ``q`` generated texts.
            embedder: The one that built the index.
            progress: Called with texts embedded and texts to embed.

        Returns:
            Raw embeddings, ``[q, d]`` float32.

        Raises:
            StaleIndexError: If another embedder built the index.
            ModelError: If an embedding cannot be used.
        """
        self.check(embedder, self.titles, space=self.space_kind)
        fresh = [text for text in dict.fromkeys(texts) if text not in self.rows]
        found = np.empty((len(texts), self.embeddings.shape[1]), dtype=np.float32)
        row_of_fresh = {text: row for row, text in enumerate(fresh)}
        embedded = embed_checked(fresh, embedder, progress=progress) if fresh else found[:0]
        if embedded.shape[1] != found.shape[1]:
            raise ModelError(
                f"The embedder gave vectors of size {embedded.shape[1]}, but the index holds size "
                f"{found.shape[1]} under the same fingerprint {embedder.fingerprint}. Build the "
                "index again."
            )
        for position, text in enumerate(texts):
            row = self.rows.get(text)
            found[position] = embedded[row_of_fresh[text]] if row is None else self.embeddings[row]
        return found

    def distances(self, queries: FloatArray) -> FloatArray:
        """L2 distance of every query to every title in the index's space.

        As accurate as ``ExactL2.distances``; ranks and lists of exact distances take ``scan``.

        Args:
            queries: Raw embeddings, ``[q, d]``.

        Returns:
            ``[q, g]`` float32, lower is nearer; exactly 0 where the raw vectors are equal.

        Raises:
            ValueError: If ``queries`` has another size or holds NaN or infinity.
        """
        return self._l2.distances(self._points_of(queries))

    def iter_distances(
        self, queries: FloatArray, *, max_bytes: int = MAX_BYTES
    ) -> Iterator[tuple[slice, FloatArray]]:
        """Distances of many queries in pieces that fit in ``max_bytes``, at least one query each.

        Yields:
            The rows of ``queries`` and their distances, ``[rows, g]``.
        """
        for rows in blocks(len(queries), self._l2.queries_within(max_bytes)):
            yield rows, self.distances(queries[rows])

    def scannable(self, queries: FloatArray) -> tuple[ExactL2, FloatArray]:
        """What ``scan`` needs: the titles' points, and those of queries, ``[u, d]`` float32.

        Args:
            queries: Raw embeddings, ``[u, d]``.

        Raises:
            ValueError: If ``queries`` has another size or holds NaN or infinity.
        """
        return self._l2, self._points_of(queries)

    def save(self, folder: Path) -> None:
        """Write the index to a folder of its own, whole or not at all.

        Raises:
            StorageError: If the folder cannot be written.
        """
        with atomic_folder(folder) as temporary:
            write_embeddings(temporary / _EMBEDDINGS, self.embeddings)
            content = {
                "format": _FORMAT,
                "key": self.key,
                "embedder_fingerprint": self.embedder_fingerprint,
                "space": self.space_kind,
                "embeddings_sha256": file_digest(temporary / _EMBEDDINGS),
                "titles": self.titles,
            }
            write_json(temporary / _JSON, content)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a saved index.

        Raises:
            BundleError: If a file is missing, damaged or of another version; names it.
        """
        content = _read_content(folder / _JSON)
        path = folder / _EMBEDDINGS
        if not path.is_file():
            raise _damage(path, "it is missing")
        if file_digest(path) != content["embeddings_sha256"]:
            raise _damage(path, "its bytes do not match the checksum in index.json")
        try:
            index = cls(
                tuple(content["titles"]),
                read_embeddings(path),
                content["embedder_fingerprint"],
                content["space"],
            )
        except ValueError as error:
            raise _damage(folder / _JSON, f"its fields do not fit together: {error}") from None
        if index.key != content["key"]:
            raise _damage(folder / _JSON, "its titles, space or model do not match its key")
        return index

    @cached_property
    def _space(self) -> Space:
        return Space.fit(self.space_kind, self.embeddings)

    @cached_property
    def _equal(self) -> EqualRows:
        return EqualRows(self.embeddings)

    @cached_property
    def _points(self) -> FloatArray:
        if self.space_kind == "raw":
            return self.embeddings
        points = self._space.transform(self.embeddings)
        places, rows = self._equal.find(self.embeddings)
        points[places] = points[rows]
        return points

    @cached_property
    def _l2(self) -> ExactL2:
        return ExactL2(self._points)

    def _points_of(self, queries: FloatArray) -> FloatArray:
        points = self._space.transform(queries)
        if not np.isfinite(points).all():
            raise ValueError("queries holds NaN or infinity; expected finite embeddings.")
        if self.space_kind != "raw":
            # A map that is a matrix product can move equal vectors apart by a rounding.
            places, rows = self._equal.find(queries)
            points[places] = self._points[rows]
        return points


def _read_content(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict) or "format" not in content:
        raise _damage(path, "it does not describe an item index")
    if content["format"] != _FORMAT:
        raise BundleError(
            f"{path} has format {content['format']}; this version of bigrec reads format "
            f"{_FORMAT}. Build the index again, or install the version that wrote it."
        )
    wanted = ("key", "embedder_fingerprint", "space", "embeddings_sha256", "titles")
    missing = [name for name in wanted if name not in content]
    if missing:
        raise _damage(path, f"it lacks {', '.join(missing)}")
    return content


def _check_titles(titles: Sequence[str]) -> None:
    if not titles:
        raise ValueError("titles is empty; an index needs at least one title.")
    seen: set[str] = set()
    for title in titles:
        if title in seen:
            raise ValueError(
                f"The title {title!r} comes more than once; pass each group's title once, in the "
                "catalog's order of groups."
            )
        seen.add(title)


def _damage(path: Path, reason: str) -> BundleError:
    return BundleError(f"{path} cannot be used: {reason}. Build the item index again.")
