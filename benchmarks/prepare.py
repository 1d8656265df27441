"""Time and memory of preparing a large dataset: reading, splitting by global time, sampling.

The dataset is synthetic, with the shape of MovieLens-10M: 72,000 users, 10,681 movies, Zipf
popularity. It is prepared in a new process, whose peak memory is that of the preparation.
"""

import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from bigrec.data.sources import load_dataset
from bigrec.data.splits import split_global_time
from bigrec.memory import peak_bytes
from bigrec.storage import atomic_file, write_text

# MovieLens-10M: 10 million interactions of 72,000 users.
_PER_USER = 139
_FEWEST_ROWS = 100_000
_N_ITEMS = 10_681
_HISTORY_LENGTH = 10
_SAMPLED = 1024
# The time span of MovieLens-10M, in seconds since 1970.
_FIRST, _LAST = 789_652_009, 1_231_131_736


def bench_prepare(*, n_rows: int = 10_000_000) -> dict[str, Any]:
    """Write a synthetic dataset and measure its preparation in a new process.

    Args:
        n_rows: Number of interactions, at least 100,000.

    Returns:
        As `prepare`.

    Raises:
        ValueError: If ``n_rows`` is too small for the shape.
    """
    if n_rows < _FEWEST_ROWS:
        raise ValueError(f"n_rows is {n_rows}: expected at least {_FEWEST_ROWS}.")
    with tempfile.TemporaryDirectory() as folder:
        write_movielens(Path(folder), n_rows, rng=np.random.default_rng(0))
        # A forked process would start with the memory used for writing.
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            return pool.apply(prepare, (Path(folder),))


def write_movielens(folder: Path, n_rows: int, *, rng: np.random.Generator) -> None:
    """Write synthetic ``ratings.dat`` and ``movies.dat``, sorted by user as GroupLens' files.

    Args:
        folder: Folder of the files.
        n_rows: Number of interactions. The number of users keeps MovieLens-10M's average.
        rng: Source of randomness.
    """
    weights = 1 / np.arange(1, _N_ITEMS + 1)
    users = np.sort(rng.integers(n_rows // _PER_USER, size=n_rows)) + 1
    items = rng.choice(_N_ITEMS, size=n_rows, p=weights / weights.sum()) + 1
    columns = {
        "user": users,
        "item": items,
        "rating": rng.integers(1, 11, size=n_rows) / 2,
        "time": rng.integers(_FIRST, _LAST, size=n_rows),
    }
    line = pl.concat_str(list(columns), separator="::")
    with atomic_file(folder / "ratings.dat") as temporary:
        lines = pl.DataFrame(columns).select(line)
        lines.write_csv(temporary, include_header=False, quote_style="never")
    movies = "".join(f"{i}::Movie {i} ({1920 + i % 90})::Drama\n" for i in range(1, _N_ITEMS + 1))
    write_text(folder / "movies.dat", movies)


def prepare(folder: Path) -> dict[str, Any]:
    """Prepare a dataset and measure it, in a process without other work.

    Args:
        folder: Folder of the dataset.

    Returns:
        Sizes, seconds of each step, and the peak memory of the process in GB.
    """
    started = time.perf_counter()
    dataset = load_dataset(folder)
    loaded = time.perf_counter()
    split = split_global_time(
        dataset.interactions, max_history_length=_HISTORY_LENGTH, min_history=_HISTORY_LENGTH
    )
    cut = time.perf_counter()
    sample = split.train.sample(_SAMPLED, seed=0)
    sample.histories()
    done = time.perf_counter()
    return {
        "interactions": len(dataset.interactions),
        "training examples": len(split.train),
        "sampled": len(sample),
        "load_s": round(loaded - started, 2),
        "split_s": round(cut - loaded, 2),
        "sample_s": round(done - cut, 2),
        "total_s": round(done - started, 2),
        "peak_gb": round(peak_bytes() / 1e9, 2),
    }
