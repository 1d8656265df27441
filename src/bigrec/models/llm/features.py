"""What the base model knows of a title, as one vector."""

from collections.abc import Sequence

import numpy as np
import torch

from bigrec.lm.embed import LanguageModelEmbedder
from bigrec.lm.model import LanguageModel
from bigrec.lm.prompts import TextEncoder
from bigrec.storage import fingerprint
from bigrec.types import FloatArray, Progress


class TitleFeatures:
    """The mean of a title's last hidden states beside the mean of its token embeddings.

    The first half says what the model makes of the title as a whole. The second half lies where
    the model expects its input, so a title can stand in a sequence as if it were one token.

    Args:
        lm: The language model; an adapter is off while it reads titles.
        max_tokens: Longer titles are cut.
    """

    def __init__(self, lm: LanguageModel, *, max_tokens: int = 128) -> None:
        self._lm = lm
        self._states = LanguageModelEmbedder(lm, pooling="mean", max_tokens=max_tokens)
        self._encoder = TextEncoder(lm.tokenizer)
        self._max_tokens = max_tokens

    @property
    def fingerprint(self) -> str:
        """Changes with the base model, its precision and the longest title."""
        return fingerprint(["title features", self._states.fingerprint])

    def embed(self, texts: Sequence[str], *, progress: Progress | None = None) -> FloatArray:
        """Features of titles, ``[q, 2 d]`` float32, in the order given."""
        states = self._states.embed(texts, progress=progress)
        return np.concatenate([states, self._tokens(texts)], axis=1)

    @torch.inference_mode()
    def _tokens(self, texts: Sequence[str]) -> FloatArray:
        table = self._lm.base.get_input_embeddings()
        found = np.zeros((len(texts), table.embedding_dim), dtype=np.float32)
        for row, text in enumerate(texts):
            ids = self._encoder.encode(text)[: self._max_tokens]
            if ids:
                tokens = torch.tensor(ids, device=table.weight.device)
                found[row] = table(tokens).float().mean(dim=0).cpu().numpy()
        return found
