"""Embedders without a model."""

from collections.abc import Mapping, Sequence
from zlib import crc32

import numpy as np

from bigrec.types import FloatArray, ProgressCallback


class FakeEmbedder:
    """Draws each text's vector from a generator seeded by the text, and records its calls."""

    def __init__(self, *, fingerprint: str = "fake", size: int = 4) -> None:
        self._fingerprint = fingerprint
        self._size = size
        self.calls: list[list[str]] = []

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    @property
    def embedded(self) -> list[str]:
        return [text for call in self.calls for text in call]

    def embed(
        self, texts: Sequence[str], *, progress: ProgressCallback | None = None
    ) -> FloatArray:
        self.calls.append(list(texts))
        if progress:
            progress(len(texts), len(texts))
        return np.array(self.rows(texts), dtype=np.float32)

    def rows(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        return [
            np.random.default_rng(crc32(text.encode())).normal(size=self._size).tolist()
            for text in texts
        ]


class TableEmbedder(FakeEmbedder):
    """Looks vectors up in a table."""

    def __init__(self, table: Mapping[str, Sequence[float]], *, fingerprint: str = "fake") -> None:
        super().__init__(fingerprint=fingerprint)
        self._table = table

    def rows(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        return [self._table[text] for text in texts]
