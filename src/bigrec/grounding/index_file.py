"""The JSON file of an item index: its titles, and what its embeddings are."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from bigrec.errors import BundleError
from bigrec.storage import check_format, first_problems, read_json

INDEX_FORMAT = 2
MAX_JSON_BYTES = 1 << 30
_CURE = "Build the item index again."


class IndexContent(BaseModel):
    """What the JSON file of an index holds."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    format: int
    key: str
    embedder_fingerprint: str
    normalization: Any
    embeddings_sha256: str
    titles: list[str]


def read_index(path: Path, *, max_bytes: int) -> IndexContent:
    """Read the JSON file of an index.

    Raises:
        BundleError: If it is missing, damaged, too large or of another version.
    """
    content = read_json(path, max_bytes=max_bytes)
    check_format(content, INDEX_FORMAT, what=str(path), cure=_CURE)
    try:
        return IndexContent.model_validate(content)
    except ValidationError as error:
        raise damaged(path, first_problems(error)) from None


def damaged(path: Path, reason: str) -> BundleError:
    """The error of a file of an index that cannot be used."""
    return BundleError(f"{path} cannot be used: {reason}. {_CURE}")
