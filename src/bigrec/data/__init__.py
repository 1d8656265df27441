"""Interactions, catalogs, splits and examples."""
