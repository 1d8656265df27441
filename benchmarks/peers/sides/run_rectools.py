"""The side of RecTools: SASRec, EASE and ItemKNN through its own datasets."""

import copy
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import side
from implicit.nearest_neighbours import CosineRecommender
from rectools.dataset import Dataset, IdMap, Interactions
from rectools.models import EASEModel, ImplicitItemKNNWrapperModel

SESSIONS = 32


def frame(users: np.ndarray, items: np.ndarray) -> pd.DataFrame:
    """Interactions in the order of the rows."""
    times = pd.to_datetime(np.arange(len(items)), unit="s")
    return pd.DataFrame({"user_id": users, "item_id": items, "weight": 1.0, "datetime": times})


def recommender(model, dataset: Dataset, *, known: np.ndarray) -> side.Recommend:
    """Lists for histories as users of a dataset with the same items."""

    def recommend(histories: Sequence[np.ndarray]) -> np.ndarray:
        kept = [history[known[history]] for history in histories]
        rows = np.repeat(np.arange(len(kept)), [len(history) for history in kept])
        # One user more, with the last item, because the matrix ends at the last item that occurs.
        users = IdMap.from_values(np.arange(len(kept) + 1))
        items = np.append(np.concatenate(kept), dataset.item_id_map.external_ids[-1])
        new = Interactions.from_raw(
            frame(np.append(rows, len(kept)), items), users, dataset.item_id_map
        )
        queries = Dataset(users, dataset.item_id_map, new)
        found = model.recommend(np.unique(rows), queries, k=side.K, filter_viewed=True)
        lists = np.full((len(kept), side.K), -1)
        lists[found["user_id"].to_numpy(), found["rank"].to_numpy() - 1] = found["item_id"]
        return lists

    return recommend


def fit_closed_form(make) -> side.Fit:
    """A fit of a model in closed form."""

    def fit(data: side.Data, _: float):
        distinct = frame(data.users, data.items).drop_duplicates(["user_id", "item_id"])
        dataset = Dataset.construct(distinct)
        model = make().fit(dataset)
        return recommender(model, dataset, known=data.known), []

    return fit


def fit_sasrec(data: side.Data, budget: float):
    """A fit of SASRec with softmax over all items, stopped by validation after every epoch."""
    import torch  # noqa: PLC0415 - seconds, for this model alone
    from pytorch_lightning import Callback, Trainer, seed_everything  # noqa: PLC0415
    from rectools.models import SASRecModel  # noqa: PLC0415

    sys.path.append(str(Path(__file__).parents[2]))
    from rectools_sasrec import split_into_sessions  # noqa: PLC0415 - beside the folder of peers

    seed_everything(0, verbose=False)
    curve, kept = side.Curve(data.valid.targets, budget), {}

    class EarlyStopping(Callback):
        """Validates after every epoch. The trainer works on a copy: it holds no state."""

        def on_train_epoch_end(self, trainer: Trainer, module) -> None:
            network = module.torch_model
            with curve.validating():
                network.eval()
                lists = validate(module)
                network.train()
            if curve.add(lists):
                kept["weights"] = copy.deepcopy(network.state_dict())
            trainer.should_stop = curve.is_over

    def validate(module) -> np.ndarray:
        external_ids = module.data_preparator.item_id_map.external_ids
        # The first ids are padding, not items.
        is_item = np.array([not isinstance(item, str) for item in external_ids])
        items_of = external_ids[is_item].astype(int)
        number = np.zeros(data.n_items, dtype=np.int64)
        number[items_of] = np.flatnonzero(is_item)
        rows = []
        for history in data.valid.histories:
            numbers = number[history]
            numbers = numbers[numbers > 0][-side.MAX_LENGTH :]
            rows.append(np.pad(numbers, (side.MAX_LENGTH - len(numbers), 0)))
        scores = np.full((len(rows), data.n_items), -np.inf, dtype=np.float32)
        with torch.no_grad():
            items = module.torch_model.item_model.get_all_embeddings()
            done = 0
            for x in torch.from_numpy(np.stack(rows)).split(256):
                hidden = module.torch_model.encode_sessions({"x": x}, items)[:, -1]
                scores[done : done + len(x), items_of] = (hidden @ items.T).numpy()[:, is_item]
                done += len(x)
        return side.best(scores, data.valid.histories, known=data.known)

    model = SASRecModel(
        n_factors=side.HIDDEN_SIZE,
        n_heads=2,
        n_blocks=2,
        dropout_rate=side.DROPOUT,
        lr=side.LEARNING_RATE,
        session_max_len=side.MAX_LENGTH,
        batch_size=SESSIONS,
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
    dataset = Dataset.construct(frame(*split_into_sessions(data.users, data.items)))
    model.fit(dataset)
    model.lightning_model.torch_model.load_state_dict(kept["weights"])
    return recommender(model, dataset, known=data.known), curve.points


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    side.main(
        {
            "SASRec": fit_sasrec,
            "EASE": fit_closed_form(lambda: EASEModel(num_threads=1, recommend_n_threads=1)),
            "ItemKNN": fit_closed_form(
                lambda: ImplicitItemKNNWrapperModel(CosineRecommender(num_threads=1))
            ),
        }
    )
