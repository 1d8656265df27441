"""Models that score every item for a history.

The names below load what they need on first use; networks and the retriever need torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bigrec.models.base import Scorer, ScoringModel
    from bigrec.models.cooccurrence import Cooccurrence
    from bigrec.models.ease import Ease
    from bigrec.models.llm import LLMRetriever
    from bigrec.models.neural import SequentialModel
    from bigrec.models.popularity import Popularity
    from bigrec.models.precomputed import PrecomputedScores
    from bigrec.models.registry import TrainingData, fit_model

__all__ = [
    "Cooccurrence",
    "Ease",
    "LLMRetriever",
    "Popularity",
    "PrecomputedScores",
    "Scorer",
    "ScoringModel",
    "SequentialModel",
    "TrainingData",
    "fit_model",
]

_HOME = {
    "Cooccurrence": "bigrec.models.cooccurrence",
    "Ease": "bigrec.models.ease",
    "LLMRetriever": "bigrec.models.llm",
    "Popularity": "bigrec.models.popularity",
    "PrecomputedScores": "bigrec.models.precomputed",
    "Scorer": "bigrec.models.base",
    "ScoringModel": "bigrec.models.base",
    "SequentialModel": "bigrec.models.neural",
    "TrainingData": "bigrec.models.registry",
    "fit_model": "bigrec.models.registry",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'bigrec.models' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
