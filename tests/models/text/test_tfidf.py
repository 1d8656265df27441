from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics.pairwise import cosine_similarity

from bigrec.models.text import TfIdf
from bigrec.types import FloatArray
from tests.conftest import TITLES as MORE_TITLES

TITLES = ["Toy Story", "Toy Story 2", "Toy Soldiers", "Heat", "HÉAT", "..."]
NEW_TITLES = [*TITLES, "Toy Story 3", "Zorro", ""]


def scores(
    *history: int, titles: Sequence[str] = TITLES, decay: float = 0.5, words: bool = True
) -> FloatArray:
    model = TfIdf.fit(titles, decay=decay, words=words, characters=not words)
    return np.asarray(model.scores([np.array(history)])[0])


def peer_vectors(titles: Sequence[str], *, words: bool, characters: bool) -> FloatArray:
    """Dense rows of length 1, or 0, by scikit-learn alone."""
    blocks = []
    if words:
        word = TfidfVectorizer(
            ngram_range=(1, 2),
            token_pattern=r"(?u)\b\w+\b",
            strip_accents="unicode",
            sublinear_tf=True,
        )
        blocks.append(word.fit_transform(titles).toarray())
    if characters:
        character = TfidfVectorizer(
            analyzer="char_wb", ngram_range=(3, 5), strip_accents="unicode", sublinear_tf=True
        )
        blocks.append(character.fit_transform(titles).toarray())
    return np.concatenate(blocks, axis=1)


def test_words_that_titles_share_are_compared_by_their_idf() -> None:
    # No pair of words is shared. idf = 1 + ln((1 + n) / (1 + df)), n = 2: 1 for "a", which both
    # titles hold, and 1 + ln 1.5 for each of "b", "a b", "c", "a c".
    rare = 1 + np.log(1.5)
    expected = 1 / (1 + 2 * rare**2)
    np.testing.assert_allclose(scores(0, titles=["a b", "a c"]), [1, expected], rtol=1e-6)


def test_characters_are_compared_within_words() -> None:
    # 3-grams to 5-grams of " ab " are " ab", "ab ", " ab "; those of " ba " differ from them.
    titles = ["ab", "ba", "ab ba"]
    actual = scores(0, titles=titles, words=False)
    np.testing.assert_allclose(actual, [1, 0, np.sqrt(0.5)], rtol=1e-6)


@pytest.mark.parametrize(
    ("words", "characters"), [(True, False), (False, True), (True, True)], ids=str
)
@pytest.mark.parametrize("decay", [0.3, 1.0])
def test_scores_are_the_cosines_of_scikit_learn(
    words: bool, characters: bool, decay: float
) -> None:
    titles = [*TITLES, *MORE_TITLES]
    vectors = peer_vectors(titles, words=words, characters=characters)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = vectors / np.where(lengths > 0, lengths, 1)
    histories = [np.array([0, 7, 3]), np.array([5]), np.array([8, 8]), np.arange(len(titles))]
    queries = [
        sum(decay**age * vectors[item] for age, item in enumerate(reversed(history)))
        for history in histories
    ]
    model = TfIdf.fit(titles, decay=decay, words=words, characters=characters)
    actual = model.scores(histories)
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, cosine_similarity(queries, vectors), atol=1e-6)


def test_case_and_accents_do_not_matter() -> None:
    np.testing.assert_allclose(scores(3)[[3, 4]], [1, 1], rtol=1e-6)


def test_words_of_one_character_count() -> None:
    titles = ["Heat 2", "Story 2", "Story"]
    assert scores(0, titles=titles)[1] > 0


def test_the_two_kinds_of_n_grams_have_equal_weight() -> None:
    both = TfIdf.fit(TITLES, decay=0.5).scores([np.array([0])])[0]
    np.testing.assert_allclose(both[:5], (scores(0) + scores(0, words=False))[:5] / 2, atol=1e-6)


def test_a_title_without_words_scores_0() -> None:
    assert scores(0)[5] == 0
    np.testing.assert_array_equal(scores(5), np.zeros(6))


@pytest.mark.parametrize("titles", [["!!", "?"], [""], []], ids=str)
def test_a_catalog_without_any_words_scores_0(titles: list[str], tmp_path: Path) -> None:
    model = TfIdf.fit(titles, decay=0.5, characters=False)
    histories = [np.arange(len(titles))]
    np.testing.assert_array_equal(model.scores(histories), np.zeros((1, len(titles))))
    model.save(tmp_path / "model")
    loaded = TfIdf.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.scores(histories), model.scores(histories))


def test_items_with_equal_titles_get_equal_scores() -> None:
    titles = [*MORE_TITLES, *MORE_TITLES]
    rng = np.random.default_rng(0)
    histories = [rng.integers(0, len(titles), 9) for _ in range(70)]
    actual = TfIdf.fit(titles, decay=0.7).scores(histories)
    half = len(MORE_TITLES)
    np.testing.assert_array_equal(actual[:, :half], actual[:, half:])


def test_more_queries_than_a_block_are_scored_one_by_one() -> None:
    rng = np.random.default_rng(0)
    histories = [rng.integers(0, len(TITLES), 3) for _ in range(130)]
    model = TfIdf.fit(TITLES, decay=0.7)
    alone = np.concatenate([model.scores([history]) for history in histories])
    np.testing.assert_array_equal(model.scores(histories), alone)


def test_a_catalog_that_grows_keeps_the_scores_of_old_titles(tmp_path: Path) -> None:
    model = TfIdf.fit(TITLES, decay=0.5)
    model.save(tmp_path / "model")
    histories = [np.array([0, 3]), np.array([5]), np.array([1])]
    expected = model.scores(histories)
    for fitted in (model, TfIdf.load(tmp_path / "model")):
        grown = fitted.with_titles(NEW_TITLES)
        assert (grown.n_items, grown.decay) == (len(NEW_TITLES), 0.5)
        actual = grown.scores(histories)
        np.testing.assert_array_equal(actual[:, : len(TITLES)], expected)
        # "Zorro" has no n-gram of the fitted titles, "Toy Story 3" has many.
        assert actual[0, 6] > 0.3
        np.testing.assert_array_equal(actual[:, 7:], np.zeros((3, 2)))


def test_new_titles_can_stand_in_histories() -> None:
    # All n-grams of "Toy Story 3" that are known are those of "Toy Story".
    grown = TfIdf.fit(TITLES, decay=0.5).with_titles(NEW_TITLES)
    old, new = grown.scores([np.array([0]), np.array([6])])
    np.testing.assert_array_equal(new, old)


def test_the_vocabulary_is_kept_without_the_titles_that_it_came_from() -> None:
    model = TfIdf.fit(TITLES, decay=0.5).with_titles(["Heat"]).with_titles(TITLES)
    histories = [np.array([0, 3])]
    expected = TfIdf.fit(TITLES, decay=0.5).scores(histories)
    np.testing.assert_array_equal(model.scores(histories), expected)


def test_no_kind_of_n_grams_is_refused() -> None:
    with pytest.raises(ValueError, match="words and characters are both False"):
        TfIdf.fit(TITLES, decay=0.5, words=False, characters=False)


@pytest.mark.parametrize("decay", [0, 1.1])
def test_a_decay_out_of_range_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match="expected more than 0 and at most 1"):
        TfIdf.fit(TITLES, decay=decay)
