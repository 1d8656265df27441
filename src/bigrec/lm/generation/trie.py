"""A trie of title tokens, and decoding constrained to the titles in it."""

from collections.abc import Sequence
from itertools import chain
from typing import Self

import numpy as np
import torch
from transformers import LogitsProcessor

from bigrec.lm.prompts import PromptRenderer
from bigrec.types import BoolArray, IntArray

_NOWHERE = -1
# The key of a step is parent * 2 ** 32 + token. Token IDs are below 2 ** 32, so keys are unique.
_TOKEN_BITS = 32
_TOKEN_MASK = (1 << _TOKEN_BITS) - 1


class TitleTrie:
    """A trie of titles, each as its tokens and the end token.

    Nodes are numbers: 0 is the root, and -1 stands for a sequence that begins no title. The end
    token leads to the node at which a title ends; titles with the same tokens end at the same node.
    Nodes are numbered level by level, so the steps from a node, sorted by token, lead to
    consecutive nodes, and two flat sorted arrays hold the whole trie.

    Args:
        rows: Token IDs of each title without end token; a row may be empty.
        end: The end token.

    Attributes:
        end: The end token.
        longest: Tokens of the longest title, with its end token.
        n_nodes: Number of nodes, with the root.
        n_below: Titles that end at or after each node, ``[n_nodes]``.
        ends: Node at which each title ends, one for each row.

    Raises:
        ValueError: If there are no titles or one of them contains the end token.
    """

    def __init__(self, rows: Sequence[Sequence[int]], *, end: int) -> None:
        if not rows:
            raise ValueError("there are no titles: expected at least one")
        self.end = end
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
        self._steps, self.n_below, self.ends = _levels(tokens, starts, sizes, end=end)
        self.n_nodes = len(self.n_below)
        parents = self._steps >> _TOKEN_BITS
        self._first_step = np.searchsorted(parents, np.arange(self.n_nodes + 1))
        self._title = np.full(self.n_nodes, _NOWHERE)
        ended, first_title = np.unique(self.ends, return_index=True)
        self._title[ended] = first_title

    @classmethod
    def of(cls, renderer: PromptRenderer, titles: Sequence[str]) -> Self:
        """The trie of some titles, at least one.

        Args:
            renderer: Renders titles to tokens.
            titles: The titles.
        """
        return cls([renderer.title_token_ids(title) for title in titles], end=renderer.end_id)

    def paths(self, rows: IntArray) -> IntArray:
        """Nodes on the paths of token rows, ``[r, width + 1]``: first 0, then -1 off every title.

        Args:
            rows: Token IDs, ``[r, width]``; -1 is no token.
        """
        nodes = np.zeros((len(rows), rows.shape[1] + 1), dtype=np.int64)
        for column in range(rows.shape[1]):
            step = (nodes[:, column] << _TOKEN_BITS) + rows[:, column]
            position, exists = _find(self._steps, step)
            nodes[:, column + 1] = np.where(exists, position + 1, _NOWHERE)
        return nodes

    def steps(self, nodes: IntArray) -> tuple[IntArray, IntArray, IntArray]:
        """Every step from some nodes: position in ``nodes``, token, and next node."""
        known = np.maximum(nodes, 0)
        first = self._first_step[known]
        counts = np.where(nodes >= 0, self._first_step[known + 1] - first, 0)
        row = np.repeat(np.arange(len(nodes)), counts)
        # Counts up within each row: 0, 1, ... from the row's first step.
        step = np.arange(len(row)) + np.repeat(first - (np.cumsum(counts) - counts), counts)
        return row, self._steps[step] & _TOKEN_MASK, step + 1

    def n_steps(self, nodes: IntArray) -> IntArray:
        """How many tokens continue each of some nodes, in the shape of ``nodes``.

        Args:
            nodes: Nodes of the trie, none of them -1.
        """
        counts: IntArray = self._first_step[nodes + 1] - self._first_step[nodes]
        return counts

    def first_children(self, nodes: IntArray) -> IntArray:
        """The first node after each of some nodes; another node where none is after it."""
        children: IntArray = np.minimum(self._first_step[nodes] + 1, self.n_nodes - 1)
        return children

    def parents(self, nodes: IntArray) -> IntArray:
        """The node before each of some nodes, none of them 0 or -1."""
        parents: IntArray = self._steps[nodes - 1] >> _TOKEN_BITS
        return parents

    def tokens(self, nodes: IntArray) -> IntArray:
        """The token that leads to each of some nodes, none of them 0 or -1."""
        tokens: IntArray = self._steps[nodes - 1] & _TOKEN_MASK
        return tokens

    def titles(self, rows: IntArray) -> IntArray:
        """Position of the complete title in each row, ``[r]``; -1 if there is none.

        Args:
            rows: Token IDs, ``[r, width]``. Tokens after the end token are ignored. Of titles with
                the same tokens, the first counts.
        """
        nodes = self.paths(rows)
        titles: IntArray = np.where(nodes >= 0, self._title[nodes], _NOWHERE).max(axis=1)
        return titles

    def closed(self, rows: Sequence[Sequence[int]]) -> IntArray:
        """Nodes that lead to no other titles than these, sorted; 0 is one if these are all titles.

        Args:
            rows: Token IDs of the titles, without end token. Rows that are no title are ignored.
        """
        different = list(dict.fromkeys((*row, self.end) for row in rows))
        width = max(map(len, different), default=0)
        padded = np.full((len(different), width), _NOWHERE)
        for row, tokens in enumerate(different):
            padded[row, : len(tokens)] = tokens
        nodes = self.paths(padded)
        # A row that is a title excludes all titles at its end node. Any other row excludes none.
        leaves = nodes.max(axis=1, initial=0)
        n_excluded = np.where(self._title[leaves] >= 0, self.n_below[leaves], 0)
        on_path = nodes >= 0
        passed, position = np.unique(nodes[on_path], return_inverse=True)
        excluded_below = np.bincount(position, weights=np.repeat(n_excluded, on_path.sum(axis=1)))
        closed: IntArray = passed[excluded_below == self.n_below[passed]]
        return closed


