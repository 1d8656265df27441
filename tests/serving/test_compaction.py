"""A journal that is written anew tells the same in fewer entries."""

import random
import subprocess
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from bigrec.serving.entries import Entry, InteractionsAdded, ItemChanges
from bigrec.serving.history import History
from bigrec.serving.journal import Journal
from bigrec.serving.service import entries_of_bundle
from tests.conftest import wait_for
from tests.serving.conftest import Serve
from tests.serving.test_interactions import scores
from tests.serving.test_recommend import listed
from torture.journal import changes, state

NAMES = ("first", "second")
LENGTH = 3


def learned(name: str, entries: Sequence[Entry]) -> list[Any]:
    """What a bundle learns: each row, with the items at its time."""
    told: list[Any] = []
    items = ItemChanges()
    for entry in entries_of_bundle(name, entries):
        if isinstance(entry, InteractionsAdded):
            titles = [(item, change.title) for item, change in items.put.items()]
            told += [(row, titles, items.removed) for row in entry.rows]
        else:
            items = items.after([entry])
    return told


@given(st.integers(0, 10**6), st.integers(0, 120))
def test_the_same_state_follows_from_fewer_entries(seed: int, count: int) -> None:
    history = History(LENGTH)
    history.add(list(islice(changes(random.Random(seed)), count)))  # noqa: S311 - no secret
    kept = history.compacted(NAMES)
    again = History(LENGTH, history.revision - len(kept))
    again.add(kept)
    assert state(again) == state(history)
    assert again.answered == history.answered
    for name in NAMES:
        assert learned(name, kept) == learned(name, history.entries)
    # Requests and hidden items are told by further entries.
    assert len(kept) <= len(history.entries) + 1
    assert len(again.compacted(NAMES)) == len(kept)


def test_a_journal_that_is_killed_at_a_storage_operation_loses_nothing(tmp_path: Path) -> None:
    # Other tests use polars' threads, which forked processes would lack.
    code = (
        "import sys, pathlib; from torture.journal import attack;"
        "tally = attack(pathlib.Path(sys.argv[1]), seed=7, n_changes=10);"
        "print(tally.tries, tally.faults)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, check=True, text=True
    )
    tries, _, faults = done.stdout.strip().partition(" ")
    assert int(tries) > 30
    assert faults == "[]"


@pytest.mark.model
def test_a_compacted_service_answers_alike_before_and_after_a_restart(
    serve: Serve, bundle: Path
) -> None:
    client = serve()
    for number in range(6):
        client.post("/v1/items", json={"item_id": "new", "title": f"Heat {number}"})
        client.patch("/v1/items/i7", json={"hidden": number % 2 == 0})
        client.delete("/v1/items/new")
    client.post("/v1/items", json={"item_id": "new", "title": "Heat (1995)"})
    rows = [{"user_id": "anna", "item_id": item} for item in ("i3", "new", "i5")]
    client.post("/v1/interactions", json={"interactions": rows})
    before, revision = scores(client), client.get("/info").json()["revision"]
    path = bundle.with_name("bundle.journal.jsonl")
    n_lines = len(path.read_text().splitlines())
    # One that follows, one that compacts, and one that starts afterwards.
    follower, compactor = serve(), serve(compact_bytes=1, follow_s=0.05)
    wait_for(lambda: len(path.read_text().splitlines()) < n_lines / 2)
    added = client.post("/v1/items", json={"item_id": "late", "title": "Casino (1995)"})
    assert added.status_code == 201
    wait_for(lambda: "late" in listed(follower) and "late" in listed(compactor))
    client.delete("/v1/items/late")
    for each in (client, follower, compactor, serve()):
        wait_for(lambda each=each: "late" not in listed(each))  # type: ignore[misc]
        assert scores(each) == pytest.approx(before, rel=1e-5)
        assert each.get("/info").json()["revision"] == revision + 2
        assert scores(each, history=None, user_id="anna") == pytest.approx(
            scores(client, history=["i3", "new", "i5"]), rel=1e-5
        )


@pytest.mark.model
def test_a_service_that_was_behind_when_the_journal_was_compacted_loads_it_again(
    serve: Serve, bundle: Path
) -> None:
    behind, client = serve(follow_s=3600), serve(follow_s=3600)
    for number in range(8):
        client.post("/v1/items", json={"item_id": "new", "title": f"Heat {number}"})
        client.delete("/v1/items/new")
    client.post("/v1/items", json={"item_id": "new", "title": "Heat (1995)"})
    service = client.app.state.bigrec.service  # type: ignore[attr-defined]
    assert service.compact(min_bytes=1)
    assert not service.compact(min_bytes=1)
    assert behind.post("/v1/items", json={"item_id": "b", "title": "Casino (1995)"}).is_success
    assert {"new", "b"} <= set(listed(behind))
    assert behind.get("/info").json()["revision"] == 18
    assert client.app.state.bigrec.service.follow()  # type: ignore[attr-defined]
    assert listed(client) == listed(behind)


@pytest.mark.model
def test_a_request_that_is_sent_again_counts_once_also_after_a_compaction_and_a_restart(
    client: TestClient, serve: Serve, bundle: Path
) -> None:
    body = {"interactions": [{"user_id": "anna", "item_id": "i7"}]}
    key = {"Idempotency-Key": "order-17"}
    first = client.post("/v1/interactions", json=body, headers=key)
    assert first.status_code == 200
    once = scores(client)
    client.post("/v1/items", json={"item_id": "new", "title": "Heat (1995)"})
    again = client.post("/v1/interactions", json=body, headers=key)
    assert again.json() == first.json()
    other = {"interactions": [{"user_id": "anna", "item_id": "i6"}]}
    refused = client.post("/v1/interactions", json=other, headers=key)
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    client.delete("/v1/items/new")
    assert scores(client) == once
    for _ in range(2):
        restarted = serve()
        assert restarted.post("/v1/interactions", json=body, headers=key).json() == first.json()
        assert scores(restarted) == pytest.approx(once, rel=1e-5)
        journal = Journal(bundle.with_name("bundle.journal.jsonl"))
        history = History(100)
        history.add(journal.read_new()[0])
        with journal.writing():
            journal.compact(history.compacted(["bundle"]), revision=history.revision)
    assert client.post("/v1/interactions", json=other).status_code == 200
    wrong = client.post("/v1/interactions", json=body, headers={"Idempotency-Key": "x" * 256})
    assert wrong.status_code == 422
