"""Neural sequential models: SASRec, GRU4Rec and Caser, with or without DROS. They need torch."""

from bigrec.models.neural.model import SequentialModel
from bigrec.models.neural.networks import Architecture

__all__ = ["Architecture", "SequentialModel"]
