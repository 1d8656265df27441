"""The side of RecBole: SASRec and GRU4Rec by its own dataset, data loader and trainer."""

import copy
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import side
import torch
from recbole.config import Config
from recbole.data import create_dataset
from recbole.data.dataloader import TrainDataLoader
from recbole.data.interaction import Interaction
from recbole.trainer import Trainer
from recbole.utils import get_model, init_seed

BATCH = 512
SETTINGS = {
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    "MAX_ITEM_LIST_LENGTH": side.MAX_LENGTH,
    "loss_type": "CE",
    "train_neg_sample_args": None,
    "learning_rate": side.LEARNING_RATE,
    "hidden_size": side.HIDDEN_SIZE,
    "embedding_size": side.HIDDEN_SIZE,
    "hidden_dropout_prob": side.DROPOUT,
    "attn_dropout_prob": side.DROPOUT,
    "dropout_prob": side.DROPOUT,
    "use_gpu": False,
    "gpu_id": "",
    "state": "ERROR",
    "show_progress": False,
}


def fit(name: str) -> side.Fit:
    """A fit of a network, stopped by validation after every epoch."""

    def fit_network(data: side.Data, budget: float):
        with tempfile.TemporaryDirectory() as folder:
            return _fit(name, data, budget, folder=Path(folder))

    return fit_network


def _fit(name: str, data: side.Data, budget: float, *, folder: Path):
    curve = side.Curve(data.valid.targets, budget)
    (folder / "ml").mkdir()
    # The order of the rows as times, so that ties stay as they were shuffled.
    rows = np.stack([data.users, data.items, np.arange(len(data.items))], axis=1)
    head = "user_id:token\titem_id:token\ttimestamp:float"
    path = folder / "ml" / "ml.inter"
    np.savetxt(path, rows, fmt="%d", delimiter="\t", header=head, comments="")
    paths = {"data_path": str(folder), "checkpoint_dir": str(folder)}
    config = Config(model=name, dataset="ml", config_dict={**SETTINGS, **paths})
    init_seed(0, reproducibility=True)
    dataset = create_dataset(config)
    tokens = dataset.field2id_token[dataset.iid_field]
    number = np.zeros(data.n_items, dtype=np.int64)
    number[tokens[1:].astype(np.int64)] = np.arange(1, len(tokens))
    (training,) = dataset.build()[:1]
    loader = TrainDataLoader(config, training, None, shuffle=True)
    model = get_model(name)(config, training)
    trainer = Trainer(config, model)
    weights = None
    for epoch in range(side.EPOCHS):
        trainer._train_epoch(loader, epoch)
        with curve.validating():
            lists = _lists(model, data.valid.histories, number=number)
        if curve.add(lists):
            weights = copy.deepcopy(model.state_dict())
        if curve.is_over:
            break
    model.load_state_dict(weights)
    return lambda histories: _lists(model, histories, number=number), curve.points


def _lists(model, histories: Sequence[np.ndarray], *, number: np.ndarray) -> np.ndarray:
    """Lists by the model's own scores of all items."""
    known, lists = number > 0, []
    model.eval()
    for first in range(0, len(histories), BATCH):
        batch = histories[first : first + BATCH]
        sequences = np.zeros((len(batch), side.MAX_LENGTH), dtype=np.int64)
        lengths = np.ones(len(batch), dtype=np.int64)
        for row, history in enumerate(batch):
            numbers = number[history][known[history]][-side.MAX_LENGTH :]
            sequences[row, : len(numbers)] = numbers
            lengths[row] = max(len(numbers), 1)
        query = Interaction(
            {"item_id_list": torch.from_numpy(sequences), "item_length": torch.from_numpy(lengths)}
        )
        with torch.no_grad():
            of_numbers = model.full_sort_predict(query).numpy()
        lists.append(side.best(of_numbers[:, number], batch, known=known))
    return np.concatenate(lists)


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    side.main({"SASRec": fit("SASRec"), "GRU4Rec": fit("GRU4Rec")})
