"""Candidates from a Qdrant server, for catalogs whose points live outside the bundle."""

import hashlib
import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np

from bigrec.errors import ModelError, SettingsError, reason_of
from bigrec.grounding.search.l2 import ExactL2, blocks
from bigrec.types import FloatArray, IntArray

ADDRESS_VARIABLE = "QDRANT_URL"
"""Names the server; never a bundle does. Its key is in ``QDRANT_API_KEY``."""

_KEY_VARIABLE = "QDRANT_API_KEY"
_PER_CALL = 1024
_TIMEOUT_S = 60


class QdrantPoints:
    """Points in a collection of a Qdrant server.

    Whoever asks for candidates computes their distances again.

    Args:
        client: Connected to the server.
        collection: Name of the collection, which holds the points by their numbers.
        n_points: Number of points.
        expansion: Points that a search keeps open: more find more of the nearest, and take longer.
    """

    def __init__(self, client: Any, collection: str, *, n_points: int, expansion: int) -> None:
        self._client = client
        self._collection = collection
        self._n_points = n_points
        self._expansion = expansion

    @classmethod
    def connect(cls, points: ExactL2, *, expansion: int) -> Self:
        """Connect to the server of ``QDRANT_URL``, and send it the points unless it has them.

        Args:
            points: The points, scaled; see `ExactL2.scaled`. The collection is named after them.
            expansion: As of the class.

        Raises:
            ModelError: If the server does not answer, or refuses.
            SettingsError: If there is no address, or qdrant-client is not installed.
        """
        address = os.environ.get(ADDRESS_VARIABLE)
        if not address:
            raise SettingsError(
                "index.backend is qdrant, but no server is named, and a bundle never names one: "
                f"set {ADDRESS_VARIABLE}, such as http://localhost:6333, or index.backend: exact."
            )
        qdrant = _qdrant()
        collection = f"bigrec-{_digest(points)}"
        with _asking():
            client = qdrant.QdrantClient(
                location=address,
                api_key=os.environ.get(_KEY_VARIABLE),
                timeout=_TIMEOUT_S,
                # A further thread, whose tracebacks would quote the server.
                check_compatibility=False,
            )
            if not _holds(client, collection, len(points)):
                _send(qdrant, client, collection, points)
        return cls(client, collection, n_points=len(points), expansion=expansion)

    def save(self, path: Path) -> None:
        """Write nothing: the server holds the points."""

    def candidates(self, queries: FloatArray, *, count: int) -> IntArray:
        """Numbers of points that are probably the nearest, see `Neighbors.candidates`.

        Raises:
            ModelError: If the server does not answer, or answers with other points.
        """
        count = min(count, self._n_points)
        models = _qdrant().models
        parameters = models.SearchParams(hnsw_ef=self._expansion)
        requests = [
            models.QueryRequest(query=query.tolist(), limit=count, params=parameters)
            for query in np.asarray(queries, dtype=np.float32)
        ]
        with _asking():
            answers = self._client.query_batch_points(self._collection, requests=requests)
        lists = [[point.id for point in answer.points] for answer in answers]
        if len(lists) != len(queries) or any(len(ids) > count for ids in lists):
            raise ModelError(
                f"the Qdrant server of {ADDRESS_VARIABLE} answered {len(queries)} searches for "
                f"{count} points with {len(lists)} lists of up to {max(map(len, lists), default=0)}"
                ". Expected one list for each. Check the address."
            )
        found = np.full((len(queries), count), -1, dtype=np.int64)
        for row, ids in zip(found, lists, strict=True):
            if not all(isinstance(number, int) and 0 <= number < self._n_points for number in ids):
                raise ModelError(
                    f"collection {self._collection} of Qdrant holds points that were not sent: "
                    f"expected numbers below {self._n_points}. Delete the collection."
                )
            row[: len(ids)] = ids
        return found


def _digest(points: ExactL2) -> str:
    digest = hashlib.sha256(str((len(points), points.size)).encode())
    for rows in blocks(len(points), _PER_CALL):
        digest.update(np.ascontiguousarray(points.scaled_points(rows)).data)
    return digest.hexdigest()[:32]


def _holds(client: Any, collection: str, count: int) -> bool:
    return bool(
        client.collection_exists(collection) and client.count(collection, exact=True).count == count
    )


def _send(qdrant: Any, client: Any, collection: str, points: ExactL2) -> None:
    models = qdrant.models
    if not client.collection_exists(collection):
        client.create_collection(
            collection,
            vectors_config=models.VectorParams(size=points.size, distance=models.Distance.EUCLID),
        )
    for rows in blocks(len(points), _PER_CALL):
        numbers = range(rows.start, rows.stop)
        vectors = points.scaled_points(rows).tolist()
        batch = models.Batch(ids=list(numbers), vectors=vectors)
        client.upsert(collection, points=batch, wait=True)


@contextmanager
def _asking() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001 - clients raise errors of many libraries
        reason = _reason(error)
        # The error holds the answer, which may repeat the key.
        raise ModelError(
            f"the Qdrant server of {ADDRESS_VARIABLE} could not be asked: {reason}. Start it, "
            "check the address and the key, or set index.backend: exact."
        ) from None


def _reason(error: Exception) -> str:
    """Why a request failed, without words of the server's."""
    status = getattr(error, "status_code", None)
    if status is not None:
        return f"it answered with status {status}"
    cause: BaseException | None = getattr(error, "source", error)
    kind = type(cause).__name__
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    return kind if cause is None else reason_of(cause)


def _qdrant() -> Any:
    try:
        return importlib.import_module("qdrant_client")
    except ImportError:
        raise SettingsError(
            "index.backend is qdrant, which needs qdrant-client, which is not installed. Run: pip "
            "install 'bigrec[qdrant]', or set index.backend: exact."
        ) from None
