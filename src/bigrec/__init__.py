"""bigrec makes a language model recommend real items.

The names below load what they need on first use, so that ``import bigrec`` is cheap.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bigrec.data.catalog import Catalog
    from bigrec.data.dataset import Dataset
    from bigrec.data.interactions import Interactions
    from bigrec.data.sources import load_dataset
    from bigrec.errors import BigrecError
    from bigrec.recommender.bigrec import BIGRec
    from bigrec.settings import Settings
    from bigrec.types import GeneratedText, Recommendation

__version__ = "0.1.0"

__all__ = [
    "BIGRec",
    "BigrecError",
    "Catalog",
    "Dataset",
    "GeneratedText",
    "Interactions",
    "Recommendation",
    "Settings",
    "__version__",
    "load_dataset",
]

_HOME = {
    "BIGRec": "bigrec.recommender.bigrec",
    "BigrecError": "bigrec.errors",
    "Catalog": "bigrec.data.catalog",
    "Dataset": "bigrec.data.dataset",
    "GeneratedText": "bigrec.types",
    "Interactions": "bigrec.data.interactions",
    "Recommendation": "bigrec.types",
    "Settings": "bigrec.settings",
    "load_dataset": "bigrec.data.sources",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'bigrec' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
