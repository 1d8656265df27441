"""The trie of titles, against token rows by hand or by brute force."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bigrec.lm.generation.trie import CatalogConstraint, TitleTrie

pytestmark = pytest.mark.model

END = 9
# "5 6" begins "5 6 7", two titles are "3", and one is empty.
ROWS = [[5, 6, 7], [5, 6], [3], [], [3], [5, 8]]

rows_of_tokens = st.lists(st.lists(st.integers(0, 3), max_size=4), min_size=1, max_size=12)


@pytest.fixture
def trie() -> TitleTrie:
    return TitleTrie(ROWS, end=END)


def node(trie: TitleTrie, tokens: Sequence[int]) -> int:
    return int(trie.paths(np.array([tokens], dtype=np.int64))[0, -1])


def next_tokens(trie: TitleTrie, tokens: Sequence[int]) -> list[int]:
    return list(map(int, trie.steps(np.array([node(trie, tokens)]))[1]))


def test_a_prefix_continues_with_the_tokens_of_any_title_that_begins_so(trie: TitleTrie) -> None:
    assert next_tokens(trie, []) == [3, 5, END]
    assert next_tokens(trie, [5]) == [6, 8]


def test_a_title_that_begins_another_can_end_or_continue(trie: TitleTrie) -> None:
    assert next_tokens(trie, [5, 6]) == [7, END]
    assert next_tokens(trie, [5, 6, 7]) == [END]


def test_there_is_no_step_after_the_end_or_off_every_title(trie: TitleTrie) -> None:
    assert next_tokens(trie, [3, END]) == []
    assert next_tokens(trie, [4]) == []
    assert node(trie, [4, 5]) == node(trie, [3, END, 3]) == -1


def test_steps_have_their_node_and_the_next_one(trie: TitleTrie) -> None:
    row, token, to = trie.steps(np.array([node(trie, [5]), -1, node(trie, [3])]))
    assert row.tolist() == [0, 0, 2]
    assert token.tolist() == [6, 8, END]
    assert to.tolist() == [node(trie, [5, 6]), node(trie, [5, 8]), node(trie, [3, END])]


def test_a_title_is_found_by_its_tokens_and_the_first_of_equal_ones_counts(trie: TitleTrie) -> None:
    rows = [[5, 6, END, 0], [5, 6, 7, END], [3, END, END, 5], [END, 5, 6, 7], [5, 6, 0, END]]
    assert trie.titles(np.array(rows)).tolist() == [1, 0, 2, 3, -1]


def test_a_title_without_its_end_is_not_complete(trie: TitleTrie) -> None:
    assert trie.titles(np.array([[5, 6], [5, 8]])).tolist() == [-1, -1]


def test_the_longest_title_includes_its_end(trie: TitleTrie) -> None:
    assert trie.longest == 4


def test_nodes_are_closed_if_all_titles_below_are_excluded(trie: TitleTrie) -> None:
    # "5 6" has its end node; "5 6 7" is below "5 6", so that node stays open.
    assert trie.closed([[5, 6]]).tolist() == [node(trie, [5, 6, END])]
    # Only "5 8" is left below "5".
    both = [[5, 6], [5, 6], [5, 6, 7]]
    expected = [[5, 6], [5, 6, END], [5, 6, 7], [5, 6, 7, END]]
    assert trie.closed(both).tolist() == sorted(node(trie, tokens) for tokens in expected)


def test_titles_with_the_same_tokens_are_excluded_together(trie: TitleTrie) -> None:
    assert trie.closed([[3]]).tolist() == [node(trie, [3]), node(trie, [3, END])]


def test_the_root_is_closed_if_all_titles_are_excluded(trie: TitleTrie) -> None:
    assert trie.closed(ROWS).tolist() == list(range(trie.n_nodes))


def test_rows_that_are_no_title_close_no_node(trie: TitleTrie) -> None:
    assert trie.closed([]).tolist() == []
    assert trie.closed([[5], [4, 4, 4, 4, 4, 4], [5, 6, 7, 8]]).tolist() == []


@given(rows=rows_of_tokens)
def test_every_prefix_continues_as_the_titles_do(rows: list[list[int]]) -> None:
    trie = TitleTrie(rows, end=END)
    ended = [(*row, END) for row in rows]
    for tokens in {row[:size] for row in ended for size in range(len(row) + 1)}:
        expected = {row[len(tokens)] for row in ended if row[: len(tokens)] == tokens != row}
        assert next_tokens(trie, tokens) == sorted(expected)
    padded = np.full((len(rows), trie.longest), END)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = row
    assert trie.titles(padded).tolist() == [rows.index(row) for row in rows]


@given(rows=rows_of_tokens, excluded=rows_of_tokens)
@settings(max_examples=50)
def test_open_nodes_lead_to_a_title_that_is_not_excluded(
    rows: list[list[int]], excluded: list[list[int]]
) -> None:
    trie = TitleTrie(rows, end=END)
    closed = set(trie.closed(excluded).tolist())
    remaining = [(*row, END) for row in rows if row not in excluded]
    for row in [(*row, END) for row in rows]:
        for size in range(len(row) + 1):
            is_open = any(title[:size] == row[:size] for title in remaining)
            assert (node(trie, row[:size]) not in closed) == is_open


def test_no_titles_are_refused() -> None:
    with pytest.raises(ValueError, match="there are no titles: expected at least one"):
        TitleTrie([], end=END)


def test_a_title_with_the_end_token_inside_is_refused() -> None:
    with pytest.raises(ValueError, match="title 2 holds token 9, which ends a title"):
        TitleTrie([[], [1], [1, 9, 2]], end=END)


def test_scores_are_kept_where_a_title_continues_and_minus_infinity_elsewhere(
    trie: TitleTrie,
) -> None:
    # Two prompts of two tokens with two beams each; "5 6" is excluded for the second prompt.
    processor = CatalogConstraint(
        trie, width=2, num_beams=2, closed=[np.empty(0, dtype=np.int64), trie.closed([[5, 6]])]
    )
    scores = torch.arange(40.0).reshape(4, 10)
    ids = torch.tensor([[0, 0, 5, 6], [0, 0, 4, 4], [1, 1, 5, 6], [1, 1, 5, 8]])
    kept = processor(ids, scores)
    places = [(0, 7), (0, END), (2, 7), (3, END)]
    assert kept.isfinite().nonzero().tolist() == [list(place) for place in places]
    assert all(kept[place] == scores[place] for place in places)
