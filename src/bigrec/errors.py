"""The exceptions that bigrec raises for wrong data, settings, models and files.

A wrong argument of a function is a ``ValueError`` or ``TypeError``. Wrong input from outside the
program (files, frames, settings, models) is one of these::

    BigrecError
    ├── DataError            interactions, catalog, splits or examples that cannot be used
    ├── SettingsError        a setting that is unknown, malformed or contradicts another
    ├── ModelError           a base model, tokenizer or adapter that cannot be found or used
    ├── NotFittedError       a recommender that has to be fitted or loaded first
    ├── StorageError         a folder that cannot be written: full disk, no permission
    └── BundleError          a saved folder that is damaged, incomplete or of another format
        └── StaleIndexError  an item index built for another model, space or catalog
"""

from bigrec.printable import printable


class BigrecError(Exception):
    """Base class of bigrec's errors; their messages are written for users, and safe to show."""

    def __str__(self) -> str:
        """The message; control characters in quoted data are escaped."""
        return printable(super().__str__(), lines=True)


class DataError(BigrecError):
    """Interactions, a catalog, a split or examples that cannot be used."""


class SettingsError(BigrecError):
    """A setting that is unknown, malformed or contradicts another one."""


class ModelError(BigrecError):
    """A base model, tokenizer or adapter that cannot be found or used."""


class NotFittedError(BigrecError):
    """A recommender that has to be fitted or loaded first."""


class StorageError(BigrecError):
    """A folder or file that cannot be written."""


class BundleError(BigrecError):
    """A saved folder that is damaged, incomplete or of another format version."""


class StaleIndexError(BundleError):
    """An item index built for another model, embedding space or catalog."""


def reason_of(error: BaseException) -> str:
    """First line of an error's message without its full stop, or the name of its class."""
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
