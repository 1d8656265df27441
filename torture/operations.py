"""``python -m torture.operations``: kill a run before each of its storage operations in turn.

After each kill the bundle that is saved over must load, and the same command must end with the bits
of an uninterrupted run. A kill before a flush also cuts what was written in half. With ``--signal
INT`` runs get Ctrl-C instead, and must end with 130 and without a traceback.
"""

import signal
from pathlib import Path
from typing import Annotated, Literal

import typer

from torture.countdown import Countdown
from torture.processes import expected_code, tail, wait
from torture.runs import CASES, Runs, scratch
from torture.tally import Tally, finish, report


def attack(
    runs: Runs,
    folder: Path,
    *,
    every: int,
    first: int = 1,
    number: signal.Signals = signal.SIGKILL,
) -> Tally:
    """Send a signal to a case's run before every n-th storage operation, from the first given."""
    run_dir, record = runs.new_run_dir(), folder / "operations"
    counting = Countdown(run_dir, kill_at=None, record=record)
    if wait(runs.start(run_dir, prepare=counting.watch)) != 0:
        raise RuntimeError(f"a counted run failed: {tail(runs.log)}")
    n_operations = int(record.read_text())
    about = "" if number == signal.SIGKILL else f", {number.name}"
    tally = Tally(f"{runs.case.name}, every {every} of {n_operations} from {first}{about}")
    for place in range(first, n_operations + 1, every):
        run_dir = runs.new_run_dir()
        countdown = Countdown(run_dir, kill_at=place, record=record, number=number)
        code = wait(runs.start(run_dir, prepare=countdown.watch))
        fault: str | None = None
        if code not in {expected_code(number), 0}:
            fault = f"ends with {code}: {tail(runs.log)}"
        elif "Traceback" in runs.log.read_text(errors="replace"):
            fault = f"prints a traceback: {tail(runs.log)}"
        fault = fault or runs.fault_after_kill(run_dir)
        tally.count(fault and f"operation {place}: {fault}")
    return tally


def main(
    case: Annotated[list[str] | None, typer.Option(help="Only these cases; repeatable.")] = None,
    every: Annotated[int, typer.Option(min=1, help="Kill before every n-th operation.")] = 1,
    first: Annotated[int, typer.Option(min=1, help="Number of the first operation.")] = 1,
    name: Annotated[
        Literal["KILL", "INT"], typer.Option("--signal", help="KILL, or INT for Ctrl-C.")
    ] = "KILL",
) -> None:
    """Kill runs before each of their storage operations in turn."""
    number = signal.Signals[f"SIG{name}"]
    tallies = []
    for chosen in CASES:
        if case is None or chosen.name in case:
            with scratch() as folder:
                runs = Runs(chosen, folder / "runs")
                tallies.append(
                    tally := attack(runs, folder, every=every, first=first, number=number)
                )
                report(tally.test, [tally])
    finish("Killed before each storage operation", tallies)


if __name__ == "__main__":
    typer.run(main)
