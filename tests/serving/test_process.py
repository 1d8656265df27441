"""The service as a process: commands, kills and signals."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
from typer.testing import CliRunner

from bigrec.cli import app
from bigrec.storage.temporaries import TEMPORARY
from tests.conftest import wait_for

pytestmark = pytest.mark.model


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def served(bundle: Path, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], httpx2.Client]]:
    """A process that serves, and a client of it."""
    port = free_port()
    command = [sys.executable, "-m", "bigrec", "serve", "-b", str(bundle), "--device", "cpu"]
    command += ["--port", str(port), *options]
    with (
        bundle.with_name("log.txt").open("ab") as log,
        subprocess.Popen(command, stderr=log) as process,
        httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
    ):

        def is_ready() -> bool:
            with suppress(httpx2.TransportError):
                return client.get("/health/ready").status_code == 200
            assert process.poll() is None
            return False

        try:
            wait_for(is_ready)
            yield process, client
        finally:
            process.kill()


def test_a_killed_service_loses_no_change_that_it_confirmed_and_a_signal_drains_it(
    bundle: Path,
) -> None:
    confirmed: list[str] = []

    def add(client: httpx2.Client, writer: int) -> None:
        with suppress(httpx2.TransportError):
            for number in range(1000):
                item = f"{writer}-{number}"
                body = {"item_id": item, "title": "Heat (1995)"}
                assert client.post("/v1/items", json=body).status_code == 201
                confirmed.append(item)

    with served(bundle) as (process, client):
        writers = [threading.Thread(target=add, args=(client, writer)) for writer in range(2)]
        for thread in writers:
            thread.start()
        wait_for(lambda: len(confirmed) >= 10)
        process.kill()
        for thread in writers:
            thread.join()
    with served(bundle, "--drain-delay", "0.5") as (process, client):
        items = client.get("/v1/items", params={"search": "Heat", "limit": 1000}).json()["items"]
        assert set(confirmed) <= {item["item_id"] for item in items}
        process.send_signal(signal.SIGTERM)
        wait_for(lambda: client.get("/health/ready").status_code == 503)
        assert client.post("/v1/recommend", json={"history": ["i0"]}).status_code == 200
        assert process.wait(30) == -signal.SIGTERM
    log = bundle.with_name("log.txt").read_text()
    assert "Application shutdown complete" in log
    assert "Traceback" not in log


def test_workers_have_minutes_to_start_and_a_folder_of_arrays(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import uvicorn

    from bigrec.serving.options import ServingOptions
    from bigrec.serving.run import serve

    given: dict[str, Any] = {}
    monkeypatch.setattr(uvicorn, "run", lambda _, **options: given.update(options))
    monkeypatch.setenv("BIGREC_SERVE", "")
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")
    serve(ServingOptions(bundles=(bundle,)), host="127.0.0.1", port=8000, workers=2)
    options = ServingOptions.model_validate_json(os.environ["BIGREC_SERVE"])
    assert options.arrays is not None
    # Of this user alone, and it goes with the service.
    assert options.arrays.parent.name.startswith(TEMPORARY)
    assert not options.arrays.parent.exists()
    config = uvicorn.Config("x:y", **{k: v for k, v in given.items() if k != "factory"})
    assert config.workers == 2
    assert config.timeout_worker_healthcheck >= 60


def shown(*args: str, code: int) -> str:
    result = CliRunner().invoke(app, ["serve", *args])
    assert result.exit_code == code, result.output
    return " ".join((result.stdout if code == 0 else result.stderr).split())


def test_a_key_is_made_by_a_command(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    text = shown("key", "shop", "--keys", str(path), "--role", "admin", code=0)
    assert text.startswith("bigrec_")
    assert text.split()[0] not in path.read_text()
    assert "has a key of the name" in shown("key", "shop", "--keys", str(path), code=2)


def test_an_address_that_others_reach_needs_keys(bundle: Path) -> None:
    text = shown("-b", str(bundle), "--host", "0.0.0.0", code=2)  # noqa: S104 - it is refused
    assert "bigrec serve key" in text
    assert "expected a bundle" in shown(code=2)


def test_a_missing_package_is_one_clear_line(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import bigrec.serving
    import bigrec.serving.run

    monkeypatch.delitem(sys.modules, "bigrec.serving.run")
    monkeypatch.delattr(bigrec.serving, "run")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    text = shown("-b", str(bundle), code=2)
    assert "not installed (uvicorn). Run: pip install 'bigrec[serve]'" in text
