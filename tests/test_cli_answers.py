"""Commands that ask a bundle: lists for one and for all, similar items, and why."""

import json
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from bigrec.cli import app
from bigrec.data.dataset import Dataset
from bigrec.recommender.bigrec import BIGRec
from tests.conftest import Mode, tiny_frames, tiny_settings, wait_for

pytestmark = pytest.mark.model

# A shell that runs the tests in the background has them ignore Ctrl-C, and so their processes.
PROGRAM = (
    "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "runpy.run_module('bigrec', run_name='__main__')"
)


def invoke(*args: str, ok: bool = True) -> Any:
    result = CliRunner().invoke(app, list(args))
    if ok and result.exit_code != 0:
        raise AssertionError(result.output) from result.exception
    return result


def save(tiny_model: Path, mode: Mode, folder: Path) -> Path:
    rows, items = tiny_frames()
    items = items.with_columns(price=pl.int_range(pl.len()))
    dataset = Dataset.from_frames(rows, items, item_type="movie", item_columns=["price"])
    signals = "[]" if mode == "generative" else "[popularity, EASE]"
    BIGRec(tiny_settings(tiny_model, mode=mode, signals=signals)).fit(dataset).save(folder)
    return folder


@pytest.fixture(scope="module")
def bundle(tiny_model: Path, mode: Mode, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save(tiny_model, mode, tmp_path_factory.mktemp(mode) / "bundle"))


@pytest.fixture(scope="module")
def text(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save(tiny_model, "text", tmp_path_factory.mktemp("text") / "bundle"))


def test_a_list_is_filtered_and_tells_what_was_unknown(bundle: str) -> None:
    where = ["--where", '{"price": {"lt": 6}}']
    found = json.loads(invoke("recommend", "-b", bundle, "i0", *where, "--json").stdout)
    assert {item["item_id"] for item in found} == {f"i{n}" for n in range(1, 6)}
    lenient = invoke("recommend", "-b", bundle, "i0", "gone", "--unknown", "skip").stdout
    assert "Not in the catalog: gone" in lenient
    assert invoke("recommend", "-b", bundle, "gone", ok=False).exit_code == 2


def test_similar_items_are_listed(bundle: str) -> None:
    found = json.loads(invoke("similar", bundle, "i7", "-k", "3", "--json").stdout)
    assert len(found) == 3
    assert "i7" not in {item["item_id"] for item in found}
    assert "Distance" in invoke("similar", bundle, "i7").stdout


def test_an_explanation_is_shown(bundle: str, mode: Mode) -> None:
    history = ["--history", "i0", "--history", "i3"]
    values = json.loads(invoke("explain", bundle, *history, "i7", "--json").stdout)
    assert values["item_id"] == "i7"
    shown = invoke("explain", bundle, *history, "i7").stdout
    assert "Parts of the score" in shown
    assert "Nearest titles" in shown
    assert ("Generated texts" in shown) == (mode == "generative")
    seen = invoke("explain", bundle, *history, "i3", "--exclude-seen").stdout
    assert "excluded: it is in the history" in seen


def test_every_user_of_a_file_gets_a_list(bundle: str, tmp_path: Path) -> None:
    rows = tiny_frames()[0]
    stranger = pl.DataFrame({"user_id": ["x"], "item_id": ["gone"], "timestamp": [1]})
    pl.concat([rows, stranger]).write_csv(tmp_path / "rows.csv")
    (tmp_path / "never.txt").write_text("i1 \n\n \ri2\n")
    out = tmp_path / "lists.csv"
    files = ["--histories", str(tmp_path / "rows.csv"), "--out", str(out)]
    options = [
        "-k",
        "2",
        "--exclude",
        str(tmp_path / "never.txt"),
        "--where",
        '{"price": {"gt": 3}}',
    ]
    result = invoke("recommend-all", "--bundle", bundle, *files, *options, "--json")
    summary = json.loads(result.stdout)
    assert (summary["users"], summary["by_popularity"], summary["unknown"]) == (21, 1, 1)
    assert "21 histories with 161 items, in 1 parts" in " ".join(result.stderr.split())
    lists = pl.read_csv(out)
    assert lists.height == summary["rows"]
    assert set(lists["item_id"]) <= {f"i{n}" for n in range(4, 12)}
    shown = invoke("recommend-all", "--bundle", bundle, *files).stdout
    assert "Items of histories that were skipped" in shown


@pytest.mark.parametrize("option", ["--histories", "--exclude"])
def test_lists_for_all_never_replace_what_they_are_made_of(tmp_path: Path, option: str) -> None:
    read = {"--histories": tmp_path / "a.csv", "--exclude": tmp_path / "b.csv"}
    for path in read.values():
        path.write_text("user_id,item_id\nu,i1\n")
    out = tmp_path / ".." / tmp_path.name / read[option].name
    given = [part for name, path in read.items() for part in (name, str(path))]
    result = invoke("recommend-all", "--bundle", "no", *given, "--out", str(out), ok=False)
    assert result.exit_code == 2
    assert "which is read: expected another file to write" in " ".join(result.stderr.split())
    assert read[option].read_text() == "user_id,item_id\nu,i1\n"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["recommend", "i0", "--where", "{"], "--where is '{', which is no JSON"),
        (["recommend", "i0", "--where", "[]"], "expected a JSON object of columns and conditions"),
        (["recommend", "i0", "--where", '{"x": 1}'], "names the column 'x', which the catalog"),
    ],
)
def test_conditions_that_cannot_be_used_are_one_message(
    text: str, args: list[str], message: str
) -> None:
    result = invoke(*args, "-b", text, ok=False)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


def has_parts(folder: Path, least: int) -> bool:
    return len(list(folder.glob("part-*"))) >= least


def test_killed_and_stopped_lists_for_all_end_with_the_same_bits(text: str, tmp_path: Path) -> None:
    n_users = 40_000
    users = pl.DataFrame({"user_id": [f"u{user}" for user in range(n_users)]})
    lists = [[f"i{user % 12}", f"i{(user * 5 + 3) % 12}"] for user in range(n_users)]
    users.with_columns(item_id=pl.Series(lists)).write_parquet(tmp_path / "users.parquet")
    files = ["--histories", str(tmp_path / "users.parquet"), "-b", text]
    whole, out = tmp_path / "whole.parquet", tmp_path / "lists.parquet"
    invoke("recommend-all", *files, "--out", str(whole))
    parts = tmp_path / "lists.parquet.parts"
    command = [sys.executable, "-c", PROGRAM, "recommend-all", *files, "--out", str(out)]
    for number, least in ((signal.SIGINT, 1), (signal.SIGKILL, 3)):
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            try:
                wait_for(partial(has_parts, parts, least))
                process.send_signal(number)
                _, stderr = process.communicate(timeout=60)
            finally:
                process.kill()
        if number == signal.SIGINT:
            assert process.returncode == 130
            assert "give the same command to continue" in " ".join(stderr.split())
        assert not out.exists()
    kept = {part.name: part.stat().st_mtime_ns for part in parts.glob("part-*")}
    assert len(kept) >= 3
    invoke("recommend-all", *files, "--out", str(out))
    assert out.read_bytes() == whole.read_bytes()
    assert not parts.exists()
