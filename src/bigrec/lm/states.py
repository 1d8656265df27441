"""Latent-space decoding: the model's state where the next title is to be written.

Source: arXiv 2509.11524 (L2D), section 3.
"""

from collections.abc import Sequence
from itertools import accumulate, chain
from typing import NamedTuple

import numpy as np

from bigrec.lm.decoder import check_states, last_hidden_states
from bigrec.lm.hardware import default_batch_tokens
from bigrec.lm.model import LanguageModel
from bigrec.lm.padding import by_token_budget
from bigrec.lm.prompts import PromptRenderer
from bigrec.types import FloatArray, ProgressCallback


class _Prompt(NamedTuple):
    """Token ids, and the positions at which a title is to be written next, ascending."""

    ids: list[int]
    positions: list[int]


class NextTitleStates:
    """Last hidden states of a language model, adapter included, before the next title.

    In prompts of ``list`` style a title follows every line, so that one pass over a sequence of
    titles gives the states before all of them but the first. In other styles each state
    takes one prompt.

    Args:
        lm: The language model.
        renderer: Renders prompts.
        item_type: What the prompt calls one item.
        max_history_length: Newest titles that are read of a history.
        batch_tokens: Tokens in a batch, with padding. It limits memory. None takes
            `default_batch_tokens`.
    """

    def __init__(
        self,
        lm: LanguageModel,
        renderer: PromptRenderer,
        *,
        item_type: str,
        max_history_length: int,
        batch_tokens: int | None = None,
    ) -> None:
        self._lm = lm
        self._renderer = renderer
        self._item_type = item_type
        self._max_history_length = max_history_length
        self._batch_tokens = batch_tokens or default_batch_tokens(lm.device)

    @property
    def dim(self) -> int:
        """Dimensions of a state, ``d``."""
        return int(self._lm.model.config.hidden_size)

    def after(
        self, histories: Sequence[Sequence[str]], *, progress: ProgressCallback | None = None
    ) -> FloatArray:
        """States after histories, ``[q, d]`` float32.

        Args:
            histories: Titles of each, oldest first, at least one.
            progress: Called with (histories done, histories in total).

        Raises:
            ModelError: If a state is not finite.
            ValueError: If a history is empty.
        """
        return self._compute([self._prompt(history) for history in histories], progress)

    def within(self, sequences: Sequence[Sequence[str]]) -> FloatArray:
        """States before every title of each sequence but its first, ``[m, d]`` float32.

        Args:
            sequences: Titles of each, oldest first, at least two. What one pass cannot read is
                read in several, each from where the one after it starts.

        Raises:
            ModelError: If a state is not finite.
        """
        return self._compute(
            list(chain.from_iterable(self._prompts(sequence) for sequence in sequences))
        )

    def _prompt(self, history: Sequence[str]) -> _Prompt:
        newest = history[-self._max_history_length :]
        ids = self._renderer.prompt_ids(newest, self._item_type)
        return _Prompt(ids, [len(ids) - 1])

    def _prompts(self, sequence: Sequence[str]) -> list[_Prompt]:
        history = sequence[:-1]
        if self._renderer.style != "list":
            return [self._prompt(history[:length]) for length in range(1, len(sequence))]
        before, lines, _ = self._renderer.prompt_parts(history, self._item_type)
        ends = accumulate(map(len, lines), initial=len(before) - 1)
        prompt = _Prompt([*before, *chain.from_iterable(lines)], list(ends)[1:])
        n_unread = len(history) - len(lines)
        return [*(self._prompts(sequence[: n_unread + 1]) if n_unread else ()), prompt]

    def _compute(
        self, prompts: Sequence[_Prompt], progress: ProgressCallback | None = None
    ) -> FloatArray:
        """States of the prompts' positions, prompt after prompt."""
        starts = np.cumsum([0, *(len(prompt.positions) for prompt in prompts)])
        states = np.empty((starts[-1], self.dim), dtype=np.float32)
        done = 0
        for batch in by_token_budget([prompt.ids for prompt in prompts], self._batch_tokens):
            hidden, _ = last_hidden_states(self._lm.base, [prompts[place].ids for place in batch])
            counts = [len(prompts[place].positions) for place in batch]
            columns = list(chain.from_iterable(prompts[place].positions for place in batch))
            # One copy for the batch, so that a GPU is waited for once.
            found = hidden[np.repeat(np.arange(len(batch)), counts), columns].float().cpu().numpy()
            for place, rows in zip(batch, np.split(found, np.cumsum(counts)[:-1]), strict=True):
                states[starts[place] : starts[place + 1]] = rows
            done += len(batch)
            if progress is not None:
                progress(done, len(prompts))
        check_states(states)
        return states
