"""Readers of published data formats."""
