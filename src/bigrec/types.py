"""Types shared by all packages: array aliases, results and protocols.

Shape letters in docstrings:

====  ======================================================
``b``  batch
``q``  queries, one for each history
``n``  items of the catalog
``t``  distinct titles, ``t <= n``
``d``  embedding dimensions
``h``  length of a history
``k``  length of a recommended list
====  ======================================================
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.integer[Any]]
BoolArray = NDArray[np.bool_]

UNRANKED: Final = int(np.iinfo(np.int64).max)
"""Rank of a target that is excluded from its own ranking: a miss at every K, however large."""

ProgressCallback = Callable[[int, int], None]
"""Called with (units done, units in total) as a long step advances."""

ProgressFactory = Callable[[str], ProgressCallback]
"""Called with the name of a long step at its start; returns the callback for its progress."""


Source = Literal["llm", "text", "fused", "popularity"]
"""What ranked a list: the language model, text mode, either with signals fused in, or the training
interactions of the items alone."""


FindingStatus = Literal["ok", "note", "missing"]
"""``missing`` is for something needed that is not there, ``note`` for a limit of speed or use."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that ``bigrec doctor`` looked at.

    Attributes:
        subject: What was looked at.
        found: What is there.
        meaning: The effect on speed or on what can be used.
        status: Whether something needed is missing or limited.
    """

    subject: str
    found: str
    meaning: str
    status: FindingStatus = "ok"


@dataclass(frozen=True, slots=True)
class GeneratedText:
    """A text generated for a history.

    Attributes:
        text: The generated title, without terminator, unescaped.
        log_prob: Natural logarithm of the probability of the text given its prompt, terminator
            included, ``<= 0``.
    """

    text: str
    log_prob: float


def no_progress(_: str) -> ProgressCallback:
    """A `ProgressFactory` that reports nothing."""
    return lambda _done, _total: None


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One item of a recommended list.

    Attributes:
        rank: 1 for the best item.
        item_id: Id of the item in the catalog.
        title: Title of the item in the catalog.
        score: What the list is ranked by, never increasing with the rank: higher is better,
            comparable within one list only. Without fused signals and with one beam it is
            ``-distance``. By popularity it is the number of training interactions.
        distance: L2 distance from the title to the query vector of the language model, at least 0,
            lower is better; in generative mode to the embedded text that the item was grounded
            from. With fused signals or several beams it does not follow the ranks. None by
            popularity.
        generated_text: The generated text that the item was grounded from; None in retrieval mode.
    """

    rank: int
    item_id: str
    title: str
    score: float
    distance: float | None
    generated_text: str | None


class TextEmbedder(Protocol):
    """Embeds texts in one vector space."""

    @property
    def fingerprint(self) -> str:
        """Identifies the embedding function: model, adapter and pooling."""
        ...

    def embed(
        self, texts: Sequence[str], *, progress: ProgressCallback | None = None
    ) -> FloatArray:
        """Embed ``q`` texts as ``[q, d]`` float32, in their order."""
        ...
