"""The titles of a catalog as a trie of tokens, and decoding that writes nothing else."""

from collections.abc import Sequence
from itertools import chain

import numpy as np
import torch
from transformers import LogitsProcessor

from bigrec.types import BoolArray, IntArray

_NOWHERE = -1
# A step is looked up as parent * 2 ** 32 + token: no token id reaches into the next parent's.
_TOKEN_BITS = 32


class TitleTrie:
    """Every way to write a title: its tokens and then the end token.

    A node is a number: 0 before anything is written, -1 off every title. A title that begins
    another one ends at a node of its own, where the end token leads. Titles with the same tokens
    end at the same node. Nodes are numbered level by level, so the steps from a node, sorted by
    token, lead to consecutive nodes, and two flat sorted arrays hold the whole trie.

    Args:
        rows: Token ids of each title without end token; a row may be empty.
        end: The end token, the only one that ends a title.

    Attributes:
        longest: Tokens of the longest title, its end included.
        n_nodes: Nodes there are, 0 included.

    Raises:
        ValueError: If there are no titles or one of them holds the end token.
    """

    def __init__(self, rows: Sequence[Sequence[int]], *, end: int) -> None:
        if not rows:
            raise ValueError("there are no titles: expected at least one")
        self._end = end
        sizes = np.fromiter(map(len, rows), np.int64, len(rows))
        tokens = np.fromiter(chain.from_iterable(rows), np.int64, int(sizes.sum()))
        starts = np.cumsum(sizes) - sizes
        if (tokens == end).any():
            at = int(np.flatnonzero(tokens == end)[0])
            title = int(np.searchsorted(starts, at, side="right")) - 1
            raise ValueError(
                f"title {title} holds token {end}, which ends a title: expected it nowhere else"
            )
        self.longest = int(sizes.max()) + 1
        self._steps, self._titles_below, leaves = _levels(tokens, starts, sizes, end=end)
        self.n_nodes = len(self._titles_below)
        parents = self._steps >> _TOKEN_BITS
        self._first_step = np.searchsorted(parents, np.arange(self.n_nodes + 1))
        self._title = np.full(self.n_nodes, _NOWHERE)
        ended, first_title = np.unique(leaves, return_index=True)
        self._title[ended] = first_title

    def paths(self, rows: IntArray) -> IntArray:
        """The nodes that rows of tokens pass, ``[r, t + 1]``, from 0 on; -1 once off every title.

        Args:
            rows: Token ids, ``[r, t]``; -1 is no token.
        """
        nodes = np.zeros((len(rows), rows.shape[1] + 1), dtype=np.int64)
        for column in range(rows.shape[1]):
            wanted = (nodes[:, column] << _TOKEN_BITS) + rows[:, column]
            place, found = _find(self._steps, wanted)
            nodes[:, column + 1] = np.where(found, place + 1, _NOWHERE)
        return nodes

    def steps(self, nodes: IntArray) -> tuple[IntArray, IntArray, IntArray]:
        """Every step from some nodes: position in ``nodes``, token, and the node it leads to."""
        known = np.maximum(nodes, 0)
        first = self._first_step[known]
        counts = np.where(nodes >= 0, self._first_step[known + 1] - first, 0)
        row = np.repeat(np.arange(len(nodes)), counts)
        # Counts up within each row: 0, 1, ... from the row's first step.
        step = np.arange(len(row)) + np.repeat(first - (np.cumsum(counts) - counts), counts)
        return row, self._steps[step] & ((1 << _TOKEN_BITS) - 1), step + 1

    def titles(self, rows: IntArray) -> IntArray:
        """Position of the title that each row writes whole, ``[r]``; -1 where it writes none.

        Args:
            rows: Token ids, ``[r, t]``. What follows the end token does not matter. Of titles
                with the same tokens, the first counts.
        """
        nodes = self.paths(rows)
        titles: IntArray = np.where(nodes >= 0, self._title[nodes], _NOWHERE).max(axis=1)
        return titles

    def closed(self, rows: Sequence[Sequence[int]]) -> IntArray:
        """Nodes that lead to none but some titles, sorted; 0 is among them if these are all.

        Args:
            rows: Token ids of the titles, without end token. Rows that are no title do not matter.
        """
        different = list(dict.fromkeys((*row, self._end) for row in rows))
        width = max(map(len, different), default=0)
        padded = np.full((len(different), width), _NOWHERE)
        for row, tokens in enumerate(different):
            padded[row, : len(tokens)] = tokens
        nodes = self.paths(padded)
        # A row that is no title takes none away. One that is takes all titles at its end node.
        leaves = nodes.max(axis=1, initial=0)
        taken = np.where(self._title[leaves] >= 0, self._titles_below[leaves], 0)
        on_path = nodes >= 0
        passed, place = np.unique(nodes[on_path], return_inverse=True)
        lost = np.bincount(place, weights=np.repeat(taken, on_path.sum(axis=1)))
        closed: IntArray = passed[lost == self._titles_below[passed]]
        return closed


