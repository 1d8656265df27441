"""A tiny bundle of text mode, and services of it."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import structlog
from fastapi.testclient import TestClient

from bigrec.recommender.bigrec import BIGRec
from bigrec.serving.app import create_app
from bigrec.serving.options import ServingOptions
from tests.conftest import tiny_dataset, tiny_settings, wait_for

SIGNALS = "[popularity, co-occurrence]"

Serve = Callable[..., TestClient]


@pytest.fixture(scope="session", autouse=True)
def _plain_logs() -> Iterator[None]:
    """Without the frames of tracebacks, which take seconds."""
    structlog.configure(processors=[structlog.processors.KeyValueRenderer()])
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="package", autouse=True)
def _not_settled() -> Iterator[None]:
    """Without a look at every object that the tests have imported, seconds for each start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bigrec.serving.app.settle", lambda: None)
        yield


@pytest.fixture(scope="session")
def text_bundle(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of text mode with two signals."""
    folder = tmp_path_factory.mktemp("served") / "bundle"
    settings = tiny_settings(tiny_model, "baselines.tune=none", mode="text", signals=SIGNALS)
    BIGRec(settings).fit(tiny_dataset()).save(folder)
    return folder


@pytest.fixture
def bundle(text_bundle: Path, tmp_path: Path) -> Path:
    """A copy, beside which a service may write."""
    return Path(shutil.copytree(text_bundle, tmp_path / "bundle"))


@pytest.fixture
def serve(bundle: Path) -> Iterator[Serve]:
    """Starts a service of the bundle; its client is closed at the end of the test."""
    with ExitStack() as stack:

        def start(**options: Any) -> TestClient:
            given = {"bundles": (bundle,), "device": "cpu", **options}
            opens = given.pop("opens", None)
            ready_s = given.pop("ready_s", 30)
            app = create_app(ServingOptions(**given), opens=opens)
            client = stack.enter_context(TestClient(app, raise_server_exceptions=False))
            wait_for(lambda: client.get("/health/ready").status_code == 200, timeout_s=ready_s)
            return client

        yield start


@pytest.fixture
def client(serve: Serve) -> TestClient:
    """A client of an open service."""
    return serve()
