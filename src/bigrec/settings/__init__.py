"""Settings: every value that can be chosen, in sections, read from YAML and checked whole."""

from bigrec.settings.loading import Settings, preset_names

__all__ = ["Settings", "preset_names"]
