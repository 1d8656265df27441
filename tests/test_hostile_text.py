"""Hostile titles, ids and paths through the command line: nothing of them acts on the terminal."""

import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from bigrec import console
from bigrec.cli import app
from tests.conftest import tiny_frames, tiny_overrides

pytestmark = pytest.mark.model

HOSTILE = (
    "\x1b]0;title\x07\x1b[31m\x9b31m\x9d0;t\x9c\x08\x7f\u202e\u2028\u200b"
    "[red]x[/red][link=http://x.example]y[/link]:boom:<script>$\\frac{$"
)
UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u2028-\u202e]")


def safe(text: str) -> str:
    """The text, if it holds nothing unsafe."""
    match = UNSAFE.search(text)
    assert match is None, repr(text[max(0, match.start() - 60) : match.end() + 20])
    return text


def shown(*args: str, code: int = 0) -> str:
    """What a command shows on both streams, which must be safe."""
    result = CliRunner().invoke(app, list(args))
    assert result.exit_code == code, result.output
    safe(result.stderr)
    return safe(result.stdout) if code == 0 else " ".join(result.stderr.split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a hostile name with hostile data."""
    folder = tmp_path_factory.mktemp("hostile") / "a\x1b[31m\x9b*[red]" / "data"
    folder.mkdir(parents=True)
    interactions, items = tiny_frames()
    hostile_id = pl.col("item_id") + HOSTILE
    interactions.with_columns(hostile_id, pl.col("user_id") + HOSTILE).write_parquet(
        folder / "interactions.parquet"
    )
    category = pl.lit(HOSTILE).alias("category")
    items.with_columns(hostile_id, pl.col("title") + HOSTILE, category).write_parquet(
        folder / "items.parquet"
    )
    return folder


@pytest.fixture(scope="module")
def options(folder: Path, tiny_model: Path) -> list[str]:
    overrides = tiny_overrides(tiny_model, "compare.baselines=[popularity]", "compare.fusions=[]")
    # Else the markup would be removed from the titles.
    overrides.append("data.decode_html=false")
    changes = [part for override in overrides for part in ("--set", override)]
    return ["--run-dir", str(folder.parent / "run"), "--data", str(folder), *changes]


@pytest.fixture(scope="module")
def run_dir(folder: Path, options: list[str]) -> Path:
    shown("compare", *options)
    return folder.parent / "run"


@pytest.mark.parametrize("command", ["prepare", "audit", "train", "index", "evaluate"])
def test_what_a_command_shows_is_safe(run_dir: Path, options: list[str], command: str) -> None:
    shown(command, *options)
    json.loads(shown(command, *options, "--json"))


def test_a_list_is_shown_safely_and_its_json_is_exact(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = ["recommend", "--bundle", str(run_dir / "bundle"), "-k", "1", f"i0{HOSTILE}"]
    (first,) = json.loads(shown(*bundle, "--json"))
    assert first["item_id"].endswith(HOSTILE)
    assert first["title"].endswith(HOSTILE)
    monkeypatch.setenv("COLUMNS", "600")
    table = shown(*bundle)
    assert table.count("[red]x[/red][link=http://x.example]y[/link]:boom:") >= 2
    assert table.count(r"\x1b]0;title\x07\x1b[31m\x9b31m\x9d0;t\x9c\x08\x7f\u202e\u2028") >= 2


def test_what_a_folder_holds_is_shown_safely(run_dir: Path) -> None:
    for path in (run_dir, run_dir / "bundle"):
        shown("info", str(path))
        json.loads(shown("info", str(path), "--json"))


def test_signing_is_told_safely(run_dir: Path) -> None:
    pytest.importorskip("cryptography", reason="cryptography is not installed")
    key, bundle = run_dir.parent / f"key{HOSTILE.replace('/', '')}", str(run_dir / "bundle")
    assert "signs: keep it secret" in shown("bundle", "keygen", str(key))
    assert "is signed" in shown("bundle", "sign", bundle, "--key", str(key))
    public = f"{key}.pub"
    assert "is signed with this key" in shown("bundle", "verify", bundle, "--key", public)


def test_reports_are_safe(run_dir: Path) -> None:
    texts = [path for path in run_dir.rglob("*") if path.suffix in {".html", ".json", ".yaml"}]
    assert {"report.html", "comparison.html", "metrics.json"} <= {path.name for path in texts}
    for path in texts:
        text = safe(path.read_text(encoding="utf-8"))
        assert "<script>" not in text or path.suffix != ".html"


@pytest.mark.parametrize(
    "args",
    [
        ["recommend", f"x{HOSTILE}"],
        ["recommend", "--bundle", f"no{HOSTILE}", "x"],
        ["info", f"no{HOSTILE}"],
        ["prepare", "--data", f"no{HOSTILE}"],
        ["prepare", "--data", "ml-100k", "--items", f"no{HOSTILE}"],
        ["prepare", "--config", f"no{HOSTILE}"],
        ["prepare", "--set", f"{HOSTILE}=1"],
        ["prepare", "--set", f"mode={HOSTILE}"],
        ["index", "--model", f"no{HOSTILE}"],
    ],
    ids=" ".join,
)
def test_messages_of_errors_are_safe(run_dir: Path, options: list[str], args: list[str]) -> None:
    command, *rest = args
    before = {
        "recommend": ["--bundle", str(run_dir / "bundle")],
        "info": [],
        "prepare": ["--run-dir", str(run_dir.parent / "other")],
        "index": ["--run-dir", str(run_dir.parent / "other"), "--data", options[3]],
    }
    assert "Error:" in shown(command, *before[command], *rest, code=2)


def test_a_traceback_is_safe(capsys: pytest.CaptureFixture[str]) -> None:

    try:
        raise RuntimeError(HOSTILE)
    except RuntimeError as error:
        caught: Any = error
    console.tell_traceback(type(caught), caught, caught.__traceback__)
    text = safe(capsys.readouterr().err)
    assert "Traceback (most recent call last)" in text
    assert r"RuntimeError: \x1b]0;title" in text
