"""A secret, and text from outside that must not show it."""

import base64
import html
import re
import unicodedata
from collections.abc import Iterator
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
_OCTAL = re.compile(r"\\+([0-3]?[0-7]{2})")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{6,}")
_HEXADECIMAL = re.compile(r"(?:[0-9A-Fa-f]{2}[^\w]{0,2}){4,}")
_NUMBERS = re.compile(r"(?:[0-9]{2,3}[^\w]{1,2}){4,}")


class Secret:
    """A secret that is kept out of messages.

    Args:
        value: The secret; empty if there is none.
    """

    def __init__(self, value: str) -> None:
        self._value = value
        letters = _letters(value)
        # A short one may be a word, such as EMPTY.
        self._in_one_case = len(letters) >= _WINDOW
        self._letters = letters.casefold() if self._in_one_case else letters

    def __repr__(self) -> str:
        return "Secret()"

    def redact(self, text: str) -> str:
        """Text from outside without the secret: printable, at most 300 characters.

        Text that still holds the secret, or much of it, is withheld: between escapes, control
        sequences or punctuation, in other case, reversed, or as base64, hexadecimal or numbers.
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
            for plain in (text, _SEQUENCE.sub("", text), text[::-1], *_decoded(text)):
                letters = _letters(plain.casefold() if self._in_one_case else plain)
                if any(part in letters for part in parts):
                    return True
            text = _OCTAL.sub(lambda m: chr(int(m[1], 8)), text)
            text = html.unescape(unquote(_ESCAPED.sub(lambda m: chr(int(m[1], 16)), text)))
        return False


def _letters(text: str) -> str:
    """Letters and digits alone, in one width."""
    return _PUNCTUATION.sub("", unicodedata.normalize("NFKC", text))


def _decoded(text: str) -> Iterator[str]:
    """What parts of a text say, read as base64, hexadecimal or character codes."""
    joined = "".join(text.split()).replace("-", "+").replace("_", "/").replace("\\", "")
    for run in _BASE64.findall(joined):
        # Other text may stand right before it.
        for start in range(4):
            whole = run[start : start + (len(run) - start) // 4 * 4]
            rest = run[start + len(whole) :]
            padded = whole + (rest + "=" * (4 - len(rest)) if len(rest) > 1 else "")
            yield base64.b64decode(padded).decode("latin-1")
    for run in _HEXADECIMAL.findall(text):
        yield bytes.fromhex("".join(filter(str.isalnum, run))).decode("latin-1")
    for run in _NUMBERS.findall(text):
        yield "".join(map(chr, map(int, re.findall("[0-9]+", run))))
