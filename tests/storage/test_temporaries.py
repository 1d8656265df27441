"""Temporary names: of killed processes removed, exchanged without a gap."""

import ctypes
import errno
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from bigrec.errors import StorageError
from bigrec.storage import atomic_file, atomic_folder, temporaries
from bigrec.storage.temporaries import TEMPORARY, put_folder, recover_folder, remove_leftovers


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def run_python(code: str, *arguments: object) -> int:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, check=False, timeout=60).returncode


KILLED_WHILE_WRITING = """
    import os, signal, sys
    from pathlib import Path
    from bigrec.storage import atomic_file, atomic_folder
    folder = Path(sys.argv[1])
    with atomic_file(folder / "below" / "a.json"), atomic_folder(folder / "bundle") as temporary:
        (temporary / "half").write_text("x")
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_was_writing_is_removed(tmp_path: Path) -> None:
    assert run_python(KILLED_WHILE_WRITING, tmp_path) == -signal.SIGKILL
    assert len(list(tmp_path.rglob(f"{TEMPORARY}*"))) == 2
    remove_leftovers(tmp_path, recursive=True)
    assert list(tmp_path.rglob("*")) == [tmp_path / "below"]


def test_the_next_save_removes_what_a_killed_one_left_beside_it(tmp_path: Path) -> None:
    assert run_python(KILLED_WHILE_WRITING, tmp_path) == -signal.SIGKILL
    with atomic_folder(tmp_path / "other"):
        pass
    assert names(tmp_path) == ["below", "other"]


def test_what_is_being_written_and_what_is_not_ours_stays(tmp_path: Path) -> None:
    (tmp_path / ".tmp-mine").write_text("a user's")
    with atomic_folder(tmp_path / "a") as folder, atomic_file(tmp_path / "b") as file:
        remove_leftovers(tmp_path)
        assert folder.is_dir()
        assert file.is_file()
    assert names(tmp_path) == [".tmp-mine", "a", "b"]


def test_a_name_that_was_removed_before_it_was_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = temporaries._lock
    made: list[Path] = []

    def removed_first(path: Path, *, wait: bool) -> int | None:
        if wait and not made:
            remove_leftovers(tmp_path)
        if wait:
            made.append(path)
        return lock(path, wait=wait)

    monkeypatch.setattr(temporaries, "_lock", removed_first)
    with atomic_file(tmp_path / "a.txt") as temporary:
        temporary.write_text("whole")
    assert len(made) == 2
    assert names(tmp_path) == ["a.txt"]


def test_a_file_system_without_locks_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    with atomic_folder(tmp_path / "a") as temporary:
        # Nobody can tell whether its process lives.
        remove_leftovers(tmp_path)
        (temporary / "file").touch()
    assert names(tmp_path / "a") == ["file"]


def test_a_system_without_locks_leaves_leftovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(temporaries, "_CAN_LOCK", False)
    (tmp_path / f"{TEMPORARY}1").touch()
    with atomic_file(tmp_path / "a") as temporary:
        temporary.write_text("new")
    assert names(tmp_path) == [f"{TEMPORARY}1", "a"]


def folder_of(path: Path, content: str) -> Path:
    path.mkdir()
    (path / "file").write_text(content)
    return path


needs_exchange = pytest.mark.skipif(
    temporaries._exchange_call() is None, reason="the system exchanges no names"
)


@needs_exchange
def test_an_existing_folder_is_exchanged_in_one_step(tmp_path: Path) -> None:
    old, new = folder_of(tmp_path / "a", "old"), folder_of(tmp_path / "b", "new")
    put_folder(new, old)
    assert (old / "file").read_text() == "new"
    assert (new / "file").read_text() == "old"


@needs_exchange
def test_readers_find_a_whole_folder_at_each_instant(tmp_path: Path) -> None:
    path = folder_of(tmp_path / "bundle", "0")
    reader = textwrap.dedent("""
        import sys
        from pathlib import Path
        file, reads = Path(sys.argv[1]) / "file", 0
        print("ready", flush=True)
        while (text := file.read_text()) != "last":
            assert text.isdecimal()
    """)
    process = subprocess.Popen(
        [sys.executable, "-c", reader, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    for content in [*map(str, range(300)), "last"]:
        with atomic_folder(path) as temporary:
            (temporary / "file").write_text(content)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, b"")


@pytest.fixture
def without_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(temporaries, "_exchange_call", lambda: None)


def test_a_folder_is_replaced_without_the_exchange(tmp_path: Path, without_exchange: None) -> None:
    path = folder_of(tmp_path / "a", "old")
    with atomic_folder(path) as temporary:
        (temporary / "new").touch()
    assert names(path) == ["new"]
    assert names(tmp_path) == ["a"]


def test_a_file_system_that_refuses_the_exchange_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: bytes) -> int:
        ctypes.set_errno(errno.EINVAL)
        return -1

    monkeypatch.setattr(temporaries, "_exchange_call", lambda: refuse)
    path = folder_of(tmp_path / "a", "old")
    with atomic_folder(path) as temporary:
        (temporary / "new").touch()
    assert names(path) == ["new"]


def test_an_exchange_that_fails_is_told_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: bytes) -> int:
        ctypes.set_errno(errno.EIO)
        return -1

    monkeypatch.setattr(temporaries, "_exchange_call", lambda: fail)
    path = folder_of(tmp_path / "a", "old")
    with pytest.raises(StorageError, match="Input/output error"), atomic_folder(path):
        pass
    assert names(path) == ["file"]
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("recover", [recover_folder, lambda path: remove_leftovers(path.parent)])
def test_a_folder_retired_by_a_killed_process_is_recovered(
    tmp_path: Path,
    without_exchange: None,
    monkeypatch: pytest.MonkeyPatch,
    recover: Callable[[Path], None],
) -> None:
    path, new = folder_of(tmp_path / "a", "old"), folder_of(tmp_path / "new", "new")
    replace = Path.replace
    done: list[Path] = []

    def killed(source: Path, target: Path) -> Path:
        if done:
            raise SystemExit
        done.append(source)
        return replace(source, target)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(Path, "replace", killed)
        put_folder(new, path)
    assert not path.exists()
    recover(path)
    assert (path / "file").read_text() == "old"
    assert names(tmp_path) == ["a", "new"]


def test_a_retired_folder_whose_successor_is_there_is_removed(tmp_path: Path) -> None:
    folder_of(tmp_path / "a", "new")
    folder_of(tmp_path / ".old-bigrec-a", "old")
    remove_leftovers(tmp_path)
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a" / "file").read_text() == "new"


def test_a_reader_that_recovers_the_old_folder_does_not_stop_the_writer(
    tmp_path: Path, without_exchange: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, new = folder_of(tmp_path / "a", "old"), folder_of(tmp_path / "new", "new")
    replace = Path.replace
    recovered: list[bool] = []

    def recover_in_between(source: Path, target: Path) -> Path:
        if source == new and not recovered:
            recovered.append(True)
            recover_folder(path)
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", recover_in_between)
    put_folder(new, path)
    assert recovered
    assert (path / "file").read_text() == "new"
    assert names(tmp_path) == ["a"]


def test_readers_that_always_come_in_between_end_in_an_error(
    tmp_path: Path, without_exchange: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, new = folder_of(tmp_path / "a", "old"), folder_of(tmp_path / "new", "new")
    replace = Path.replace

    def recover_in_between(source: Path, target: Path) -> Path:
        if source == new:
            replace(path.with_name(".old-bigrec-a"), path)
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", recover_in_between)
    with pytest.raises(OSError, match="other processes use the folder"):
        put_folder(new, path)


def test_behind_a_link_the_folder_is_replaced(tmp_path: Path) -> None:
    target, link = folder_of(tmp_path / "target", "old"), tmp_path / "link"
    link.symlink_to(target, target_is_directory=True)
    with atomic_folder(link) as temporary:
        (temporary / "new").touch()
    assert link.is_symlink()
    assert names(target) == ["new"]


def test_a_link_in_the_way_is_removed_and_not_what_it_leads_to(tmp_path: Path) -> None:
    target = folder_of(tmp_path / "target", "kept")
    link = tmp_path / f"{TEMPORARY}link"
    link.symlink_to(target, target_is_directory=True)
    temporaries.remove(link)
    assert not os.path.lexists(link)
    assert names(target) == ["file"]
