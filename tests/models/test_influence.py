"""Influence of sequences on a linear model's risk."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigrec.errors import DataError
from bigrec.models import gram, influence
from bigrec.models.influence import influence_on_risk
from bigrec.types import FloatArray, IntArray

sequences_of_few_items = st.lists(
    st.lists(st.integers(0, 4), min_size=2, max_size=5).map(np.array), min_size=2, max_size=8
)


def pairs_of(sequence: IntArray, *, all_positions: bool) -> list[tuple[FloatArray, FloatArray]]:
    """Bags of decay 0.5 and the unit vectors of what follows, over five items."""
    units = np.eye(5)
    places = range(1 if all_positions else len(sequence) - 1, len(sequence))
    return [
        (
            sum(
                (0.5**age * units[item] for age, item in enumerate(sequence[:place][::-1])),
                units[0] * 0,
            ),
            units[sequence[place]],
        )
        for place in places
    ]


def risk_with(
    sequences: list[IntArray], without: int, share: float, *, all_positions: bool
) -> float:
    """Risk on all sequences of the model that is fitted with ``1 - share`` of one of them."""
    pairs = [pairs_of(sequence, all_positions=all_positions) for sequence in sequences]
    x, y = (np.array([pair[side] for of_one in pairs for pair in of_one]) for side in (0, 1))
    weights = np.concatenate(
        [np.full(len(of_one), 1 - share * (row == without)) for row, of_one in enumerate(pairs)]
    )
    n_items = len(np.unique(np.concatenate(sequences)))
    regularization = np.trace(x.T @ x) / n_items
    gram = (x.T * weights) @ x + regularization * np.eye(5)
    fitted = np.linalg.solve(gram, (x.T * weights) @ y)
    return float(np.square(y - x @ fitted).sum() / 2)


@pytest.mark.parametrize("all_positions", [True, False])
@given(sequences_of_few_items)
def test_influence_is_how_fast_the_risk_rises_as_a_sequence_is_taken_away(
    all_positions: bool, sequences: list[IntArray]
) -> None:
    found = influence_on_risk(sequences, all_positions=all_positions, decay=0.5)
    step = 1e-4
    rises = [
        (
            risk_with(sequences, row, step, all_positions=all_positions)
            - risk_with(sequences, row, -step, all_positions=all_positions)
        )
        / (2 * step)
        for row in range(len(sequences))
    ]
    np.testing.assert_allclose(found, rises, atol=1e-5)


def test_blocks_of_columns_and_rows_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    sequences = [rng.integers(30, size=rng.integers(2, 9)) for _ in range(50)]
    at_once = influence_on_risk(sequences, all_positions=True)
    monkeypatch.setattr(gram, "ROWS", 7)
    monkeypatch.setattr(influence, "ROWS", 11)
    monkeypatch.setattr(influence, "_COLUMNS", 4)
    told: list[tuple[int, int]] = []
    in_blocks = influence_on_risk(
        sequences, all_positions=True, progress=lambda *counts: told.append(counts)
    )
    np.testing.assert_allclose(in_blocks, at_once, atol=1e-12)
    assert told == [(done, 30) for done in (4, 8, 12, 16, 20, 24, 28, 30)]


def test_the_inverse_is_the_only_matrix_over_all_items(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((gram, "ROWS"), (influence, "ROWS"), (influence, "_COLUMNS")):
        monkeypatch.setattr(module, name, 64)
    n_items = 1500
    sequences = np.random.default_rng(0).permutation(n_items).reshape(-1, 5)
    tracemalloc.start()
    influence_on_risk(list(sequences), all_positions=True)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # 8 bytes for each pair of items, and blocks of 64 of them.
    assert peak < 11 * n_items**2


def test_influence_by_hand() -> None:
    # X = (1, 1), Y = (1, 1) for item 0 before item 1, so that X^T X = 2; the mean of the diagonal
    # over both items is 1. W = 2 / 3, r = 1 / 3, and the influence is 1 / 3 * 2 / 3 * 1 / 3.
    found = influence_on_risk([np.array([0, 1])] * 2, all_positions=True)
    np.testing.assert_allclose(found, [2 / 27, 2 / 27])


def test_a_sequence_against_the_others_is_worth_less_than_one_that_says_the_same() -> None:
    usual, other = np.array([0, 1]), np.array([0, 2])
    found = influence_on_risk([usual] * 5 + [other], all_positions=True)
    assert found[0] > 0 > found[-1]


@given(sequences_of_few_items, st.integers(0, 100))
def test_the_order_of_the_sequences_does_not_change_their_influence(
    sequences: list[IntArray], seed: int
) -> None:
    order = np.random.default_rng(seed).permutation(len(sequences))
    shuffled = influence_on_risk([sequences[row] for row in order], all_positions=True)
    np.testing.assert_allclose(
        shuffled, influence_on_risk(sequences, all_positions=True)[order], atol=1e-12
    )


@pytest.mark.parametrize("sequences", [[], [np.array([1])]])
def test_sequences_without_a_target_are_refused(sequences: list[IntArray]) -> None:
    with pytest.raises(ValueError, match="at least two items"):
        influence_on_risk(sequences, all_positions=True)


def test_too_many_titles_are_refused_before_anything_is_computed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(influence, "_MAX_ITEMS", 2)
    with pytest.raises(DataError, match=r"3 different titles .* at most 2 titles"):
        influence_on_risk([np.array([0, 1, 2])], all_positions=True)
