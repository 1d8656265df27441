"""Live items: added, changed, hidden, removed, and remembered."""

import errno
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from fastapi.testclient import TestClient

from bigrec.data.catalog import Catalog
from bigrec.data.dataset import Dataset
from bigrec.errors import BundleError
from bigrec.recommender.bigrec import BIGRec
from bigrec.serving.journal import Journal
from tests.conftest import TITLES, tiny_frames, tiny_settings
from tests.serving.conftest import Serve
from tests.serving.test_recommend import listed

pytestmark = pytest.mark.model

NEW = {"item_id": "new", "title": "Heat (1995)"}


def test_an_added_item_is_recommended_at_once_and_after_a_restart(serve: Serve) -> None:
    client = serve()
    assert client.post("/v1/items", json=NEW).status_code == 201
    assert client.post("/v1/items", json=NEW).status_code == 200
    assert "new" in listed(client)
    restarted = serve()
    assert listed(restarted) == listed(client)
    assert restarted.get("/v1/items/new").json() == {**NEW, "columns": {}, "hidden": False}


def test_an_item_with_another_title_is_a_conflict(client: TestClient) -> None:
    answer = client.post("/v1/items", json={"item_id": "i0", "title": "Another"})
    assert answer.status_code == 409
    assert "PATCH" in answer.json()["message"]
    assert client.get("/v1/items/i0").json()["title"] == TITLES[0]


def test_a_hidden_item_is_known_in_histories_and_never_listed(client: TestClient) -> None:
    before = listed(client)
    version = client.post("/v1/recommend", json={"history": ["i0"]}).json()["version"]
    assert client.patch(f"/v1/items/{before[0]}", json={"hidden": True}).json()["hidden"]
    assert listed(client) == before[1:]
    answer = client.post("/v1/recommend", json={"history": [before[0]]}).json()
    assert (answer["unknown"], answer["version"]) == ([], version)
    assert [i["item_id"] for i in client.get("/v1/items?hidden=true").json()["items"]] == before[:1]
    client.patch(f"/v1/items/{before[0]}", json={"hidden": False})
    assert listed(client) == before


def test_a_removed_item_is_gone_and_knows_all_when_it_returns(client: TestClient) -> None:
    before = listed(client)
    for _ in range(2):
        assert client.delete("/v1/items/i7").status_code == 204
    assert client.get("/v1/items/i7").status_code == 404
    assert listed(client) == [item for item in before if item != "i7"]
    assert client.delete("/v1/items/nothing").status_code == 404
    assert client.post("/v1/items", json={"item_id": "i7", "title": TITLES[7]}).status_code == 201
    assert listed(client) == before


def test_columns_filter_lists(client: TestClient) -> None:
    client.post("/v1/items", json={**NEW, "columns": {"price": 5, "tags": ["a", "b"]}})
    assert listed(client, where={"price": {"lt": 6}}) == ["new"]
    assert client.patch("/v1/items/new", json={"columns": {"price": 7}}).status_code == 200
    assert listed(client, where={"price": {"lt": 6}}) == []
    assert listed(client, where={"tags": {"contains": "b"}}) == ["new"]
    refused = client.patch("/v1/items/i1", json={"columns": {"price": "cheap"}})
    assert refused.status_code == 422
    client.patch("/v1/items/new", json={"columns": {"price": None}})
    assert client.get("/v1/items/new").json()["columns"] == {"tags": ["a", "b"]}


def test_an_added_item_is_read_with_the_columns_of_its_text(
    tiny_model: Path, serve: Serve, tmp_path: Path
) -> None:
    interactions, items = tiny_frames()
    dataset = Dataset.from_frames(
        interactions, items.with_columns(brand=pl.lit("Acme")), item_columns=["brand"]
    )
    settings = tiny_settings(
        tiny_model, "baselines.tune=none", "data.text=[title, brand]", mode="text"
    )
    BIGRec(settings).fit(dataset).save(tmp_path / "rich")
    client = serve(bundles=(tmp_path / "rich",))

    def score() -> float:
        answer = client.post("/v1/recommend", json={"history": ["i0", "i5"], "k": 20}).json()
        found: float = next(row["score"] for row in answer["items"] if row["item_id"] == "new")
        return found

    client.post("/v1/items", json={**NEW, "columns": {"brand": "Acme"}})
    first = score()
    client.patch("/v1/items/new", json={"columns": {"brand": "Zenith"}})
    assert score() != first
    client.patch("/v1/items/new", json={"columns": {"brand": "Acme"}})
    assert score() == first


def test_a_column_of_any_name_is_kept_or_refused(client: TestClient) -> None:
    def added(item: str, name: str) -> Any:
        return client.post(
            "/v1/items", json={"item_id": item, "title": "T", "columns": {name: "x"}}
        )

    for name in ("title", "item_id", "id", "*", "^t.*$"):
        answer = added("n0", name)
        assert answer.status_code == 422
        assert f"an item column is {name!r}, which" in answer.json()["message"]
    for number, name in enumerate(("place of an item", "column:x", "written item_id", "category")):
        assert added(f"n{number}", name).json()["columns"] == {name: "x"}
        assert client.get(f"/v1/items/n{number}").json()["columns"] == {name: "x"}


