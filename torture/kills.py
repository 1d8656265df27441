"""``python -m torture.kills``: kill runs at random instants, once or several times in a row.

After each kill the bundle that is saved over must load, and the same command must end with the bits
of an uninterrupted run. With ``--signal INT`` runs get Ctrl-C, and must end with 130 and a message.
"""

import os
import random
import signal
import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from torture.processes import expected_code, tail, wait
from torture.runs import CASES, Runs, scratch
from torture.tally import Tally, finish, report

_MOST_IN_A_ROW = 3


def attack(runs: Runs, rng: random.Random, number: signal.Signals) -> str | None:
    """Kill a run one to three times, and run it to the end. Returns the fault, if any."""
    run_dir = runs.new_run_dir()
    for _ in range(rng.randint(1, _MOST_IN_A_ROW)):
        process = runs.start(run_dir)
        time.sleep(rng.uniform(0, 1.05 * runs.seconds))
        os.kill(process, number)
        code = wait(process)
        if code not in {0, expected_code(number)}:
            return f"after the signal it ends with {code}: {tail(runs.log)}"
        if "Traceback" in runs.log.read_text(errors="replace"):
            return f"after the signal it prints a traceback: {tail(runs.log)}"
    return runs.fault_after_kill(run_dir)


def main(
    tries: Annotated[int, typer.Option(min=1, help="Tries, spread over the cases.")] = 100,
    seed: Annotated[int, typer.Option(help="Seed of the instants.")] = 1,
    name: Annotated[
        Literal["KILL", "INT"], typer.Option("--signal", help="KILL, or INT for Ctrl-C.")
    ] = "KILL",
    case: Annotated[list[str] | None, typer.Option(help="Only these cases; repeatable.")] = None,
) -> None:
    """Kill runs at random instants."""
    tallies = []
    with scratch() as folder:
        cases = [known for known in CASES if case is None or known.name in case]
        for place, chosen in enumerate(cases):
            of_case = range(place, tries, len(cases))
            if not of_case:
                continue
            runs = Runs(chosen, Path(folder) / chosen.name)
            tallies.append(tally := Tally(f"{chosen.name}, SIG{name}"))
            for attempt in of_case:
                rng = random.Random(f"{seed}-{attempt}")
                fault = attack(runs, rng, signal.Signals[f"SIG{name}"])
                tally.count(fault and f"seed {seed}, try {attempt}: {fault}")
            report(tally.test, [tally])
    finish("Killed at random instants", tallies)


if __name__ == "__main__":
    typer.run(main)
