"""YAML of plain values: bounded in size and depth, without references."""

from pathlib import Path
from typing import Any

import yaml
from yaml.composer import ComposerError

# Ten times the longest sensible file; the parser takes a second for so much.
_MAX_BYTES = 1 << 16
_MAX_DEPTH = 32


class _PlainLoader(yaml.SafeLoader):
    """Refuses what a settings file needs not and a hostile one abuses.

    A reference can make a value contain itself, or a few lines stand for billions of values.
    """

    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            raise ComposerError(None, None, "references are not supported", mark)
        if self._depth == _MAX_DEPTH:
            raise ComposerError(None, None, f"more than {_MAX_DEPTH} levels", mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def parse_yaml(text: str) -> Any:
    """The value of a YAML text.

    Raises:
        ValueError: If it is not valid YAML, is nested more than 32 levels deep or holds a
            reference.
    """
    try:
        return yaml.load(text, Loader=_PlainLoader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
    except (AttributeError, LookupError, TypeError, OverflowError) as error:
        # A tag on a value that it does not fit, such as !!timestamp x, fails in any of these ways.
        raise ValueError(f"a value does not fit its type ({error})") from None


def read_yaml(path: Path) -> Any:
    """The value of a YAML file of at most 64 KiB.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is larger, or as `parse_yaml` says.
    """
    with path.open("rb") as stream:
        content = stream.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ValueError(f"it has more than {_MAX_BYTES:,} bytes")
    return parse_yaml(content.decode("utf-8"))
