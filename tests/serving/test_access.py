"""Who may ask, how errors look, and what is never told."""

import json
import logging
import re
from pathlib import Path

import pytest
import structlog
from fastapi.testclient import TestClient

from bigrec.errors import SettingsError
from bigrec.serving import logs
from bigrec.serving.api_keys import ApiKeys, add_key
from tests.serving.conftest import Serve

pytestmark = pytest.mark.model

BODY = {"history": ["i0"]}
PRIVATE = [
    ("GET", "/info"),
    ("GET", "/metrics"),
    ("GET", "/v1/items"),
    ("GET", "/v1/items/i0"),
    ("POST", "/v1/recommend"),
    ("POST", "/v1/recommend:batch"),
    ("POST", "/invocations"),
]
ADMINS = [
    ("POST", "/v1/items"),
    ("PATCH", "/v1/items/i0"),
    ("DELETE", "/v1/items/i0"),
    ("POST", "/v1/interactions"),
    ("POST", "/v1/bundle:swap"),
]


def header(key: str) -> dict[str, str]:
    return {"X-API-Key": key}


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, str, str]:
    """A file with a reader's and an admin's key."""
    path = tmp_path / "keys.json"
    return path, add_key(path, "shop", "read"), add_key(path, "boss", "admin")


def test_every_route_but_health_needs_a_key(serve: Serve, keys: tuple[Path, str, str]) -> None:
    path, reader, admin = keys
    client = serve(keys=path)
    for url in ("/health/live", "/health/ready", "/ping"):
        assert client.get(url).status_code == 200
    for method, url in [*PRIVATE, *ADMINS]:
        for key in ({}, header("bigrec_wrong"), header(reader[:-1])):
            answer = client.request(method, url, headers=key)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized"), url
    for method, url in ADMINS:
        answer = client.request(method, url, headers=header(reader))
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), url
    assert client.post("/v1/recommend", json=BODY, headers=header(reader)).status_code == 200
    assert client.delete("/v1/items/i0", headers=header(admin)).status_code == 204


def test_keys_are_kept_as_hashes_and_never_shown(keys: tuple[Path, str, str]) -> None:
    path, *made = keys
    assert path.stat().st_mode & 0o077 == 0
    for key in made:
        assert key not in path.read_text()
        assert key.removeprefix("bigrec_") not in repr(ApiKeys.read(path).__dict__)
    with pytest.raises(SettingsError, match="has a key of the name 'shop'"):
        add_key(path, "shop", "read")
    with pytest.raises(ValueError, match="name of a key is 'a b'"):
        add_key(path, "a b", "read")


def test_logs_are_json_and_never_hold_a_key(
    serve: Serve, keys: tuple[Path, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    path, reader, admin = keys
    root = logging.getLogger()
    before, level, configured = root.handlers, root.level, structlog.get_config()
    try:
        logs.configure()
        client = serve(keys=path)
        for key in (reader, admin, "bigrec_wrong"):
            headers = {**header(key), "X-Request-ID": "asked-1"}
            client.post("/v1/recommend", json=BODY, headers=headers)
            client.post("/v1/recommend", content=key, headers=headers)
            client.get(f"/v1/items?search={key}", headers=headers)
    finally:
        root.handlers, root.level = before, level
        logging.getLogger("uvicorn.access").disabled = False
        structlog.configure(**configured)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    # The tests' own client tells what it asks.
    lines = [line for line in lines if line["logger"] != "httpx2"]
    asked = [line for line in lines if line.get("request_id") == "asked-1"]
    assert {line["caller"] for line in asked} == {"shop", "boss", ""}
    assert {line["status"] for line in asked} == {200, 401, 422}
    for key in (reader, admin, "bigrec_wrong"):
        assert key not in json.dumps(lines)


def test_an_id_of_a_request_comes_back(client: TestClient) -> None:
    answer = client.get("/v1/items/none", headers={"X-Request-ID": "order-7"})
    assert answer.headers["X-Request-ID"] == answer.json()["request_id"] == "order-7"
    for wrong in ("a b", "x" * 65, "<script>"):
        made = client.get("/info", headers={"X-Request-ID": wrong}).headers["X-Request-ID"]
        assert re.fullmatch("[0-9a-f]{32}", made)


def test_errors_have_one_form(client: TestClient) -> None:
    cases = [
        (client.get("/nowhere"), 404, "not_found"),
        (client.put("/v1/items"), 405, "method_not_allowed"),
        (client.post("/v1/recommend", content=b"{"), 422, "invalid"),
        (client.post("/v1/recommend", json={**BODY, "k": 0}), 422, "invalid"),
        (client.post("/v1/recommend", json={"history": "i0"}), 422, "invalid"),
        (client.post("/v1/recommend", content=b"x" * 2_000_000), 413, "too_large"),
        (client.post("/v1/recommend", content=iter([b" " * 2_000_000])), 413, "too_large"),
        (client.post("/v1/bundle:swap", json={"folder": "none"}), 409, "swap_failed"),
    ]
    for answer, status, code in cases:
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert answer.headers["content-type"] == "application/json"
        assert set(answer.json()) == {"code", "message", "request_id", "fields"}
        assert answer.json()["request_id"] == answer.headers["X-Request-ID"]
    assert cases[3][0].json()["fields"][0]["field"] == "body.k"


def test_an_unexpected_error_tells_nothing_of_itself(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve()

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the secret of the house")

    monkeypatch.setattr("bigrec.serving.routes.health.info_of", fail)
    answer = client.get("/info")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "secret" not in answer.text
    assert answer.headers["X-Request-ID"] == answer.json()["request_id"]


def test_a_caller_that_asks_too_often_waits(serve: Serve, keys: tuple[Path, str, str]) -> None:
    path, reader, admin = keys
    client = serve(keys=path, rate_limit="3/minute")
    statuses = [client.get("/info", headers=header(reader)).status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    answer = client.get("/v1/items", headers=header(reader))
    assert (answer.json()["code"], answer.headers["Retry-After"]) == ("rate_limited", "1")
    assert client.get("/info", headers=header(admin)).status_code == 200
    assert client.get("/health/live").status_code == 200


def test_an_open_service_answers_under_its_own_names_alone(client: TestClient) -> None:
    assert client.get("/info", headers={"Host": "evil.example"}).status_code == 400
