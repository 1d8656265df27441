"""The states of LLM retrieval, which a Gaussian head is fitted to.

A state is the vector of a history, with its untrained and its trained part scaled to length 1 each:
the lengths are the retriever's own weights of the two, which the head learns for itself.
"""

from collections.abc import Callable, Sequence

from torch import Tensor, cat
from torch.nn import functional

from bigrec.models.base import EmbedTitles
from bigrec.models.llm.retriever import LLMRetriever
from bigrec.models.neural.inference import encode_histories, encode_positions
from bigrec.types import FloatArray, IntArray


class RetrieverStates:
    """States of histories of items.

    Args:
        retriever: Trained, or untrained.
        max_history_length: Newest items of a history that are read.
    """

    def __init__(self, retriever: LLMRetriever, *, max_history_length: int) -> None:
        self._retriever = retriever
        self._max_history_length = max_history_length
        self.dim = retriever.dim

    def after(self, histories: Sequence[IntArray]) -> FloatArray:
        """States after histories, ``[q, d]`` float32; 0 for an empty one."""
        title_ids = self._retriever.title_ids
        return encode_histories(
            self._retriever.network,
            [title_ids[history[-self._max_history_length :]] for history in histories],
            transform=self._transform,
            output_dim=self.dim,
        )

    def within(self, sequences: Sequence[IntArray]) -> FloatArray:
        """States before every item of sequences but their first, ``[m, d]`` float32."""
        titles = [self._retriever.title_ids[sequence] for sequence in sequences]
        return encode_positions(self._retriever.network, titles, transform=self._transform)

    @property
    def _transform(self) -> Callable[[Tensor], Tensor]:
        content_dim = self._retriever.network.content.shape[1]

        def scale(states: Tensor) -> Tensor:
            parts = states.tensor_split([content_dim], dim=-1)
            return cat([functional.normalize(part, dim=-1) for part in parts], dim=-1)

        return scale


def title_vectors(retriever: LLMRetriever) -> EmbedTitles:
    """The retriever's vectors of its titles, as features of a Gaussian head."""
    index = retriever.item_index()
    return lambda titles: index.embeddings[[index.rows[title] for title in titles]]
