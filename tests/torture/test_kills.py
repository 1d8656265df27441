"""The harnesses that kill runs see a fault where there is one, and none in a few tries."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Python in a process without the threads of this one."""
    paths = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(ROOT)]))
    return subprocess.run(
        [sys.executable, "-W", "ignore", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.model
def test_a_run_killed_before_a_storage_operation_survives() -> None:
    done = python("-m", "torture.operations", "--case", "evaluate-retrieval", "--every", "600")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "evaluate-retrieval, every 600 of" in " ".join(done.stdout.split())


KILL_AT = textwrap.dedent("""
    import json, os, sys
    from pathlib import Path
    from bigrec.storage import write_json, atomic_folder
    from torture.countdown import Countdown
    from torture.processes import fork, wait
    folder = Path(sys.argv[1])
    work = folder / "run"
    def write():
        write_json(work / "a.json", {"long": "x" * 1000})
        with atomic_folder(work / "b") as temporary:
            (temporary / "file").write_text("new")
    def watched(at):
        def run():
            Countdown(work, kill_at=at, record=folder / "count").watch()
            write()
        return wait(fork(run, log=folder / "log"))
    work.mkdir()
    codes = [watched(None)]
    n = int((folder / "count").read_text())
    for number in range(1, n + 2):
        codes.append(watched(number))
        assert json.loads((work / "a.json").read_text())
        assert (work / "b" / "file").read_text() == "new"
    print(json.dumps([n, codes]))
""")


def test_every_operation_is_a_kill_and_leaves_old_or_new(tmp_path: Path) -> None:
    done = python("-c", KILL_AT, str(tmp_path))
    assert done.returncode == 0, done.stderr
    n, codes = json.loads(done.stdout)
    # At least the names made, flushed and renamed or exchanged.
    assert n > 10
    # The last kills would come after the last operation: what is left is removed in passing.
    assert codes[0] == 0
    assert set(codes[1 : n - 3]) == {-signal.SIGKILL}


COMPARED = textwrap.dedent("""
    import json, os, sys
    from pathlib import Path
    from torture.processes import differences, fork, outcome, wait
    first, second = map(Path, sys.argv[1:3])
    def print_and_fail():
        print("traceback", flush=True)
        raise RuntimeError("stop")
    log = first.parent / "log"
    codes = [wait(fork(work, log=log)) for work in (lambda: None, print_and_fail)]
    print(json.dumps([differences(outcome(first), outcome(second)), codes]))
""")


def test_outcomes_differ_in_content_and_not_in_times(tmp_path: Path) -> None:
    for name, weight, seconds in (("a", b"1", 1.5), ("b", b"2", 2.5)):
        folder = tmp_path / name
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "checkpoints" / "x").write_bytes(weight)
        (folder / "weights").write_bytes(weight)
        (folder / "timings.json").write_text(str(seconds))
        log = [{"loss": 1.0, "train_runtime": seconds}]
        (folder / "loss.json").write_text(json.dumps(log))
    (tmp_path / "a" / "only").touch()
    done = python("-c", COMPARED, *(str(tmp_path / name) for name in "ab"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [["only", "weights"], [0, 1]]
