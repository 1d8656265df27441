"""Text from data, made safe to show on terminals and in logs and reports.

Titles, ids, paths and answers of servers come from outside. Escape sequences among them would move
the cursor, set the clipboard or the window's title; characters that reorder or hide text would show
something else than what is there. Data stays as it is; what is shown passes through here.
"""

import json
import logging
import re
from collections.abc import Mapping
from numbers import Number
from typing import Any

# C1 codes: terminals read U+009B as ESC [. Surrogates cannot be encoded. Joiners (U+200C, U+200D)
# and directional marks (U+200E, U+200F) stay: scripts and emoji need them.
_HIDDEN = (
    "\x7f-\x9f\u180e\u200b\u2028-\u202e\u2060-\u2064\u2066-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb"
)
UNSAFE = re.compile(f"[\x00-\x1f{_HIDDEN}]")
"""A control or hidden character."""

_UNSAFE_BUT_LINES = re.compile(f"[\x00-\x08\x0b-\x1f{_HIDDEN}]")
_HIDDEN_IN_JSON = re.compile(f"[{_HIDDEN}]")


def printable(text: str, *, lines: bool = False) -> str:
    r"""Text with control and hidden characters as escapes: ESC becomes ``\x1b``.

    Args:
        text: Text from data.
        lines: Keep line breaks and tabs, which in a table would fake a row.

    Example:
        >>> print(printable("Alien\x1b[31m\n(1979)"))
        Alien\x1b[31m\n(1979)
    """
    return (_UNSAFE_BUT_LINES if lines else UNSAFE).sub(_escape, text)


def json_text(value: Any, *, allow_nan: bool = False) -> str:
    """A value as indented JSON that is readable, safe to show and exact.

    Args:
        value: A JSON-like value.
        allow_nan: Write NaN and infinities, which JSON has not.

    Raises:
        ValueError: If the value holds NaN or an infinity that is not allowed.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=allow_nan)
    # JSON escapes C0 codes by itself. The others stand within strings only.
    return _HIDDEN_IN_JSON.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def get_logger(name: str) -> logging.Logger:
    """A logger whose messages are `printable`, each on one line; templates stay as they are."""
    logger = logging.getLogger(name)
    logger.addFilter(_make_printable)
    return logger


def _make_printable(record: logging.LogRecord) -> bool:
    record.msg = printable(str(record.msg), lines=True)
    if isinstance(record.args, Mapping):
        record.args = {name: _shown(value) for name, value in record.args.items()}
    elif record.args:
        record.args = tuple(map(_shown, record.args))
    return True


def _shown(value: object) -> object:
    return value if isinstance(value, Number) else printable(str(value))


def _escape(match: re.Match[str]) -> str:
    return match.group().encode("unicode_escape").decode("ascii")
