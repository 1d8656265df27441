"""The arguments of the training loop, with checked ranges."""

import math
from dataclasses import dataclass
from typing import Literal

from bigrec.data.arguments import check_least, check_whole

_LARGEST_FULL_SOFTMAX = 10_000
_N_NEGATIVES = 2048


def default_n_negatives(n_items: int) -> int | None:
    """Number of negatives for a catalog: all other items if they are few.

    Args:
        n_items: Items of the catalog.

    Returns:
        None, which is all, up to 10,000 items; 2,048 above, which take a fraction of the time.
    """
    return None if n_items <= _LARGEST_FULL_SOFTMAX else _N_NEGATIVES


@dataclass(frozen=True)
class TrainingArguments:
    """Hyperparameters of the training loop.

    Attributes:
        learning_rate: Peak learning rate of AdamW.
        schedule: ``constant`` after a warm-up of one epoch, or ``cosine``, which decays to 0 at
            the last of ``epochs`` after a warm-up of a tenth of an epoch.
        weight_decay: Weight decay of AdamW.
        batch_size: Approximate number of targets in an optimizer step.
        forward_size: Approximate number of targets in one forward pass, whose gradients add up to
            those of ``batch_size``; None is all at once.
        epochs: Maximum passes over the interactions.
        early_stopping_patience: Epochs without a better validation NDCG@10 before training stops.
        n_negatives: Number of items that a target is compared with; None is all.
        robust_weight: Weight of the DROS loss; 0 disables it.
        robust_temperature: ``beta_0`` of ``robust_loss``.
        exclude_seen: Whether training and early stopping exclude the items of the history, as
            the reported protocol does.
        seed: Seed of order, cuts, dropout and negatives; at least 0.

    Raises:
        ValueError: If a value is out of range.
    """

    learning_rate: float
    schedule: Literal["constant", "cosine"]
    weight_decay: float
    batch_size: int
    epochs: int
    early_stopping_patience: int
    n_negatives: int | None
    robust_weight: float
    robust_temperature: float
    exclude_seen: bool
    seed: int
    forward_size: int | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("batch_size", "epochs", "early_stopping_patience"):
            check_least(getattr(self, name), 1, name=name)
        for name in ("n_negatives", "forward_size"):
            if getattr(self, name) is not None:
                check_least(getattr(self, name), 1, name=name)
        check_whole(self.seed, name="seed")
        for name in ("learning_rate", "robust_temperature"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}; expected a number above 0.")
        for name in ("weight_decay", "robust_weight", "seed"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 0.")
