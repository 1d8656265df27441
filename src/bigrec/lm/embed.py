"""Step 2, second half: texts as points, items and generated titles in one space."""

import importlib.util
import logging
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch

from bigrec.errors import ModelError
from bigrec.lm.hardware import QuickProducts
from bigrec.lm.model import LanguageModel
from bigrec.lm.prompts import TextEncoder
from bigrec.storage import fingerprint
from bigrec.types import FloatArray, Progress

logger = logging.getLogger(__name__)

Pooling = Literal["last", "mean"]

# Tokens of padding in a batch. One batch more costs about as much as reading some tens of tokens.
_MOST_PADDING = 64


class LanguageModelEmbedder:
    """Hidden states of the base model's last layer, its adapter off (published).

    A title stands alone: no prompt, no end token. Each text is computed once, in batches of
    similar length, without the vocabulary-sized output.

    Args:
        lm: The language model.
        pooling: ``last`` takes the last token's state (published), ``mean`` the mean of all.
        max_tokens: Longer texts are cut.
        batch_tokens: Tokens in a batch, padding included. Bounds memory. None: 1,024 on a CPU,
            whose caches hold no more, 4,096 elsewhere.
    """

    def __init__(
        self,
        lm: LanguageModel,
        *,
        pooling: Pooling = "last",
        max_tokens: int = 512,
        batch_tokens: int | None = None,
    ) -> None:
        self._lm = lm
        self._pooling = pooling
        self._max_tokens = max_tokens
        self._batch_tokens = batch_tokens or (1024 if lm.device.type == "cpu" else 4096)
        self._encoder = TextEncoder(lm.tokenizer)
        # Models that start every text with a token were trained to find it there.
        bare, full = (
            lm.tokenizer("a", add_special_tokens=special)["input_ids"] for special in (False, True)
        )
        self._start = list(full[: len(full) - len(bare)]) if full[-len(bare) :] == bare else []

    @property
    def fingerprint(self) -> str:
        """Changes with the base model, its precision, the pooling and the longest text."""
        return fingerprint(
            {
                "base": self._lm.base_fingerprint,
                "adapter": "off",
                "dtype": str(self._lm.model.dtype),
                "pooling": self._pooling,
                "max_tokens": self._max_tokens,
            }
        )

    def embed(self, texts: Sequence[str], *, progress: Progress | None = None) -> FloatArray:
        """Embed texts as ``[q, d]`` float32, in the order given.

        An empty text is embedded as the end-of-text token, so that it has a place at all.
        """
        unique = list(dict.fromkeys(texts))
        rows = [self._tokens(text) for text in unique]
        found = np.empty((len(unique), self._lm.model.config.hidden_size), dtype=np.float32)
        done = 0
        for batch in _by_token_budget(rows, self._batch_tokens):
            found[batch] = self._states([rows[i] for i in batch])
            done += len(batch)
            if progress is not None:
                progress(done, len(unique))
        place = {text: i for i, text in enumerate(unique)}
        return found[[place[text] for text in texts]]

    def _tokens(self, text: str) -> list[int]:
        ids = [*self._start, *self._encoder.encode(text)][: self._max_tokens]
        return ids or [self._lm.tokenizer.eos_token_id or 0]

    @torch.inference_mode()
    def _states(self, rows: Sequence[Sequence[int]]) -> FloatArray:
        # Padding on the right: causal attention never looks there, and positions start at 0.
        width = max(map(len, rows))
        ids = torch.zeros((len(rows), width), dtype=torch.long)
        mask = torch.zeros((len(rows), width), dtype=torch.long)
        for row, tokens in enumerate(rows):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
        ids, mask = ids.to(self._lm.device), mask.to(self._lm.device)
        with QuickProducts(), self._lm.base_only() as base:
            states = base.get_decoder()(input_ids=ids, attention_mask=mask).last_hidden_state
        if self._pooling == "last":
            pooled = states[torch.arange(len(rows)), mask.sum(dim=1) - 1]
        else:
            weights = mask.unsqueeze(-1).to(states.dtype)
            pooled = (states * weights).sum(dim=1) / weights.sum(dim=1)
        result: FloatArray = pooled.float().cpu().numpy()
        return result


class SentenceEmbedder:
    """A sentence-transformers model in place of the base model.

    Args:
        name: A model name or folder that sentence-transformers can load.
        device: As for the language model.

    Raises:
        ModelError: If the package is missing or the model cannot be loaded.
    """

    def __init__(self, name: str, *, device: str | None = None) -> None:
        if importlib.util.find_spec("sentence_transformers") is None:
            raise ModelError(
                f"embedder {name!r} needs the sentence-transformers package. "
                "Run: pip install 'bigrec[sentence]'"
            )
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - optional

        try:
            self._model: Any = SentenceTransformer(name, device=device)
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelError(
                f"sentence-transformers model {name!r} could not be loaded: {error}"
            ) from error
        self._name = name

    @property
    def fingerprint(self) -> str:
        """Changes with the model's name and its first weights."""
        weights = next(self._model.parameters()).detach().float().cpu().numpy()
        return fingerprint({"sentence": self._name, "weights": float(np.abs(weights).sum())})

    def embed(self, texts: Sequence[str], *, progress: Progress | None = None) -> FloatArray:
        """Embed texts as ``[q, d]`` float32, in the order given."""
        found: FloatArray = np.asarray(
            self._model.encode(list(texts), convert_to_numpy=True, show_progress_bar=False),
            dtype=np.float32,
        )
        if progress is not None:
            progress(len(texts), len(texts))
        return found


def _by_token_budget(rows: Sequence[Sequence[int]], budget: int) -> Iterator[list[int]]:
    """Positions in batches of nearly one length, whose padded size stays within the budget."""
    batch: list[int] = []
    padding = 0
    for i in sorted(range(len(rows)), key=lambda i: -len(rows[i])):
        # Longest first, so the first row of a batch is its width.
        width = len(rows[batch[0]]) if batch else len(rows[i])
        padding += width - len(rows[i])
        if batch and ((len(batch) + 1) * width > budget or padding > _MOST_PADDING):
            yield batch
            batch, padding = [], 0
        batch.append(i)
    if batch:
        yield batch
