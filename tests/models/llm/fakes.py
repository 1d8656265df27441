"""Tiny retrievers: seconds of training on one core."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bigrec.data.interactions import Interactions
from bigrec.grounding.index import ItemIndex
from bigrec.lm.model import LanguageModel, load_language_model
from bigrec.models.llm import ItemTextFeatures, LLMRetriever
from bigrec.models.llm.catalogs import ExtraCatalog
from bigrec.models.registry import TrainingData
from bigrec.settings.sections import RetrievalSettings
from bigrec.types import BoolArray
from tests.conftest import TITLES
from tests.models.fakes import N, all_rows, ring

# Item 8 is another edition of title 0.
TITLE_IDS = np.array([*range(N), 0])

SETTINGS: dict[str, Any] = {
    "lora_r": 4,
    "lora_alpha": 8,
    "max_length": 4,
    "content_dim": 16,
    "embedding_dim": 16,
    "projection_dim": 32,
    "lora_dropout": 0.0,
    "feature_dropout": 0.0,
    "embedding_dropout": 0.0,
    "id_embedding_dropout": 0.0,
    "learning_rate": 0.02,
    "batch_size": 16,
    "epochs": 8,
    "early_stopping_patience": 8,
}


def load(model: Path) -> LanguageModel:
    """The tiny language model, fresh."""
    return load_language_model(str(model), device="cpu")


def extra_catalog(lm: LanguageModel, of: Interactions | None = None) -> ExtraCatalog:
    """The ring walked backwards, over other titles, or other interactions with these."""
    ring_of_titles = ring()
    backwards = replace(ring_of_titles, items=(N - 1 - ring_of_titles.items).astype(np.int32))
    of = backwards if of is None else of
    index = ItemIndex.build([f"Game {title}" for title in TITLES[:N]], ItemTextFeatures(lm))
    return ExtraCatalog("Games", index, of, all_rows(of), np.arange(N))


def fit(
    lm: LanguageModel,
    of: Interactions | None = None,
    train: BoolArray | None = None,
    /,
    *,
    index: ItemIndex | None = None,
    folder: Path | None = None,
    stop_after: int | None = None,
    extra: Sequence[ExtraCatalog] = (),
    progress: Any = None,
    **settings: Any,
) -> LLMRetriever:
    """Fit a retriever to the ring, or to other interactions."""
    of = ring() if of is None else of
    data = TrainingData(
        interactions=of,
        train=all_rows(of) if train is None else train,
        titles=[TITLES[title] for title in TITLE_IDS],
        valid_histories=[np.array([2, 3]), np.array([6, 7])],
        valid_targets=np.array([4, 8]),
    )
    return LLMRetriever.fit(
        lm,
        index or ItemIndex.build(TITLES[:N], ItemTextFeatures(lm)),
        data,
        RetrievalSettings(**(SETTINGS | settings)),
        title_ids=TITLE_IDS,
        seed=0,
        extra_catalogs=extra,
        stop_after=stop_after,
        folder=folder,
        progress=progress,
    )
