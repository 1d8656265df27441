"""Bundles that are damaged by accident or edited on purpose, digests included.

``python -m torture.bundles --tries 2000 --seed 1`` makes small bundles of all modes, damages a
copy for every try, opens it and asks for recommendations in another process. It has to be refused
with an error of bigrec's that names the bundle, or to answer.
"""

import argparse
import multiprocessing
import os
import random
import resource
import shutil
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import polars as pl
import torch
from rich.console import Console

from bigrec.data.catalog import Catalog
from bigrec.errors import BigrecError
from bigrec.models.registry import TrainingData, fit_model
from bigrec.recommender.bigrec import BIGRec
from bigrec.recommender.fusion import SignalFusion
from bigrec.settings.baselines import BaselineSettings, SequentialSettings
from bigrec.types import FloatArray
from tests.conftest import Mode, save_tiny_model, tiny_dataset, tiny_settings
from torture.damage import DAMAGES, GRAPHS_EDITED
from torture.tally import Tally, report

WITH_GRAPH = "graph"
"""Name of the bundle with an approximate index."""

_SHORT = "baselines.sequential.epochs=1"
# Mode, signals and changed settings of bundles by their names.
_SETTINGS: Mapping[str, tuple[Mode, str, *tuple[str, ...]]] = {
    "retrieval": ("retrieval", "[popularity, co-occurrence, EASE, tf-idf, GRU4Rec]", _SHORT),
    "retrieval gaussian": ("retrieval", "[]", "grounding.head=gaussian"),
    "generative": ("generative", "[recent popularity, SASRec]", _SHORT),
    "alone": ("generative", "[]"),
    "full": ("generative", "[]", "generative.finetune.method=full"),
    "both": ("generative", "[]", "generative.decoding.method=both"),
    "closed form": ("text", "[]"),
    "latent gaussian": ("latent", "[]", "grounding.head=gaussian"),
    "latent l2": ("latent", "[]", "grounding.head=l2"),
    WITH_GRAPH: ("retrieval", "[EASE]", "index.backend=usearch"),
}
_HISTORY = ["i0", "i3", "i5"]
_LIMIT_S = 60.0
_START_S = 300.0
_MEMORY_BYTES = 6 << 30

Recommendations = list[tuple[str, float]]
"""Ids with scores."""


@dataclass(frozen=True)
class Outcome:
    """What became of a try.

    Attributes:
        kind: ``refused``, ``same answer``, ``other answer`` or ``fault``.
        reason: Message of the refusal, or how it failed.
    """

    kind: str
    reason: str = ""


def make_bundles(folder: Path) -> dict[str, Path]:
    """Small bundles of all modes, with every kind of signal, by their names."""
    model = save_tiny_model(folder / "model", chat=True)
    dataset = tiny_dataset()
    named = {
        name: BIGRec(tiny_settings(model, *changes, mode=mode, signals=signals)).fit(dataset)
        for name, (mode, signals, *changes) in _SETTINGS.items()
    }
    retrieval = named["retrieval"]
    named["text"] = BIGRec.of(retrieval.fitted.with_fusion(_of_texts(retrieval)))
    bundles = {name: folder / name for name in (*named, "changed")}
    for name, recommender in named.items():
        recommender.save(bundles[name], metrics={"hr@10": 0.5})
    changed = BIGRec.load(bundles["retrieval"], device="cpu")
    items = changed.catalog.to_frame()[:-1]
    new = pl.DataFrame({"item_id": ["new"], "title": ["Casino (1995)"]})
    rows = pl.concat([items, new]).with_columns(
        price=pl.int_range(pl.len()), in_stock=pl.lit(value=True), tags=pl.concat_list("title")
    )
    catalog = Catalog.from_frame(rows, columns=["price", "in_stock", "tags"])
    changed.update_catalog(catalog).save(bundles["changed"])
    return bundles


def _of_texts(recommender: BIGRec) -> SignalFusion:
    """Signals of title vectors, which are random here, and a network."""
    fitted = recommender.fitted
    if fitted.fusion is None:
        raise ValueError("the recommender has no signals: expected some.")
    interactions = tiny_dataset().interactions
    train = np.ones(len(interactions), dtype=np.bool_)
    histories, targets = [np.array([0, 1])], np.array([2])
    data = TrainingData(interactions, train, fitted.catalog.titles, histories, targets)
    settings = BaselineSettings(sequential=SequentialSettings(epochs=1))

    def embed(titles: Sequence[str]) -> FloatArray:
        return np.random.default_rng(0).normal(size=(len(titles), 6)).astype(np.float32)

    signals = {
        name: fit_model(name, data, settings, embed=embed, device="cpu")
        for name in ("text kNN", "Gaussian", "Caser")
    }
    rules = {
        key: replace(rule, method="weighted_sum", gammas=(0.5, 1.0, 0.25), floor=0.0)
        for key, rule in fitted.fusion.rules.items()
    }
    return SignalFusion(signals, rules, dict.fromkeys(signals, fitted.catalog.item_ids))


