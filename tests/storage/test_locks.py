"""One run at a time in a folder."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bigrec.errors import StorageError
from bigrec.storage.locks import exclusive
from bigrec.storage.temporaries import TEMPORARY

HOLDER = textwrap.dedent("""
    import sys, time
    from pathlib import Path
    from bigrec.storage.locks import exclusive
    with exclusive(Path(sys.argv[1])):
        print("held", flush=True)
        time.sleep(60)
""")


@contextmanager
def held_by_another(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def enter(folder: Path) -> None:
    with exclusive(folder):
        pass


def test_a_second_process_is_told_who_holds_the_folder_since_when(tmp_path: Path) -> None:
    with held_by_another(tmp_path / "run") as process:
        message = rf"run is in use by process {process.pid} on .+ since 20.+\+00:00\. Wait until"
        with pytest.raises(StorageError, match=message):
            enter(tmp_path / "run")
        # Refused before anything of the other process was touched.
        assert (
            json.loads((tmp_path / "run" / ".bigrec.lock.json").read_text())["pid"] == process.pid
        )


def test_a_holder_that_cannot_be_read_is_another_process(tmp_path: Path) -> None:
    with held_by_another(tmp_path):
        (tmp_path / ".bigrec.lock.json").write_text("{")
        with pytest.raises(StorageError, match="in use by another process"):
            enter(tmp_path)


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    with held_by_another(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
        assert (tmp_path / ".bigrec.lock").exists()
        enter(tmp_path)


def test_taking_a_folder_removes_what_killed_runs_left_at_any_depth(tmp_path: Path) -> None:
    (tmp_path / "stage" / f"{TEMPORARY}1").mkdir(parents=True)
    (tmp_path / f"{TEMPORARY}2").touch()
    enter(tmp_path)
    assert list(tmp_path.rglob("*")) == [tmp_path / "stage"]


def test_blocks_of_one_process_may_be_nested(tmp_path: Path) -> None:
    with exclusive(tmp_path):
        with exclusive(tmp_path / "." / "below" / ".."):
            pass
        assert (tmp_path / ".bigrec.lock").exists()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_which_nothing_was_written_is_removed_again(tmp_path: Path) -> None:
    enter(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    enter(tmp_path / "old")
    assert (tmp_path / "old").is_dir()


def test_an_error_releases_the_folder(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="stop"), exclusive(tmp_path):
        raise RuntimeError("stop")
    with held_by_another(tmp_path):
        pass


def test_of_several_training_processes_only_the_first_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with held_by_another(tmp_path):
        monkeypatch.setenv("RANK", "1")
        enter(tmp_path)


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="Could not write"):
        enter(tmp_path / "file" / "run")


def test_the_lock_is_this_process(tmp_path: Path) -> None:
    with exclusive(tmp_path):
        assert json.loads((tmp_path / ".bigrec.lock.json").read_text())["pid"] == os.getpid()
