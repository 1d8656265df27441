"""The ``bigrec`` command: parses, calls, prints. What it calls is the library."""

import functools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, ParamSpec

import typer
from rich.console import Console

from bigrec import __version__, console
from bigrec.errors import BigrecError
from bigrec.settings import Settings, preset_names
from bigrec.types import Track

if TYPE_CHECKING:
    from bigrec.experiments.pipeline import Run

app = typer.Typer(
    name="bigrec",
    help="Make a language model recommend real items: fine-tune it on a few histories, let it "
    "write titles, and ground them to a catalog.",
    epilog="Start with: bigrec demo. Every command does what is missing before it, so `bigrec "
    "evaluate` alone prepares, trains, indexes and evaluates.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)

RunOption = Annotated[
    Path,
    typer.Option("--run", "-r", help="The run folder: stages done in it before are reused."),
]
SettingsOption = Annotated[
    str | None,
    typer.Option(
        "--settings",
        "-s",
        help="A YAML file or a preset (" + ", ".join(preset_names()) + "). "
        "By default the settings the run folder was last used with.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Change one value, as in --set train.epochs=3. May be given many times."
    ),
]
DataOption = Annotated[
    str | None,
    typer.Option(
        "--data", "-d", help="Short for --set data.source=…: a folder, a file or ml-100k."
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
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]

_P = ParamSpec("_P")

DEFAULT_RUN = Path("runs/default")


def _guarded(command: Callable[_P, None]) -> Callable[_P, None]:
    """Tell our errors in one message, without a traceback; what was done stays."""

    @functools.wraps(command)
    def guarded(*args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except (BigrecError, ValueError) as error:
            if os.environ.get("BIGREC_TRACEBACK"):
                raise
            console.tell_error(error)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            console.tell_stopped()
            raise typer.Exit(130) from None

    return guarded


@app.callback(invoke_without_command=True)
def _main(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def _add_stage(
    name: str,
    result: "Callable[[Run], console.Shown]",
    *,
    about: str,
    run: Path = DEFAULT_RUN,
    settings: str | None = None,
) -> None:
    """Add a command that runs the stages up to one; they all take the same options."""

    def command(
        run: RunOption = run,
        settings: SettingsOption = settings,
        change: SetOption = None,
        data: DataOption = None,
        items: ItemsOption = None,
        model: ModelOption = None,
        as_json: JsonOption = False,
    ) -> None:
        short = {"data.source": data, "data.items": items, "model.base": model}
        named = [f"{key}={json.dumps(value)}" for key, value in short.items() if value is not None]
        last = run / "settings.yaml"
        chosen = settings or (str(last) if last.is_file() else None)
        with console.progress() as track:
            opened = _open(run, Settings.read(chosen, [*named, *(change or [])]), track)
            shown = result(opened)
        _show(as_json, shown)

    app.command(name, help=about)(_guarded(command))


def _compare(run: "Run") -> console.Shown:
    from bigrec.experiments.compare import compare_run  # noqa: PLC0415 - torch, seconds

    return console.comparison(compare_run(run), run.comparison_file)


_add_stage(
    "prepare",
    console.preparation,
    about="Read the data, repair it, split it and draw the examples.",
)
_add_stage(
    "audit",
    lambda run: console.audit(run.audit()),
    about="Tell what is wrong with the data, and what was done about it.",
)
_add_stage(
    "train",
    lambda run: console.training(run.training_stage.folder, run.train()),
    about="Step 1: fine-tune the base model. Ctrl-C saves; the same command goes on.\n\n"
    "With several GPUs or processes: accelerate launch -m bigrec train …",
)
_add_stage(
    "index",
    lambda run: console.index(run.index_folder, run.recommender.parts.ranker.index),
    about="Embed the catalog. Only titles that are new since the last time cost anything.",
)
_add_stage(
    "evaluate",
    lambda run: console.evaluation(run.evaluate(), run),
    about="Rank the whole catalog for every test example; write the report and the bundle.",
)
_add_stage(
    "compare",
    _compare,
    about="Compare with popularity, co-occurrence, EASE, SASRec, GRU4Rec and Caser, each trained "
    "on all data and on the few shots, alone and injected, on the same queries. Every choice is "
    "made on validation.",
)
_add_stage(
    "demo",
    console.demonstration,
    about="All of BIGRec on MovieLens-100K with a small model: audit, train, index, evaluate.",
    run=Path("runs/demo"),
    settings="demo",
)


@app.command()
@_guarded
def recommend(
    history: Annotated[
        list[str],
        typer.Argument(help="Item ids or titles, oldest first.", show_default=False),
    ],
    bundle: Annotated[
        Path, typer.Option("--bundle", "-b", help="The folder that evaluate or save() wrote.")
    ] = DEFAULT_RUN / "bundle",
    k: Annotated[int, typer.Option("-k", help="How many items.")] = 10,
    exclude_seen: Annotated[
        bool | None,
        typer.Option(
            "--exclude-seen/--keep-seen",
            help="Leave out what is in the history. By default as the bundle's settings say.",
        ),
    ] = None,
    beams: Annotated[
        Literal["first", "all"] | None,
        typer.Option(help="Ground the first text or all; by default as the bundle's settings say."),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Where the base model is, if it moved.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    as_json: JsonOption = False,
) -> None:
    """Recommend items for a history, of a known user or a new one.

    Example: bigrec recommend -b runs/demo/bundle "Toy Story (1995)" "Fargo (1996)"
    """
    from bigrec.recommender.bigrec import BIGRec  # noqa: PLC0415 - torch, seconds

    loaded = BIGRec.load(bundle, base_model=model, device=device)
    found = loaded.recommend(history, k=k, exclude_seen=exclude_seen, beams=beams)
    _show(as_json, console.recommendations(found))


@app.command()
@_guarded
def info(
    folder: Annotated[
        Path | None, typer.Argument(help="A run folder or a bundle.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a run folder or a bundle holds; without one, every setting and its effect."""
    _show(as_json, console.settings_help() if folder is None else console.folder_info(folder))


def _open(run: Path, settings: Settings, track: Track) -> "Run":
    from bigrec.experiments.pipeline import Run  # noqa: PLC0415 - torch, seconds

    return Run(run, settings, track=track)


def _show(as_json: bool, shown: console.Shown) -> None:
    if os.environ.get("RANK", "0") != "0":
        return  # of several processes, one speaks
    if as_json:
        typer.echo(json.dumps(shown.values, indent=2, ensure_ascii=False))
    else:
        Console().print(shown.view)


def main() -> None:
    """Run the command."""
    app()
