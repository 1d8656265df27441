"""Networks that encode a sequence of items and score all items for it.

Sequences are ``[b, h]`` numbers, oldest first, padded on the left with ``n_items``.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bigrec.data.arguments import check_least
from bigrec.models.neural.dropout import Dropout
from bigrec.types import BoolArray

Architecture = Literal["SASRec", "GRU4Rec", "Caser"]

_INIT_STD = 0.02
# Width of SASRec's feed-forward layers as a multiple of ``d`` (paper: 1).
_WIDENING = 1


class SequenceNetwork(nn.Module, ABC):
    """A network that can be trained to predict the next item.

    Attributes:
        predicts_all_positions: Whether ``forward`` predicts at every position, or at the last only.
        useful_untrained: Whether it ranks better than by chance before training, so that its
            initial weights are a candidate for the best ones.
        n_items: Number of scored items, ``n``, and the number of padding.
        max_length: Maximum items of a sequence.
        shape: Identifies the architecture and its hyperparameters, JSON-like.
    """

    predicts_all_positions: ClassVar[bool] = True
    useful_untrained: ClassVar[bool] = False

    def __init__(self, *, n_items: int, max_length: int, shape: Sequence[Any]) -> None:
        super().__init__()
        self.n_items = n_items
        self.max_length = max_length
        self.shape = [type(self).__name__, n_items, max_length, *shape]

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Device of inputs and outputs."""

    @property
    def scores_at_once(self) -> int:
        """Scores of all items that training computes at once: what fits into memory."""
        return 1 << 26

    @abstractmethod
    def forward(self, items: Tensor) -> Tensor:
        """Encode sequences.

        Args:
            items: ``[b, h]`` item numbers, ``h`` from 1 to ``max_length``.

        Returns:
            ``[b, h, d]``, or ``[b, 1, d]`` if the network predicts at the last position only.
            States at positions of padding are meaningless but finite.
        """

    @abstractmethod
    def scores(self, hidden: Tensor) -> Tensor:
        """Scores of all items, ``[..., n]``, higher is better, for ``hidden`` ``[..., d]``."""

    @abstractmethod
    def scores_of(self, hidden: Tensor, items: Tensor) -> Tensor:
        """Scores of some items, ``[m, c]``, for ``hidden`` ``[m, d]`` and ``items`` ``[c]``."""

    @abstractmethod
    def score_each(self, hidden: Tensor, items: Tensor) -> Tensor:
        """Score of one item a row, ``[m]``, for ``hidden`` ``[m, d]`` and ``items`` ``[m]``."""


class EmbeddingNetwork(SequenceNetwork):
    """Base of networks with an embedding of every item for inputs and scores, and a bias."""

    def __init__(self, *, n_items: int, max_length: int, hidden_size: int, dropout: float) -> None:
        super().__init__(n_items=n_items, max_length=max_length, shape=[hidden_size, dropout])
        self.items = nn.Embedding(n_items + 1, hidden_size, padding_idx=n_items)
        self.bias = nn.Parameter(torch.zeros(n_items))
        self.dropout = Dropout(dropout)
        nn.init.normal_(self.items.weight, std=_INIT_STD)
        with torch.no_grad():
            self.items.weight[n_items].zero_()

    @property
    def device(self) -> torch.device:
        """See the base class."""
        return self.bias.device

    @property
    def scores_at_once(self) -> int:
        """See the base class; on a CPU what its caches hold."""
        return 1 << 20 if self.device.type == "cpu" else super().scores_at_once

    def set_known(self, known: BoolArray) -> None:
        """Tell which items have training interactions, before training.

        The others have the embedding 0 and keep it: training sees them as negatives only, which
        says nothing about what follows them in a history.

        Args:
            known: Whether each item has training interactions, ``[n]``.
        """
        unknown = torch.from_numpy(np.flatnonzero(~known)).to(self.device)
        if not len(unknown):
            return
        with torch.no_grad():
            self.items.weight[unknown] = 0
        # A weight of 0 without a gradient stays 0, weight decay included.
        self.items.weight.register_hook(lambda gradient: gradient.index_fill(0, unknown, 0))  # type: ignore[no-untyped-call]

    def known(self) -> BoolArray:
        """Whether each item has training interactions, ``[n]``."""
        weights = self.items.weight[: self.n_items].detach()
        return np.asarray((weights != 0).any(dim=1).cpu().numpy())

    def scores(self, hidden: Tensor) -> Tensor:
        """See the base class."""
        return functional.linear(hidden, self.items.weight[: self.n_items], self.bias)

    def scores_of(self, hidden: Tensor, items: Tensor) -> Tensor:
        """See the base class."""
        return functional.linear(hidden, self.items(items), self.bias[items])

    def score_each(self, hidden: Tensor, items: Tensor) -> Tensor:
        """See the base class."""
        embeddings: Tensor = self.items(items)
        return (hidden * embeddings).sum(dim=1) + self.bias[items]


