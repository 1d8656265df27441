"""Names shared by every part: array aliases, shape letters, results and protocols.

Shape letters, used in every docstring:

====  ======================================================
``b``  batch
``q``  queries, one per history that is asked about
``n``  items of the catalog
``g``  groups of same-titled items, ``g <= n``
``d``  size of an embedding
``h``  length of a history
``k``  length of a recommended list
====  ======================================================
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.integer[Any]]
BoolArray = NDArray[np.bool_]

Progress = Callable[[int, int], None]
"""Called with (units done, units in all) as long work advances."""

Track = Callable[[str], Progress]
"""Called with the name of a long step as it begins; gives what reports its progress."""


@dataclass(frozen=True, slots=True)
class GeneratedText:
    """One text that the language model wrote for a history.

    Attributes:
        text: The title as written, without terminator, escapes undone.
        log_prob: Natural logarithm of the probability of the whole text given its prompt,
            terminator included, ``<= 0``.
    """

    text: str
    log_prob: float


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One line of a recommended list.

    Attributes:
        rank: 1 for the best item.
        item_id: The item as the caller knows it.
        title: The item's title in the catalog.
        score: Higher is better; comparable within one list only.
        distance: Distance to the language model's answer, lower is better.
        generated_text: The text this item was grounded from; None where the model points at titles
            without writing.
    """

    rank: int
    item_id: str
    title: str
    score: float
    distance: float
    generated_text: str | None


class TextEmbedder(Protocol):
    """Turns texts into points of one space."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever the same text would be embedded elsewhere: model, adapter, pooling."""
        ...

    def embed(self, texts: Sequence[str], *, progress: Progress | None = None) -> FloatArray:
        """Embed ``q`` texts as ``[q, d]`` float32, in the order given."""
        ...
