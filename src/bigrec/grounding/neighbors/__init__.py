"""Approximate nearest neighbors: candidates of a list, which are then ranked exactly."""
