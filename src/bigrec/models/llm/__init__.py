"""The language model as a retriever: it encodes a history, and items are ranked by distance."""

from bigrec.models.llm.features import ItemTextFeatures, title_features
from bigrec.models.llm.retriever import LLM_RETRIEVAL, LLMRetriever
from bigrec.models.llm.states import RetrieverStates, title_vectors

__all__ = [
    "LLM_RETRIEVAL",
    "ItemTextFeatures",
    "LLMRetriever",
    "RetrieverStates",
    "title_features",
    "title_vectors",
]
