"""SASRec of bigrec against SASRec of RecTools: the same data, grid and metrics.

RecTools needs NumPy 1, so each side runs in another environment. They share a folder::

    python benchmarks/rectools_sasrec.py --export FOLDER    # where bigrec is installed
    python benchmarks/rectools_sasrec.py --ours FOLDER      # there too
    python benchmarks/rectools_sasrec.py --rectools FOLDER  # where rectools[torch] is installed
    python benchmarks/rectools_sasrec.py --report FOLDER    # where bigrec is installed

MovieLens-100K, global-time split, histories of ten, full ranking, seen items included. Both sides
are tuned alike: every setting of the grid, that of `baselines.tune: grid` for two sizes, is trained
with early stopping on the validation NDCG@10, and the best one is tested. A setting that is in the
folder is not trained again.

RecTools trains on a user's newest interactions only, as many as fit into a session. Users with more
are split into several, so that both sides train on every interaction.
"""

# ruff: noqa: PLC0415 - each mode imports the packages of its environment

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

GRID = {
    "learning_rate": (1e-3, 3e-3),
    "dropout": (0.5, 0.2),
    "hidden_size": (64, 128),
}
MAX_LENGTH = 50
EPOCHS = 100
PATIENCE = 5
SESSIONS = 32
K = 10
PARTS = ("valid", "test")


def export(folder: Path) -> None:
    """Write training interactions, and histories with their targets, as plain arrays."""
    from bigrec.data.sources import load_dataset
    from bigrec.data.splits import TRAIN, split_dataset

    dataset = load_dataset("ml-100k")
    split = split_dataset(
        dataset.interactions, method="global_time", max_history_length=10, min_history=10
    )
    train = split.row_splits == TRAIN
    # The test examples of the preset paper-small; all validation examples, against noisy selection.
    for part, examples in (("valid", split.valid), ("test", split.test.sample(1000, seed=0))):
        np.savez(folder / f"{part}.npz", histories=examples.histories(), targets=examples.targets)
    np.savez(
        folder / "train.npz",
        users=dataset.interactions.users()[train],
        items=dataset.interactions.items[train],
        n_items=dataset.catalog.n_items,
    )


def fit_ours(folder: Path, settings: dict[str, Any], keep: Callable[..., None]) -> int:
    """Train bigrec's SASRec, and return the number of epochs."""
    from bigrec.data.interactions import Interactions
    from bigrec.grounding.ranks import target_ranks
    from bigrec.models.neural import SequentialModel

    train, queries = read(folder)
    users, start = np.unique(train["users"], return_index=True)
    interactions = Interactions(
        user_ids=[str(user) for user in users],
        user_start=np.append(start, len(train["users"])),
        items=train["items"],
        times=None,
        ratings=None,
        splits=None,
    )
    shares: list[float] = []
    model = SequentialModel.fit(
        interactions,
        train=np.ones(len(interactions), dtype=bool),
        n_items=int(train["n_items"]),
        architecture="SASRec",
        valid_histories=list(queries["valid"]["histories"]),
        valid_targets=queries["valid"]["targets"],
        max_length=MAX_LENGTH,
        epochs=EPOCHS,
        early_stopping_patience=PATIENCE,
        # As both sides are ranked here.
        exclude_seen=False,
        progress=lambda done, total: shares.append(done / total),
        **settings,
    )
    for part, of_part in queries.items():
        scores = model.scores(list(of_part["histories"]))
        keep(part, target_ranks(-scores, of_part["targets"]))
    return round(EPOCHS * shares[-1])


