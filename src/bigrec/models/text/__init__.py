"""Models of titles: compared by their text, or grounded by a Gaussian model of histories."""

from bigrec.models.text.gaussian import GaussianText
from bigrec.models.text.knn import TextKNN
from bigrec.models.text.tfidf import TfIdf

__all__ = ["GaussianText", "TextKNN", "TfIdf"]
