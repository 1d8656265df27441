"""How a network is trained, as checked numbers."""

import math
from dataclasses import dataclass
from typing import Literal

_LARGEST_FULL_SOFTMAX = 10_000
_N_NEGATIVES = 2048


def usual_negatives(n_items: int) -> int | None:
    """Items that a target is compared with unless the caller says otherwise: all if they are few.

    Args:
        n_items: Items of the catalog.

    Returns:
        None for all, up to 10,000; 2,048 above, which take a fraction of the time.
    """
    return None if n_items <= _LARGEST_FULL_SOFTMAX else _N_NEGATIVES


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes:
        learning_rate: Of AdamW, at most.
        schedule: ``constant`` after a warm-up of one epoch, or ``cosine``, down to 0 at the last
            of ``epochs`` after a warm-up of a tenth of an epoch.
        weight_decay: Of AdamW.
        batch_size: Targets of an optimizer step, about.
        epochs: Passes over the interactions, at most.
        patience: Epochs without a better validation NDCG@10 after which training stops.
        n_negatives: Items that a target is compared with; None is all.
        robust_weight: Weight of the DROS loss; 0 is without.
        robust_temperature: ``beta_0`` of ``robust_loss``.
        seed: Decides order, cuts, dropout and negatives; at least 0.

    Raises:
        ValueError: If a value is out of range.
    """

    learning_rate: float
    schedule: Literal["constant", "cosine"]
    weight_decay: float
    batch_size: int
    epochs: int
    patience: int
    n_negatives: int | None
    robust_weight: float
    robust_temperature: float
    seed: int

    def __post_init__(self) -> None:
        """Refuse what cannot be trained with."""
        for name in ("batch_size", "epochs", "patience", "n_negatives"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; expected at least 1.")
        for name in ("learning_rate", "robust_temperature"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}; expected a number above 0.")
        for name in ("weight_decay", "robust_weight", "seed"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 0.")
