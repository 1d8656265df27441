import numpy as np

from bigrec.grounding.cold_items import Likes

# Three titles apart from each other; the fourth is like the first, the fifth between two of them.
HALF = 0.5**0.5
PLACES = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0], [0, HALF, HALF]])
KNOWN = np.array([True, True, True, False, False])


def test_an_unknown_title_gets_what_its_likes_have_the_nearer_the_more() -> None:
    likes = Likes.of(PLACES, KNOWN)
    scores = np.array([[3.0, 1.0, 2.0, -9.0, -9.0]])
    near, far = np.exp(10.0), 1.0
    first = (3 * near + 1 * far + 2 * far) / (near + 2 * far)
    # As far from the first as anything, as near to the others as each other.
    near = np.exp(10 * HALF)
    second = (3 * far + 1 * near + 2 * near) / (far + 2 * near)
    np.testing.assert_allclose(likes.fill(scores), [[3, 1, 2, first, second]])
    np.testing.assert_array_equal(scores, [[3, 1, 2, -9, -9]])


def test_known_titles_keep_their_scores() -> None:
    scores = np.random.default_rng(0).random((4, 5))
    filled = Likes.of(PLACES, KNOWN).fill(scores)
    np.testing.assert_array_equal(filled[:, KNOWN], scores[:, KNOWN])
    assert Likes.of(PLACES, np.ones(5, dtype=np.bool_)).fill(scores) is scores


def test_where_nothing_is_known_scores_stay() -> None:
    scores = np.random.default_rng(0).random((4, 5))
    assert Likes.of(PLACES, np.zeros(5, dtype=np.bool_)).fill(scores) is scores


def test_at_most_five_likes_count() -> None:
    rng = np.random.default_rng(0)
    places = rng.normal(size=(40, 8))
    places /= np.linalg.norm(places, axis=1, keepdims=True)
    likes = Likes.of(places, np.arange(40) < 30)
    assert likes.nearest.shape == (10, 5)
    np.testing.assert_allclose(likes.shares.sum(axis=1), 1)
    cosines = places[30:] @ places[:30].T
    for row, nearest in zip(cosines, likes.nearest, strict=True):
        assert set(nearest) == set(np.argsort(-row)[:5])
