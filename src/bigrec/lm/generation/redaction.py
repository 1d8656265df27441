"""A secret, and text from outside that must not show it."""

import html
import re
from urllib.parse import unquote

from bigrec.printable import printable

_LONGEST_READ = 65_536
_LONGEST_SHOWN = 300
_WITHHELD = "(text that holds the key)"
_PASSES = 3
"""Times that escapes are decoded: they may be escaped themselves."""
_WINDOW = 12
"""Characters of a long secret that are too many to show."""
_SHORTEST = 4
"""Letters and digits of a secret that is searched for within escapes."""

_ESCAPED = re.compile(r"\\+(?:u\{?|x|U0000)([0-9A-Fa-f]{4}|[0-9A-Fa-f]{2})\}?")
# CSI, then the strings (OSC, DCS, SOS, PM, APC), then all other sequences.
_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c|\Z)"
    r"|\x1b[ -/]*[0-~]"
)
_PUNCTUATION = re.compile(r"[\W_]+")


class Secret:
    """A secret that is kept out of messages.

    Args:
        value: The secret; empty if there is none.
    """

    def __init__(self, value: str) -> None:
        self._value = value
        self._letters = _PUNCTUATION.sub("", value)

    def __repr__(self) -> str:
        return "Secret()"

    def redact(self, text: str) -> str:
        """Text from outside without the secret: printable, at most 300 characters.

        Text that still holds the secret, or much of it, between escapes, control sequences or
        punctuation is withheld.
        """
        text = text[:_LONGEST_READ]
        if self._value:
            text = text.replace(self._value, "[key]")
            if self._is_within(text):
                return _WITHHELD
        shown = printable(" ".join(text.split()))
        return shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}..."

    def _is_within(self, text: str) -> bool:
        if len(self._letters) < _SHORTEST:
            return False
        size = min(len(self._letters), _WINDOW)
        parts = [self._letters[i : i + size] for i in range(len(self._letters) - size + 1)]
        for _ in range(_PASSES):
            for plain in (text, _SEQUENCE.sub("", text)):
                letters = _PUNCTUATION.sub("", plain)
                if any(part in letters for part in parts):
                    return True
            text = html.unescape(unquote(_ESCAPED.sub(lambda m: chr(int(m[1], 16)), text)))
        return False
