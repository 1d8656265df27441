"""Options that commands share, and what becomes of their errors."""

import functools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, ParamSpec

import typer
from rich.console import Console

from bigrec import console
from bigrec.errors import BigrecError
from bigrec.printable import json_text
from bigrec.settings import preset_names
from bigrec.storage import interrupts

RunDirOption = Annotated[
    Path,
    typer.Option("--run-dir", "-r", help="Holds all stages; those that are complete are reused."),
]
ConfigOption = Annotated[
    str | None,
    typer.Option(
        "--config",
        "-c",
        help="A YAML file or a preset (" + ", ".join(preset_names()) + "). "
        "By default the settings of the run directory's last command.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Change one value, as in --set generative.finetune.epochs=3. May be given many times.",
    ),
]
DataOption = Annotated[
    str | None,
    typer.Option(
        "--data",
        "-d",
        help="Short for --set data.source=…: a folder, a file, s3://…, sample or ml-100k.",
    ),
]
ItemsOption = Annotated[
    str | None, typer.Option("--items", help="Short for --set data.items=…: the file of titles.")
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", help="Short for --set model.base=…: hub id, folder, .gguf or short name."
    ),
]
BundleArgument = Annotated[
    Path, typer.Argument(help="The folder that evaluate or save() wrote.", show_default=False)
]
BundleOption = Annotated[
    Path, typer.Option("--bundle", "-b", help="The folder that evaluate or save() wrote.")
]
ListLengthOption = Annotated[int, typer.Option("-k", "--k", help="Number of items.")]
ExcludeSeenOption = Annotated[
    bool | None,
    typer.Option(
        "--exclude-seen/--include-seen",
        help="Exclude or include the history. By default as the bundle's settings say.",
    ),
]
WhereOption = Annotated[
    str | None,
    typer.Option(
        help="Conditions on the items' columns as JSON, such as "
        '\'{"in_stock": true, "price": {"lt": 20}}\'.',
    ),
]
BaseModelOption = Annotated[
    str | None, typer.Option("--model", "-m", help="Where the base model is, if it moved.")
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
BaseUrlOption = Annotated[
    str | None,
    typer.Option(
        help="Address of the server that writes titles, for a bundle that uses one. By default "
        "OPENAI_BASE_URL; never the bundle's."
    ),
]
VerifyKeyOption = Annotated[
    Path | None,
    typer.Option(help="A public key: refuse a bundle that was not signed with its private key."),
]
TrustOption = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code",
        help="Run code that comes with the base model. Only for authors you trust.",
    ),
]
TrustIndexOption = Annotated[
    bool,
    typer.Option(
        "--trust-index",
        help="Use the bundle's graph of titles (index.backend), which could omit titles. Only for "
        "authors you trust; without it the graph is built anew, unless --verify-key is given.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]

_P = ParamSpec("_P")

DEFAULT_RUN_DIR = Path("runs/default")


def overrides_of(
    *, data: str | None, items: str | None, model: str | None, change: list[str] | None
) -> list[str]:
    """The values that the short options and ``--set`` change; of two, the later one counts."""
    short = {"data.source": data, "data.items": items, "model.base": model}
    named = [f"{key}={json.dumps(value)}" for key, value in short.items() if value is not None]
    return [*named, *(change or [])]


def show(as_json: bool, shown: console.Shown) -> None:
    """Print a result as JSON or as tables."""
    if os.environ.get("RANK", "0") != "0":
        return  # of several processes, one prints
    if as_json:
        typer.echo(json_text(shown.values, allow_nan=True))
    else:
        Console().print(shown.view)


def guarded(command: Callable[_P, None]) -> Callable[_P, None]:
    """Tell our errors in one message, without a traceback; what was done stays."""

    @functools.wraps(command)
    def guarded_command(*args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            command(*args, **kwargs)
            interrupts.check()
        except BaseException as error:
            # A library may have turned Ctrl-C into an error.
            if interrupts.requested() or isinstance(error, KeyboardInterrupt):
                console.tell_stopped()
                raise typer.Exit(interrupts.EXIT_CODE) from None
            if not isinstance(error, BigrecError | ValueError) or os.environ.get(
                "BIGREC_TRACEBACK"
            ):
                raise
            console.tell_error(error)
            raise typer.Exit(2) from None

    return guarded_command