class CatalogConstraint(LogitsProcessor):
    """Allows a beam only tokens that continue some title.

    A beam that no title continues has no allowed token.

    Args:
        trie: The titles.
        width: Tokens of the prompt, with padding.
        num_beams: Rows of each prompt, next to each other.
        closed: For each prompt, nodes that its beams must not enter (`TitleTrie.closed`). None
            closes no node.
        renormalize: Whether probabilities are relative to the allowed tokens, so that a token
            without an alternative has probability 1. Otherwise they are those of the unconstrained
            model.
    """

    def __init__(
        self,
        trie: TitleTrie,
        *,
        width: int,
        num_beams: int,
        closed: Sequence[IntArray] | None = None,
        renormalize: bool = False,
    ) -> None:
        self._trie = trie
        self._renormalize = renormalize
        self._width = width
        self._num_beams = num_beams
        self._closed = np.concatenate(
            [prompt * trie.n_nodes + nodes for prompt, nodes in enumerate(closed or [])]
            or [np.empty(0, dtype=np.int64)]
        )

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores ``[r, vocabulary]`` with minus infinity where a token continues no title."""
        generated = input_ids[:, self._width :].cpu().numpy()
        row, token, node = self._trie.steps(self._trie.paths(generated)[:, -1])
        _, is_closed = _find(self._closed, row // self._num_beams * self._trie.n_nodes + node)
        allowed = tuple(
            torch.from_numpy(part[~is_closed]).to(scores.device) for part in (row, token)
        )
        constrained = torch.full_like(scores, -torch.inf)
        constrained[allowed] = scores[allowed]
        if self._renormalize:
            # A row without an allowed token has no probabilities to divide.
            total = constrained.logsumexp(dim=-1, keepdim=True)
            constrained -= total.where(total > -torch.inf, torch.zeros_like(total))
        return constrained


def _find(ordered: IntArray, values: IntArray) -> tuple[IntArray, BoolArray]:
    """Position of each value in an ordered array, and whether the array contains it."""
    position = np.searchsorted(ordered, values)
    if not len(ordered):
        return position, np.zeros(len(values), dtype=np.bool_)
    return position, ordered[np.minimum(position, len(ordered) - 1)] == values


def _levels(
    tokens: IntArray, starts: IntArray, sizes: IntArray, *, end: int
) -> tuple[IntArray, IntArray, IntArray]:
    """Steps in order of parent and token, titles below each node, and each title's last node."""
    node = np.zeros(len(sizes), dtype=np.int64)
    unfinished = np.arange(len(sizes))
    steps: list[IntArray] = []
    below: list[IntArray] = [np.array([len(sizes)])]
    n_nodes = 1
    for depth in range(int(sizes.max()) + 1):
        ends = sizes[unfinished] == depth
        token = np.full(len(unfinished), end)
        token[~ends] = tokens[starts[unfinished[~ends]] + depth]
        keys = (node[unfinished] << _TOKEN_BITS) + token
        level, position, counts = np.unique(keys, return_inverse=True, return_counts=True)
        node[unfinished] = n_nodes + position
        steps.append(level)
        below.append(counts)
        n_nodes += len(level)
        unfinished = unfinished[~ends]
    return np.concatenate(steps), np.concatenate(below), node
