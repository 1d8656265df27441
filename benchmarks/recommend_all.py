"""Lists for every user of a file at scale: ``bigrec recommend-all`` in text mode, as users run it.

``python -m benchmarks.recommend_all --users 100000 --items 10000 --folder runs/all``

Titles, and interactions of 20,000 other users to fit to, are made up: users stay with a few of a
hundred groups of items, and items are popular by Zipf's law. Bundle and histories are kept in the
folder and used again.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import typer

from bigrec.data.dataset import Dataset
from bigrec.recommender.bigrec import BIGRec
from bigrec.settings import Settings
from bigrec.types import IntArray

_GROUPS = 100
_TRAIN_USERS = 20_000
_HISTORY = 20
_SYLLABLES = ("ba", "de", "ki", "lo", "mu", "na", "pe", "ri", "so", "tu", "va", "we", "xi", "yo")


def titles(n_items: int) -> list[str]:
    """Different titles of three words; those of a group share one."""
    rng = np.random.default_rng(0)

    def word(number: int) -> str:
        digits = [number // 14**place % 14 for place in range(4)]
        return "".join(_SYLLABLES[digit] for digit in digits).capitalize()

    other = rng.integers(0, 14**4, size=n_items)
    return [
        f"{word(item % _GROUPS)} {word(int(other[item]))} {word(item)}" for item in range(n_items)
    ]


def sequences(n_users: int, n_items: int, *, seed: int) -> IntArray:
    """Items of every user, ``[n_users, 20]``."""
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, _GROUPS, size=(n_users, 3))
    chosen = np.take_along_axis(groups, rng.integers(0, 3, size=(n_users, _HISTORY)), axis=1)
    places = np.minimum(rng.zipf(1.3, size=chosen.shape) - 1, n_items // _GROUPS - 1)
    return np.asarray(places * _GROUPS + chosen)


def write_inputs(folder: Path, *, n_users: int, n_items: int) -> tuple[Path, Path]:
    """The bundle and the file of histories, made where they are missing."""
    bundle, histories = folder / f"bundle-{n_items}", folder / f"users-{n_users}.parquet"
    if not bundle.is_dir():
        items = pl.DataFrame({"item_id": np.arange(n_items), "title": titles(n_items)})
        rows = sequences(_TRAIN_USERS, n_items, seed=1)
        interactions = pl.DataFrame(
            {
                "user_id": np.repeat(np.arange(len(rows)), _HISTORY),
                "item_id": rows.ravel(),
                "timestamp": np.tile(np.arange(_HISTORY), len(rows)),
            }
        )
        settings = Settings.read(overrides=["mode=text", "baselines.tune=none"])
        BIGRec(settings).fit(Dataset.from_frames(interactions, items)).save(bundle)
    if not histories.is_file():
        lists = pl.Series(sequences(n_users, n_items, seed=2)).arr.to_list()
        users = [f"user-{user}" for user in range(n_users)]
        pl.DataFrame({"user_id": users, "item_id": lists}).write_parquet(histories)
    return bundle, histories


def main() -> None:
    """Print time, processor time and memory of the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, default=Path("runs/recommend-all"))
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    bundle, histories = write_inputs(
        arguments.folder, n_users=arguments.users, n_items=arguments.items
    )
    command = [sys.executable, "-m", "bigrec", "recommend-all", "--bundle", str(bundle)]
    command += ["--histories", str(histories), "--out", str(arguments.folder / "lists.parquet")]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(  # noqa: S603 - this interpreter
        [*command, "--json"], check=True, stdout=subprocess.PIPE
    )
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    summary = json.loads(done.stdout)
    typer.echo(
        f"{summary['users']:,} users, {summary['rows']:,} rows: {seconds:.0f} s, {processor:.0f} s "
        f"of processor time, {summary['users'] / seconds:,.0f} users/s, {summary['peak_mib']:,} "
        f"MiB at most"
    )


if __name__ == "__main__":
    main()
