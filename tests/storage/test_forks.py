"""A forked child is refused what would wait forever."""

import os
import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from bigrec.data.catalog import Catalog
from bigrec.data.dataset import Dataset
from bigrec.data.sources import load_dataset
from bigrec.errors import StorageError
from bigrec.storage import forks
from tests.conftest import tiny_dataset, tiny_frames

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/task").is_dir(), reason="the system does not tell threads' names"
)


def in_child(work: Callable[[], object]) -> str:
    """The error of a forked child, or what became of it."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # forking with threads is what is tested
        child = os.fork()
    if child == 0:
        try:
            work()
            os.write(writing, b"done")
        except StorageError as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    for _ in range(600):
        if os.waitpid(child, os.WNOHANG)[0]:
            break
        time.sleep(0.05)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    with open(reading, "rb") as stream:  # noqa: PTH123 - a descriptor
        return stream.read().decode() or "hangs"


@pytest.fixture
def dataset() -> Dataset:
    pl.DataFrame({"a": [1, 1]}).group_by("a").len()  # starts polars' threads
    made: Dataset = tiny_dataset()
    return made


def test_a_child_that_saves_or_reads_tables_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    dataset.save(tmp_path / "saved")
    works: list[Callable[[], object]] = [
        lambda: dataset.save(tmp_path / "child"),
        lambda: dataset.catalog.save(tmp_path / "catalog.parquet"),
        lambda: Dataset.load(tmp_path / "saved"),
        lambda: Catalog.load(tmp_path / "saved" / "catalog.parquet"),
        lambda: Dataset.from_frames(*tiny_frames()),
        lambda: load_dataset(tmp_path),
    ]
    for work in works:
        assert "was forked from one that had used polars" in in_child(work)
    assert not (tmp_path / "child").exists()


def test_a_child_of_a_parent_without_threads_may_save(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forks, "_THREADS", tmp_path)
    assert in_child(forks.check_threads) == "done"


def test_a_child_computes_in_one_thread() -> None:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        matrix = torch.ones(300, 300)
        matrix @ matrix
        assert in_child(lambda: matrix @ matrix) == "done"
    finally:
        torch.set_num_threads(before)
