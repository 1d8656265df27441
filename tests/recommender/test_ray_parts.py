"""Lists made on a local Ray of two workers: those of one process, also if a worker is killed."""

import importlib.util
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import psutil
import pytest

from bigrec.data.histories import Histories
from bigrec.errors import SettingsError
from bigrec.recommender import ray_parts
from bigrec.recommender.answering import Request
from bigrec.recommender.bigrec import BIGRec
from bigrec.recommender.loading import Access, load_fitted
from bigrec.recommender.ray_parts import RayParts
from bigrec.recommender.recommend_all import RecommendAll
from tests.conftest import tiny_dataset, tiny_settings

pytestmark = pytest.mark.model

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="ray is not installed (bigrec[ray])"
)
N_USERS = 3 * 4096 + 5
REQUEST = Request(k=3, unknown="skip")


@pytest.fixture(scope="module")
def bundle(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ray") / "bundle"
    settings = tiny_settings(tiny_model, mode="text", signals="[popularity, EASE]")
    BIGRec(settings).fit(tiny_dataset()).save(folder)
    return folder


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ray") / "histories.parquet"
    items = [[f"i{user % 12}", f"i{user % 7}", "lost"][user % 2 :] for user in range(N_USERS)]
    pl.DataFrame({"user_id": list(map(str, range(N_USERS))), "item_id": items}).write_parquet(path)
    return path


def job(bundle: Path, histories: Histories, out: Path) -> RecommendAll:
    return RecommendAll(load_fitted(bundle, Access()), histories, out, REQUEST)


def command(bundle: Path, path: Path, out: Path, *more: str) -> "subprocess.Popen[str]":
    """The command in a process for itself: Ray leaves processes and warnings behind."""
    options = ("--bundle", bundle, "--histories", path, "--out", out, "--k", "3", "--json")
    words = map(str, (*options, "--ray-workers", "2", *more))
    return subprocess.Popen(
        [sys.executable, "-m", "bigrec", "recommend-all", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@needs_ray
@pytest.mark.ray
@pytest.mark.parametrize("is_killed", [False, True])
def test_two_workers_make_the_file_of_one_process(
    bundle: Path, file: Path, tmp_path: Path, is_killed: bool
) -> None:
    alone, together = tmp_path / "alone.parquet", tmp_path / "together.parquet"
    job(bundle, Histories.read(file), alone).run()
    with command(bundle, file, together) as process:
        killed = end_a_worker(process) if is_killed else 0
        out, errors = process.communicate(timeout=500)
    assert process.returncode == 0, errors
    assert json.loads(out)["users"] == N_USERS
    assert together.read_bytes() == alone.read_bytes()
    assert (killed > 0) == is_killed


def end_a_worker(process: "subprocess.Popen[str]") -> int:
    """Kill one of the actors that make parts, as soon as there is one."""
    while process.poll() is None:
        for child in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.Error):
                if re.search("MapWorker|_Actor", " ".join(child.cmdline())):
                    child.send_signal(signal.SIGKILL)
                    return int(child.pid)
        time.sleep(0.02)
    return 0


@needs_ray
@pytest.mark.ray
def test_an_actor_that_cannot_make_a_part_is_told(bundle: Path, file: Path, tmp_path: Path) -> None:
    other = tmp_path / "bundle"
    shutil.copytree(bundle, other)
    out = tmp_path / "lists.parquet"
    (other / "manifest.json").write_text("{}")
    script = (
        "from pathlib import Path; import sys\n"
        "from bigrec.data.histories import Histories\n"
        "from bigrec.recommender.answering import Request\n"
        "from bigrec.recommender.loading import Access, load_fitted\n"
        "from bigrec.recommender.ray_parts import RayParts\n"
        "from bigrec.recommender.recommend_all import RecommendAll\n"
        "good, bad, histories, out = map(Path, sys.argv[1:])\n"
        "request = Request(unknown='skip')\n"
        "job = RecommendAll(load_fitted(good, Access()), Histories.read(histories), out, request)\n"
        "job.run(make=RayParts(bad, Access(), 1))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, bundle, other, file, out],
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert ended.returncode == 1
    assert "bigrec.errors.BundleError" in ended.stderr.splitlines()[-1]
    assert "manifest.json" in ended.stderr.splitlines()[-1]


def test_without_ray_the_package_is_named(
    monkeypatch: pytest.MonkeyPatch, bundle: Path, file: Path, tmp_path: Path
) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(ray_parts, "importlib", SimpleNamespace(import_module=missing))
    with pytest.raises(SettingsError, match=r"pip install .bigrec\[ray\]."):
        job(bundle, Histories.read(file), tmp_path / "lists.parquet").run(
            make=RayParts(bundle, Access(), 2)
        )


def test_no_workers_are_refused(bundle: Path) -> None:
    with pytest.raises(ValueError, match="workers is 0; expected at least 1"):
        RayParts(bundle, Access(), 0)
