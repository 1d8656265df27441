"""Experiments in a folder: every stage runs once, is cached, and resumes where it stopped."""