class TitlesOnly(LogitsProcessor):
    """Leaves a beam only the tokens with which some title goes on.

    Probabilities are not spread anew over what is left: applied to log-probabilities, it leaves
    those of the unconstrained model. A beam that no title continues gets no token at all.

    Args:
        trie: The titles.
        width: Tokens of the prompt, padding included.
        beams: Rows of each prompt, next to one another.
        closed: For each prompt, nodes that it must not enter (`TitleTrie.closed`); None: no node.
    """

    def __init__(
        self,
        trie: TitleTrie,
        *,
        width: int,
        beams: int,
        closed: Sequence[IntArray] | None = None,
    ) -> None:
        self._trie = trie
        self._width = width
        self._beams = beams
        self._closed = np.concatenate(
            [prompt * trie.n_nodes + nodes for prompt, nodes in enumerate(closed or [])]
            or [np.empty(0, dtype=np.int64)]
        )

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores ``[r, vocabulary]`` with minus infinity where no title goes on."""
        written = input_ids[:, self._width :].cpu().numpy()
        row, token, node = self._trie.steps(self._trie.paths(written)[:, -1])
        _, is_closed = _find(self._closed, row // self._beams * self._trie.n_nodes + node)
        place = tuple(torch.from_numpy(part[~is_closed]).to(scores.device) for part in (row, token))
        kept = torch.full_like(scores, -torch.inf)
        kept[place] = scores[place]
        return kept


def _find(ordered: IntArray, wanted: IntArray) -> tuple[IntArray, BoolArray]:
    """Where each value stands in an ordered array, and whether it is there."""
    place = np.searchsorted(ordered, wanted)
    if not len(ordered):
        return place, np.zeros(len(wanted), dtype=np.bool_)
    return place, ordered[np.minimum(place, len(ordered) - 1)] == wanted


def _levels(
    tokens: IntArray, starts: IntArray, sizes: IntArray, *, end: int
) -> tuple[IntArray, IntArray, IntArray]:
    """Steps in order of parent and token, titles below each node, and each title's last node."""
    at = np.zeros(len(sizes), dtype=np.int64)
    going = np.arange(len(sizes))
    steps: list[IntArray] = []
    below: list[IntArray] = [np.array([len(sizes)])]
    n_nodes = 1
    for depth in range(int(sizes.max()) + 1):
        ends = sizes[going] == depth
        token = np.full(len(going), end)
        token[~ends] = tokens[starts[going[~ends]] + depth]
        wanted = (at[going] << _TOKEN_BITS) + token
        level, place, counts = np.unique(wanted, return_inverse=True, return_counts=True)
        at[going] = n_nodes + place
        steps.append(level)
        below.append(counts)
        n_nodes += len(level)
        going = going[~ends]
    return np.concatenate(steps), np.concatenate(below), at