class SASRec(EmbeddingNetwork):
    """Self-attention over the items so far (Kang and McAuley 2018, arXiv 1808.09781).

    Inputs of layers are normalized, which trains more stably than the paper's normalized outputs.
    Positions are counted from the newest item, so that short histories are as in training.
    """

    n_blocks: ClassVar[int] = 2
    n_heads: ClassVar[int] = 2

    def __init__(self, *, n_items: int, max_length: int, hidden_size: int, dropout: float) -> None:
        super().__init__(
            n_items=n_items, max_length=max_length, hidden_size=hidden_size, dropout=dropout
        )
        self.positions = nn.Parameter(torch.zeros(max_length, hidden_size))
        self.blocks = nn.ModuleList(
            _Block(hidden_size, n_heads=self.n_heads, dropout=dropout) for _ in range(self.n_blocks)
        )
        self.norm = nn.LayerNorm(hidden_size)
        nn.init.normal_(self.positions, std=_INIT_STD)

    def forward(self, items: Tensor) -> Tensor:
        """See the base class."""
        width = items.shape[1]
        hidden = self.items(items) * self.items.embedding_dim**0.5 + self.positions[-width:]
        hidden = self.dropout(hidden)
        causal = torch.ones(width, width, dtype=torch.bool, device=items.device).tril()
        diagonal = torch.eye(width, dtype=torch.bool, device=items.device)
        # Padding attends to itself: a row without any attention would be NaN.
        mask = (causal & (items != self.n_items)[:, None, :]) | diagonal
        for block in self.blocks:
            hidden = block(hidden, mask[:, None])
        normed: Tensor = self.norm(hidden)
        return normed


class _Block(nn.Module):
    """Self-attention and a feed-forward layer, each added to its input."""

    def __init__(self, size: int, *, n_heads: int, dropout: float) -> None:
        super().__init__()
        self._n_heads = n_heads
        self.attention_norm = nn.LayerNorm(size)
        self.projections = nn.Linear(size, 3 * size)
        self.merge = nn.Linear(size, size)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(size),
            nn.Linear(size, _WIDENING * size),
            nn.GELU(),
            nn.Linear(_WIDENING * size, size),
        )
        self.dropout = Dropout(dropout)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        batch, width, size = hidden.shape
        heads = self.projections(self.attention_norm(hidden))
        query, key, value = heads.view(batch, width, 3, self._n_heads, -1).permute(2, 0, 3, 1, 4)
        drop = self.dropout.p if self.training else 0.0
        context = functional.scaled_dot_product_attention(query, key, value, mask, dropout_p=drop)
        context = context.transpose(1, 2).reshape(batch, width, size)
        hidden = hidden + self.dropout(self.merge(context))
        output: Tensor = hidden + self.dropout(self.feed_forward(hidden))
        return output


