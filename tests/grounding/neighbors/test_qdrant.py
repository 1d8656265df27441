"""Candidates from Qdrant, by the local mode of its client."""

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
