"""The exceptions that bigrec raises for wrong data, settings, models and files.

A wrong argument of a function is a plain ``ValueError`` or ``TypeError``. Everything that comes
from outside the program (files, frames, settings, models) is one of ours::

    BigrecError
    ├── DataError            interactions, catalog, splits or examples that cannot be used
    ├── SettingsError        a setting that is unknown, malformed or contradicts another
    ├── ModelError           a base model, tokenizer or adapter that cannot be found or used
    ├── StorageError         a folder that cannot be written: full disk, no permission
    └── BundleError          a saved folder that is damaged, incomplete or of another version
        └── StaleIndexError  an item index that belongs to another model, space or catalog
"""


class BigrecError(Exception):
    """Base of every error that bigrec raises on purpose; its text is fit to show to a user."""


class DataError(BigrecError):
    """Interactions, a catalog, a split or examples that cannot be used."""


class SettingsError(BigrecError):
    """A setting that is unknown, malformed or contradicts another one."""


class ModelError(BigrecError):
    """A base model, tokenizer or adapter that cannot be found or used."""


class StorageError(BigrecError):
    """A folder or file that cannot be written."""


class BundleError(BigrecError):
    """A saved folder that is damaged, incomplete or of an incompatible version."""


class StaleIndexError(BundleError):
    """An item index that was built for another model, embedding space or catalog."""