def outcome(bundle: Path, expected: Recommendations) -> Outcome:
    """Open a bundle and ask for recommendations.

    Args:
        bundle: The bundle, perhaps damaged.
        expected: What the undamaged one recommends.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = answer(bundle)
    except BigrecError as error:
        named = str(bundle) in str(error) or not _is_at_opening(error)
        return Outcome("refused" if named else "fault", str(error))
    except BaseException:  # noqa: BLE001 - anything else is what is looked for
        return Outcome("fault", traceback.format_exc())
    return Outcome("same answer" if found == expected else "other answer")


def answer(bundle: Path) -> Recommendations:
    """The recommendations of a bundle."""
    # Otherwise a graph would be built again, and that of the file would not be read.
    model = BIGRec.load(bundle, device="cpu", trust_index=True)
    # Conditions read further columns, which the damage may have made others.
    where = {name: {"is_null": False} for name in model.catalog.columns.columns}
    found = model.recommend(_HISTORY, k=5, where=where)
    return [(item.item_id, round(item.score, 4)) for item in found]


def _is_at_opening(error: BaseException) -> bool:
    names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    return "load_fitted" in names


class Opener:
    """A process that opens bundles, replaced when it hangs or dies."""

    def __init__(self) -> None:
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None

    def __call__(self, bundle: Path, expected: Recommendations) -> Outcome:
        """The outcome for a bundle; a hang or a crash is a fault."""
        pipe = self._started()
        pipe.send((bundle, expected))
        try:
            if pipe.poll(_LIMIT_S):
                return pipe.recv()  # type: ignore[no-any-return]
            reason = f"it hangs: no end within {_LIMIT_S:g} s"
        except (EOFError, ConnectionError):
            reason = "the process died"
        self.stop()
        return Outcome("fault", reason)

    def _started(self) -> Connection:
        if self._pipe is None:
            context = multiprocessing.get_context("spawn")
            self._pipe, theirs = context.Pipe()
            self._process = context.Process(target=_open_bundles, args=(theirs,), daemon=True)
            self._process.start()
            theirs.close()
            if not self._pipe.poll(_START_S) or self._pipe.recv() != "ready":
                raise TimeoutError("the process that opens bundles does not start")
        return self._pipe

    def stop(self) -> None:
        """End the process."""
        if self._process is not None and self._pipe is not None:
            self._pipe.close()
            self._process.kill()
            self._process.join()
        self._process = self._pipe = None


def _open_bundles(pipe: Connection) -> None:
    """Open the bundles that come through a pipe, within bounded memory and without the hub."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    torch.set_num_threads(1)
    # Rust tells a panic on this stream, too.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY_BYTES, _MEMORY_BYTES))
    pipe.send("ready")
    with suppress(EOFError):
        while True:
            pipe.send(outcome(*pipe.recv()))


def run(
    *,
    tries: int,
    seed: int,
    first: int = 0,
    kinds: Sequence[str] = tuple(DAMAGES),
    open_bundle: Callable[[Path, Recommendations], Outcome],
) -> tuple[list[Tally], Counter[str]]:
    """Damage bundles and open them.

    Args:
        tries: Number of tries.
        seed: Decides the damage of each try, together with its number.
        first: Number of the first try.
        kinds: Names of the damages among which each try chooses.
        open_bundle: Gives the outcome for a damaged bundle.

    Returns:
        The tallies by kind of damage, and how often each outcome came.
    """
    tallies = {name: Tally(name) for name in kinds}
    outcomes = Counter[str]()
    with tempfile.TemporaryDirectory() as temporary:
        bundles = make_bundles(Path(temporary))
        expected = {name: answer(bundle) for name, bundle in bundles.items()}
        for number in range(first, first + tries):
            rng = random.Random(f"{seed} {number}")
            name, damage = rng.choice(sorted(bundles)), rng.choice(sorted(kinds))
            name = WITH_GRAPH if damage == GRAPHS_EDITED else name
            bundle = Path(temporary) / "damaged"
            shutil.copytree(bundles[name], bundle)
            told = DAMAGES[damage](bundle, rng)
            found = open_bundle(bundle, expected[name])
            shutil.rmtree(bundle)
            outcomes[found.kind] += 1
            is_fault = found.kind == "fault"
            where = f"try {number}, {name}, {told}: {found.reason}"
            tallies[damage].count(where if is_fault else None)
    return list(tallies.values()), outcomes


def main() -> None:
    """Run the tries and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first try")
    parser.add_argument("--damage", action="append", choices=sorted(DAMAGES), help="repeatable")
    arguments = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    opener = Opener()
    try:
        tallies, outcomes = run(
            tries=arguments.tries,
            seed=arguments.seed,
            first=arguments.first,
            kinds=arguments.damage or tuple(DAMAGES),
            open_bundle=opener,
        )
    finally:
        opener.stop()
    survived = report("Damaged bundles", tallies)
    told = ", ".join(f"{kind}: {count:,}" for kind, count in sorted(outcomes.items()))
    Console().print(f"Outcomes: {told}.")
    sys.exit(0 if survived else 1)


if __name__ == "__main__":
    main()
