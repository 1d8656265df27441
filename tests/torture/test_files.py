import time
from pathlib import Path

import polars as pl
import pytest

from bigrec.data.tables import scan_table
from torture import files
from torture.files import fuzz
from torture.table_formats import FORMATS


def faults(tries: int, seed: int = 0) -> list[str]:
    return [fault for tally in fuzz(tries, seed) for fault in tally.faults]


def test_damaged_files_are_read_whole_or_refused() -> None:
    tallies = fuzz(120, 3)
    assert [fault for tally in tallies for fault in tally.faults] == []
    assert sum(tally.tries for tally in tallies) == 120
    tries = {tally.test: tally.tries for tally in tallies}
    assert len(tries) == 2 * len(FORMATS)
    for outcome in ("read whole", "refused"):
        assert sum(tries[f"{suffix}: {outcome}"] for suffix in FORMATS) > 20


def test_a_lost_row_other_values_and_damage_that_is_read_are_faults(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(files, "scan_table", lambda path: scan_table(path).slice(1))
    assert any("was read, expected" in fault for fault in faults(30))
    monkeypatch.setattr(files, "scan_table", lambda _path: pl.LazyFrame({"a": ["1"]}))
    assert any("a damaged file was read" in fault for fault in faults(30))


def test_a_row_that_a_dataset_drops_without_telling_is_a_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(files, "_DROPS", {**files._DROPS, "items": ()})
    assert any("told as dropped" in fault for fault in faults(60))


def test_a_traceback_and_a_hang_are_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_path: Path) -> pl.LazyFrame:
        raise ZeroDivisionError

    monkeypatch.setattr(files, "scan_table", broken)
    assert "ZeroDivisionError" in faults(1)[0]
    monkeypatch.setattr(files, "HANG_S", 1)
    monkeypatch.setattr(files, "scan_table", lambda _path: time.sleep(30))
    assert faults(1)[0].endswith("no end after 1 s")
