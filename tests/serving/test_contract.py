"""Every answer of the service is as its description says, valid requests and invalid ones."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from bigrec.serving.api_keys import add_key
from bigrec.serving.app import create_app
from bigrec.serving.options import ServingOptions
from tests.conftest import UNTRACED, wait_for

pytestmark = [pytest.mark.model, UNTRACED]


@pytest.fixture(scope="module")
def address(text_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service with keys, on a port."""
    folder = tmp_path_factory.mktemp("contract")
    key = add_key(folder / "keys.json", "tests", "admin")
    options = ServingOptions(
        bundles=(text_bundle,),
        journal=folder / "journal.jsonl",
        keys=folder / "keys.json",
        device="cpu",
    )
    app = create_app(options)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_for(lambda: app.state.bigrec.service.is_loaded)
    port = server.servers[0].sockets[0].getsockname()[1]
    HEADERS["X-API-Key"] = key
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


HEADERS: dict[str, str] = {}
DESCRIPTION = create_app(ServingOptions(bundles=(Path("bundle"),))).openapi()
OPERATIONS: dict[str, Any] = {
    result.ok().label: result.ok()  # type: ignore[union-attr] # all can be read
    for result in schemathesis.openapi.from_dict(DESCRIPTION).get_all_operations()
}


@pytest.mark.parametrize("label", OPERATIONS)
def test_every_answer_is_as_declared(address: str, label: str) -> None:
    @settings(
        max_examples=40, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(case=OPERATIONS[label].as_strategy())
    def ask(case: Any) -> None:
        # A description cannot say which items there are, so that what it allows may be refused.
        response = case.call_and_validate(
            base_url=address, headers=HEADERS, excluded_checks=[positive_data_acceptance]
        )
        assert response.status_code < 500

    ask()


def test_every_route_declares_its_errors_in_the_one_form() -> None:
    for path, verbs in DESCRIPTION["paths"].items():
        for verb, route in verbs.items():
            if path.startswith("/health") or path == "/ping":
                continue
            assert {"401", "403", "413", "422", "429", "503"} <= set(route["responses"]), path
            for status, answer in route["responses"].items():
                if int(status) >= 400:
                    form = answer["content"]["application/json"]["schema"]["$ref"]
                    assert form.endswith("/Problem"), (verb, path, status)
