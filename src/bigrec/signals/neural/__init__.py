"""Neural sequential signals: SASRec, GRU4Rec and Caser, with or without DROS. These need torch."""

from bigrec.signals.neural.networks import Architecture
from bigrec.signals.neural.signal import NeuralSignal

__all__ = ["Architecture", "NeuralSignal"]
