"""Neural sequential signals: SASRec, GRU4Rec and Caser, with or without DROS. These need torch."""

from bigrec.models.neural.model import NeuralSignal
from bigrec.models.neural.networks import Architecture

__all__ = ["Architecture", "NeuralSignal"]
