"""Data at addresses, such as ``s3://`` and ``https://``: copied, then read like files on disk.

A copy has the limits, the checks and the messages of a file on disk. fsspec reads the addresses.
"""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from bigrec.data.tables import TABLE_SUFFIXES
from bigrec.errors import DataError, reason_of

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # not C://
# What any reader reads; other files beside the data are not copied.
_READ = (*TABLE_SUFFIXES, ".inter", ".item", ".data", ".dat")
# How files of titles begin that are found beside the interactions.
_TITLES = ("items.", "movies.", "meta_", "u.item")
# Of these, pages of links would look like folders.
_WITHOUT_FOLDERS = ("http://", "https://")
_CURE = "Check the address, the access to it and the connection."


def is_address(source: str | Path | None) -> bool:
    """Whether a source is an address and no path: ``protocol://...``."""
    return isinstance(source, str) and _ADDRESS.match(source) is not None


def shown_address(address: str) -> str:
    """An address without what may be secret: user, password, query and fragment."""
    protocol, _, rest = address.partition("://")
    if protocol.lower() in {"http", "https"}:
        rest = re.split(r"[?#]", rest, maxsplit=1)[0]
    host, slash, path = rest.partition("/")
    return f"{protocol}://{host.rpartition('@')[2]}{slash}{path}".rstrip("/")


@contextmanager
def on_disk(
    source: str | Path, items: str | Path | None = None, *, with_titles: bool = False
) -> Iterator[tuple[Path, Path | None]]:
    """Copy what is at addresses to a temporary folder, which is removed after the block.

    Args:
        source: A path or an address of a file or a folder. Of a folder, the files of data directly
            in it are copied.
        items: A path or an address of a file.
        with_titles: Copy the files of titles beside a source that is a file, too.

    Yields:
        Both as paths on disk. Errors of the block name the addresses.

    Raises:
        DataError: If a package for a protocol is missing, nothing is there, or it cannot be copied.
    """
    with tempfile.TemporaryDirectory(prefix="bigrec-", ignore_cleanup_errors=True) as temporary:
        folders = [Path(temporary) / name for name in ("source", "items")]
        addresses: dict[Path, str] = {}
        paths: list[Path | None] = []
        for given, folder in zip((source, items), folders, strict=True):
            if not is_address(given):
                paths.append(None if given is None else Path(given))
                continue
            remote = _opened(str(given))
            if remote.system is None:
                paths.append(Path(remote.path))
                continue
            folder.mkdir()
            addresses[folder] = remote.shown.rpartition("/")[0]
            paths.append(_copied(remote, folder, with_titles=with_titles))
        try:
            yield Path(paths[0] or ""), paths[1]
        except DataError as error:
            message = str(error)
            for folder, parent in addresses.items():
                message = message.replace(str(folder), parent)
            if message == str(error):
                raise
            raise DataError(message) from error


def path_or_stamps(address: str) -> Path | list[list[str]]:
    """The path on disk of a ``file://`` address; of another, what tells the state of its files.

    Returns:
        Of another: each file's name, and a text that changes with the file.

    Raises:
        DataError: If the address cannot be read.
    """
    remote = _opened(address)
    if remote.system is None:
        return Path(remote.path)
    with _accessing(remote):
        return [[_name(path), str(remote.system.ukey(path))] for path in _files(remote)]


class _Remote(NamedTuple):
    """What an address leads to; ``system`` is None for a path on disk."""

    address: str
    system: Any
    path: str

    @property
    def shown(self) -> str:
        return shown_address(self.address)


def _opened(address: str) -> _Remote:
    import fsspec  # noqa: PLC0415 - a tenth of a second, for addresses only

    protocol = address.partition("://")[0]
    try:
        system, path = fsspec.core.url_to_fs(address)
    except ImportError as error:
        raise DataError(
            f"{shown_address(address)} needs a package for {protocol}://, which is not installed "
            f"({str(error).rstrip('.')}). Run: pip install 'bigrec[remote]' for s3:// and "
            "https://, the named package for others; or copy the data to this machine."
        ) from None
    except ValueError:
        raise DataError(
            f"{shown_address(address)} cannot be read: {protocol}:// is no known protocol. "
            "Expected a path, or an address such as s3://bucket/file.parquet or https://host/file.csv."
        ) from None
    except Exception as error:  # noqa: BLE001 - every protocol raises other errors
        remote = _Remote(address, None, "")
        raise DataError(_failure(remote, error)) from None
    is_local = "file" in (system.protocol, *system.protocol)
    return _Remote(address, None if is_local else system, str(path))


def _copied(remote: _Remote, folder: Path, *, with_titles: bool) -> Path:
    name = remote.shown.rpartition("/")[2].strip(".") or "data"
    target = folder / name
    with _accessing(remote):
        if _is_folder(remote):
            target.mkdir()
            files = {path: target / _name(path) for path in _files(remote)}
        else:
            files = {remote.path: target}
            if with_titles and not remote.address.lower().startswith(_WITHOUT_FOLDERS):
                beside = remote._replace(path=remote.path.rpartition("/")[0])
                own = f"{Path(name).stem}.item"
                titles = [path for path in _files(beside) if _holds_titles(_name(path), own)]
                files = {path: folder / _name(path) for path in titles} | files
        for path, copy in files.items():
            remote.system.get_file(path, str(copy))
    return target


def _holds_titles(name: str, own: str) -> bool:
    return name == own or name.startswith(_TITLES)


def _is_folder(remote: _Remote) -> bool:
    if remote.address.lower().startswith(_WITHOUT_FOLDERS):
        return False
    if not remote.system.exists(remote.path):
        raise FileNotFoundError
    return bool(remote.system.isdir(remote.path))


def _files(remote: _Remote) -> list[str]:
    """Paths of the files of data in a folder, or of the file."""
    if not _is_folder(remote):
        return [remote.path]
    found = remote.system.ls(remote.path, detail=True)
    paths = [str(entry["name"]) for entry in found if entry["type"] == "file"]
    return sorted(path for path in paths if _name(path).lower().endswith(_READ))


def _name(path: str) -> str:
    return urlsplit(path).path.rpartition("/")[2] if "://" in path else path.rpartition("/")[2]


@contextmanager
def _accessing(remote: _Remote) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise DataError(
            f"{remote.shown} does not exist: expected a folder or a file. {_CURE}"
        ) from None
    except Exception as error:  # noqa: BLE001 - every protocol raises other errors
        raise DataError(_failure(remote, error)) from None


def _failure(remote: _Remote, error: Exception) -> str:
    """A message without the parts of the address that may be secret."""
    reason = reason_of(error)
    reason = reason.replace(remote.address, remote.shown)
    secret = urlsplit(remote.address)
    for part in filter(None, (secret.query, secret.password, secret.username)):
        reason = reason.replace(part, "...")
    return f"{remote.shown} could not be read: {reason}. {_CURE}"
