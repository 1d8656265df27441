import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from bigrec.data import parquet
from bigrec.data.files import reading
from bigrec.data.parquet import no_panic_shown, scan_parquet
from bigrec.errors import DataError


def write(path: Path) -> bytes:
    frame = pl.DataFrame({"a": [str(n) for n in range(50)], "b": range(50)})
    frame.write_parquet(path)
    return path.read_bytes()


def test_columns_keep_their_types_and_are_selected(tmp_path: Path) -> None:
    write(tmp_path / "t[1].parquet")
    frame = scan_parquet(tmp_path / "t[1].parquet")
    assert frame.collect_schema() == {"a": pl.String, "b": pl.Int64}
    assert frame.select("b").head(2).collect().rows() == [(0,), (1,)]
    assert frame.select(pl.len()).collect().item() == 50


def test_damage_is_told_without_a_panic_on_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "t.parquet"
    raw, rng = write(path), np.random.default_rng(0)
    refusals = []
    for _ in range(150):
        damaged = bytearray(raw)
        for position in rng.integers(len(raw) - 300, len(raw), size=2):
            damaged[position] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            with reading(path):
                scan_parquet(path).collect()
        except DataError as error:
            refusals.append(str(error))
    assert len(refusals) > 50
    assert all("t.parquet" in refusal for refusal in refusals)
    assert capfd.readouterr().err == ""


def test_a_panic_while_rows_are_read_is_an_error_and_not_shown(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "t.parquet")
    frame = scan_parquet(tmp_path / "t.parquet")

    def panic(*_args: object, **_options: object) -> pl.LazyFrame:
        os.write(2, b"thread panicked")
        raise pl.exceptions.PanicException("assertion failed")

    monkeypatch.setattr(pl, "scan_parquet", panic)
    failure = r"t\.parquet could not be read: assertion failed"
    with pytest.raises(DataError, match=failure), reading(tmp_path / "t.parquet"):
        frame.collect()
    assert capfd.readouterr().err == ""


def test_what_others_write_to_stderr_is_kept(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "t.parquet")
    real = pl.scan_parquet

    def scan(*args: object, **options: object) -> pl.LazyFrame:
        os.write(2, b"progress")
        return real(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(pl, "scan_parquet", scan)
    scan_parquet(tmp_path / "t.parquet")
    assert capfd.readouterr().err == "progress"


def test_a_file_is_read_without_a_stderr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "t.parquet")

    def closed(_descriptor: int) -> int:
        raise OSError

    monkeypatch.setattr(os, "dup", closed)
    assert scan_parquet(tmp_path / "t.parquet").collect().height == 50


def test_overlapping_reads_give_stderr_back(capfd: pytest.CaptureFixture[str]) -> None:
    """A file may be read in the background of another one."""
    first, second = no_panic_shown(), no_panic_shown()
    first.__enter__()
    second.__enter__()
    os.write(2, b"held")
    first.__exit__(None, None, None)
    assert capfd.readouterr().err == ""
    second.__exit__(None, None, None)
    os.write(2, b" and shown")
    assert capfd.readouterr().err == "held and shown"


def test_stderr_that_is_held_when_python_exits_is_shown(tmp_path: Path) -> None:
    write(tmp_path / "t.parquet")
    code = (
        "from bigrec.data.parquet import no_panic_shown\n"
        "no_panic_shown().__enter__()\n"
        "raise ValueError('shown at the end')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "shown at the end" in done.stderr


def test_the_parts_of_a_file_are_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pl.DataFrame({"n": range(100), "word": [str(n) for n in range(100)]})
    frame.write_parquet(tmp_path / "t.parquet", row_group_size=7)
    for rows in (1, 7, 10, 49, 100, 1000):
        monkeypatch.setattr(parquet, "_PART_ROWS", rows)
        assert scan_parquet(tmp_path / "t.parquet").collect().equals(frame)
    monkeypatch.setattr(parquet, "most_bytes", lambda _path: 50)
    with pytest.raises(DataError, match="repeats its texts up to 190 bytes; expected at most 50"):
        scan_parquet(tmp_path / "t.parquet").collect()
