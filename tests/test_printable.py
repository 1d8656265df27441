import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bigrec
from bigrec.errors import BigrecError, DataError
from bigrec.printable import get_logger, json_text, printable

UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200b\u2028-\u202e\u2060\u2066-\u2069\ud800-\udfff\ufeff]")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Amélie (2001)", "Amélie (2001)"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x1bP1$r\x1b\\", "\\x1bP1$r\\x1b\\"),
        ("\x9b31m \x9d0;t\x9c \x90q", r"\x9b31m \x9d0;t\x9c \x90q"),
        ("a\b\x00\x7f", r"a\x08\x00\x7f"),
        ("Two\nLines\r\tHere", r"Two\nLines\r\tHere"),
        ("abc\u202efed\u2066x\u2069", r"abc\u202efed\u2066x\u2069"),
        ("a\u200bb\u2028c\u2029\ufeff", r"a\u200bb\u2028c\u2029\ufeff"),
        ("half \ud800", r"half \ud800"),
        # joiners of emoji and Persian, a mark of Hebrew
        ("👩\u200d🚀 می\u200cشود א\u200f", "👩\u200d🚀 می\u200cشود א\u200f"),
    ],
)
def test_control_and_hidden_characters_become_escapes(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown


def test_lines_and_tabs_stay_where_they_are_asked_for() -> None:
    assert printable("a\n\tb\r\n\x0b\x1b", lines=True) == "a\n\tb\\r\n\\x0b\\x1b"


@given(st.text(st.characters()))
def test_nothing_unsafe_is_left(text: str) -> None:
    assert not UNSAFE.search(printable(text))
    assert not UNSAFE.search(printable(text, lines=True).replace("\n", "").replace("\t", ""))


@given(st.dictionaries(st.text(st.characters()), st.text(st.characters()) | st.integers()))
def test_json_is_exact_and_holds_nothing_unsafe(value: dict[str, Any]) -> None:
    text = json_text(value)
    assert json.loads(text) == value
    assert not UNSAFE.search(text.replace("\n", ""))
    text.encode()


def test_json_stays_readable() -> None:
    assert json_text({"title": "Amélie\x9b"}) == '{\n  "title": "Amélie\\u009b"\n}'


@pytest.mark.parametrize("error", [BigrecError, DataError])
def test_messages_of_errors_are_printable(error: type[BigrecError]) -> None:
    assert str(error("first\n  \x1b[31m\x9b\u202e")) == "first\n  \\x1b[31m\\x9b\\u202e"


def test_messages_of_logs_are_printable_lines(caplog: pytest.LogCaptureFixture) -> None:
    logger = get_logger("bigrec.tests.printable")
    assert get_logger("bigrec.tests.printable") is logger
    logger.warning("%s of %d, %.1f", "a\x1b\nWARNING b", 3, 0.5)
    logger.warning("%(path)s", {"path": Path("c\x9b")})
    logger.warning("whole\x07")
    assert caplog.messages == [r"a\x1b\nWARNING b of 3, 0.5", r"c\x9b", r"whole\x07"]
    assert caplog.records[0].msg == "%s of %d, %.1f"


def test_every_logger_of_the_package_is_such_a_logger() -> None:
    root = Path(bigrec.__file__).parent
    makers = {
        str(file.relative_to(root))
        for file in root.rglob("*.py")
        if "logging.getLogger" in file.read_text(encoding="utf-8")
    }
    # The service sends what all loggers say to one handler, as JSON, which escapes by itself.
    assert makers == {"printable.py", "serving/logs.py"}
