"""bigrec makes a language model recommend real items.

The names below load what they need on first use, so that ``import bigrec`` is cheap.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bigrec import models
    from bigrec.data.catalog import Catalog
    from bigrec.data.dataset import Dataset
    from bigrec.data.interactions import Interactions
    from bigrec.data.sources import load_dataset
    from bigrec.data.splits import split_dataset as split
    from bigrec.errors import (
        BigrecError,
        BundleError,
        DataError,
        ModelError,
        NotFittedError,
        SettingsError,
        StaleIndexError,
        StorageError,
    )
    from bigrec.evaluation import metrics
    from bigrec.experiments.compare import compare
    from bigrec.experiments.evaluate import EvaluationResult, evaluate
    from bigrec.recommender.bigrec import BIGRec
    from bigrec.recommender.explaining import Explanation
    from bigrec.recommender.recommendations import Recommendations
    from bigrec.settings import Settings
    from bigrec.types import GeneratedText, Recommendation

__version__ = "0.2.0"

__all__ = [
    "BIGRec",
    "BigrecError",
    "BundleError",
    "Catalog",
    "DataError",
    "Dataset",
    "EvaluationResult",
    "Explanation",
    "GeneratedText",
    "Interactions",
    "ModelError",
    "NotFittedError",
    "Recommendation",
    "Recommendations",
    "Settings",
    "SettingsError",
    "StaleIndexError",
    "StorageError",
    "__version__",
    "compare",
    "evaluate",
    "load_dataset",
    "metrics",
    "models",
    "split",
]

# By public name: its module and its name there; None is the module itself.
_HOME: dict[str, tuple[str, str | None]] = {
    "BIGRec": ("bigrec.recommender.bigrec", "BIGRec"),
    "BigrecError": ("bigrec.errors", "BigrecError"),
    "BundleError": ("bigrec.errors", "BundleError"),
    "Catalog": ("bigrec.data.catalog", "Catalog"),
    "DataError": ("bigrec.errors", "DataError"),
    "Dataset": ("bigrec.data.dataset", "Dataset"),
    "EvaluationResult": ("bigrec.experiments.evaluate", "EvaluationResult"),
    "Explanation": ("bigrec.recommender.explaining", "Explanation"),
    "GeneratedText": ("bigrec.types", "GeneratedText"),
    "Interactions": ("bigrec.data.interactions", "Interactions"),
    "ModelError": ("bigrec.errors", "ModelError"),
    "NotFittedError": ("bigrec.errors", "NotFittedError"),
    "Recommendation": ("bigrec.types", "Recommendation"),
    "Recommendations": ("bigrec.recommender.recommendations", "Recommendations"),
    "Settings": ("bigrec.settings", "Settings"),
    "SettingsError": ("bigrec.errors", "SettingsError"),
    "StaleIndexError": ("bigrec.errors", "StaleIndexError"),
    "StorageError": ("bigrec.errors", "StorageError"),
    "compare": ("bigrec.experiments.compare", "compare"),
    "evaluate": ("bigrec.experiments.evaluate", "evaluate"),
    "load_dataset": ("bigrec.data.sources", "load_dataset"),
    "metrics": ("bigrec.evaluation.metrics", None),
    "models": ("bigrec.models", None),
    "split": ("bigrec.data.splits", "split_dataset"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'bigrec' has no attribute {name!r}")
    module, attribute = _HOME[name]
    loaded = import_module(module)
    return loaded if attribute is None else getattr(loaded, attribute)


def __dir__() -> list[str]:
    return __all__
