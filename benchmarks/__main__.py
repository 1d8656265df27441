"""``python -m benchmarks``: time bigrec's stages against reference implementations."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

import benchmarks
from bigrec.storage import write_json

_STAGES_HELP = (
    f"Stage to run; repeatable. One of {', '.join(benchmarks.STAGES)}. Default: "
    f"{', '.join(benchmarks.DEFAULT_STAGES)}."
)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def run(
    stage: Annotated[list[str] | None, typer.Option(help=_STAGES_HELP)] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the figures to this file.")
    ] = None,
) -> None:
    """Time bigrec's stages against reference implementations, alternately in one run."""
    names = stage or list(benchmarks.DEFAULT_STAGES)
    unknown = [name for name in names if name not in benchmarks.STAGES]
    if unknown:
        raise typer.BadParameter(
            f"unknown stage {', '.join(map(repr, unknown))}: expected one of "
            f"{', '.join(benchmarks.STAGES)}.",
            param_hint="--stage",
        )
    figures: dict[str, dict[str, Any]] = {}
    for name in names:
        figures[name] = benchmarks.STAGES[name]()
        Console().print(_table(name, figures[name]))
        if json_file is not None:
            write_json(json_file, figures)


def _table(name: str, figures: dict[str, Any]) -> Table:
    table = Table(show_header=False, title=name)
    for key, value in figures.items():
        table.add_row(key, f"{value:.4g}" if isinstance(value, float) else str(value))
    return table


if __name__ == "__main__":
    app(prog_name="python -m benchmarks")
