"""SASRec of RecTools, stopped by validation after every epoch. For the sides that train it."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import side
import torch
from pytorch_lightning import Callback, Trainer, seed_everything
from rectools.dataset import Dataset
from rectools.models import SASRecModel
from rectools_frame import frame

TARGETS_PER_STEP = 1600
BATCH = 256


def split_into_sessions(
    users: np.ndarray, items: np.ndarray, *, max_length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Split users with more interactions than fit into a session, from the newest backwards.

    RecTools trains on a user's newest interactions only, as many as fit into a session. Consecutive
    sessions share one interaction, so that every interaction but a user's first is a target once.

    Returns:
        Session and item number of every interaction.
    """
    sessions = []
    for user_items in np.split(items, np.flatnonzero(np.diff(users)) + 1):
        ends = range(len(user_items), min(1, len(user_items) - 1), -max_length)
        sessions += [user_items[max(0, end - max_length - 1) : end] for end in ends]
    numbers = np.repeat(np.arange(len(sessions)), [len(session) for session in sessions])
    return numbers, np.concatenate(sessions)


@dataclass(frozen=True)
class Trained:
    """A trained model, and the dataset that knows its items."""

    model: SASRecModel
    dataset: Dataset
    n_items: int
    max_length: int

    def scores(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """Scores of all items, ``[q, n]``; minus infinity for those that were not trained."""
        return scores(
            self.model, self.model.lightning_model, histories, self.n_items, self.max_length
        )


def scores(
    model: SASRecModel, module, histories: Sequence[np.ndarray], n_items: int, max_length: int
) -> np.ndarray:
    """As `Trained.scores`, by the network that is in training."""
    external_ids = model.data_preparator.item_id_map.external_ids
    # The first ids are padding, not items.
    is_item = np.array([not isinstance(item, str) for item in external_ids])
    items_of = external_ids[is_item].astype(int)
    number = np.zeros(n_items, dtype=np.int64)
    number[items_of] = np.flatnonzero(is_item)
    rows = np.zeros((len(histories), max_length), dtype=np.int64)
    for row, history in zip(rows, histories, strict=True):
        numbers = number[history]
        numbers = numbers[numbers > 0][-max_length:]
        row[max_length - len(numbers) :] = numbers
    found = np.full((len(rows), n_items), -np.inf, dtype=np.float32)
    with torch.no_grad():
        items = module.torch_model.item_model.get_all_embeddings()
        done = 0
        for x in torch.from_numpy(rows).split(BATCH):
            hidden = module.torch_model.encode_sessions({"x": x}, items)[:, -1]
            found[done : done + len(x), items_of] = (hidden @ items.T).numpy()[:, is_item]
            done += len(x)
    return found


def train(
    data: side.Data,
    curve: side.Curve,
    *,
    hidden_size: int,
    dropout: float,
    learning_rate: float,
    max_length: int,
    seed: int = 0,
) -> Trained:
    """Train with softmax over all items; the weights are those of the best epoch.

    Args:
        data: Training interactions and validation queries.
        curve: Gets a point for every epoch, and says when to stop.
        hidden_size: Size of embeddings.
        dropout: Dropout probability.
        learning_rate: Of Adam.
        max_length: Interactions of a session.
        seed: Of everything random.
    """
    seed_everything(seed, verbose=False)
    kept = {}

    class EarlyStopping(Callback):
        """Validates after every epoch. The trainer works on a copy: it holds no state."""

        def on_train_epoch_end(self, trainer: Trainer, module) -> None:
            network = module.torch_model
            with curve.validating():
                network.eval()
                found = scores(model, module, data.valid.histories, data.n_items, max_length)
                lists = side.best(found, data.valid.histories, known=data.known)
                network.train()
            if curve.add(lists):
                kept["weights"] = copy.deepcopy(network.state_dict())
            trainer.should_stop = curve.is_over

    model = SASRecModel(
        n_factors=hidden_size,
        n_heads=2,
        n_blocks=2,
        dropout_rate=dropout,
        lr=learning_rate,
        session_max_len=max_length,
        batch_size=TARGETS_PER_STEP // max_length,
        loss="softmax",
        use_key_padding_mask=True,
        get_trainer_func=lambda: Trainer(
            max_epochs=side.EPOCHS,
            accelerator="cpu",
            callbacks=[EarlyStopping()],
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            logger=False,
        ),
    )
    sessions = split_into_sessions(data.users, data.items, max_length=max_length)
    dataset = Dataset.construct(frame(*sessions))
    model.fit(dataset)
    network = model.lightning_model.torch_model
    network.load_state_dict(kept["weights"])
    network.eval()
    return Trained(model, dataset, data.n_items, max_length)
