"""Exact nearest-neighbor search."""
