"""Nearest neighbors of a history by the n-grams of titles."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from scipy.sparse import csr_array, hstack

from bigrec.models.base import (
    Decay,
    EmbedTitles,
    HistoryScorer,
    StoredSettings,
    check_model_arrays,
    read_model_folder,
    write_model_folder,
)
from bigrec.models.histories import check_decay, decayed_histories
from bigrec.models.sparse import SPARSE, read_sparse, sparse_arrays
from bigrec.models.text.ngrams import NGrams
from bigrec.storage.arrays import unusable
from bigrec.types import FloatArray, IntArray

# A product of sparse matrices takes several times the memory of its part of the scores.
_QUERIES_AT_ONCE = 64


@dataclass(frozen=True, slots=True, eq=False)
class TfIdf(HistoryScorer):
    """Scores an item by the cosine between its title and those of a history, as TF-IDF vectors.

    A title's vector ``v_i`` has two blocks of equal weight: words and pairs of words, and 3 to 5
    characters within words. Then::

        x = sum over the history's items i of decay^age_i * v_i
        score_j = cosine(x, v_j)

    Attributes:
        decay: Factor by which an item of the history weighs less than the next newer one, in
            (0, 1].
    """

    kind: ClassVar[str] = "tf_idf"
    knows_cold_items: ClassVar[bool] = True

    decay: float
    _words: NGrams = field(repr=False)
    _characters: NGrams = field(repr=False)
    _vectors: csr_array = field(repr=False)  # [n, v] float32, rows of length 1 or 0
    _by_term: csr_array = field(repr=False)  # [v, n], the same transposed

    @classmethod
    def fit(
        cls, titles: Sequence[str], *, decay: float, words: bool = True, characters: bool = True
    ) -> Self:
        """Count the n-grams of all titles.

        Args:
            titles: ``[n]`` titles of the catalog. An item whose title has no n-grams scores 0.
            decay: See the class.
            words: Whether words and pairs of words are compared.
            characters: Whether characters within words are compared.

        Raises:
            ValueError: If an argument is out of range or neither n-grams are compared.
        """
        if not (words or characters):
            raise ValueError("words and characters are both False; expected at least one True.")
        check_decay(decay)
        return cls._from_vocabulary(
            titles,
            decay,
            NGrams.fit(titles, "word") if words else NGrams.empty("word"),
            NGrams.fit(titles, "char_wb") if characters else NGrams.empty("char_wb"),
        )

    @classmethod
    def _from_vocabulary(
        cls, titles: Sequence[str], decay: float, words: NGrams, characters: NGrams
    ) -> Self:
        blocks = [words.vectors(titles), characters.vectors(titles)]
        vectors = _normalized(csr_array(hstack(blocks, format="csr")))
        return cls(decay, words, characters, vectors, vectors.T.tocsr())

    def with_titles(
        self,
        titles: Sequence[str],
        *,
        old_titles: Sequence[str] = (),  # noqa: ARG002 - the protocol's
        embed: EmbedTitles | None = None,  # noqa: ARG002
        texts: Sequence[str] | None = None,
    ) -> Self:
        """The model of a changed catalog, with the n-grams and weights of the fitted one.

        A title scores against another as before. N-grams that only new titles have are skipped.

        Args:
            titles: ``[n]`` all titles of the new catalog.
            old_titles: Not used.
            embed: Not used.
            texts: ``[n]`` texts of these titles; the titles by default.
        """
        return self._from_vocabulary(
            titles if texts is None else texts, self.decay, self._words, self._characters
        )

    @property
    def name(self) -> str:
        """Name of the model in tables."""
        return "tf-idf"

    @property
    def n_items(self) -> int:
        """Number of scored items, ``n``."""
        return int(self._vectors.shape[0])

    def scores(self, histories: Sequence[IntArray]) -> FloatArray:
        """Score all items; see the class.

        Args:
            histories: Item numbers of each query, oldest first; -1 is padding.

        Returns:
            ``[q, n]`` float32 in [0, 1] up to rounding, higher is better; all 0 for an empty
            history.

        Raises:
            ValueError: If an item number is out of range.
        """
        weights = decayed_histories(histories, n_items=self.n_items, decay=self.decay)
        queries = _normalized(weights @ self._vectors)
        scores = np.empty((weights.shape[0], self.n_items), dtype=np.float32)
        for start in range(0, len(scores), _QUERIES_AT_ONCE):
            rows = slice(start, start + _QUERIES_AT_ONCE)
            (queries[rows] @ self._by_term).toarray(out=scores[rows])
        return scores

    def save(self, folder: Path) -> None:
        """Write the model to a folder, completely or not at all.

        Raises:
            StorageError: If the folder cannot be written.
        """
        arrays = {
            **sparse_arrays(self._vectors),
            **self._words.arrays(),
            **self._characters.arrays(),
        }
        write_model_folder(folder, self.kind, settings={"decay": self.decay}, arrays=arrays)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a model that ``save`` wrote.

        Raises:
            BundleError: If a file is missing, damaged, or of another version or kind.
        """
        settings, arrays = read_model_folder(folder, cls.kind, _Stored)
        expected = {**SPARSE, **NGrams.expected("word"), **NGrams.expected("char_wb")}
        check_model_arrays(folder, arrays, expected)
        try:
            words, characters = (NGrams.from_arrays(arrays, kind) for kind in ("word", "char_wb"))
        except ValueError as error:
            raise unusable(folder, str(error)) from None
        n_terms = len(words.terms) + len(characters.terms)
        vectors = read_sparse(folder, arrays, n_columns=n_terms)
        return cls(settings.decay, words, characters, vectors, vectors.T.tocsr())


class _Stored(StoredSettings):
    decay: Decay


def _normalized(vectors: csr_array) -> csr_array:
    """Rows of length 1. Zero rows stay zero."""
    lengths = np.sqrt(vectors.multiply(vectors).sum(axis=1))
    scales = 1 / np.where(lengths > 0, lengths, 1)
    values = vectors.data * np.repeat(scales, np.diff(vectors.indptr)).astype(np.float32)
    return csr_array((values, vectors.indices, vectors.indptr), shape=vectors.shape)
