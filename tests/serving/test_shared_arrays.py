"""Arrays that the workers of a service share: the answers are the same, and files are few."""

import subprocess
import sys
from pathlib import Path

import pytest

from bigrec.storage import sharing
from tests.serving.conftest import Serve

REQUEST = {"history": ["i0", "i1"], "k": 5}


@pytest.fixture
def shares_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundle of the tests is tiny."""
    monkeypatch.setattr(sharing, "_LEAST_BYTES", 1)


@pytest.mark.usefixtures("shares_all")
def test_answers_are_those_without_shared_arrays(serve: Serve, tmp_path: Path) -> None:
    folder = tmp_path / "arrays"
    alone, first, second = (
        serve(arrays=place, journal=tmp_path / f"{number}.jsonl")
        for number, place in enumerate([None, folder, folder])
    )
    files = {path.name for path in folder.glob("*.array")}
    assert files
    answers = [client.post("/v1/recommend", json=REQUEST).json() for client in (alone, first)]
    assert answers[0] == answers[1]
    # A change is made on copies.
    row = {"user_id": "u", "item_id": "i1"}
    for client in (alone, first):
        assert client.post("/v1/interactions", json={"interactions": [row, row]}).is_success
        item = {"item_id": "new", "title": "Heat (1995)"}
        assert client.post("/v1/items", json=item).is_success
    answers = [client.post("/v1/recommend", json=REQUEST).json() for client in (alone, first)]
    assert answers[0] == answers[1]
    assert second.post("/v1/recommend", json=REQUEST).is_success
    assert {path.name for path in folder.glob("*.array")} == files


@pytest.mark.usefixtures("shares_all")
def test_a_swap_leaves_no_file_that_nobody_uses(serve: Serve, tmp_path: Path) -> None:
    folder = tmp_path / "arrays"
    client = serve(arrays=folder)
    files = {path.name for path in folder.glob("*.array")}
    (folder / "of-a-bundle-before.array").write_bytes(b"0")
    for _ in range(2):
        assert client.post("/v1/bundle:swap", json={}).is_success
    assert {path.name for path in folder.glob("*.array")} == files
    assert client.post("/v1/recommend", json=REQUEST).is_success


def test_a_bundle_of_text_mode_is_served_without_torch(bundle: Path) -> None:
    code = (
        "import sys\nfrom fastapi.testclient import TestClient\n"
        "from bigrec.serving.app import create_app\n"
        "from bigrec.serving.options import ServingOptions\n"
        "from tests.conftest import wait_for\n"
        "app = create_app(ServingOptions(bundles=(sys.argv[1],)))\n"
        "with TestClient(app) as client:\n"
        "    wait_for(lambda: client.get('/health/ready').is_success)\n"
        "    assert client.post('/v1/recommend', json={'history': ['i0']}).is_success\n"
        "    assert client.post('/v1/similar', json={'item': 'i0'}).is_success\n"
        "assert not {'torch', 'transformers'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code, str(bundle)], check=True)
