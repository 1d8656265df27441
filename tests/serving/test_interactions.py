"""What users did is learned at once and remembered."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from bigrec.recommender.bigrec import BIGRec
from tests.conftest import tiny_dataset, tiny_settings
from tests.serving.conftest import Serve

pytestmark = pytest.mark.model

ROWS = [{"user_id": "anna", "item_id": f"i{n}", "timestamp": 1000 + n} for n in (0, 3, 5)]


def scores(client: TestClient, **request: object) -> dict[str, float]:
    request = {"history": ["i0", "i3"], "k": 12, "exclude_seen": False, **request}
    items = client.post("/v1/recommend", json=request).json()["items"]
    return {item["item_id"]: item["score"] for item in items}


def test_interactions_count_at_once_and_alike_after_a_restart(serve: Serve) -> None:
    client = serve()
    before = scores(client)
    answer = client.post("/v1/interactions", json={"interactions": ROWS}).json()
    assert answer["accepted"] == 3
    assert answer["learned_at_once"] == {"bundle": ["histories of users", "text mode"]}
    assert "co-occurrence" in answer["at_next_fit"]["bundle"]
    client.post("/v1/items", json={"item_id": "new", "title": "Heat (1995)"})
    later = [{"user_id": "anna", "item_id": "new"}, {"user_id": "bert", "item_id": "i1"}]
    client.post("/v1/interactions", json={"interactions": later})
    after = scores(client)
    assert after != before
    restarted = serve()
    assert scores(restarted) == pytest.approx(after, rel=1e-5)
    assert scores(restarted, history=None, user_id="anna") == pytest.approx(
        scores(client, history=["i0", "i3", "i5", "new"]), rel=1e-5
    )


def test_a_wrong_row_stops_its_request_alone(client: TestClient) -> None:
    for wrong in ({"user_id": "a", "item_id": "i99"}, {"user_id": "nan", "item_id": "i1"}):
        answer = client.post("/v1/interactions", json={"interactions": [*ROWS, wrong]})
        assert answer.status_code == 422
        assert "None of the interactions was added" in answer.json()["message"]
    assert client.get("/info").json()["revision"] == 0


def test_ids_of_users_are_read_as_those_of_data(serve: Serve) -> None:
    client = serve()
    for user, item in (("12", "i0"), (" 12", "i3"), ("12.0", "i5"), ("012", "i7")):
        rows = [{"user_id": user, "item_id": item}]
        assert client.post("/v1/interactions", json={"interactions": rows}).status_code == 200
    expected = scores(client, history=["i0", "i3", "i5"])
    for asked in (client, serve()):
        for user in ("12", "12.00 ", "\t12"):
            found = scores(asked, history=None, user_id=user)
            assert found == pytest.approx(expected, rel=1e-5)
    assert scores(client, history=None, user_id="012") == scores(client, history=["i7"])


def test_a_trained_mode_says_that_it_learns_at_the_next_fit(
    serve: Serve, tiny_model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "trained"
    BIGRec(tiny_settings(tiny_model, mode="retrieval")).fit(tiny_dataset()).save(folder)
    client = serve(bundles=(folder,))
    answer = client.post("/v1/interactions", json={"interactions": ROWS}).json()
    assert answer["learned_at_once"] == {"trained": ["histories of users"]}
    assert answer["at_next_fit"]["trained"][0] == "retrieval mode"
    history = scores(client, history=None, user_id="anna")
    assert history == scores(client, history=["i0", "i3", "i5"])
