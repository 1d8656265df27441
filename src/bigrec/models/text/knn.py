"""Nearest neighbors of a history among untrained vectors of titles."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from bigrec.models.base import (
    Decay,
    EmbedTitles,
    HistoryScorer,
    StoredSettings,
    check_model_arrays,
    read_model_folder,
    write_model_folder,
)
from bigrec.models.histories import by_title, check_decay, decayed_histories
from bigrec.models.text.vectors import check_vectors, normalized
from bigrec.storage.arrays import Expected
from bigrec.types import FloatArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class TextKNN(HistoryScorer):
    """Scores an item by the cosine between its title's vector and those of a history's titles.

    With ``v_i`` the normalized vector of item i's title::

        x = sum over the history's items i of decay^age_i * v_i
        score_j = cosine(x, v_j)

    Attributes:
        decay: Factor by which an item of the history weighs less than the next newer one, in
            (0, 1].
    """

    kind: ClassVar[str] = "text_knn"
    knows_cold_items: ClassVar[bool] = True

    decay: float
    # [t, d] float32, distinct and normalized. Equal titles share a row: a matrix product can
    # round equal rows differently.
    _vectors: FloatArray = field(repr=False)
    _rows: IntArray = field(repr=False)  # [n] int64, each item's row of _vectors

    def __post_init__(self) -> None:
        check_decay(self.decay)

    @classmethod
    def fit(cls, vectors: FloatArray, *, decay: float) -> Self:
        """Take the vectors of all titles.

        Args:
            vectors: ``[n, d]`` finite vectors of the catalog's titles, of any length; an item with
                a zero vector scores 0. They are not changed.
            decay: See the class.

        Raises:
            ValueError: If an argument is out of range.
        """
        check_vectors(vectors)
        unique, rows = _distinct_rows(np.ascontiguousarray(vectors, dtype=np.float32))
        return cls(decay, normalized(unique), rows)

    def with_vectors(self, vectors: FloatArray) -> Self:
        """The model of a changed catalog.

        Args:
            vectors: ``[n, d]`` vectors of all titles of the new catalog, from the same encoder.

        Raises:
            ValueError: If they are not finite or of another dimension.
        """
        model = self.fit(vectors, decay=self.decay)
        if model._vectors.shape[1] != self._vectors.shape[1]:
            raise ValueError(
                f"vectors has {model._vectors.shape[1]} dimensions; expected "
                f"{self._vectors.shape[1]}. Embed the titles with the encoder that the model was "
                "fitted with."
            )
        return model

    def with_titles(
        self,
        titles: Sequence[str],
        *,
        old_titles: Sequence[str],
        embed: EmbedTitles,
        texts: Sequence[str] | None = None,  # noqa: ARG002 - `embed` reads them
    ) -> Self:
        """See `ScoringModel`."""
        vectors = dict(zip(old_titles, self._vectors[self._rows], strict=True))
        new = [title for title in dict.fromkeys(titles) if title not in vectors]
        if new:
            vectors |= zip(new, embed(new), strict=True)
        return self.with_vectors(np.stack([vectors[title] for title in titles]))

    @property
    def name(self) -> str:
        """Name of the model in tables."""
        return "text kNN"

    @property
    def n_items(self) -> int:
        """Number of scored items, ``n``."""
        return len(self._rows)

    def scores(self, histories: Sequence[IntArray]) -> FloatArray:
        """Score all items; see the class.

        Args:
            histories: Item numbers of each query, oldest first; -1 is padding.

        Returns:
            ``[q, n]`` float32 in [-1, 1] up to rounding, higher is better; all 0 for an empty
            history.

        Raises:
            ValueError: If an item number is out of range.
        """
        weights = decayed_histories(histories, n_items=self.n_items, decay=self.decay)
        titles = by_title(weights, self._rows, n_titles=len(self._vectors))
        queries = normalized(titles @ self._vectors)
        result: FloatArray = (queries @ self._vectors.T)[:, self._rows]
        return result

    def save(self, folder: Path) -> None:
        """Write the model to a folder, completely or not at all.

        Raises:
            StorageError: If the folder cannot be written.
        """
        arrays = {"vectors": self._vectors, "rows": self._rows}
        write_model_folder(folder, self.kind, settings={"decay": self.decay}, arrays=arrays)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a model that ``save`` wrote.

        Raises:
            BundleError: If a file is missing, damaged, or of another version or kind.
        """
        settings, arrays = read_model_folder(folder, cls.kind, _Stored)
        rows = Expected(("n",), dtypes=("int64",), least=0, below="u")
        check_model_arrays(folder, arrays, {"vectors": Expected(("u", "d")), "rows": rows})
        return cls(settings.decay, arrays["vectors"], arrays["rows"])


class _Stored(StoredSettings):
    decay: Decay


def _distinct_rows(vectors: FloatArray) -> tuple[FloatArray, IntArray]:
    """The distinct rows in order of first appearance, and the position of each row among them."""
    positions: dict[bytes, int] = {}
    rows = [positions.setdefault(vector.tobytes(), len(positions)) for vector in vectors]
    first = np.unique(np.array(rows, dtype=np.int64), return_index=True)[1]
    return vectors[first], np.array(rows, dtype=np.int64)
