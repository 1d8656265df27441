"""Evaluations and comparisons as tables, plots, JSON and HTML pages."""
