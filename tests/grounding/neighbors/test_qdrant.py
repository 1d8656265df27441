"""Candidates from Qdrant, by the local mode of its client."""

import threading
import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bigrec.errors import ModelError, SettingsError
from bigrec.grounding.neighbors.qdrant import ADDRESS_VARIABLE, QdrantPoints
from bigrec.grounding.search.l2 import ExactL2

qdrant = pytest.importorskip("qdrant_client")
# Local mode searches exactly, regardless of the request to a server's graph.
pytestmark = pytest.mark.filterwarnings("ignore:Local mode performs exact")


@pytest.fixture
def points() -> ExactL2:
    return ExactL2(np.random.default_rng(0).standard_normal((200, 6)).astype(np.float32))


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ADDRESS_VARIABLE, ":memory:")


@pytest.mark.usefixtures("local")
@pytest.mark.parametrize("n_queries", [1, 3])
def test_candidates_are_the_nearest_points(points: ExactL2, n_queries: int) -> None:
    queries = np.random.default_rng(1).standard_normal((n_queries, 6)).astype(np.float32)
    found = QdrantPoints.connect(points, expansion=64)
    expected = np.argsort(points.distances(queries), axis=1)
    scaled = points.scaled(queries)
    np.testing.assert_array_equal(found.candidates(scaled, count=9), expected[:, :9])
    assert found.candidates(scaled, count=999).shape == (n_queries, 200)


def test_points_are_sent_once(points: ExactL2, monkeypatch: pytest.MonkeyPatch) -> None:
    client = qdrant.QdrantClient(":memory:")
    monkeypatch.setenv(ADDRESS_VARIABLE, "http://localhost:6333")
    monkeypatch.setattr(qdrant, "QdrantClient", lambda **_: client)
    QdrantPoints.connect(points, expansion=64)
    monkeypatch.setattr(client, "upsert", None)
    found = QdrantPoints.connect(points, expansion=64)
    assert found.candidates(points.scaled_points(slice(7, 8)), count=1).tolist() == [[7]]


def test_points_of_somebody_else_are_refused(
    points: ExactL2, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = qdrant.QdrantClient(":memory:")
    monkeypatch.setenv(ADDRESS_VARIABLE, "http://localhost:6333")
    monkeypatch.setattr(qdrant, "QdrantClient", lambda **_: client)
    found = QdrantPoints.connect(points, expansion=64)
    name = client.get_collections().collections[0].name
    client.upsert(name, points=qdrant.models.Batch(ids=[500], vectors=[[0.0] * 6]))
    with pytest.raises(ModelError, match="holds points that were not sent"):
        found.candidates(np.zeros((1, 6), dtype=np.float32), count=200)


def test_without_an_address_the_variable_is_named(
    points: ExactL2, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ADDRESS_VARIABLE, raising=False)
    with pytest.raises(SettingsError, match=r"no server is named.* set QDRANT_URL"):
        QdrantPoints.connect(points, expansion=64)


def test_a_server_that_does_not_answer_is_told(
    points: ExactL2, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise OSError("connection refused")

    monkeypatch.setenv(ADDRESS_VARIABLE, "http://localhost:6333")
    monkeypatch.setattr(qdrant, "QdrantClient", refuse)
    with pytest.raises(ModelError, match="could not be asked: connection refused"):
        QdrantPoints.connect(points, expansion=64)


KEY = "Ab1Cd2Ef3Gh4Ij5Kl6"


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A server whose ``status`` and ``answer`` a test sets; ``paths`` is what it was asked for."""
    script: dict[str, Any] = {"status": 200, "answer": b"{}", "paths": [], "headers": {}}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            script["paths"].append(self.path)
            self.send_response(script["status"], f"No {KEY}")
            for name, value in {**script["headers"], "Content-Length": "999999"}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(script["answer"].ljust(999_999))

        do_POST = do_PUT = do_GET  # noqa: N815 - the base's names

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    monkeypatch.setenv(ADDRESS_VARIABLE, f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("QDRANT_API_KEY", KEY)
    yield script
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
@pytest.mark.parametrize(
    ("status", "answer", "reason"),
    [
        (401, f"no key {KEY}".encode(), "it answered with status 401"),
        (200, f'{{"result": "{KEY}"}}'.encode(), "ValidationError"),
        (200, b"[" * 100_000, "RecursionError"),
        (307, b"", "it answered with status 307"),
    ],
)
def test_a_key_that_a_server_repeats_is_not_shown_and_goes_nowhere_else(
    points: ExactL2, hostile: dict[str, Any], status: int, answer: bytes, reason: str
) -> None:
    hostile |= {"status": status, "answer": answer, "headers": {"Location": "/elsewhere"}}
    with pytest.raises(ModelError, match=f"could not be asked: {reason}") as caught:
        QdrantPoints.connect(points, expansion=64)
    assert KEY not in "".join(traceback.format_exception(caught.value))
    assert not any("elsewhere" in path for path in hostile["paths"])


@pytest.mark.usefixtures("local")
@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([[7, "00000000-0000-0000-0000-000000000001"]], "points that were not sent"),
        ([[2**70]], "points that were not sent"),
        ([[-1]], "points that were not sent"),
        ([[1] * 10], r"1 searches for 9 points with 1 lists of up to 10\."),
        ([[1], [2]], r"1 searches for 9 points with 2 lists of up to 1\."),
        ([], r"1 searches for 9 points with 0 lists of up to 0\."),
    ],
)
def test_answers_that_no_search_has_are_refused(
    points: ExactL2, ids: list[list[Any]], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = QdrantPoints.connect(points, expansion=64)
    answers = [SimpleNamespace(points=[SimpleNamespace(id=n) for n in row]) for row in ids]
    monkeypatch.setattr(found._client, "query_batch_points", lambda *_, **__: answers)
    with pytest.raises(ModelError, match=message):
        found.candidates(np.zeros((1, 6), dtype=np.float32), count=9)
