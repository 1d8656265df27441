"""Reading of stored files: sizes are checked first, and every failure names the file."""

import gc
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bigrec.errors import BundleError

_SHOWN = 5
# Of the largest kind, an index with millions of titles.
_MAX_JSON_BYTES = 1 << 30
_WRITE_AGAIN = "write it again with the command that made it."


def read_bytes(path: Path, *, max_bytes: int) -> bytes:
    """Read a file whose size is checked first.

    Args:
        path: The file.
        max_bytes: The largest size of a sound file of this kind.

    Raises:
        BundleError: If it is missing, is no file, cannot be read or is larger.
    """
    try:
        if not path.is_file():
            reason = "is not a file" if path.exists() else "is missing"
            raise BundleError(f"{path} {reason}. The folder is incomplete: {_WRITE_AGAIN}")
        size = path.stat().st_size
        if size > max_bytes:
            raise BundleError(
                f"{path} has {size:,} bytes; expected at most {max_bytes:,}. It is damaged: "
                f"{_WRITE_AGAIN}"
            )
        with path.open("rb") as stream:
            return stream.read(max_bytes)
    except OSError as error:
        raise BundleError(f"{path} could not be read: {error.strerror or error}.") from error


def read_json(path: Path, *, max_bytes: int = _MAX_JSON_BYTES) -> Any:
    """Read a JSON file that `write_json` wrote.

    Args:
        path: The file.
        max_bytes: The largest size of a sound file of this kind.

    Raises:
        BundleError: If the file is missing, too large or not valid JSON of finite numbers.
    """
    return parse_json(read_bytes(path, max_bytes=max_bytes), what=str(path))


def parse_json(content: bytes, *, what: str) -> Any:
    """The value of a JSON file that `write_json` wrote.

    Args:
        content: The file's bytes.
        what: Its path, for the message.

    Raises:
        BundleError: If it is not valid JSON of finite numbers.
    """
    try:
        text = content.decode("utf-8")
        with _collector_paused():
            value = json.loads(text, parse_constant=_finite, parse_float=_finite)
        if "\\u" in text:
            # An escaped half of a surrogate pair is no text: it could not be shown or embedded.
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise BundleError(f"{what} is damaged: it is nested too deeply; {_WRITE_AGAIN}") from None
    except ValueError as error:
        raise BundleError(
            f"{what} is damaged: expected JSON, got an error at {error}; {_WRITE_AGAIN}"
        ) from None
    return value


def first_problems(error: ValidationError) -> str:
    """The first problems of stored values, in one line."""
    problems = error.errors(include_url=False, include_input=False)
    places = [".".join(map(str, problem["loc"]))[:100] for problem in problems]
    missing = [
        place
        for place, problem in zip(places, problems, strict=True)
        if problem["type"] == "missing"
    ]
    lines = [f"it lacks {', '.join(missing)}"] if missing else []
    lines += [
        f"{place}: {problem['msg']}"
        for place, problem in zip(places, problems, strict=True)
        if problem["type"] != "missing"
    ]
    more = [f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return "; ".join([*lines[:_SHOWN], *more])


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Within the block, Python does not look for cycles.

    It would look at millions of small values again and again, for ten times as long as parsing.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"{number}, which is not a finite number")
    return value
