"""Vocabularies of n-grams: title vectors by scikit-learn, stored without pickle."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from bigrec.storage.arrays import Expected
from bigrec.types import FloatArray

Analyzer = Literal["word", "char_wb"]
"""Words, or characters within words, in scikit-learn's notation."""

_LENGTHS: dict[Analyzer, tuple[int, int]] = {"word": (1, 2), "char_wb": (3, 5)}
# scikit-learn's own pattern drops words of one character, such as the 2 of a sequel.
_WORD = r"(?u)\b\w+\b"
# No n-gram holds a line break: both analyzers split at white space.
_SEPARATOR = "\n"


@dataclass(frozen=True, slots=True, eq=False)
class NGrams:
    """The n-grams of a catalog's titles, with their inverse document frequencies.

    Attributes:
        analyzer: The kind of n-grams.
        terms: ``[v]`` n-grams, sorted.
    """

    analyzer: Analyzer
    terms: list[str] = field(repr=False)
    _idf: FloatArray = field(repr=False)  # [v] float32

    @classmethod
    def fit(cls, titles: Sequence[str], analyzer: Analyzer) -> Self:
        """Count the n-grams of titles, accents and case ignored."""
        vectorizer = _vectorizer(analyzer)
        analyze = vectorizer.build_analyzer()
        if not any(analyze(title) for title in titles):
            return cls.empty(analyzer)
        vectorizer.fit(titles)
        return cls(
            analyzer,
            vectorizer.get_feature_names_out().tolist(),
            vectorizer.idf_.astype(np.float32),
        )

    @classmethod
    def empty(cls, analyzer: Analyzer) -> Self:
        """A vocabulary without n-grams."""
        return cls(analyzer, [], np.zeros(0, dtype=np.float32))

    def vectors(self, titles: Sequence[str]) -> csr_array:
        """TF-IDF of titles, ``[n, v]`` float32 with rows of length 1.

        Unknown n-grams are skipped. A title without known n-grams has a zero row.
        """
        if not self.terms:
            return csr_array((len(titles), 0), dtype=np.float32)
        vectorizer = _vectorizer(self.analyzer, vocabulary=self.terms)
        vectorizer.idf_ = self._idf
        return csr_array(vectorizer.transform(titles))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The vocabulary as arrays, which `from_arrays` reads."""
        text = _SEPARATOR.join(self.terms).encode()
        return {
            f"{self.analyzer}_terms": np.frombuffer(text, dtype=np.uint8),
            f"{self.analyzer}_idf": self._idf,
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]], analyzer: Analyzer) -> Self:
        """Read the arrays of a stored vocabulary.

        Raises:
            ValueError: If they are no vocabulary.
        """
        text = arrays[f"{analyzer}_terms"].tobytes().decode()
        terms = text.split(_SEPARATOR) if text else []
        idf = arrays[f"{analyzer}_idf"]
        if not len(set(terms)) == len(terms) == len(idf):
            raise ValueError(f"{len(terms)} {analyzer} n-grams are not {len(idf)} different ones")
        return cls(analyzer, terms, idf)

    @staticmethod
    def expected(analyzer: Analyzer) -> dict[str, Expected]:
        """The arrays of a stored vocabulary."""
        return {
            f"{analyzer}_terms": Expected((f"{analyzer} bytes",), dtypes=("uint8",)),
            f"{analyzer}_idf": Expected((f"{analyzer} n-grams",), least=0),
        }


def _vectorizer(analyzer: Analyzer, *, vocabulary: list[str] | None = None) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415 - a second

    return TfidfVectorizer(
        analyzer=analyzer,
        ngram_range=_LENGTHS[analyzer],
        token_pattern=_WORD if analyzer == "word" else None,
        strip_accents="unicode",
        sublinear_tf=True,
        vocabulary=vocabulary,
        dtype=np.float32,
    )
