"""Keys of the service's callers. Files hold their hashes only."""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bigrec.errors import SettingsError
from bigrec.storage import first_problems, read_json, write_json
from bigrec.storage.locks import exclusive

Role = Literal["read", "admin"]
"""``read`` asks, ``admin`` also changes."""

_FORMAT: Literal[1] = 1
_MAX_BYTES = 1 << 20
_NAME = re.compile(r"[\w.-]{1,64}", re.ASCII)


class StoredKey(BaseModel):
    """A key as a file holds it.

    Attributes:
        name: Whose key it is. It is in the logs.
        role: What it may do.
        sha256: Hash of the key. Keys are 256 random bits, which no salt or slow hash protects
            better.
        created: Day.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Annotated[str, Field(pattern=r"\A[A-Za-z0-9_.-]{1,64}\z")]
    role: Role
    sha256: Annotated[str, Field(pattern=r"\A[0-9a-f]{64}\z", repr=False)]
    created: str


class _KeysFile(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    format: Literal[1]
    keys: list[StoredKey]


@dataclass(frozen=True)
class Caller:
    """Who asks."""

    name: str
    role: Role


class ApiKeys:
    """The keys that a service accepts.

    Args:
        keys: The keys; none for a service that is open to everybody who reaches it.
    """

    def __init__(self, keys: tuple[StoredKey, ...] = ()) -> None:
        self._keys = keys

    @classmethod
    def read(cls, path: Path) -> "ApiKeys":
        """The keys of a file that `add_key` wrote.

        Raises:
            BigrecError: If it is missing, damaged or holds no key.
        """
        keys = _read(path)
        if not keys:
            raise SettingsError(f"{path} holds no key: make one with bigrec serve key.")
        return cls(tuple(keys))

    @property
    def are_asked(self) -> bool:
        """Whether a key is needed at all."""
        return bool(self._keys)

    def caller(self, key: str | None) -> Caller | None:
        """Whose key it is; None for nobody's. It takes as long for every key."""
        if not self._keys:
            return Caller("everybody", "admin")
        digest = hashlib.sha256((key or "").encode("utf-8", "surrogateescape")).hexdigest()
        found = None
        for stored in self._keys:
            if hmac.compare_digest(stored.sha256, digest):
                found = Caller(stored.name, stored.role)
        return found


def add_key(path: Path, name: str, role: Role) -> str:
    """Make a key, and keep its hash in a file that its owner alone may read.

    Args:
        path: The file; made if it is missing.
        name: Whose key it is.
        role: What it may do.

    Returns:
        The key. Nothing else holds it.

    Raises:
        BigrecError: If the file cannot be used or has a key of the name.
        ValueError: If the name cannot be used.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"the name of a key is {name!r}: expected at most 64 letters, digits, '_', '.' or '-'."
        )
    with exclusive(path.parent):
        keys = _read(path) if path.exists() else []
        if any(key.name == name for key in keys):
            raise SettingsError(
                f"{path} has a key of the name {name!r}: choose another name, or remove that key's "
                "lines first."
            )
        key = f"bigrec_{secrets.token_urlsafe(32)}"
        digest = hashlib.sha256(key.encode()).hexdigest()
        created = datetime.now(UTC).date().isoformat()
        keys.append(StoredKey(name=name, role=role, sha256=digest, created=created))
        write_json(path, _KeysFile(format=_FORMAT, keys=keys).model_dump())
        path.chmod(0o600)
    return key


def _read(path: Path) -> list[StoredKey]:
    try:
        return _KeysFile.model_validate(read_json(path, max_bytes=_MAX_BYTES)).keys
    except ValidationError as error:
        raise SettingsError(
            f"{path} cannot be used: {first_problems(error)}. Write it with bigrec serve key."
        ) from None
