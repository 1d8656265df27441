from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

from bigrec.data.interactions import Interactions
from bigrec.models import cooccurrence
from bigrec.models.cooccurrence import Cooccurrence
from bigrec.types import FloatArray
from tests.models.fakes import all_rows, interactions

CHAIN = interactions([0, 1, 2])


def scores(
    of: Interactions,
    *history: int,
    n_items: int = 3,
    window: int = 1,
    decay: float = 1.0,
    alpha: float = 0.0,
) -> FloatArray:
    model = Cooccurrence.fit(
        of, train=all_rows(of), n_items=n_items, window=window, decay=decay, alpha=alpha
    )
    return np.asarray(model.scores([np.array(history)])[0])


def test_items_next_to_the_item_score_their_number_of_pairs() -> None:
    # 1 stands next to 0 twice and next to 2 once
    np.testing.assert_array_equal(scores(interactions([0, 1, 2], [1, 0]), 1), [2, 0, 1])


def test_the_window_is_the_greatest_distance_of_a_pair() -> None:
    np.testing.assert_array_equal(scores(CHAIN, 0, window=1), [0, 1, 0])
    np.testing.assert_array_equal(scores(CHAIN, 0, window=2), [0, 1, 1])


def test_a_window_longer_than_all_histories_is_allowed() -> None:
    np.testing.assert_array_equal(scores(CHAIN, 0, window=50), [0, 1, 1])


def test_items_of_different_users_are_no_pair() -> None:
    np.testing.assert_array_equal(scores(interactions([0], [1]), 0), [0, 0, 0])


def test_an_item_that_follows_itself_is_no_pair() -> None:
    np.testing.assert_array_equal(scores(interactions([0, 0, 1]), 0), [0, 1, 0])


def test_older_items_of_the_history_count_less() -> None:
    # 1 is the newest: its row is [1, 0, 1]; the row of 0 is [0, 1, 0]
    np.testing.assert_array_equal(scores(CHAIN, 0, 1, decay=0.5), [1, 0.5, 1])


def test_an_item_that_comes_twice_in_the_history_counts_twice() -> None:
    np.testing.assert_array_equal(scores(CHAIN, 0, 0, decay=0.5), [0, 1.5, 0])


@pytest.mark.parametrize(
    ("alpha", "expected"),
    [(0.0, [0, 2, 1]), (0.5, [0, 2 / np.sqrt(6), 1 / np.sqrt(3)]), (1.0, [0, 2 / 6, 1 / 3])],
)
def test_alpha_damps_frequent_items(alpha: float, expected: list[float]) -> None:
    # item 0 comes 3 times, 1 twice, 2 once
    of = interactions([0, 1], [1, 0], [2, 0])
    np.testing.assert_allclose(scores(of, 0, alpha=alpha), expected, rtol=1e-6)


def test_an_item_without_interactions_scores_0() -> None:
    np.testing.assert_array_equal(scores(CHAIN, 0, n_items=4, alpha=0.5), [0, 1, 0, 0])
    np.testing.assert_array_equal(scores(CHAIN, 3, n_items=4, alpha=0.5), [0, 0, 0, 0])


def test_rows_outside_of_training_are_skipped() -> None:
    model = Cooccurrence.fit(
        CHAIN, train=np.array([True, False, True]), n_items=3, window=1, alpha=0
    )
    np.testing.assert_array_equal(model.scores([np.array([0])]), [[0, 0, 1]])


@pytest.mark.parametrize("window", [0, -1])
def test_a_window_below_1_is_refused(window: int) -> None:
    with pytest.raises(ValueError, match=f"window is {window}; expected at least 1"):
        scores(CHAIN, 0, window=window)


@pytest.mark.parametrize("decay", [0.0, 1.5, float("nan")])
def test_a_decay_out_of_range_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match=f"decay is {decay}; expected more than 0 and at most 1"):
        scores(CHAIN, 0, decay=decay)


@pytest.mark.parametrize("alpha", [-0.1, 1.5, float("nan")])
def test_an_alpha_out_of_range_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match=f"alpha is {alpha}; expected 0 to 1"):
        scores(CHAIN, 0, alpha=alpha)


def random_model(rng: np.random.Generator, *, n_items: int) -> Cooccurrence:
    of = interactions(*rng.integers(n_items, size=(40, 60)).tolist())
    return Cooccurrence.fit(of, train=all_rows(of), n_items=n_items)


def test_dense_and_sparse_pairs_give_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    histories = list(np.random.default_rng(1).integers(50, size=(30, 25)))
    dense = random_model(np.random.default_rng(0), n_items=50)
    dense.save(tmp_path / "dense")
    monkeypatch.setattr(cooccurrence, "_DENSE_BYTES", 0)
    sparse = random_model(np.random.default_rng(0), n_items=50)
    sparse.save(tmp_path / "sparse")
    assert (type(dense._pairs), type(sparse._pairs)) == (np.ndarray, csr_array)
    expected = dense.scores(histories)
    np.testing.assert_array_equal(sparse.scores(histories), expected)
    monkeypatch.undo()
    for name in ("dense", "sparse"):
        loaded = Cooccurrence.load(tmp_path / name)
        assert isinstance(loaded._pairs, np.ndarray)
        np.testing.assert_array_equal(loaded.scores(histories), expected)
