"""The side of bigrec: SASRec, GRU4Rec, EASE and co-occurrence with their default settings."""

import logging
import time
from collections.abc import Sequence

import numpy as np
import side

from bigrec.data.interactions import Interactions
from bigrec.grounding.ranked_lists import best_titles
from bigrec.models.cooccurrence import Cooccurrence
from bigrec.models.ease import Ease

BATCH = 512


def interactions_of(data: side.Data) -> Interactions:
    """The training interactions as bigrec's."""
    users, start = np.unique(data.users, return_index=True)
    return Interactions(
        user_ids=[str(user) for user in users],
        user_start=np.append(start, len(data.users)),
        items=data.items,
        times=None,
        ratings=None,
        splits=None,
    )


def recommender(model) -> side.Recommend:
    """Lists from a model's scores, a batch of histories at a time."""

    def recommend(histories: Sequence[np.ndarray]) -> np.ndarray:
        lists = []
        for first in range(0, len(histories), BATCH):
            batch = histories[first : first + BATCH]
            lists.append(best_titles(-model.scores(batch), k=side.K, exclude=batch))
        return np.concatenate(lists)

    return recommend


def fit_closed_form(kind) -> side.Fit:
    """A fit of a model in closed form."""

    def fit(data: side.Data, _: float):
        train = np.ones(len(data.items), dtype=bool)
        model = kind.fit(interactions_of(data), train=train, n_items=data.n_items)
        return recommender(model), []

    return fit


class EpochEnds(logging.Handler):
    """Notes when each epoch is told, which is after its validation."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Note the time."""
        if str(record.msg).startswith("Epoch "):
            self.seconds.append(time.process_time())


def fit_network(architecture: str) -> side.Fit:
    """A fit of a network. Unlike those of other sides, its times include the validation."""

    def fit(data: side.Data, _: float):
        from bigrec.models.neural import SequentialModel, trainer  # noqa: PLC0415 - torch

        ends, started = EpochEnds(), time.process_time()
        trainer.logger.addHandler(ends)
        trainer.logger.setLevel(logging.INFO)
        model = SequentialModel.fit(
            interactions_of(data),
            train=np.ones(len(data.items), dtype=bool),
            n_items=data.n_items,
            architecture=architecture,
            valid_histories=data.valid.histories,
            valid_targets=data.valid.targets,
            max_length=side.MAX_LENGTH,
            hidden_size=side.HIDDEN_SIZE,
            dropout=side.DROPOUT,
            learning_rate=side.LEARNING_RATE,
            epochs=side.EPOCHS,
            early_stopping_patience=side.PATIENCE,
        )
        figures = [entry["ndcg@10"] for entry in model.log]
        seconds = [end - started for end in ends.seconds]
        return recommender(model), list(zip(seconds, figures, strict=True))

    return fit


if __name__ == "__main__":
    side.main(
        {
            "SASRec": fit_network("SASRec"),
            "GRU4Rec": fit_network("GRU4Rec"),
            "EASE": fit_closed_form(Ease),
            "co-occurrence": fit_closed_form(Cooccurrence),
        }
    )
