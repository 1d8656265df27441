"""The tree of a catalog's titles, and the log-probabilities of titles from logits at its forks."""

from dataclasses import dataclass, field
from typing import Self

import numpy as np

from bigrec.lm.title_tokens import TitleTokens
from bigrec.types import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Choices:
    """The steps from nodes at which several tokens go on, ``e`` steps from ``f`` nodes.

    Attributes:
        forks: The nodes, ``[f]``.
        rows: Place of the node before each step among all nodes that were asked for, ``[e]``,
            ascending.
        starts: First step from each fork, ``[f]``.
        children: Node that each step leads to, ``[e]``.
    """

    forks: IntArray = field(repr=False)
    rows: IntArray = field(repr=False)
    starts: IntArray = field(repr=False)
    children: IntArray = field(repr=False)


@dataclass(frozen=True, eq=False)
class TitleTree:
    """The trie of the titles, and what is derived from it for its ``n`` nodes.

    Attributes:
        titles: The titles, and the tokens that they are written with, ``v`` of them.
        parents: Node before each, ``[n]``; 0 before the root.
        depths: Tokens from the root to each, ``[n]``.
        forks: The first node at or after each where several tokens go on, ``[n]``; the last node
            of a title where none is.
        is_fork: Whether several tokens go on at a node, ``[n]``.
        starts: Place of the first title at or after each in ``order``, ``[n]``.
        order: The titles, those after each node next to each other, ``[t]``.
        places: Place in ``titles.ids`` of the token that leads to each, ``[n]``; 0 for the root.
        read: Nodes but the root with a fork at or after them, ascending.
    """

    titles: TitleTokens
    parents: IntArray = field(repr=False)
    depths: IntArray = field(repr=False)
    forks: IntArray = field(repr=False)
    is_fork: BoolArray = field(repr=False)
    starts: IntArray = field(repr=False)
    order: IntArray = field(repr=False)
    places: IntArray = field(repr=False)
    read: IntArray = field(repr=False)

    @property
    def n_titles(self) -> int:
        """Number of titles, ``t``."""
        return len(self.order)

    def path(self, node: int) -> IntArray:
        """Nodes from the first after the root to a node."""
        nodes = []
        while node:
            nodes.append(node)
            node = int(self.parents[node])
        return np.array(nodes[::-1], dtype=np.int64)

    def tokens(self, nodes: IntArray) -> IntArray:
        """Tokens that lead to nodes, in their shape; any token for the root."""
        tokens: IntArray = self.titles.ids[self.places[nodes]]
        return tokens

    def choices(self, nodes: IntArray) -> Choices:
        """The steps from those of some nodes that are forks."""
        places = np.flatnonzero(self.is_fork[nodes])
        row, _, children = self.titles.trie.steps(nodes[places])
        starts = np.flatnonzero(np.diff(row, prepend=-1))
        return Choices(nodes[places], places[row], starts, children)

    @classmethod
    def of(cls, titles: TitleTokens) -> Self:
        """Derive the rest from the titles."""
        trie = titles.trie
        nodes = np.arange(trie.n_nodes)
        parents = np.concatenate([[0], trie.parents(nodes[1:])])
        depths = np.zeros(trie.n_nodes, dtype=np.int64)
        ancestors = nodes
        while ancestors.any():
            depths += ancestors > 0
            ancestors = parents[ancestors]
        # Nodes are numbered level by level, those of a level by their parents.
        before = np.cumsum(trie.n_below) - trie.n_below
        starts = np.zeros(trie.n_nodes, dtype=np.int64)
        for level in np.split(nodes, np.flatnonzero(np.diff(depths)) + 1)[1:]:
            above = parents[level]
            starts[level] = starts[above] + before[level] - before[trie.first_children(above)]
        n_steps = trie.n_steps(nodes)
        forks = np.where(n_steps == 1, trie.first_children(nodes), nodes)
        while not np.array_equal(forks, forks[forks]):
            forks = forks[forks]
        places = np.searchsorted(titles.ids, trie.tokens(nodes[1:]))
        return cls(
            titles=titles,
            parents=parents,
            depths=depths,
            forks=forks,
            is_fork=n_steps > 1,
            starts=starts,
            order=np.argsort(starts[trie.ends], kind="stable"),
            places=np.concatenate([[0], places]),
            read=nodes[1:][n_steps[forks[1:]] > 1],
        )


class TitleSearch:
    """Beginnings of titles after one prompt that together begin every title once.

    Args:
        tree: The titles.
    """

    def __init__(self, tree: TitleTree) -> None:
        self._tree = tree
        # The beginnings, as nodes, and the log-probability of each.
        self._nodes = np.zeros(1, dtype=np.int64)
        self._log_probs = np.zeros(1)
        # Log-probability of the step to each node, after forks that are known.
        self._steps = np.empty(len(tree.parents))
        self._is_known = np.zeros(len(tree.parents), dtype=np.bool_)

    def add(self, choices: Choices, logits: FloatArray) -> None:
        """Add the logits of choices, ``[e]``, and read on from what they follow."""
        if len(choices.forks):
            totals = np.logaddexp.reduceat(logits.astype(np.float64), choices.starts)
            counts = np.diff(choices.starts, append=len(choices.rows))
            self._steps[choices.children] = logits - np.repeat(totals, counts)
            self._is_known[choices.forks] = True
        while self._read_on():
            pass

    def _read_on(self) -> bool:
        """Replace beginnings whose fork is known by those after it; whether there was any."""
        tree = self._tree
        forks = tree.forks[self._nodes]
        ready = self._is_known[forks]
        if not ready.any():
            return False
        row, _, child = tree.titles.trie.steps(forks[ready])
        log_probs = self._log_probs[ready][row] + self._steps[child]
        self._nodes = np.concatenate([self._nodes[~ready], child])
        self._log_probs = np.concatenate([self._log_probs[~ready], log_probs])
        return True

    def likeliest(self, n_tokens: int) -> IntArray:
        """Nodes to read next: to the forks after the likeliest beginnings, ascending.

        Args:
            n_tokens: Nodes, at most, but those of one beginning in any case.
        """
        tree = self._tree
        forks = tree.forks[self._nodes]
        unread = np.flatnonzero(tree.is_fork[forks])
        unread = unread[np.argsort(-self._log_probs[unread], kind="stable")]
        sizes = tree.depths[forks[unread]] - tree.depths[self._nodes[unread]] + 1
        n_taken = max(1, int(np.searchsorted(np.cumsum(sizes), n_tokens, side="right")))
        found = []
        for place in unread[:n_taken]:
            node, first = int(forks[place]), int(self._nodes[place])
            while node >= first:
                found.append(node)
                node = int(tree.parents[node])
        return np.sort(np.array(found, dtype=np.int64))

    def log_probs(self) -> FloatArray:
        """Log-probability of every title, ``[t]`` float32."""
        tree = self._tree
        order = np.argsort(tree.starts[self._nodes], kind="stable")
        counts = tree.titles.trie.n_below[self._nodes[order]]
        of_titles = np.empty(tree.n_titles, dtype=np.float32)
        of_titles[tree.order] = np.repeat(self._log_probs[order] - np.log(counts), counts)
        return of_titles
