"""Runs the service: one process, or several that share a port, a journal and large arrays.

The application is imported where it runs: what watches over several processes needs none of it.
"""

import os
import tempfile
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn

from bigrec.errors import SettingsError
from bigrec.serving import logs
from bigrec.serving.options import ServingOptions
from bigrec.storage.temporaries import remove_leftovers, temporary_folder

if TYPE_CHECKING:
    from fastapi import FastAPI

_OPTIONS = "BIGREC_SERVE"
_METRICS = "PROMETHEUS_MULTIPROC_DIR"
# A worker that imports torch or loads a bundle on a busy machine does not answer for long.
_SILENT_WORKER_S = 300
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class DrainingServer(uvicorn.Server):
    """A server that tells it is about to end, and accepts requests for a while longer.

    Args:
        config: How it listens.
        app: Its application.
        delay_s: Time between the signal and the end of accepting.
    """

    def __init__(self, config: uvicorn.Config, app: "FastAPI", *, delay_s: float) -> None:
        super().__init__(config)
        self._app = app
        self._delay_s = delay_s

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain; a second signal ends it at once."""
        state = self._app.state.bigrec
        if state.is_draining or not self._delay_s:
            super().handle_exit(sig, frame)
        else:
            timer = threading.Timer(self._delay_s, super().handle_exit, (sig, frame))
            timer.daemon = True
            timer.start()
        state.is_draining = True


def serve(
    options: ServingOptions, *, host: str, port: int, workers: int = 1, is_open: bool = False
) -> None:
    """Serve until a signal comes; then answer what was asked, and end.

    Args:
        options: How the application runs.
        host: Address to listen on.
        port: Port to listen on.
        workers: Number of processes.
        is_open: Let everybody who reaches the address ask and change, without keys.

    Raises:
        BigrecError: If the keys cannot be used, or others could reach a service without keys.
        ValueError: If the options contradict each other.
    """
    if options.keys is None and host not in _LOOPBACK and not is_open:
        raise SettingsError(
            f"the address {host} can be reached by others, and no keys are given. Make one with "
            "bigrec serve key, and pass --keys, or --open to let everybody ask and change."
        )
    hosts = (*options.hosts, "*" if is_open else host)
    options = options.model_copy(update={"hosts": hosts})
    shared: dict[str, Any] = {
        "host": host,
        "port": port,
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "timeout_graceful_shutdown": round(options.drain_timeout_s),
    }
    if workers > 1:
        temporary = Path(tempfile.gettempdir())
        remove_leftovers(temporary)
        with temporary_folder(temporary) as folder:
            # Below a folder of this user alone.
            options = options.model_copy(update={"arrays": options.arrays or folder / "arrays"})
            os.environ[_OPTIONS] = options.model_dump_json()
            os.environ.setdefault(_METRICS, str(folder))
            uvicorn.run(
                "bigrec.serving.run:app_of_worker",
                factory=True,
                workers=workers,
                timeout_worker_healthcheck=_SILENT_WORKER_S,
                **shared,
            )
        return
    app = _configured_app(options)
    DrainingServer(uvicorn.Config(app, **shared), app, delay_s=options.drain_delay_s).run()


def app_of_worker() -> "FastAPI":
    """The application of one of several processes, or of any ASGI server.

    Its options are JSON in the variable ``BIGREC_SERVE``.
    """
    return _configured_app(ServingOptions.model_validate_json(os.environ[_OPTIONS]))


def _configured_app(options: ServingOptions) -> "FastAPI":
    from bigrec.serving.app import create_app  # noqa: PLC0415 - for the processes that answer

    logs.configure()
    return create_app(options)