class GRU4Rec(EmbeddingNetwork):
    """A recurrent network over the items so far (Hidasi et al. 2016, arXiv 1511.06939)."""

    def __init__(self, *, n_items: int, max_length: int, hidden_size: int, dropout: float) -> None:
        super().__init__(
            n_items=n_items, max_length=max_length, hidden_size=hidden_size, dropout=dropout
        )
        self.recurrent = nn.GRU(hidden_size, hidden_size, batch_first=True)
        self.norm = nn.LayerNorm(hidden_size)

    def forward(self, items: Tensor) -> Tensor:
        """See the base class."""
        width = items.shape[1]
        padding = (items == self.n_items).sum(dim=1, keepdim=True)
        positions = torch.arange(width, device=items.device)
        # Rows are rotated so that padding is on the right, where it changes no state of an item,
        # and the states are rotated back.
        inputs = self.items(items.gather(1, (positions + padding) % width))
        states, _ = self.recurrent(self.dropout(inputs))
        back = ((positions - padding) % width)[:, :, None].expand_as(states)
        outputs: Tensor = self.dropout(self.norm(states.gather(1, back)))
        return outputs


class Caser(EmbeddingNetwork):
    """Convolutions over the last items as an image (Tang and Wang 2018, arXiv 1809.07426).

    Horizontal filters span 1 to ``max_length`` items and all dimensions, vertical filters all
    items and one dimension. The paper's user embedding is omitted: new users must be served too.
    """

    predicts_all_positions: ClassVar[bool] = False
    n_horizontal: ClassVar[int] = 16
    n_vertical: ClassVar[int] = 4

    def __init__(self, *, n_items: int, max_length: int, hidden_size: int, dropout: float) -> None:
        super().__init__(
            n_items=n_items, max_length=max_length, hidden_size=hidden_size, dropout=dropout
        )
        self.horizontal = nn.ModuleList(
            nn.Conv1d(hidden_size, self.n_horizontal, height) for height in range(1, max_length + 1)
        )
        self.vertical = nn.Linear(max_length, self.n_vertical)
        merged = self.n_horizontal * max_length + self.n_vertical * hidden_size
        self.merge = nn.Linear(merged, hidden_size)
        self.norm = nn.LayerNorm(hidden_size)

    def forward(self, items: Tensor) -> Tensor:
        """See the base class."""
        missing = self.max_length - items.shape[1]
        items = functional.pad(items, (missing, 0), value=self.n_items)
        image = self.items(items).transpose(1, 2)
        horizontal = [functional.relu(filters(image)).amax(dim=2) for filters in self.horizontal]
        vertical = self.vertical(image).flatten(1)
        merged = self.merge(self.dropout(torch.cat([*horizontal, vertical], dim=1)))
        output: Tensor = self.dropout(self.norm(functional.relu(merged)))
        return output[:, None]


_NETWORKS: dict[str, type[EmbeddingNetwork]] = {
    "SASRec": SASRec,
    "GRU4Rec": GRU4Rec,
    "Caser": Caser,
}


def check_architecture(architecture: str) -> None:
    """Refuse an unknown architecture.

    Raises:
        ValueError: If it is unknown.
    """
    if architecture not in get_args(Architecture):
        raise ValueError(
            f"architecture is {architecture!r}; expected {', '.join(get_args(Architecture))}."
        )


def build_network(
    architecture: str, *, n_items: int, max_length: int, hidden_size: int, dropout: float = 0.0
) -> EmbeddingNetwork:
    """Build a network with random weights from torch's global generator.

    Args:
        architecture: Name of the architecture.
        n_items: Items of the catalog.
        max_length: Maximum items of a sequence.
        hidden_size: ``d``; for SASRec a multiple of its number of heads.
        dropout: Dropout probability of activations, in [0, 1).

    Raises:
        ValueError: If an argument is out of range.
    """
    check_architecture(architecture)
    for name, value in (("max_length", max_length), ("hidden_size", hidden_size)):
        check_least(value, 1, name=name)
    if architecture == "SASRec" and hidden_size % SASRec.n_heads:
        raise ValueError(
            f"hidden_size is {hidden_size}; expected a multiple of {SASRec.n_heads}, the heads "
            "of SASRec."
        )
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout is {dropout}; expected at least 0 and below 1.")
    return _NETWORKS[architecture](
        n_items=n_items, max_length=max_length, hidden_size=hidden_size, dropout=dropout
    )
