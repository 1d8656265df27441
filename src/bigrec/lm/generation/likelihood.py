"""Log-probabilities of all titles of a catalog after a history, without a search.

A title's probability is the product of its tokens', each relative to the tokens that could stand in
its place in some title. Most tokens of a title have no alternative: their probability is 1, and
they are read only where a later token has one. So one pass over a few hundred tokens gives the
probabilities of thousands of titles, which sum to 1.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from transformers import DynamicCache

from bigrec.errors import ModelError
from bigrec.lm.decoder import check_states
from bigrec.lm.generation.base import batches_by_length, check_least, check_prompts
from bigrec.lm.generation.kv_cache import has_plain_cache
from bigrec.lm.generation.title_tree import TitleSearch, TitleTree
from bigrec.lm.hardware import QuickProducts, default_batch_tokens
from bigrec.lm.model import LanguageModel
from bigrec.lm.padding import left_padded
from bigrec.lm.prompts import PromptRenderer
from bigrec.lm.title_tokens import TitleTokens
from bigrec.types import FloatArray, IntArray, ProgressCallback

# Passes in which the likeliest tokens are read, where not all that matter can be read.
_PASSES = 8
# States differ by rounding, by less than a hundredth of their length in bfloat16.
_TOLERANCE = 0.05


class TitleLikelihood:
    """Computes the log-probability of every title after prompts.

    Where more tokens matter than are read, the likeliest beginnings of titles are read on first.
    Titles behind a beginning that is not read share its probability equally.

    Args:
        lm: The language model, with its adapter if it has one.
        renderer: Knows the tokens of titles.
        titles: The titles, ``t`` of them.
        max_read: Most tokens of titles that are read for a prompt; those to the likeliest fork are
            read in any case.
        batch_size: Most prompts of a batch. It limits memory.

    Raises:
        ModelError: If the model does not read a tree of tokens as it reads its branches, or its
            logits are not the product of its states with the output layer.
        ValueError: If ``max_read`` or ``batch_size`` is below 1, or ``titles`` is empty.
    """

    def __init__(
        self,
        lm: LanguageModel,
        renderer: PromptRenderer,
        titles: Sequence[str],
        *,
        max_read: int,
        batch_size: int,
    ) -> None:
        check_least(1, max_read=max_read, batch_size=batch_size)
        self._lm = lm
        self._max_read = max_read
        self._batch_size = batch_size
        self._tree = TitleTree.of(TitleTokens.of(renderer, titles))
        self._output = _OutputLayer.of(lm, self._tree)
        if not _reads_trees(lm, self._tree):
            raise ModelError(
                f"{lm.source.name} does not read a tree of tokens as it reads its branches, which "
                "generative.decoding.method: likelihood takes. Use beams or latent."
            )

    def log_probs(
        self, prompts: Sequence[Sequence[int]], *, progress: ProgressCallback | None = None
    ) -> FloatArray:
        """Log-probabilities of all titles, ``[q, t]`` float32.

        Args:
            prompts: Token ids of each prompt, ``q`` of them.
            progress: Called with (prompts done, prompts in all).

        Raises:
            ValueError: If a prompt is empty.
            ModelError: If a state is not finite.
        """
        check_prompts(prompts)
        result = np.empty((len(prompts), self._tree.n_titles), dtype=np.float32)
        done = 0
        n_read = min(self._max_read, len(self._tree.read))
        fitting = max(1, default_batch_tokens(self._lm.device) // max(1, n_read))
        for batch in batches_by_length(prompts, min(fitting, self._batch_size)):
            result[batch] = self._batch([prompts[place] for place in batch])
            done += len(batch)
            if progress is not None:
                progress(done, len(prompts))
        return result

    def _batch(self, prompts: Sequence[Sequence[int]]) -> FloatArray:
        tree = self._tree
        reader = _Reader(self._lm, tree, prompts)
        searches = [TitleSearch(tree) for _ in prompts]
        root = np.zeros(1, dtype=np.int64)
        self._add(searches, [root] * len(prompts), reader.read_prompts()[:, None])
        for nodes in self._passes(searches):
            self._add(searches, nodes, reader.read(nodes))
        return np.stack([search.log_probs() for search in searches])

    def _add(
        self, searches: Sequence[TitleSearch], nodes: Sequence[IntArray], states: torch.Tensor
    ) -> None:
        """Add the choices at the nodes of each prompt, whose states are ``[b, width, d]``."""
        choices = [self._tree.choices(some) for some in nodes]
        logits = [
            self._output.logits(rows, chosen.rows, self._tree.places[chosen.children])
            for rows, chosen in zip(states, choices, strict=True)
        ]
        # Together, so that a GPU is waited for once.
        values: FloatArray = torch.cat(logits).cpu().numpy()
        check_states(values)
        ends = np.cumsum([len(chosen.rows) for chosen in choices])
        for search, chosen, own in zip(searches, choices, np.split(values, ends[:-1]), strict=True):
            search.add(chosen, own)

    def _passes(self, searches: Sequence[TitleSearch]) -> Iterator[list[IntArray]]:
        """Nodes to read in each pass, for each prompt."""
        every_node = self._tree.read
        if len(every_node) <= self._max_read:
            if len(every_node):
                yield [every_node] * len(searches)
            return
        for _ in range(_PASSES):
            nodes = [search.likeliest(self._max_read // _PASSES) for search in searches]
            if not any(map(len, nodes)):
                return
            yield nodes


class _Reader:
    """Reads prompts, and trees of tokens after each of them.

    Args:
        lm: The language model.
        tree: The titles.
        prompts: Token ids of each prompt.
    """

    def __init__(
        self, lm: LanguageModel, tree: TitleTree, prompts: Sequence[Sequence[int]]
    ) -> None:
        self._lm = lm
        self._tree = tree
        self._ids, self._mask = left_padded(prompts, pad=lm.tokenizer.pad_token_id or 0)
        self._cache = DynamicCache()
        # Nodes that were read for each prompt, with -1 for padding, and those that each sees.
        self._read = np.empty((len(prompts), 0), dtype=np.int64)
        self._sees = np.empty((len(prompts), 0, 0), dtype=np.bool_)

    def read_prompts(self) -> torch.Tensor:
        """States at the end of each prompt, ``[b, d]`` float32."""
        options = self._lm.forward_options(self._mask, keep=1)
        options.pop("logits_to_keep", None)
        return self._states(self._ids, self._mask, options)[:, -1]

    def read(self, nodes: Sequence[IntArray]) -> torch.Tensor:
        """States after some nodes of each prompt, ``[b, width, d]`` float32; the first ``m`` count.

        Args:
            nodes: Nodes of each prompt, ascending, ``m`` of them. The parent of each is the root,
                or is among them or those that were read before.
        """
        n_before, width = self._read.shape[1], max(map(len, nodes))
        padded = np.full((len(nodes), width), -1)
        for row, some in enumerate(nodes):
            padded[row, : len(some)] = some
        self._read = np.concatenate([self._read, padded], axis=1)
        known = np.maximum(padded, 0)
        sees = np.zeros((len(nodes), n_before + width, n_before + width), dtype=np.bool_)
        sees[:, :n_before, :n_before] = self._sees
        places = np.arange(n_before, n_before + width)
        sees[:, places, places] = True
        rows = np.arange(len(nodes))
        # Parents are before their children.
        for place, above in zip(places, self._places_above(known, places).T, strict=True):
            sees[rows, place] |= sees[rows, above]
        self._sees = sees
        mask = torch.cat(
            [
                self._mask[:, None].expand(-1, width, -1).bool(),
                torch.from_numpy(sees[:, n_before:]),
            ],
            dim=-1,
        )
        ids = torch.from_numpy(self._tree.tokens(known))
        first = self._mask.sum(dim=1, keepdim=True)
        positions = first + torch.from_numpy(self._tree.depths[known]) - 1
        # A byte for each pair travels to the device, not a number.
        additive = _additive(mask.to(self._lm.device), self._dtype)
        return self._states(ids, additive, {"position_ids": positions})

    def _places_above(self, nodes: IntArray, places: IntArray) -> IntArray:
        """Place of each node's parent among those that were read; its own where that is the root.

        Args:
            nodes: Nodes of each prompt, ``[b, width]``.
            places: Their places, ``[width]``.
        """
        parents = self._tree.parents[nodes]
        found = np.empty_like(parents)
        for row, read in enumerate(self._read):
            order = np.argsort(read)
            at = np.minimum(np.searchsorted(read, parents[row], sorter=order), len(read) - 1)
            found[row] = order[at]
        above: IntArray = np.where(parents > 0, found, places)
        return above

    @property
    def _dtype(self) -> torch.dtype:
        dtype: torch.dtype = self._lm.base.dtype
        return dtype

    @torch.inference_mode()
    def _states(
        self, ids: torch.Tensor, mask: torch.Tensor, options: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        device = self._lm.device
        with QuickProducts():
            output = self._lm.base.get_decoder()(
                input_ids=ids.to(device),
                attention_mask=mask.to(device),
                past_key_values=self._cache,
                use_cache=True,
                **{name: value.to(device) for name, value in options.items()},
            )
        states: torch.Tensor = output.last_hidden_state.float()
        return states


def _additive(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """What is added to attention logits, ``[b, 1, width, keys]``, from what is seen."""
    zeros = torch.zeros(mask.shape, dtype=dtype, device=mask.device)
    return zeros.masked_fill(~mask, torch.finfo(dtype).min)[:, None]


@dataclass(frozen=True, eq=False)
class _OutputLayer:
    """What gives the logits of the titles' tokens, ``v`` of them.

    Attributes:
        weights: Rows of the vocabulary's weights, ``[v, d]`` float32.
        bias: Of each, ``[v]``; None for none.
    """

    weights: torch.Tensor
    bias: torch.Tensor | None

    def logits(self, states: torch.Tensor, rows: IntArray, tokens: IntArray) -> torch.Tensor:
        """A logit for each pair of a state and a token, ``[e]``.

        Args:
            states: ``[m, d]``.
            rows: Row of the state of each pair, ``[e]``.
            tokens: Place of the token of each pair, ``[e]``.
        """
        row, token = (torch.from_numpy(places).to(states.device) for places in (rows, tokens))
        logits = torch.einsum("ed,ed->e", states[row], self.weights[token])
        return logits if self.bias is None else logits + self.bias[token]

    @classmethod
    def of(cls, lm: LanguageModel, tree: TitleTree) -> Self:
        """That of a language model.

        Raises:
            ModelError: If the model's logits are others, by a trial.
        """
        head: Any = lm.base.get_output_embeddings()
        ids = torch.from_numpy(tree.titles.ids).to(lm.device)
        bias = getattr(head, "bias", None)
        layer = cls(
            head.weight.detach()[ids].float(), None if bias is None else bias.detach()[ids].float()
        )
        prompt = tree.titles.ids[:3].tolist()
        with torch.inference_mode():
            logits = lm.base(input_ids=torch.tensor([prompt], device=lm.device)).logits[0, -1]
        tokens = np.arange(len(ids))
        state = _Reader(lm, tree, [prompt]).read_prompts()
        check_states(state.cpu().numpy())
        if not _agree(layer.logits(state, np.zeros_like(tokens), tokens), logits.float()[ids]):
            raise ModelError(
                f"{lm.source.name} changes the logits of its output layer, or has another one than "
                "a plain product. generative.decoding.method: likelihood needs a plain one: use "
                "beams or latent."
            )
        return layer


def _agree(found: torch.Tensor, expected: torch.Tensor) -> bool:
    """Whether numbers are the same up to rounding."""
    return bool((found - expected).norm() <= _TOLERANCE * expected.norm())


def _reads_trees(lm: LanguageModel, tree: TitleTree) -> bool:
    """Whether the model gives the same states of a tree as of its branches, by a trial.

    The configuration does not describe every form of attention, so it cannot decide this.
    """
    if not has_plain_cache(lm.base.config):
        return False
    if not len(tree.read):
        return True
    # Two next to each other, and the deepest.
    branches = [tree.path(int(node)) for node in (*tree.read[:2], tree.read[-1])]
    prompt = tree.titles.ids[:3].tolist()
    try:
        together = np.unique(np.concatenate(branches))
        reader = _Reader(lm, tree, [prompt])
        reader.read_prompts()
        (states,) = reader.read([together])
        for branch in branches:
            alone = _Reader(lm, tree, [[*prompt, *tree.tokens(branch).tolist()]])
            found = states[int(np.searchsorted(together, branch[-1]))]
            if not _agree(found, alone.read_prompts()[0]):
                return False
    except (RuntimeError, TypeError, ValueError, KeyError, AttributeError, NotImplementedError):
        return False
    return True
