"""``python -m benchmarks``: time stages beside what people run today, in turns, in one run."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

import benchmarks
from bigrec.storage import write_json

_STAGES_HELP = (
    "Which stage: prepare, gamma, train, generate, embed, ground; curve, growth and peak run only "
    "where named. May be given many times."
)


def run(
    stage: Annotated[list[str] | None, typer.Option(help=_STAGES_HELP)] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures to this file too.")
    ] = None,
) -> None:
    """Time stages beside what people run today, in turns, in one run."""
    stages = stage or list(benchmarks.DEFAULT_STAGES)
    unknown = sorted(set(stages) - set(benchmarks.STAGES))
    if unknown:
        expected = ", ".join(benchmarks.STAGES)
        raise typer.BadParameter(f"--stage is {', '.join(unknown)}: expected {expected}.")
    figures = {}
    for name in stages:
        figures[name] = benchmarks.STAGES[name]()
        table = Table(show_header=False, title=name)
        for key, value in figures[name].items():
            table.add_row(key, f"{value:.4g}" if isinstance(value, float) else str(value))
        Console().print(table)
        if json_file is not None:
            write_json(json_file, figures)


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
app.command()(run)

if __name__ == "__main__":
    app(prog_name="python -m benchmarks")
