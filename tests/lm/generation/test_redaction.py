import base64
import textwrap
import time
from urllib.parse import quote

import pytest

from bigrec.lm.generation.redaction import Secret

KEY = "sk-proj-Ab1_Cd2-Ef3Gh4Ij5Kl6Mn7"
WITHHELD = "(text that holds the key)"


def test_the_key_is_replaced_where_it_stands() -> None:
    text = f"Incorrect API key {KEY}, see http://x.example/?key={KEY}"
    assert Secret(KEY).redact(text) == "Incorrect API key [key], see http://x.example/?key=[key]"


@pytest.mark.parametrize(
    "text",
    [
        f"{KEY[:8]}\x1b[0m{KEY[8:]}",
        f"{KEY[:8]}\x9b1;31m{KEY[8:]}",
        f"{KEY[:8]}\x1b]0;title\x07{KEY[8:]}",
        f"{KEY[:8]}\x1bPq\x1b\\{KEY[8:]}",
        "\u200b".join(KEY),
        " ".join(KEY),
        f"['{KEY[:9]}', '{KEY[9:]}']",
        "".join(f"%{ord(letter):02x}" for letter in KEY),
        "".join(f"%25{ord(letter):02X}" for letter in KEY),
        "".join(f"&#{ord(letter)};" for letter in KEY),
        "".join(rf"\u{ord(letter):04x}" for letter in KEY),
        "".join(rf"\\x{ord(letter):02x}" for letter in KEY),
        "".join(rf"\{ord(letter):o}" for letter in KEY),
        KEY.swapcase(),
        KEY[::-1],
        "".join(chr(ord(letter) + 0xFEE0) for letter in KEY),
        base64.b64encode(KEY.encode()).decode(),
        base64.urlsafe_b64encode(f"Bearer {KEY}".encode()).decode().rstrip("="),
        f"xy{base64.b64encode(f'u:{KEY}'.encode()).decode()}z",
        "\n".join(textwrap.wrap(base64.b64encode(KEY.encode()).decode(), 8)),
        quote(base64.b64encode(KEY.encode()).decode(), safe=""),
        KEY.encode().hex(),
        KEY.encode().hex(":").upper(),
        str(list(KEY.encode())),
        f"a part: {KEY[3:22]}",
        f"{KEY[:-1]}",
    ],
)
def test_text_that_still_holds_the_key_is_withheld(text: str) -> None:
    assert Secret(KEY).redact(f"bad key {text}!") == WITHHELD


def test_a_short_key_is_found_between_escapes_too() -> None:
    assert Secret("secret").redact("sec\x1b[1mret") == WITHHELD
    assert Secret("abc").redact("abc a-b-c") == "[key] a-b-c"


@pytest.mark.parametrize("key", [KEY, "", "EMPTY"])
def test_other_text_stays_printable_on_one_line_and_short(key: str) -> None:
    secret = Secret(key)
    assert (
        secret.redact("no empty\n prompt:\x1b[31m\x9b 50%") == r"no empty prompt:\x1b[31m\x9b 50%"
    )
    assert secret.redact("x" * 10**7) == "x" * 300 + "..."


def test_the_end_of_a_long_text_shows_no_part_of_a_key() -> None:
    assert KEY[:12] not in Secret(KEY).redact(KEY * 10_000)


def test_hostile_text_is_searched_in_time() -> None:
    for part in ("ab", "a", "12 ", "\\u00", "%25", "&#3", "ab:", "\x1b]", "\x1b["):
        started = time.process_time()
        Secret(KEY).redact(part * 40_000)
        assert time.process_time() - started < 5


def test_a_secret_does_not_show_itself() -> None:
    assert KEY not in repr(Secret(KEY))
