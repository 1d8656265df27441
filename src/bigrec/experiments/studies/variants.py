"""Variants of LLM retrieval without what a language model brings: its weights, its features."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Literal

import numpy as np
from scipy.sparse import csr_array, hstack
from scipy.sparse.linalg import svds

from bigrec.lm.model import LanguageModel
from bigrec.models.llm import LLM_RETRIEVAL, ItemTextFeatures
from bigrec.models.text.ngrams import Analyzer, NGrams
from bigrec.storage import fingerprint
from bigrec.types import FloatArray, ProgressCallback, TextEmbedder

Weights = Literal["pretrained", "random"]
Features = Literal["pretrained", "random", "tf-idf", "noise"]


@dataclass(frozen=True)
class Variant:
    """LLM retrieval with one part replaced.

    Attributes:
        name: What is replaced.
        encoder: Weights of the encoder of histories before training.
        features: Text features of titles: of the pretrained model, of one with random weights, of
            n-grams, or noise.
        trained: Whether it is trained.
    """

    name: str
    encoder: Weights = "pretrained"
    features: Features = "pretrained"
    trained: bool = True

    @property
    def label(self) -> str:
        """Name in tables."""
        return f"{LLM_RETRIEVAL} [{self.name}]"


PRETRAINED = Variant("pretrained")
VARIANTS = (
    PRETRAINED,
    Variant("untrained", trained=False),
    Variant("random encoder", encoder="random"),
    Variant("random weights", encoder="random", features="random"),
    Variant("TF-IDF features", features="tf-idf"),
    Variant("noise features", features="noise"),
)
"""The variants of the ablation, that with nothing replaced first."""


def make_variant(
    variant: Variant, lm: LanguageModel, titles: Sequence[str], *, seed: int
) -> tuple[LanguageModel, TextEmbedder]:
    """The encoder of histories and the text features of a variant.

    Args:
        variant: The variant.
        lm: The pretrained model, already truncated.
        titles: The catalog's different titles.
        seed: Seed of random weights and noise.
    """
    features: TextEmbedder = ItemTextFeatures(lm)
    dim = 2 * lm.base.get_input_embeddings().weight.shape[1]
    encoder = lm
    if "random" in (variant.encoder, variant.features):
        encoder = lm.with_random_weights(seed=seed)
    if variant.features == "random":
        features = ItemTextFeatures(encoder)
    elif variant.features == "tf-idf":
        make = partial(tf_idf_features, dim=dim)
        features = _FixedFeatures(titles, key=["tf-idf", dim], make=make)
    elif variant.features == "noise":
        make = partial(noise_features, dim=dim, seed=seed)
        features = _FixedFeatures(titles, key=["noise", dim, seed], make=make)
    return encoder, features


class _FixedFeatures:
    """Features of a fixed list of titles, made on first use; a `TextEmbedder`.

    Args:
        titles: The titles, each once.
        key: Identifies the features, JSON-like.
        make: Gives the features of the titles, ``[t, d]`` float32.
    """

    def __init__(
        self,
        titles: Sequence[str],
        *,
        key: Sequence[object],
        make: Callable[[Sequence[str]], FloatArray],
    ) -> None:
        self._titles = list(titles)
        self._make = make
        self.fingerprint = fingerprint([*key, self._titles])

    def embed(
        self, texts: Sequence[str], *, progress: ProgressCallback | None = None
    ) -> FloatArray:
        """Features of some of the titles, ``[q, d]`` float32, in the order given."""
        rows = {title: row for row, title in enumerate(self._titles)}
        features = self._features[[rows[text] for text in texts]]
        if progress is not None:
            progress(len(texts), len(texts))
        return features

    @cached_property
    def _features(self) -> FloatArray:
        return self._make(self._titles)


def tf_idf_features(titles: Sequence[str], *, dim: int) -> FloatArray:
    """TF-IDF of the words and characters of titles, by a singular value decomposition.

    The components of largest variance come last, where the network reads a title as a token.

    Args:
        titles: At least two.
        dim: Dimensions; the first are 0 if the titles do not have as many.

    Returns:
        ``[t, dim]`` float32.
    """
    analyzers: tuple[Analyzer, ...] = ("word", "char_wb")
    blocks = [NGrams.fit(titles, analyzer).vectors(titles) for analyzer in analyzers]
    matrix = csr_array(hstack(blocks, format="csr"))
    rank = min(dim, min(matrix.shape) - 1)
    left, values, _ = svds(matrix, k=rank, rng=np.random.default_rng(0))
    features = np.zeros((len(titles), dim), dtype=np.float32)
    # In the order of ascending values.
    features[:, dim - rank :] = left * values
    return features


def noise_features(titles: Sequence[str], *, dim: int, seed: int) -> FloatArray:
    """Gaussian noise for every title, ``[t, dim]`` float32: it tells titles apart, no more."""
    return np.random.default_rng(seed).standard_normal((len(titles), dim), dtype=np.float32)
