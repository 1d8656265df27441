"""``bigrec serve``: the service and its keys."""

from pathlib import Path
from types import ModuleType
from typing import Annotated, Literal

import typer

from bigrec import console
from bigrec.cli.options import TrustIndexOption, guarded
from bigrec.errors import SettingsError
from bigrec.recommender.bigrec import BIGRec

app = typer.Typer(
    help="Serve a bundle over HTTP, with live items; see docs/serving.md.",
    invoke_without_command=True,
    add_completion=False,
)

DEFAULT_KEYS = Path("keys.json")


@app.callback()
@guarded
def serve(
    context: typer.Context,
    bundle: Annotated[
        list[Path] | None,
        typer.Option(
            "--bundle",
            "-b",
            help="The folder that evaluate or save() wrote. Given twice, the page compares both.",
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
    workers: Annotated[int, typer.Option(help="Processes.", min=1)] = 1,
    keys: Annotated[
        Path | None, typer.Option(help="File of the callers' keys, made by: bigrec serve key.")
    ] = None,
    is_open: Annotated[
        bool, typer.Option("--open", help="Listen without keys, where others reach the address.")
    ] = False,
    hosts: Annotated[
        list[str] | None,
        typer.Option("--allow-host", help="A further name of this host, without keys."),
    ] = None,
    journal: Annotated[
        Path | None, typer.Option(help="File of all changes. By default beside the bundle.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Serve a bundle anew when its folder is written again.")
    ] = False,
    max_batch: Annotated[
        int, typer.Option(help="Most histories that are answered together; 1: no batching.", min=1)
    ] = 64,
    window_ms: Annotated[
        float,
        typer.Option(
            help="Time that a batch waits for more, after one of several histories.", min=0
        ),
    ] = 2.0,
    max_waiting: Annotated[
        int, typer.Option(help="Most histories that wait; more are refused with 429.", min=1)
    ] = 1024,
    max_body: Annotated[int, typer.Option(help="Most bytes of a request.", min=1024)] = 1 << 20,
    rate_limit: Annotated[
        str | None, typer.Option(help="Most requests of each caller, such as 600/minute.")
    ] = None,
    drain_delay: Annotated[
        float,
        typer.Option(help="Seconds from SIGTERM, when /health/ready turns, to accepting no more."),
    ] = 0.0,
    drain_timeout: Annotated[
        float, typer.Option(help="Seconds that requests have to finish after that.", min=1)
    ] = 30.0,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Where the base model is, if it moved.")
    ] = None,
    text_encoder: Annotated[
        str | None, typer.Option(help="Where the encoder of titles is, if it moved.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    base_url: Annotated[
        str | None, typer.Option(help="Address of the server that writes titles.")
    ] = None,
    verify_key: Annotated[
        Path | None, typer.Option(help="A public key that bundles must be signed with.")
    ] = None,
    trust_remote_code: Annotated[
        bool,
        typer.Option("--trust-remote-code", help="Run code that comes with the base model."),
    ] = False,
    trust_index: TrustIndexOption = False,
) -> None:
    """Serve a bundle over HTTP.

    Example: bigrec serve -b runs/demo/bundle
    """
    if context.invoked_subcommand is not None:
        return
    if not bundle:
        raise typer.BadParameter("expected a bundle, such as --bundle runs/demo/bundle.")
    run, options = _modules()
    settings = options.ServingOptions(
        bundles=tuple(bundle),
        journal=journal,
        keys=keys,
        hosts=tuple(hosts or ()),
        watch=watch,
        max_batch=max_batch,
        window_ms=window_ms,
        max_waiting=max_waiting,
        max_body_bytes=max_body,
        rate_limit=rate_limit,
        drain_delay_s=drain_delay,
        drain_timeout_s=drain_timeout,
        device=device,
        base_model=model,
        text_encoder=text_encoder,
        base_url=base_url,
        verify_key=verify_key,
        trust_remote_code=trust_remote_code,
        trust_index=trust_index,
    )
    console.tell(f"Serving on http://{host}:{port}")
    run.serve(settings, host=host, port=port, workers=workers, is_open=is_open)


@app.command()
@guarded
def key(
    name: Annotated[str, typer.Argument(help="Whose key it is.", show_default=False)],
    keys: Annotated[Path, typer.Option(help="File that keeps its hash.")] = DEFAULT_KEYS,
    role: Annotated[
        Literal["read", "admin"], typer.Option(help="read asks, admin also changes.")
    ] = "read",
) -> None:
    """Make a key for a caller of the service; it is shown once and kept as a hash."""
    _modules()
    from bigrec.serving.api_keys import add_key  # noqa: PLC0415 - with the other modules

    typer.echo(add_key(keys, name, role))
    console.tell(f"{keys} holds its hash. Send the key in the header X-API-Key.")


@app.command()
@guarded
def mcp(
    bundle: Annotated[
        Path, typer.Option("--bundle", "-b", help="The folder that evaluate or save() wrote.")
    ],
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
) -> None:
    """Give an assistant tools over MCP, on standard input and output."""
    try:
        from bigrec.serving.mcp_server import make_server  # noqa: PLC0415 - an optional package
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"bigrec serve mcp needs a package that is not installed ({error.name}). "
            "Run: pip install 'bigrec[mcp]'"
        ) from None
    make_server(BIGRec.load(bundle, device=device)).run("stdio")


def _modules() -> tuple[ModuleType, ModuleType]:
    """The modules that run the service.

    Raises:
        SettingsError: If their packages are missing.
    """
    try:
        from bigrec.serving import options, run  # noqa: PLC0415 - optional packages
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"bigrec serve needs a package that is not installed ({error.name}). "
            "Run: pip install 'bigrec[serve]'"
        ) from None
    return run, options
