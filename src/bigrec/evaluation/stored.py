"""Dataclasses as JSON-like values with a format version, and back."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from bigrec.errors import BundleError
from bigrec.storage import check_format

_Content = TypeVar("_Content")


def to_json(value: Any, *, version: int) -> dict[str, Any]:
    """A dataclass as JSON-like values, with its version under ``format``."""
    content = TypeAdapter(type(value)).dump_python(value, mode="json")
    return {"format": version, **content}


def from_json(
    kind: type[_Content], content: Mapping[str, Any], *, version: int, what: str, cure: str
) -> _Content:
    """The value that ``to_json`` wrote.

    Args:
        kind: The dataclass.
        content: JSON-like values.
        version: The version that can be read.
        what: Names the content in messages: a path, or words such as "The comparison".
        cure: What to do about wrong content, a sentence.

    Raises:
        BundleError: If the content is of another version, incomplete or of wrong types.
    """
    check_format(content, version, what=what, cure=cure)
    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise BundleError(f"{what} is damaged at {place}: {problem['msg']}. {cure}") from None
