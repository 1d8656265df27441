"""Text features of titles, computed by the base model."""

from collections.abc import Sequence

import numpy as np
import torch

from bigrec.data.catalog import Catalog
from bigrec.lm.embed import LanguageModelEmbedder
from bigrec.lm.model import LanguageModel
from bigrec.lm.prompts import TextEncoder
from bigrec.models.text.vectors import TitleEmbedder
from bigrec.storage import fingerprint
from bigrec.types import FloatArray, ProgressCallback


def title_features(lm: LanguageModel, catalog: Catalog) -> TitleEmbedder:
    """Computes `ItemTextFeatures` of a catalog's titles, by their texts.

    Args:
        lm: The language model; its adapter is disabled.
        catalog: Has the texts.
    """
    return TitleEmbedder(ItemTextFeatures(lm), catalog)


class ItemTextFeatures:
    """Embeds a title as the mean of its last hidden states and the mean of its token embeddings.

    The first half represents the title as a whole. The second half lies in the model's input
    space, so that a title can stand in a sequence like a single token.

    Args:
        lm: The language model; its adapter is disabled.
        max_tokens: Longer titles are truncated.
    """

    def __init__(self, lm: LanguageModel, *, max_tokens: int = 128) -> None:
        self._lm = lm
        self._hidden_states = LanguageModelEmbedder(lm, pooling="mean", max_tokens=max_tokens)
        self._encoder = TextEncoder(lm.tokenizer)
        self._max_tokens = max_tokens

    @property
    def fingerprint(self) -> str:
        """Changes with the base model, its precision and ``max_tokens``."""
        return fingerprint(["item text features", self._hidden_states.fingerprint])

    def embed(
        self, texts: Sequence[str], *, progress: ProgressCallback | None = None
    ) -> FloatArray:
        """Features of titles, ``[q, 2 d]`` float32, in the order given."""
        hidden_states = self._hidden_states.embed(texts, progress=progress)
        return np.concatenate([hidden_states, self._token_embeddings(texts)], axis=1)

    @torch.inference_mode()
    def _token_embeddings(self, texts: Sequence[str]) -> FloatArray:
        """Mean token embedding of each text, ``[q, d]``; zeros for a text without tokens."""
        table = self._lm.base.get_input_embeddings()
        means = np.zeros((len(texts), table.embedding_dim), dtype=np.float32)
        for row, text in enumerate(texts):
            ids = self._encoder.encode(text)[: self._max_tokens]
            if ids:
                tokens = torch.tensor(ids, device=table.weight.device)
                means[row] = table(tokens).float().mean(dim=0).cpu().numpy()
        return means
