"""The tokens that titles are written with: what a loss is over that no other token can lower.

Decoding that is constrained to the catalog's titles never chooses among other tokens, and has no
choice at all where a single token continues what is written.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import torch

from bigrec.lm.generation.trie import TitleTrie
from bigrec.lm.prompts import PromptRenderer
from bigrec.types import IntArray


@dataclass(frozen=True, eq=False)
class TitleTokens:
    """The titles that can be written, as tokens.

    Attributes:
        trie: The titles.
        ids: The different tokens in them and those that end them, sorted, ``[v]``.
    """

    trie: TitleTrie = field(repr=False)
    ids: IntArray = field(repr=False)
    # The same titles are asked for again and again.
    _paths: dict[tuple[int, ...], IntArray] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of(cls, renderer: PromptRenderer, titles: Sequence[str]) -> Self:
        """The tokens of some titles, at least one.

        Args:
            renderer: Renders titles to tokens.
            titles: The titles.
        """
        trie = TitleTrie.of(renderer, titles)
        written = trie.tokens(np.arange(1, trie.n_nodes))
        return cls(trie, np.union1d(written, renderer.stop_ids))

    def branches(self, tokens: Sequence[int]) -> list[bool]:
        """Whether several tokens could stand at each place of a title, the end token's included.

        Args:
            tokens: The title's ``n`` tokens.

        Returns:
            ``n + 1`` values. All are true for a text that is none of the titles, and if there is
            one title only: nothing else is left to learn.
        """
        nodes = self._path(tokens)[:-1]
        several = self.trie.n_steps(nodes) > 1 if nodes[-1] >= 0 else np.zeros(0, dtype=np.bool_)
        return [bool(value) for value in several] if np.any(several) else [True] * len(nodes)

    def nodes(self, tokens: Sequence[int]) -> list[int]:
        """Nodes of the trie that the tokens of a title lead to, and the end token after them.

        Args:
            tokens: The ``n`` tokens of one of the titles.

        Returns:
            ``n + 1`` nodes.
        """
        return [int(node) for node in self._path(tokens)[1:]]

    def _path(self, tokens: Sequence[int]) -> IntArray:
        """Nodes from the root to the end of a title, ``[n + 2]``."""
        key = tuple(tokens)
        if key not in self._paths:
            (self._paths[key],) = self.trie.paths(np.array([[*key, self.trie.end]]))
        return self._paths[key]

    def places(self, tokens: Sequence[int]) -> list[int]:
        """Places in ``ids`` of tokens that are all among them; a negative number stays."""
        values = np.array(tokens, dtype=np.int64)
        return list(map(int, np.where(values < 0, values, np.searchsorted(self.ids, values))))


def allowed_logits(logits: torch.Tensor, nodes: IntArray, titles: TitleTokens) -> torch.Tensor:
    """Logits with minus infinity for every token that cannot stand in the place of another.

    Args:
        logits: Logits of ``titles.ids`` at ``n`` places of titles, ``[n, v]``.
        nodes: Node of the trie that the title's own token leads to, ``[n]``.
        titles: The titles.
    """
    row, token, _ = titles.trie.steps(titles.trie.parents(nodes))
    forbidden = np.ones(logits.shape, dtype=np.bool_)
    forbidden[row, np.searchsorted(titles.ids, token)] = False
    return logits.masked_fill(torch.from_numpy(forbidden).to(logits.device), -torch.inf)
