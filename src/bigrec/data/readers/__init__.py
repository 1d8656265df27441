"""Readers of the formats that datasets are distributed in."""
