"""Models that compare titles by their text. No interactions are learned."""

from bigrec.models.text.knn import TextKNN
from bigrec.models.text.tfidf import TfIdf

__all__ = ["TextKNN", "TfIdf"]
