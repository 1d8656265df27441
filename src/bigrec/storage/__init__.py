"""Atomic writes of files and folders, format versions and fingerprints.

bigrec writes every file through this module: under a temporary name in the same folder, renamed
when complete. A killed process leaves at most a ``.tmp-bigrec-*`` name behind, which is never read
and removed by the next run.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bigrec.errors import BundleError, StorageError
from bigrec.printable import json_text
from bigrec.storage import interrupts
from bigrec.storage.forks import check_threads
from bigrec.storage.reading import first_problems, parse_json, read_bytes, read_json
from bigrec.storage.temporaries import (
    flush,
    put_folder,
    recover_folder,
    remove_leftovers,
    temporary_file,
    temporary_folder,
)

__all__ = [
    "atomic_file",
    "atomic_folder",
    "check_format",
    "file_digest",
    "fingerprint",
    "first_problems",
    "parse_json",
    "read_bytes",
    "read_json",
    "storage_errors",
    "write_json",
    "write_text",
]


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path that is renamed to ``path`` if the block succeeds.

    Raises:
        StorageError: If the folder cannot be written to or the disk is full.
        KeyboardInterrupt: After Ctrl-C, before or after the write.
    """
    _check()
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary_file(path.parent, suffix=path.suffix) as temporary:
            yield temporary
            with interrupts.deferred():
                temporary.chmod(0o666 & ~_umask())
                flush(temporary)
                temporary.replace(path)
                flush(path.parent)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that replaces ``path`` if the block succeeds.

    An existing ``path`` stays unchanged until the new folder is complete. Then both exchange their
    names, so that at each instant one of them can be read. What killed processes left in the parent
    is removed first.

    Raises:
        StorageError: If the parent cannot be written to or the disk is full.
        KeyboardInterrupt: After Ctrl-C, before or after the write.
    """
    _check()
    # Behind a link, the folder is replaced and not the link.
    path = path.resolve()
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        recover_folder(path)
        remove_leftovers(path.parent)
        with temporary_folder(path.parent) as temporary:
            yield temporary
            with interrupts.deferred():
                temporary.chmod(0o777 & ~_umask())
                for written in (*temporary.rglob("*"), temporary):
                    flush(written)
                put_folder(temporary, path)
                flush(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, atomically.

    Raises:
        ValueError: If the value holds NaN or an infinity.
        StorageError: If the folder cannot be written to or the disk is full.
    """
    write_text(path, json_text(value) + "\n")


def check_format(content: Any, expected: int, *, what: str, cure: str) -> None:
    """Require a format version.

    Args:
        content: Stored content, a mapping with its version under ``format``.
        expected: The version that this bigrec reads.
        what: Name of the content in the message: a path, or words such as "the comparison".
        cure: Advice for the user, a sentence.

    Raises:
        BundleError: If the version differs or is missing.
    """
    version = content.get("format") if isinstance(content, Mapping) else None
    if version != expected:
        raise BundleError(
            f"{what} has format {version!r}; this bigrec reads format {expected}. {cure}"
        )


def fingerprint(value: Any) -> str:
    """Hash a JSON-like value to 16 hexadecimal digits, independent of the order of keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check() -> None:
    interrupts.check()
    check_threads()


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Tell errors of the operating system as a `StorageError` about a path."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"Could not write {path}: {error.strerror or error}. Nothing was changed there. Free "
            "some space or choose a folder you may write to."
        ) from error
