"""SASRec of bigrec beside SASRec of RecTools: the same data, the same grid, the same metrics.

RecTools needs NumPy 1, so each side runs in an environment of its own and they meet in a folder::

    python benchmarks/rectools_sasrec.py --export FOLDER    # where bigrec is installed
    python benchmarks/rectools_sasrec.py --ours FOLDER      # there too
    python benchmarks/rectools_sasrec.py --rectools FOLDER  # where rectools[torch] is installed
    python benchmarks/rectools_sasrec.py --report FOLDER    # where bigrec is installed

MovieLens-100K, global-time split, histories of ten, full ranking, seen items kept. Every setting of
the grid is trained with early stopping on the validation NDCG@10 and the best one is then tested.
A setting that is in the folder already is not trained again.

RecTools learns from a user's newest interactions only, as many as a session may hold. Longer users
are given to it in pieces, so that both sides learn from every interaction.
"""

# ruff: noqa: PLC0415 - each mode imports what its environment has

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
    "dropout": (0.2,),
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
    split = split_dataset(dataset.interactions, method="global_time", min_history=10)
    train = split.row_splits == TRAIN
    # The test examples of `bigrec run`; all validation examples, so that noise chooses nothing.
    for part, examples in (("valid", split.valid), ("test", split.test.sample(1000, seed=0))):
        np.savez(folder / f"{part}.npz", histories=examples.histories(), targets=examples.targets)
    np.savez(
        folder / "train.npz",
        users=dataset.interactions.users()[train],
        items=dataset.interactions.items[train],
        n_items=dataset.catalog.n_items,
    )


def fit_ours(folder: Path, settings: dict[str, Any], keep: Callable[..., None]) -> int:
    """Train bigrec's; gives the number of epochs."""
    from bigrec.data.interactions import Interactions
    from bigrec.evaluation.metrics import target_ranks
    from bigrec.models.neural import NeuralSignal

    train, parts = read(folder)
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
    signal = NeuralSignal.fit(
        interactions,
        train=np.ones(len(interactions), dtype=bool),
        n_items=int(train["n_items"]),
        architecture="SASRec",
        valid_histories=list(parts["valid"]["histories"]),
        valid_targets=parts["valid"]["targets"],
        max_length=MAX_LENGTH,
        epochs=EPOCHS,
        patience=PATIENCE,
        progress=lambda done, total: shares.append(done / total),
        **settings,
    )
    for part, queries in parts.items():
        scores = signal.scores(list(queries["histories"]))
        keep(part, target_ranks(-scores, queries["targets"]))
    return round(EPOCHS * shares[-1])


def fit_rectools(folder: Path, settings: dict[str, Any], keep: Callable[..., None]) -> int:
    """Train RecTools'; gives the number of epochs."""
    import pandas as pd
    import torch
    from pytorch_lightning import Callback, Trainer, seed_everything
    from rectools.dataset import Dataset
    from rectools.models import SASRecModel

    train, parts = read(folder)
    seed_everything(0, verbose=False)

    class Judge(Callback):
        """Ranks the targets after every epoch, keeps the best ranks, and stops."""

        best, best_epoch, epoch = -1.0, 0, 0

        def on_train_epoch_end(self, trainer: Trainer, module: Any) -> None:
            self.epoch += 1
            # The trainer works with a copy of this callback.
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
            known = model.data_preparator.item_id_map.external_ids
            # The first ones are not items but padding; what was never trained is ranked last.
            number = np.zeros(int(train["n_items"]), dtype=np.int64)
            is_item = np.array([not isinstance(item, str) for item in known])
            number[known[is_item].astype(int)] = np.flatnonzero(is_item)
            histories, targets = parts[part]["histories"], parts[part]["targets"]
            rows = []
            for row in histories:
                items = number[row[row >= 0]]
                items = items[items > 0][-MAX_LENGTH:]
                rows.append(np.pad(items, (MAX_LENGTH - len(items), 0)))
            found = []
            with torch.no_grad():
                items = module.torch_model.item_model.get_all_embeddings()
                for x in torch.from_numpy(np.stack(rows)).split(256):
                    hidden = module.torch_model.encode_sessions({"x": x}, items)[:, -1]
                    scores = hidden @ items.T
                    scores[:, ~torch.from_numpy(is_item)] = -torch.inf
                    found.append(scores)
            scores, wanted = torch.cat(found), torch.from_numpy(number[targets])
            ahead = (scores >= scores.gather(1, wanted[:, None])).sum(dim=1) - 1
            return torch.where(wanted > 0, ahead, len(number) - 1).numpy()

    epochs: list[int] = []
    judge = Judge()
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
            callbacks=[judge],
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            logger=False,
        ),
    )
    users, items = in_pieces(train["users"], train["items"])
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


def in_pieces(users: np.ndarray, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Users of more interactions than a session holds as several users, the newest one full.

    Pieces share one interaction, so that none is lost as a target.
    """
    pieces = []
    for user in np.unique(users):
        own = items[users == user]
        ends = range(len(own), min(1, len(own) - 1), -MAX_LENGTH)
        pieces += [own[max(0, end - MAX_LENGTH - 1) : end] for end in ends]
    numbers = np.repeat(np.arange(len(pieces)), [len(piece) for piece in pieces])
    return numbers, np.concatenate(pieces)


def read(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, dict[str, np.ndarray]]]:
    """What `export` wrote."""
    arrays = {name: dict(np.load(folder / f"{name}.npz")) for name in ("train", *PARTS)}
    return arrays.pop("train"), arrays


def grid() -> Iterator[dict[str, Any]]:
    """Every setting."""
    for values in itertools.product(*GRID.values()):
        yield dict(zip(GRID, values, strict=True))


def fit_all(folder: Path, side: str, fit: Callable[..., int]) -> None:
    """Train every setting, and write what is known of each to a file of its own."""
    for settings in grid():
        name = "-".join(str(value) for value in settings.values())
        path = folder / f"{side}-{name}.json"
        if path.exists():
            continue
        ranks: dict[str, list[int]] = {}
        started = time.perf_counter()
        epochs = fit(folder, settings, lambda part, of, to=ranks: to.update({part: of.tolist()}))
        seconds = time.perf_counter() - started
        content = {"settings": settings, "epochs": epochs, "seconds": seconds, "ranks": ranks}
        path.write_text(json.dumps(content))


def report(folder: Path) -> None:
    """Print every setting, and the chosen one of each side."""
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
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    mode = parser.add_mutually_exclusive_group(required=True)
    for name in ("export", "ours", "rectools", "report"):
        mode.add_argument(f"--{name}", type=Path, metavar="FOLDER")
    given = parser.parse_args()
    if given.export:
        given.export.mkdir(parents=True, exist_ok=True)
        export(given.export)
    elif given.ours:
        fit_all(given.ours, "ours", fit_ours)
    elif given.rectools:
        fit_all(given.rectools, "rectools", fit_rectools)
    else:
        report(given.report)


if __name__ == "__main__":
    main()
