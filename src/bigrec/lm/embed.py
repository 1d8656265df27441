"""Step 2, second half: embeddings of catalog titles and generated titles in one space."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch

from bigrec.lm.decoder import last_hidden_states
from bigrec.lm.hardware import default_batch_tokens
from bigrec.lm.locate import find_sentence_encoder
from bigrec.lm.model import LanguageModel, loading
from bigrec.lm.padding import by_token_budget
from bigrec.lm.prompts import TextEncoder
from bigrec.printable import get_logger
from bigrec.storage import fingerprint
from bigrec.types import FloatArray, ProgressCallback

logger = get_logger(__name__)

Pooling = Literal["last", "mean"]

# Several of sentence-transformers' batches; progress is reported between them.
_SENTENCES_AT_ONCE = 256


class LanguageModelEmbedder:
    """Embeds texts as hidden states of the base model's last layer, with the adapter off (paper).

    The input is the text alone, without prompt and end token. Each distinct text is computed once,
    in batches of similar length, without the vocabulary-sized output.

    Args:
        lm: The language model.
        pooling: ``last`` takes the last token's state (paper), ``mean`` the mean of all.
        max_tokens: Maximum length of a text; longer texts are truncated.
        batch_tokens: Tokens in a batch, with padding. It limits memory. None takes
            `default_batch_tokens`.
    """

    def __init__(
        self,
        lm: LanguageModel,
        *,
        pooling: Pooling,
        max_tokens: int = 512,
        batch_tokens: int | None = None,
    ) -> None:
        self._lm = lm
        self._pooling = pooling
        self._max_tokens = max_tokens
        self._batch_tokens = batch_tokens or default_batch_tokens(lm.device)
        self._encoder = TextEncoder(lm.tokenizer)
        # Models whose tokenizer starts every text with a token were trained with that token.
        bare, full = (
            lm.tokenizer("a", add_special_tokens=special)["input_ids"] for special in (False, True)
        )
        self._start = list(full[: len(full) - len(bare)]) if full[-len(bare) :] == bare else []

    @property
    def fingerprint(self) -> str:
        """Changes with the base model, its precision, the pooling and the maximum length."""
        return fingerprint(
            {
                "base": self._lm.base_fingerprint,
                "adapter": "off",
                "dtype": str(self._lm.model.dtype),
                "pooling": self._pooling,
                "max_tokens": self._max_tokens,
            }
        )

    def embed(
        self, texts: Sequence[str], *, progress: ProgressCallback | None = None
    ) -> FloatArray:
        """Embed texts as ``[q, d]`` float32, in the order given.

        An empty text is embedded as the end-of-text token.
        """
        unique = list(dict.fromkeys(texts))
        rows = [self._token_ids(text) for text in unique]
        vectors = np.empty((len(unique), self._lm.model.config.hidden_size), dtype=np.float32)
        done = 0
        for batch in by_token_budget(rows, self._batch_tokens):
            vectors[batch] = self._states([rows[i] for i in batch])
            done += len(batch)
            if progress is not None:
                progress(done, len(unique))
        position = {text: i for i, text in enumerate(unique)}
        return vectors[[position[text] for text in texts]]

    def _token_ids(self, text: str) -> list[int]:
        ids = [*self._start, *self._encoder.encode(text)][: self._max_tokens]
        return ids or [self._lm.tokenizer.eos_token_id or 0]

    @torch.inference_mode()
    def _states(self, rows: Sequence[Sequence[int]]) -> FloatArray:
        with self._lm.base_only() as base:
            states, mask = last_hidden_states(base, rows)
        if self._pooling == "last":
            pooled = states[torch.arange(len(rows), device=states.device), mask.sum(dim=1) - 1]
        else:
            weights = mask.unsqueeze(-1).to(states.dtype)
            pooled = (states * weights).sum(dim=1) / weights.sum(dim=1)
        result: FloatArray = pooled.float().cpu().numpy()
        return result


class SentenceEmbedder:
    """Embeds texts with a sentence encoder, a sentence-transformers model.

    Each distinct text is computed once, in batches of similar length.

    Args:
        name: Short name, hub id or folder; see `bigrec.lm.locate.find_sentence_encoder`.
        device: A device in torch's notation; None lets sentence-transformers choose.

    Raises:
        ModelError: If the encoder cannot be found or loaded.
    """

    def __init__(self, name: str, *, device: str | None = None) -> None:
        source = find_sentence_encoder(name)
        with loading(name, what="sentence encoder"):
            from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - seconds

            # By default it runs no code of the encoder's.
            self._model: Any = SentenceTransformer(source.location, device=device)

    @cached_property
    def fingerprint(self) -> str:
        """Changes with the weights, wherever they are stored."""
        digest = hashlib.sha256()
        for name, weights in self._model.named_parameters():
            digest.update(name.encode())
            digest.update(weights.detach().float().cpu().numpy().tobytes())
        return fingerprint({"sentence encoder": digest.hexdigest()})

    def embed(
        self, texts: Sequence[str], *, progress: ProgressCallback | None = None
    ) -> FloatArray:
        """Embed texts as ``[q, d]`` float32, in the order given."""
        # Without texts, one is embedded all the same: it tells the number of dimensions.
        unique = list(dict.fromkeys(texts)) or [""]
        longest_first = sorted(range(len(unique)), key=lambda i: -len(unique[i]))
        position: dict[str, int] = {}
        batches = []
        for start in range(0, len(unique), _SENTENCES_AT_ONCE):
            batch = [unique[i] for i in longest_first[start : start + _SENTENCES_AT_ONCE]]
            position |= {text: start + i for i, text in enumerate(batch)}
            batches.append(
                self._model.encode(batch, convert_to_numpy=True, show_progress_bar=False)
            )
            if progress is not None:
                progress(len(position), len(unique))
        vectors: FloatArray = np.concatenate(batches).astype(np.float32, copy=False)
        return vectors[[position[text] for text in texts]]
