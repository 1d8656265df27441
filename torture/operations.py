"""``python -m torture.operations``: kill a run before each of its storage operations in turn.

After each kill the bundle that is saved over must load, and the same command must end with the bits
of an uninterrupted run. A kill before a flush also cuts what was written in half.
"""

import signal
from pathlib import Path
from typing import Annotated

import typer

from torture.countdown import Countdown
from torture.processes import tail, wait
from torture.runs import CASES, Runs, scratch
from torture.tally import Tally, finish, report


def attack(runs: Runs, folder: Path, *, every: int, first: int = 1) -> Tally:
    """Kill a case's run before every n-th storage operation, from the first one given."""
    run_dir, record = runs.new_run_dir(), folder / "operations"
    counting = Countdown(run_dir, kill_at=None, record=record)
    if wait(runs.start(run_dir, prepare=counting.watch)) != 0:
        raise RuntimeError(f"a counted run failed: {tail(runs.log)}")
    n_operations = int(record.read_text())
    tally = Tally(f"{runs.case.name}, every {every} of {n_operations} operations from {first}")
    for number in range(first, n_operations + 1, every):
        run_dir = runs.new_run_dir()
        countdown = Countdown(run_dir, kill_at=number, record=record)
        code = wait(runs.start(run_dir, prepare=countdown.watch))
        fault: str | None = None
        if code not in {-signal.SIGKILL, 0}:
            fault = f"ends with {code}: {tail(runs.log)}"
        fault = fault or runs.fault_after_kill(run_dir)
        tally.count(fault and f"operation {number}: {fault}")
    return tally


def main(
    case: Annotated[list[str] | None, typer.Option(help="Only these cases; repeatable.")] = None,
    every: Annotated[int, typer.Option(min=1, help="Kill before every n-th operation.")] = 1,
    first: Annotated[int, typer.Option(min=1, help="Number of the first operation.")] = 1,
) -> None:
    """Kill runs before each of their storage operations in turn."""
    tallies = []
    for chosen in CASES:
        if case is None or chosen.name in case:
            with scratch() as folder:
                runs = Runs(chosen, folder / "runs")
                tallies.append(tally := attack(runs, folder, every=every, first=first))
                report(tally.test, [tally])
    finish("Killed before each storage operation", tallies)


if __name__ == "__main__":
    typer.run(main)