@pytest.mark.parametrize("title", ["nan", "  ", "<b></b>"])
def test_a_title_that_says_nothing_is_refused(client: TestClient, title: str) -> None:
    answer = client.post("/v1/items", json={"item_id": "new", "title": title})
    assert answer.status_code == 422
    assert "new" not in listed(client)


def test_titles_are_repaired_as_in_files(client: TestClient) -> None:
    item = {"item_id": " 12.0", "title": " <b>Tom &amp; Jerry</b> "}
    assert client.post("/v1/items", json=item).json()["title"] == "Tom & Jerry"
    assert client.get("/v1/items/12").status_code == 200


def test_items_are_searched_page_by_page(client: TestClient) -> None:
    first = client.get("/v1/items", params={"search": "(1995)", "limit": 5}).json()
    assert (len(first["items"]), first["total"], first["next"]) == (5, 8, 5)
    second = client.get("/v1/items", params={"search": "(1995)", "limit": 5, "start": 5}).json()
    assert (len(second["items"]), second["next"]) == (3, None)


def test_the_last_item_stays(client: TestClient) -> None:
    for number in range(11):
        assert client.delete(f"/v1/items/i{number}").status_code == 204
    assert client.delete("/v1/items/i11").status_code == 409
    assert listed(client, history=["i11"], exclude_seen=False) == ["i11"]


def test_what_a_killed_process_left_of_a_line_is_dropped(serve: Serve, bundle: Path) -> None:
    client = serve()
    client.post("/v1/items", json=NEW)
    journal = bundle.with_name("bundle.journal.jsonl")
    complete = journal.read_bytes()
    journal.write_bytes(complete + b'{"op":"hide","item')
    restarted = serve()
    assert restarted.get("/info").json()["revision"] == 1
    restarted.patch("/v1/items/new", json={"hidden": True})
    assert journal.read_bytes().startswith(complete)
    assert serve().get("/v1/items/new").json()["hidden"]


def test_a_full_disk_refuses_a_change_and_nothing_of_it_is_kept(
    serve: Serve, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve()
    client.post("/v1/items", json=NEW)
    journal = bundle.with_name("bundle.journal.jsonl")
    before = journal.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("bigrec.serving.journal.os.fsync", full)
        answer = client.patch("/v1/items/new", json={"hidden": True})
    assert (answer.status_code, answer.json()["code"]) == (503, "storage")
    assert journal.read_bytes() == before
    assert "new" in listed(client)
    assert client.patch("/v1/items/new", json={"hidden": True}).status_code == 200
    assert "new" not in listed(serve())


def test_a_damaged_line_is_named_and_stops_the_start(serve: Serve, bundle: Path) -> None:
    lines = ['{"format":1}', '{"op":"hide","item_id":"i1"}', '{"op":"sink","item_id":"i1"}']
    bundle.with_name("bundle.journal.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(TimeoutError):
        serve(ready_s=0.5)
    with pytest.raises(BundleError, match=r"damaged in line 3.*sink"):
        Journal(bundle.with_name("bundle.journal.jsonl")).read_new()


def test_processes_that_share_a_journal_follow_each_other(serve: Serve) -> None:
    first, second = serve(follow_s=0.05), serve(follow_s=0.05)
    first.post("/v1/items", json=NEW)
    # A change takes over what others wrote before it is made.
    assert second.post("/v1/items", json=NEW).status_code == 200
    first.patch("/v1/items/new", json={"hidden": True})
    second.patch("/v1/items/i1", json={"hidden": True})
    assert second.get("/v1/items/new").json()["hidden"]
    assert second.get("/info").json()["revision"] == 3


def test_values_that_a_bundle_holds_are_answered_and_kept_however_long(
    bundle: Path, serve: Serve
) -> None:
    recommender = BIGRec.load(bundle, device="cpu")
    rows = recommender.catalog.to_frame().with_columns(
        note=pl.lit("x" * 5000), tags=pl.lit([f"tag {number}" for number in range(500)])
    )
    catalog = Catalog.from_frame(rows, columns=["note", "tags"])
    recommender.update_catalog(catalog).save(bundle)
    client = serve()
    items = client.get("/v1/items").json()["items"]
    assert len(items[0]["columns"]["note"]) == 5000
    changed = client.patch("/v1/items/i0", json={"columns": {"price": 3}})
    assert changed.status_code == 200
    assert changed.json()["columns"] == {**items[0]["columns"], "price": 3}
    # A caller's values are bounded.
    refused = client.patch("/v1/items/i0", json={"columns": {"note": "x" * 1001}})
    assert refused.status_code == 422
