"""What is learned from: all training interactions, or the few examples alone."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bigrec.data.catalog import Catalog
from bigrec.data.dataset import Dataset
from bigrec.data.interactions import Interactions
from bigrec.grounding.index import ItemIndex
from bigrec.models.llm import DirectGrounder, TitleFeatures
from bigrec.models.registry import Lessons
from bigrec.recommender.factory import Drawn, load_cut_model
from bigrec.settings import Settings
from bigrec.types import IntArray, Progress

FEW_SHOT = ", few-shot"
"""Ends the names of baselines that learned from the language model's own examples."""


def lessons_of(dataset: Dataset, drawn: Drawn) -> Lessons:
    """All training interactions."""
    valid = drawn.stop_queries
    return Lessons(
        interactions=dataset.interactions,
        train=drawn.train_rows,
        n_items=dataset.catalog.n_items,
        valid_histories=valid.histories,
        valid_targets=valid.targets,
    )


def few_shot_lessons(dataset: Dataset, drawn: Drawn) -> Lessons:
    """The examples that the language model got, each as a user of its own."""
    interactions = _as_users(drawn.train_items)
    valid = drawn.stop_queries
    return Lessons(
        interactions=interactions,
        train=np.ones(len(interactions), dtype=np.bool_),
        n_items=dataset.catalog.n_items,
        valid_histories=valid.histories,
        valid_targets=valid.targets,
    )


def direct_lessons(dataset: Dataset, drawn: Drawn, settings: Settings) -> Lessons:
    """What a recommender that points at titles learns from, as its settings say."""
    if settings.direct.learn_from == "examples":
        return few_shot_lessons(dataset, drawn)
    return lessons_of(dataset, drawn)


def train_direct(
    lessons: Lessons,
    settings: Settings,
    *,
    catalog: Catalog,
    folder: Path,
    suffix: str = "",
    reading: Progress | None = None,
    learning: Progress | None = None,
) -> DirectGrounder:
    """Teach the language model to point at titles; what was learned is not learned twice.

    Args:
        lessons: What it learns from.
        settings: Of the base model and of direct grounding.
        catalog: Its titles are what is pointed at.
        folder: Where their features and what was learned are kept.
        suffix: Tells several lessons of a folder apart, as in the names of their methods.
        reading: Called with (titles read, titles to read).
        learning: Called with (targets learned, targets to learn in all epochs).

    Raises:
        ModelError: If the base model has fewer layers than asked for, or cannot be loaded.
    """
    chosen = settings.direct
    # A model of its own each time: the adapter stays in it.
    lm = load_cut_model(settings)
    if not (folder / "index").is_dir():
        ItemIndex.build(
            catalog.group_titles,
            TitleFeatures(lm),
            parts=folder / "parts",
            progress=reading,
        ).save(folder / "index")
    return DirectGrounder.fit(
        lm,
        ItemIndex.load(folder / "index"),
        lessons,
        group=catalog.group,
        seed=settings.seed,
        folder=folder / (suffix.strip(", ") or "all"),
        progress=learning,
        **chosen.model_dump(exclude={"layers", "learn_from"}),
    )


def _as_users(sequences: Sequence[IntArray]) -> Interactions:
    return Interactions(
        user_ids=[str(number) for number in range(len(sequences))],
        user_start=np.cumsum([0, *map(len, sequences)]),
        items=np.concatenate(sequences).astype(np.int32),
        times=None,
        ratings=None,
        splits=None,
    )
