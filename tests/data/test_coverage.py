"""Coverage-enhanced sampling."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bigrec.data.coverage import coverage_sample
from bigrec.types import FloatArray

scores_of_any_size = arrays(
    np.float64, st.integers(1, 60), elements=st.floats(-1e6, 1e6, allow_nan=False)
)

seeds = st.integers(0, 100)


@given(scores_of_any_size, st.integers(1, 80), st.integers(1, 12), seeds)
def test_the_sample_has_exactly_the_budget_and_no_example_twice(
    scores: FloatArray, size: int, n_strata: int, seed: int
) -> None:
    drawn = coverage_sample(scores, size, n_strata=n_strata, seed=seed)
    assert len(drawn) == min(size, len(scores))
    assert len(set(drawn.tolist())) == len(drawn)
    assert (np.diff(drawn) > 0).all()


@given(st.sets(st.integers(0, 10_000), min_size=1, max_size=40), st.integers(1, 40), seeds)
def test_the_order_of_the_examples_does_not_change_which_are_drawn(
    different: set[int], size: int, seed: int
) -> None:
    scores = np.array(sorted(different), dtype=np.float64)
    order = np.random.default_rng(seed).permutation(len(scores))
    drawn = coverage_sample(scores, size, n_strata=5, seed=0)
    shuffled = coverage_sample(scores[order], size, n_strata=5, seed=0)
    assert sorted(scores[drawn]) == sorted(scores[order][shuffled])


def test_every_stratum_gives_its_share_and_small_ones_all_that_they_have() -> None:
    # Ranges of 0 to 1 by a quarter: 90 examples, 6, none, 2.
    scores = np.repeat([0.0, 0.3, 0.9, 1.0], [90, 6, 1, 1])
    drawn = scores[coverage_sample(scores, 20, n_strata=4, seed=0)]
    # 20 / 3 strata is 6, of which the smallest has 2; 18 / 2 is 9, of which the next has 6.
    assert np.unique(drawn, return_counts=True)[1].tolist() == [12, 6, 1, 1]


def test_equal_scores_are_drawn_at_random() -> None:
    scores = np.ones(100)
    first, second = (coverage_sample(scores, 10, n_strata=5, seed=seed) for seed in (0, 1))
    assert first.tolist() != second.tolist()
    assert first.tolist() == coverage_sample(scores, 10, n_strata=5, seed=0).tolist()


@pytest.mark.parametrize(
    ("scores", "size", "n_strata", "words"),
    [
        ([0.0, 1.0], 0, 5, "size is 0"),
        ([0.0, 1.0], 1, 0, "n_strata 0"),
        ([0.0, np.nan], 1, 5, "NaN"),
    ],
)
def test_what_cannot_be_drawn_from_is_refused(
    scores: list[float], size: int, n_strata: int, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        coverage_sample(np.array(scores), size, n_strata=n_strata, seed=0)
