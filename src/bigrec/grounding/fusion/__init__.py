"""Scores of other models fused into distances."""
