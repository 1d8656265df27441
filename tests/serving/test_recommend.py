"""Routes that recommend."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from bigrec.recommender.bigrec import BIGRec
from tests.conftest import TITLES
from tests.serving.conftest import Serve

pytestmark = pytest.mark.model

HISTORY = ["i0", "i3", "i5"]


def listed(client: TestClient, **request: Any) -> list[str]:
    """Ids of a recommended list."""
    answer = client.post("/v1/recommend", json={"history": HISTORY, "k": 12, **request})
    assert answer.status_code == 200, answer.text
    return [item["item_id"] for item in answer.json()["items"]]


def test_a_list_is_that_of_the_library(client: TestClient, bundle: Any) -> None:
    expected = BIGRec.load(bundle, device="cpu").recommend(HISTORY, k=5)
    answer = client.post("/v1/recommend", json={"history": HISTORY, "k": 5}).json()
    assert [item["item_id"] for item in answer["items"]] == [item.item_id for item in expected]
    assert answer["items"][0]["score"] == pytest.approx(expected[0].score)
    assert answer["source"] == "fused"
    assert answer["version"] == expected.version


def test_titles_are_as_good_as_ids_and_unknown_ones_are_told(client: TestClient) -> None:
    request = {"history": [TITLES[0], "i3", "i5", "nowhere"], "exclude": ["nothing", "i7"], "k": 12}
    answer = client.post("/v1/recommend", json=request).json()
    assert [item["item_id"] for item in answer["items"]] == listed(client, exclude=["i7"])
    assert answer["unknown"] == ["nowhere"]
    assert answer["ignored"] == ["nothing"]


def test_what_is_excluded_or_no_candidate_is_not_listed(client: TestClient) -> None:
    assert {"i1", "i2"} & set(listed(client, exclude=["i1", "i2"])) == set()
    assert set(listed(client, items=["i1", "i2", "i0"])) == {"i1", "i2"}
    assert set(listed(client, items=["i1", "i0"], exclude_seen=False)) == {"i0", "i1"}
    assert listed(client, where={"title": TITLES[2]}) == ["i2"]


def test_an_unknown_history_is_answered_by_popularity(client: TestClient) -> None:
    for request in ({"history": ["nowhere"]}, {"user_id": "nobody"}, {}):
        answer = client.post("/v1/recommend", json=request).json()
        assert answer["source"] == "popularity"
        assert len(answer["items"]) == 10


def test_each_request_of_a_batch_has_a_status(client: TestClient) -> None:
    requests = [
        {"history": HISTORY, "k": 2},
        {"history": ["i7"], "where": {"price": 1}},
        {"history": ["i7"], "user_id": "u"},
        {"history": ["i7"], "bundle": "another"},
        {"history": ["i7"], "k": 1},
    ]
    results = client.post("/v1/recommend:batch", json={"requests": requests}).json()["results"]
    assert [result["status"] for result in results] == [200, 422, 422, 404, 200]
    assert "where names the column 'price'" in results[1]["error"]["message"]
    assert [len(results[n]["answer"]["items"]) for n in (0, 4)] == [2, 1]


def test_other_gammas_rank_anew(client: TestClient) -> None:
    signals = client.get("/info").json()["bundles"][0]["signals"]
    assert set(signals) == {"popularity", "co-occurrence"}
    scores = [
        [item["score"] for item in client.post("/v1/recommend", json=request).json()["items"]]
        for gamma in (0.0, 9.0)
        for request in [{"history": HISTORY, "gammas": {"co-occurrence": gamma}}]
    ]
    assert scores[0] != scores[1]
    refused = client.post("/v1/recommend", json={"history": HISTORY, "gammas": {"EASE": 1}})
    assert refused.status_code == 422


def test_similar_items_are_those_of_the_library_without_hidden_ones(
    client: TestClient, bundle: Any
) -> None:
    expected = BIGRec.load(bundle, device="cpu").similar("i7", k=3)
    answer = client.post("/v1/similar", json={"item": TITLES[7], "k": 3}).json()
    found = [item["item_id"] for item in answer["items"]]
    assert found == [item.item_id for item in expected]
    client.patch(f"/v1/items/{found[0]}", json={"hidden": True})
    request = {"item": "i7", "k": 12, "exclude": [found[1], "nothing"]}
    shown = [item["item_id"] for item in client.post("/v1/similar", json=request).json()["items"]]
    assert len(shown) == 9
    assert {found[0], found[1]} & set(shown) == set()
    assert client.post("/v1/similar", json={"item": "nothing"}).status_code == 404


def test_an_explanation_is_that_of_the_library(client: TestClient, bundle: Any) -> None:
    expected = BIGRec.load(bundle, device="cpu").explain(HISTORY, "i7").to_dict()
    answer = client.post("/v1/explain", json={"history": HISTORY, "item": "i7"}).json()
    assert answer["rank"] == expected["rank"]
    assert [part["name"] for part in answer["parts"]] == [
        part["name"] for part in expected["parts"]
    ]
    assert sum(part["share"] for part in answer["parts"]) == pytest.approx(1)
    assert answer["version"] == client.get("/info").json()["bundles"][0]["version"]
    assert client.post("/v1/explain", json={"item": "nothing"}).status_code == 404


def test_sagemaker_and_mlflow_ask_in_their_words(client: TestClient) -> None:
    assert client.get("/ping").status_code == 200
    one = {"history": HISTORY, "k": 1}
    for body in ({"instances": [one, one]}, {"dataframe_records": [one, one]}):
        predictions = client.post("/invocations", json=body).json()["predictions"]
        assert [prediction["status"] for prediction in predictions] == [200, 200]
    assert client.post("/invocations", json={}).status_code == 422


@pytest.mark.parametrize("max_batch", [1, 4])
def test_batching_changes_no_list(serve: Serve, max_batch: int) -> None:
    client = serve(max_batch=max_batch)
    requests = [{"history": [f"i{n}"], "k": 1 + n} for n in range(10)]
    results = client.post("/v1/recommend:batch", json={"requests": requests}).json()["results"]
    for request, result in zip(requests, results, strict=True):
        alone = client.post("/v1/recommend", json=request).json()
        assert [item["item_id"] for item in result["answer"]["items"]] == [
            item["item_id"] for item in alone["items"]
        ]
