import numpy as np

from bigrec.grounding.cold_items import ColdItemImputer

# Three orthogonal titles; the fourth equals the first, the fifth lies between two of them.
HALF = 0.5**0.5
VECTORS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0], [0, HALF, HALF]])
KNOWN = np.array([True, True, True, False, False])


def test_a_cold_title_gets_the_mean_of_its_neighbors_weighted_by_nearness() -> None:
    imputer = ColdItemImputer.fit(VECTORS, KNOWN)
    scores = np.array([[3.0, 1.0, 2.0, -9.0, -9.0]])
    near, far = np.exp(10.0), 1.0
    first = (3 * near + 1 * far + 2 * far) / (near + 2 * far)
    # Orthogonal to the first, at the same angle to both others.
    near = np.exp(10 * HALF)
    second = (3 * far + 1 * near + 2 * near) / (far + 2 * near)
    np.testing.assert_allclose(imputer.impute(scores), [[3, 1, 2, first, second]])
    np.testing.assert_array_equal(scores, [[3, 1, 2, -9, -9]])


def test_known_titles_keep_their_scores() -> None:
    scores = np.random.default_rng(0).random((4, 5))
    imputed = ColdItemImputer.fit(VECTORS, KNOWN).impute(scores)
    np.testing.assert_array_equal(imputed[:, KNOWN], scores[:, KNOWN])
    assert ColdItemImputer.fit(VECTORS, np.ones(5, dtype=np.bool_)).impute(scores) is scores


def test_without_known_titles_scores_stay() -> None:
    scores = np.random.default_rng(0).random((4, 5))
    assert ColdItemImputer.fit(VECTORS, np.zeros(5, dtype=np.bool_)).impute(scores) is scores


def test_at_most_five_neighbors_count() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(40, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    imputer = ColdItemImputer.fit(vectors, np.arange(40) < 30)
    assert imputer.neighbors.shape == (10, 5)
    np.testing.assert_allclose(imputer.weights.sum(axis=1), 1)
    cosines = vectors[30:] @ vectors[:30].T
    for row, neighbors in zip(cosines, imputer.neighbors, strict=True):
        assert set(neighbors) == set(np.argsort(-row)[:5])
