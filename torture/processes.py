"""Forked processes, and what they leave."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from bigrec.storage import file_digest
from bigrec.storage.interrupts import EXIT_CODE

_TIMEOUT_S = 300
# Times, and what contains them.
_VOLATILE_FILES = {
    *("settings.yaml", "timings.json", "done.json", "manifest.json"),
    *("report.html", "comparison.html"),
}
_VOLATILE_KEYS = ("timings_s", "created", "seconds", "_runtime", "_per_second")


def fork(work: Callable[[], object], *, log: Path) -> int:
    """Do some work in a forked process, its output in a file. Returns the process id."""
    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        work()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:  # noqa: BLE001 - told in the log
        sys.excepthook(*sys.exc_info())
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def wait(process: int) -> int:
    """Exit code of a process, negative for a signal; one that hangs is killed."""
    end = time.monotonic() + _TIMEOUT_S
    while True:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.kill(process, signal.SIGKILL)
        time.sleep(0.01)


def expected_code(number: signal.Signals) -> int:
    """Exit code of a run that gets a signal."""
    return EXIT_CODE if number == signal.SIGINT else -number


def outcome(run_dir: Path) -> dict[str, str]:
    """Digests of what a run leaves, by path; without times, reports that show them, checkpoints."""
    return {
        path.relative_to(run_dir).as_posix(): _digest(path)
        for path in sorted(run_dir.rglob("*"))
        if path.is_file()
        and path.name not in _VOLATILE_FILES
        and not any(part.startswith("checkpoint") for part in path.relative_to(run_dir).parts)
    }


def differences(first: Mapping[str, str], second: Mapping[str, str]) -> list[str]:
    """Paths at which two outcomes differ."""
    return sorted(path for path in {*first, *second} if first.get(path) != second.get(path))


def tail(log: Path, *, lines: int = 4) -> str:
    """The last lines of a log, in one."""
    return " | ".join(log.read_text(errors="replace").strip().splitlines()[-lines:])


def _digest(path: Path) -> str:
    if path.suffix != ".json":
        return file_digest(path)
    return json.dumps(_without_times(json.loads(path.read_text())), sort_keys=True)


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _without_times(inner)
            for key, inner in value.items()
            if not key.endswith(_VOLATILE_KEYS)
        }
    return [_without_times(inner) for inner in value] if isinstance(value, list) else value
