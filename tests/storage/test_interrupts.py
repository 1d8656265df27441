"""Ctrl-C is never lost, and never comes in the middle of a write."""

import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bigrec.storage import atomic_file, atomic_folder, interrupts, temporaries


@pytest.fixture(autouse=True)
def _nothing_is_left(handled_sigint: None) -> Iterator[None]:
    yield
    assert not interrupts.requested()
    interrupts.check()


def press() -> None:
    signal.raise_signal(signal.SIGINT)


def test_within_the_block_ctrl_c_waits_for_its_end() -> None:
    done: list[object] = []
    with pytest.raises(KeyboardInterrupt), interrupts.deferred():
        press()
        interrupts.check()
        done.append(interrupts.requested())
    assert done == [True]


def test_of_nested_blocks_the_outermost_ends_with_it() -> None:
    done: list[object] = []
    with pytest.raises(KeyboardInterrupt), interrupts.deferred():
        with interrupts.deferred():
            press()
        done.append("outer")
    assert done == ["outer"]


def test_an_error_of_the_block_does_not_hide_ctrl_c() -> None:
    with pytest.raises(KeyboardInterrupt), interrupts.deferred():
        press()
        raise RuntimeError


def test_a_second_ctrl_c_comes_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    done: list[object] = []
    with pytest.raises(KeyboardInterrupt), interrupts.deferred("Stopping soon."):
        press()
        done.append("first")
        press()
        done.append("second")
    assert done == ["first"]
    assert capfd.readouterr().err == "\nStopping soon.\n"


def test_ctrl_c_within_a_write_leaves_the_old_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_file(tmp_path / "a") as temporary:
        temporary.write_text("half")
        press()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_ctrl_c_within_the_last_step_of_a_write_comes_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pressed(temporary: Path, path: Path) -> None:
        press()
        temporaries.put_folder(temporary, path)

    monkeypatch.setattr("bigrec.storage.put_folder", pressed)
    with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "a") as temporary:
        (temporary / "file").write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a" / "file").read_text() == "whole"


def test_what_a_library_swallowed_is_raised_at_the_next_report_or_write(tmp_path: Path) -> None:
    with interrupts.watched():
        for work in (interrupts.check, lambda: atomic_file(tmp_path / "a").__enter__()):
            with suppress(KeyboardInterrupt):  # as in a finalizer
                press()
            with pytest.raises(KeyboardInterrupt):
                work()
        with pytest.raises(KeyboardInterrupt), interrupts.deferred():
            pass
        assert interrupts.requested()
    assert list(tmp_path.iterdir()) == []


def test_other_threads_and_jobs_in_the_background_are_left_alone() -> None:
    handlers: list[object] = []

    def enter() -> None:
        with interrupts.watched(), interrupts.deferred():
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    enter()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    assert handlers == [signal.default_int_handler, signal.SIG_IGN]


def pressed_twice(code: str, *, apart_s: float) -> tuple[int, str]:
    """Exit code and errors of a process that gets SIGINT twice after it printed a line."""
    start = textwrap.dedent("""
        import signal, sys, time
        signal.signal(signal.SIGINT, signal.default_int_handler)
        from bigrec.storage import interrupts
    """)
    process = subprocess.Popen(
        [sys.executable, "-c", start + textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    if apart_s:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(apart_s)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


def test_the_second_ctrl_c_ends_the_process_also_where_the_first_does_not_get_through() -> None:
    code = """
        with interrupts.watched(), interrupts.deferred("Saving."):
            print("ready", flush=True)
            time.sleep(60)
    """
    assert pressed_twice(code, apart_s=1) == (130, "\nSaving.\n\nStopped at once.\n")


def test_one_key_press_that_comes_twice_counts_once() -> None:
    # As from a terminal and a launcher.
    code = """
        with interrupts.watched():
            try:
                with interrupts.deferred():
                    print("ready", flush=True)
                    time.sleep(1)
                    print("saved", file=sys.stderr)
            except KeyboardInterrupt:
                sys.exit(7)
    """
    assert pressed_twice(code, apart_s=0) == (7, "saved\n")
