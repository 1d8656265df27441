"""A bundle whose folder is written again is served, unless it cannot be used."""

import shutil
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from bigrec.serving import watching
from tests.conftest import wait_for
from tests.serving.conftest import Serve
from tests.serving.test_operation import another
from tests.serving.test_recommend import listed

pytestmark = pytest.mark.model


def signals(client: TestClient) -> list[str]:
    return list(client.get("/info").json()["bundles"][0]["signals"])


def test_a_bundle_that_is_saved_over_is_served_with_all_changes_and_after_a_restart(
    serve: Serve, bundle: Path, tiny_model: Path
) -> None:
    client = serve(watch=True)
    client.post("/v1/items", json={"item_id": "new", "title": "Heat (1995)"})
    assert signals(client) == ["popularity", "co-occurrence"]
    another(bundle, tiny_model, bundle.name)
    wait_for(lambda: signals(client) == ["EASE"], timeout_s=30)
    assert "new" in listed(client)
    assert 'bigrec_swaps_total{result="done"} 1.0' in client.get("/metrics").text
    assert listed(serve()) == listed(client)


def test_a_copy_that_is_incomplete_is_refused_and_served_once_it_is_complete(
    serve: Serve, bundle: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_RETRY_S", 0.5)
    monkeypatch.setattr(watching, "_LOOK_MS", 500)
    other = another(bundle, tiny_model, "other")
    client = serve(watch=True)
    before = listed(client)
    for path in sorted(bundle.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    shutil.copy(other / "manifest.json", bundle)
    wait_for(lambda: 'result="failed"' in client.get("/metrics").text, timeout_s=30)
    assert listed(client) == before
    shutil.copytree(other, bundle, dirs_exist_ok=True)
    wait_for(lambda: signals(client) == ["EASE"], timeout_s=30)


def test_two_services_of_one_journal_swap_once(
    serve: Serve, bundle: Path, tiny_model: Path
) -> None:
    clients = [serve(watch=True) for _ in range(2)]
    another(bundle, tiny_model, bundle.name)
    for client in clients:
        wait_for(lambda client=client: signals(client) == ["EASE"], timeout_s=30)  # type: ignore[misc]
    wait_for(lambda: all(client.get("/info").json()["revision"] == 1 for client in clients))


def test_a_bundle_is_not_swapped_unless_it_is_watched(
    serve: Serve, bundle: Path, tiny_model: Path
) -> None:
    client = serve()
    another(bundle, tiny_model, bundle.name)
    assert client.post("/v1/recommend", json={"history": ["i0"]}).status_code == 200
    assert signals(client) == ["popularity", "co-occurrence"]
