"""A model that is trained on titles alone: the vocabulary's other tokens are not computed."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from bigrec.errors import ModelError
from bigrec.types import IntArray


class TitleLogits:
    """The output layer of a model, for the logits of some tokens alone.

    Attributes:
        positions: The trailing positions that logits are computed at, ``[b, keep]``; the logits are
            then ``[n, v]``. None is all that the model passes on, ``[b, keep, v]``.
    """

    def __init__(self, head: Any, ids: IntArray, *, rows: IntArray) -> None:
        self.positions: torch.Tensor | None = None
        self._head = head
        # The bias is never reduced.
        self._ids, self._rows = (
            torch.from_numpy(numbers).to(head.weight.device) for numbers in (ids, rows)
        )
        self._frozen = None if head.weight.requires_grad else head.weight[self._rows]

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        """Logits of states."""
        if self.positions is not None:
            states = states[:, -self.positions.shape[1] :][self.positions]
        # What is trained is read anew: its rows change with every step.
        weight = self._head.weight[self._rows] if self._frozen is None else self._frozen
        bias = self._head.bias
        return functional.linear(states, weight, None if bias is None else bias[self._ids])


@contextmanager
def logits_of(model: Any, ids: IntArray, *, read: IntArray | None = None) -> Iterator[TitleLogits]:
    """Within the block, a model computes the logits of some tokens alone.

    Args:
        model: A transformers model.
        ids: The tokens, ``[v]``, sorted; logits are in their order.
        read: All tokens that the model reads within the block, padding included, sorted, if its
            weights are trained. Embeddings of others are put aside. They would get no gradient,
            but take as much time and memory in every step as those that do. None keeps all; so does
            a model whose embeddings are no plain table.

    Yields:
        The output layer.

    Raises:
        ModelError: If the product with the vocabulary is not a plain one.
    """
    head: Any = model.get_output_embeddings()
    is_plain = isinstance(head, torch.nn.Linear) and head.weight.is_floating_point()
    if not is_plain:
        raise ModelError(
            f"logits of titles' tokens alone need a model with a plain output layer, and this one "
            f"has {type(head).__name__}. Set generative.finetune.softmax to vocabulary."
        )
    table: Any = model.get_input_embeddings()
    rows = ids
    with ExitStack() as stack:
        if read is not None and type(table) is torch.nn.Embedding:
            is_tied = head.weight is table.weight
            kept = np.union1d(read, ids) if is_tied else read
            stack.enter_context(_embeddings_of(table, kept))
            if is_tied:
                stack.enter_context(_weight(head, table.weight))
                rows = np.searchsorted(kept, ids)
        head.forward = TitleLogits(head, ids, rows=rows)
        try:
            yield head.forward
        finally:
            del head.forward


@contextmanager
def _embeddings_of(table: torch.nn.Embedding, ids: IntArray) -> Iterator[None]:
    """Within the block, a table has the embeddings of some tokens alone."""
    whole = table.weight
    rows = torch.from_numpy(ids).to(whole.device)
    kept = torch.nn.Parameter(whole.detach()[rows].clone(), requires_grad=whole.requires_grad)
    # A token that is not among them is an error, and not the embedding of another.
    places = torch.full((len(whole),), -1, device=whole.device)
    places[rows] = torch.arange(len(rows), device=whole.device)
    padding = table.padding_idx
    if padding is not None:
        padding = int(places[padding]) if padding in ids else None

    def forward(tokens: torch.Tensor) -> torch.Tensor:
        return functional.embedding(places[tokens], table.weight, padding)

    table.forward = forward  # type: ignore[assignment, method-assign]
    try:
        with _weight(table, kept):
            yield
    finally:
        del table.forward
        with torch.no_grad():
            whole[rows] = kept


@contextmanager
def _weight(module: Any, weight: torch.Tensor) -> Iterator[None]:
    """Within the block, a module has another weight."""
    previous = module.weight
    module.weight = weight
    try:
        yield
    finally:
        module.weight = previous
