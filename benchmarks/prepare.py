"""Time and memory of preparing large datasets: reading, splitting by global time, sampling, saving.

The datasets are synthetic, with the shape of MovieLens-10M: 72,000 users for ten million ratings,
10,681 movies, Zipf popularity. Each is prepared in a new process, whose peak memory is that of the
preparation.
"""

import multiprocessing
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from bigrec.data.interactions import Interactions
from bigrec.data.sources import load_dataset
from bigrec.data.splits import split_global_time
from bigrec.memory import peak_bytes
from bigrec.storage import atomic_file, write_text

# MovieLens-10M: 10 million interactions of 72,000 users.
_PER_USER = 139
_FEWEST_ROWS = 100_000
_PART_ROWS = 10_000_000
_N_ITEMS = 10_681
_HISTORY_LENGTH = 10
_SAMPLED = 1024
# The time span of MovieLens-10M, in seconds since 1970.
_FIRST, _LAST = 789_652_009, 1_231_131_736


def bench_prepare(*, sizes: Sequence[int] = (10_000_000, 20_000_000)) -> dict[str, Any]:
    """Write synthetic datasets and measure their preparation in new processes.

    Args:
        sizes: Numbers of interactions, each at least 100,000, ascending.

    Returns:
        As `prepare`, the keys with the size before them, and ``bytes_per_interaction``, by which
        the peak grows from the first size to the last one.

    Raises:
        ValueError: If a size is too small for the shape.
    """
    if min(sizes) < _FEWEST_ROWS:
        raise ValueError(f"a size is {min(sizes)}: expected at least {_FEWEST_ROWS}.")
    results: dict[str, Any] = {}
    peaks = []
    for n_rows in sizes:
        with tempfile.TemporaryDirectory() as folder:
            write_movielens(Path(folder), n_rows, rng=np.random.default_rng(0))
            # A forked process would start with the memory used for writing.
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                figures = pool.apply(prepare, (Path(folder),))
        peaks.append(figures["peak_gb"] * 1e9)
        results |= {f"{n_rows:,}: {name}": value for name, value in figures.items()}
    if len(sizes) > 1:
        results["bytes_per_interaction"] = (peaks[-1] - peaks[0]) / (sizes[-1] - sizes[0])
    return results


def write_movielens(folder: Path, n_rows: int, *, rng: np.random.Generator) -> None:
    """Write synthetic ``ratings.dat`` and ``movies.dat``, sorted by user as GroupLens' files.

    Args:
        folder: Folder of the files.
        n_rows: Number of interactions. The number of users keeps MovieLens-10M's average.
        rng: Source of randomness.
    """
    with atomic_file(folder / "ratings.dat") as temporary, temporary.open("wb") as stream:
        for lines in _parts(n_rows, rng):
            lines.write_csv(stream, include_header=False, quote_style="never")
    movies = "".join(f"{i}::Movie {i} ({1920 + i % 90})::Drama\n" for i in range(1, _N_ITEMS + 1))
    write_text(folder / "movies.dat", movies)


def _parts(n_rows: int, rng: np.random.Generator) -> Iterator[pl.DataFrame]:
    """Lines of ratings, those of other users in every part."""
    weights = 1 / np.arange(1, _N_ITEMS + 1)
    first_user = 1
    for start in range(0, n_rows, _PART_ROWS):
        size = min(_PART_ROWS, n_rows - start)
        n_users = max(1, size // _PER_USER)
        columns = {
            "user": np.sort(rng.integers(n_users, size=size)) + first_user,
            "item": rng.choice(_N_ITEMS, size=size, p=weights / weights.sum()) + 1,
            "rating": rng.integers(1, 11, size=size) / 2,
            "time": rng.integers(_FIRST, _LAST, size=size),
        }
        yield pl.DataFrame(columns).select(pl.concat_str(list(columns), separator="::"))
        first_user += n_users


def prepare(folder: Path) -> dict[str, Any]:
    """Prepare a dataset and measure it, in a process without other work.

    Args:
        folder: Folder of the dataset.

    Returns:
        Sizes, seconds of each step, processor time of all, and the peak memory of the process in
        GB.
    """
    started, processor = time.perf_counter(), time.process_time()
    dataset = load_dataset(folder)
    loaded = time.perf_counter()
    split = split_global_time(
        dataset.interactions, max_history_length=_HISTORY_LENGTH, min_history=_HISTORY_LENGTH
    )
    cut = time.perf_counter()
    sample = split.train.sample(_SAMPLED, seed=0)
    sample.histories()
    sampled = time.perf_counter()
    dataset.interactions.save(folder / "interactions.parquet")
    saved = time.perf_counter()
    sizes = {
        "interactions": len(dataset.interactions),
        "training examples": len(split.train),
        "sampled": len(sample),
    }
    del dataset, split, sample
    Interactions.load(folder / "interactions.parquet")
    done = time.perf_counter()
    return {
        **sizes,
        "load_s": round(loaded - started, 2),
        "split_s": round(cut - loaded, 2),
        "sample_s": round(sampled - cut, 2),
        "save_s": round(saved - sampled, 2),
        "load_saved_s": round(done - saved, 2),
        "total_s": round(done - started, 2),
        "processor_s": round(time.process_time() - processor, 2),
        "peak_gb": round(peak_bytes() / 1e9, 2),
    }
