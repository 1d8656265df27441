"""Recommender, baselines and injections on the same queries, every choice made on validation."""

from bigrec.compare.comparison import Comparison, compare, seed_rows
from bigrec.compare.signals import injected_names, parts_of

__all__ = ["Comparison", "compare", "injected_names", "parts_of", "seed_rows"]
