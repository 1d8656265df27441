"""Training arguments of the language model in retrieval mode, from its settings."""

import numpy as np

from bigrec.models.neural.arguments import TrainingArguments, default_n_negatives
from bigrec.settings.sections import RetrievalSettings

# Default batch size: targets for about so many steps in an epoch, within these bounds.
_STEPS_PER_EPOCH = 100
_BATCH_SIZES = (128, 768)


def targets_per_step(settings: RetrievalSettings, *, n_rows: int) -> int:
    """Approximate number of targets in an optimizer step.

    Args:
        settings: Say it, or leave it to the size of the data.
        n_rows: Training interactions.
    """
    return settings.batch_size or int(np.clip(n_rows // _STEPS_PER_EPOCH, *_BATCH_SIZES))


def training_arguments(
    settings: RetrievalSettings, *, n_rows: int, n_titles: int, exclude_seen: bool, seed: int
) -> TrainingArguments:
    """How the trainer of all networks trains the language model for retrieval.

    Args:
        settings: Hyperparameters.
        n_rows: Training interactions.
        n_titles: Different titles of the catalog.
        exclude_seen: Whether the protocol that is reported excludes the history.
        seed: Seed of initial weights, order, cuts and dropout.
    """
    return TrainingArguments(
        learning_rate=settings.learning_rate,
        schedule="cosine",
        weight_decay=settings.weight_decay,
        batch_size=targets_per_step(settings, n_rows=n_rows),
        epochs=settings.epochs,
        early_stopping_patience=settings.early_stopping_patience,
        n_negatives=default_n_negatives(n_titles),
        robust_weight=0.0,
        robust_temperature=1.0,
        exclude_seen=exclude_seen,
        seed=seed,
        forward_size=settings.per_device_batch_size,
    )