def fit_rectools(folder: Path, settings: dict[str, Any], keep: Callable[..., None]) -> int:
    """Train RecTools' SASRec, and return the number of epochs."""
    import pandas as pd
    import torch
    from pytorch_lightning import Callback, Trainer, seed_everything
    from rectools.dataset import Dataset
    from rectools.models import SASRecModel

    train, queries = read(folder)
    seed_everything(0, verbose=False)

    class EarlyStopping(Callback):
        """Ranks the targets after every epoch, keeps the best ranks, and stops the training."""

        best, best_epoch, epoch = -1.0, 0, 0

        def on_train_epoch_end(self, trainer: Trainer, module: Any) -> None:
            self.epoch += 1
            # Outside the callback, because the trainer uses a copy of it.
            epochs.append(self.epoch)
            module.torch_model.eval()
            ranks = self.ranks(module, "valid")
            ndcg = float(np.where(ranks < K, 1 / np.log2(ranks + 2), 0).mean())
            if ndcg > self.best:
                self.best, self.best_epoch = ndcg, self.epoch
                keep("valid", ranks)
                keep("test", self.ranks(module, "test"))
            module.torch_model.train()
            trainer.should_stop = self.epoch - self.best_epoch >= PATIENCE

        def ranks(self, module: Any, part: str) -> np.ndarray:
            external_ids = model.data_preparator.item_id_map.external_ids
            # The first ids are padding, not items. Items that were not trained are ranked last.
            number = np.zeros(int(train["n_items"]), dtype=np.int64)
            is_item = np.array([not isinstance(item, str) for item in external_ids])
            number[external_ids[is_item].astype(int)] = np.flatnonzero(is_item)
            histories, targets = queries[part]["histories"], queries[part]["targets"]
            rows = []
            for row in histories:
                items = number[row[row >= 0]]
                items = items[items > 0][-MAX_LENGTH:]
                rows.append(np.pad(items, (MAX_LENGTH - len(items), 0)))
            batches = []
            with torch.no_grad():
                items = module.torch_model.item_model.get_all_embeddings()
                for x in torch.from_numpy(np.stack(rows)).split(256):
                    hidden = module.torch_model.encode_sessions({"x": x}, items)[:, -1]
                    scores = hidden @ items.T
                    scores[:, ~torch.from_numpy(is_item)] = -torch.inf
                    batches.append(scores)
            scores, target_numbers = torch.cat(batches), torch.from_numpy(number[targets])
            ahead = (scores >= scores.gather(1, target_numbers[:, None])).sum(dim=1) - 1
            return torch.where(target_numbers > 0, ahead, len(number) - 1).numpy()

    epochs: list[int] = []
    early_stopping = EarlyStopping()
    model = SASRecModel(
        n_factors=settings["hidden_size"],
        n_heads=2,
        n_blocks=2,
        dropout_rate=settings["dropout"],
        lr=settings["learning_rate"],
        session_max_len=MAX_LENGTH,
        batch_size=SESSIONS,
        loss="softmax",
        use_key_padding_mask=True,
        get_trainer_func=lambda: Trainer(
            max_epochs=EPOCHS,
            accelerator="cpu",
            callbacks=[early_stopping],
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            logger=False,
        ),
    )
    users, items = split_into_sessions(train["users"], train["items"])
    frame = pd.DataFrame(
        {
            "user_id": users,
            "item_id": items,
            "weight": 1.0,
            "datetime": pd.to_datetime(np.arange(len(items)), unit="s"),
        }
    )
    model.fit(Dataset.construct(frame))
    return len(epochs)


def split_into_sessions(users: np.ndarray, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split users with more interactions than fit into a session, from the newest backwards.

    Consecutive sessions share one interaction, so that every interaction stays a target.

    Returns:
        Session and item number of every interaction.
    """
    sessions = []
    for user in np.unique(users):
        user_items = items[users == user]
        ends = range(len(user_items), min(1, len(user_items) - 1), -MAX_LENGTH)
        sessions += [user_items[max(0, end - MAX_LENGTH - 1) : end] for end in ends]
    numbers = np.repeat(np.arange(len(sessions)), [len(session) for session in sessions])
    return numbers, np.concatenate(sessions)


def read(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, dict[str, np.ndarray]]]:
    """Read the training interactions, and the queries by part, as `export` wrote them."""
    arrays = {name: dict(np.load(folder / f"{name}.npz")) for name in ("train", *PARTS)}
    return arrays.pop("train"), arrays


def grid() -> Iterator[dict[str, Any]]:
    """Every setting of the grid."""
    for values in itertools.product(*GRID.values()):
        yield dict(zip(GRID, values, strict=True))


def fit_all(folder: Path, side: str, fit: Callable[..., int]) -> None:
    """Train every setting of the grid, and write the result of each to a file."""
    for settings in grid():
        name = "-".join(str(value) for value in settings.values())
        path = folder / f"{side}-{name}.json"
        if path.exists():
            continue
        ranks: dict[str, list[int]] = {}
        started = time.perf_counter()
        epochs = fit(
            folder, settings, lambda part, of_part, to=ranks: to.update({part: of_part.tolist()})
        )
        seconds = time.perf_counter() - started
        content = {"settings": settings, "epochs": epochs, "seconds": seconds, "ranks": ranks}
        path.write_text(json.dumps(content))


def report(folder: Path) -> None:
    """Print the results of every setting, best on validation first."""
    from bigrec.evaluation.metrics import hr_at, ndcg_at

    for side in ("ours", "rectools"):
        rows = []
        for path in sorted(folder.glob(f"{side}-*.json")):
            content = json.loads(path.read_text())
            ranks = {part: np.array(content["ranks"][part]) for part in PARTS}
            figures = [metric(ranks[part], k=K) for part in PARTS for metric in (ndcg_at, hr_at)]
            rows.append((*figures, content["seconds"], content["epochs"], content["settings"]))
        for row in sorted(rows, key=lambda row: -row[0]):
            valid_ndcg, valid_hr, test_ndcg, test_hr, seconds, epochs, settings = row
            sys.stdout.write(
                f"{side:9} valid ndcg@10 {valid_ndcg:.4f} hr@10 {valid_hr:.4f}  "
                f"test ndcg@10 {test_ndcg:.4f} hr@10 {test_hr:.4f}  "
                f"{seconds:5.0f} s  {epochs:3} epochs  {settings}\n"
            )


def main() -> None:
    """Run the mode of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    mode = parser.add_mutually_exclusive_group(required=True)
    for name in ("export", "ours", "rectools", "report"):
        mode.add_argument(f"--{name}", type=Path, metavar="FOLDER")
    arguments = parser.parse_args()
    if arguments.export:
        arguments.export.mkdir(parents=True, exist_ok=True)
        export(arguments.export)
    elif arguments.ours:
        fit_all(arguments.ours, "ours", fit_ours)
    elif arguments.rectools:
        fit_all(arguments.rectools, "rectools", fit_rectools)
    else:
        report(arguments.report)


if __name__ == "__main__":
    main()
