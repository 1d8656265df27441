"""A service under load, at its end, and when its bundle is replaced."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from bigrec.recommender.bigrec import BIGRec
from tests.conftest import tiny_dataset, tiny_settings, wait_for
from tests.serving.conftest import Serve
from tests.serving.test_recommend import HISTORY, listed

pytestmark = pytest.mark.model


def held(gate: threading.Event, entered: threading.Semaphore) -> Callable[[Path], BIGRec]:
    """Opens bundles that recommend only while a gate is open."""

    def opens(folder: Path) -> BIGRec:
        recommender = BIGRec.load(folder, device="cpu")
        recommend_batch = recommender.recommend_batch

        def waits(*args: Any, **options: Any) -> Any:
            entered.release()
            assert gate.wait(30)
            return recommend_batch(*args, **options)

        recommender.recommend_batch = waits  # type: ignore[method-assign]
        return recommender

    return opens


def test_a_busy_service_is_alive_refuses_what_is_too_much_and_answers_the_rest(
    serve: Serve,
) -> None:
    gate, entered = threading.Event(), threading.Semaphore(0)
    gate.set()
    client = serve(opens=held(gate, entered), max_batch=2, max_waiting=2)
    entered.acquire()  # it was tried once when it was loaded
    gate.clear()
    statuses: list[int] = []

    def ask() -> None:
        statuses.append(client.post("/v1/recommend", json={"history": HISTORY}).status_code)

    threads = [threading.Thread(target=ask)]
    threads[0].start()
    entered.acquire()
    more = [threading.Thread(target=ask) for _ in range(2)]
    for thread in more:
        thread.start()
    wait_for(lambda: "bigrec_waiting 2.0" in client.get("/metrics").text)
    assert client.get("/health/live").status_code == 200
    answer = client.post("/v1/recommend", json={"history": HISTORY})
    assert (answer.status_code, answer.json()["code"]) == (429, "overloaded")
    assert answer.headers["Retry-After"] == "1"
    gate.set()
    for thread in [*threads, *more]:
        thread.join()
    assert statuses == [200] * 3


def test_a_service_that_drains_is_alive_and_not_ready(client: TestClient) -> None:
    client.app.state.bigrec.is_draining = True  # type: ignore[attr-defined]
    assert client.get("/health/ready").status_code == 503
    assert client.get("/health/live").status_code == 200
    assert len(listed(client)) == 9


def test_a_bundle_that_cannot_be_loaded_is_told(serve: Serve, bundle: Path) -> None:
    (bundle / "catalog.parquet").write_bytes(b"damaged")
    with pytest.raises(TimeoutError):
        serve(ready_s=0.5)


def another(bundle: Path, tiny_model: Path, name: str) -> Path:
    """A bundle of other settings beside one."""
    folder = bundle.with_name(name)
    settings = tiny_settings(tiny_model, "baselines.tune=none", mode="text", signals="[EASE]")
    BIGRec(settings).fit(tiny_dataset()).save(folder)
    return folder


def test_a_swapped_bundle_has_all_changes_and_is_served_after_a_restart(
    serve: Serve, bundle: Path, tiny_model: Path
) -> None:
    client = serve()
    client.post("/v1/items", json={"item_id": "new", "title": "Heat (1995)"})
    client.patch("/v1/items/i7", json={"hidden": True})
    before = client.get("/info").json()["bundles"][0]
    another(bundle, tiny_model, "other")
    answer = client.post("/v1/bundle:swap", json={"folder": "other"})
    assert answer.status_code == 200, answer.text
    info = answer.json()["bundles"][0]
    assert (list(before["signals"]), list(info["signals"])) == (
        ["popularity", "co-occurrence"],
        ["EASE"],
    )
    assert "new" in listed(client)
    assert "i7" not in listed(client)
    restarted = serve()
    assert restarted.get("/info").json()["bundles"] == [info]
    assert listed(restarted) == listed(client)


def test_the_old_bundle_stays_if_the_new_one_is_damaged(serve: Serve, bundle: Path) -> None:
    client = serve()
    before = listed(client)
    damaged = Path(shutil.copytree(bundle, bundle.with_name("damaged")))
    (damaged / "counts.parquet").write_bytes(b"damaged")
    for request in ({"folder": "damaged"}, {"folder": "a" * 255}):
        answer = client.post("/v1/bundle:swap", json=request)
        assert (answer.status_code, answer.json()["code"]) == (409, "swap_failed")
    assert client.post("/v1/bundle:swap", json={"folder": "../x"}).status_code == 422
    assert listed(client) == before
    text = client.get("/metrics").text
    assert 'bigrec_swaps_total{result="failed"} 2.0' in text
    assert "bigrec_load_failures_total 2.0" in text


def test_a_bundle_that_was_fitted_to_the_interactions_does_not_count_them_twice(
    serve: Serve,
) -> None:
    client = serve()
    listed_before = client.post("/v1/recommend", json={"history": HISTORY}).json()
    rows = [{"user_id": f"u{n}", "item_id": "i7"} for n in range(20)]
    client.post("/v1/interactions", json={"interactions": rows})
    changed = client.post("/v1/recommend", json={"history": HISTORY}).json()
    assert changed["items"] != listed_before["items"]
    client.post("/v1/bundle:swap", json={})
    kept = client.post("/v1/recommend", json={"history": HISTORY}).json()
    assert kept["items"] == changed["items"]
    client.post("/v1/bundle:swap", json={"includes_interactions": True})
    fresh = client.post("/v1/recommend", json={"history": HISTORY}).json()
    assert fresh["items"] == listed_before["items"]
    assert serve().post("/v1/recommend", json={"history": HISTORY}).json() == fresh


def test_two_bundles_are_asked_by_name(serve: Serve, bundle: Path, tiny_model: Path) -> None:
    other = another(bundle, tiny_model, "other")
    client = serve(bundles=(bundle, other))
    client.patch("/v1/items/i7", json={"hidden": True})
    versions = set()
    for name in ("bundle", "other"):
        request = {"history": HISTORY, "bundle": name, "k": 12}
        answer = client.post("/v1/recommend", json=request).json()
        assert "i7" not in [item["item_id"] for item in answer["items"]]
        versions.add(answer["version"])
    assert len(versions) == 2


def test_metrics_tell_answers_and_batches(client: TestClient) -> None:
    client.post("/v1/recommend", json={"history": HISTORY})
    client.post("/v1/recommend", json={"history": ["nowhere"]})
    text = client.get("/metrics").text
    assert 'bigrec_answers_total{source="fused"} 1.0' in text
    assert 'bigrec_answers_total{source="popularity"} 1.0' in text
    assert "bigrec_distance_margin_count 1.0" in text
    assert "bigrec_batch_size_count 2.0" in text
    assert 'http_requests_total{handler="/v1/recommend",method="POST",status="2xx"} 2.0' in text
