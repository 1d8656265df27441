"""Direct grounding: the language model points at the next title instead of writing it."""

from bigrec.models.llm.features import TitleFeatures
from bigrec.models.llm.retriever import DIRECT, DirectGrounder

__all__ = ["DIRECT", "DirectGrounder", "TitleFeatures"]
