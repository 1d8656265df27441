"""Backends that write texts for prompts."""
