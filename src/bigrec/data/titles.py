"""Repairs of single titles."""

import html
import re

# Only closed entities: html.unescape alone would decode "&not" in "Rock&notes".
_ENTITY = re.compile(r"&(?:#\d+|#[xX][0-9a-fA-F]+|[A-Za-z][A-Za-z0-9]*);")
# "&amp;amp;" was encoded twice and needs two passes.
_PASSES = 3

_TAGS = (
    "a|abbr|b|big|blockquote|body|br|center|code|div|em|font|footer|form|h[1-6]|head|header|hr|html|i"
    "|iframe|img|input|label|li|link|meta|nav|noscript|ol|option|p|pre|q|s|script|section|select"
    "|small|span|strike|strong|style|sub|sup|svg|table|tbody|td|th|title|tr|tt|u|ul"
)
# Elements whose content is no text, comments, and tags, also one that was cut off.
_MARKUP = re.compile(
    r"<(?P<unread>script|style)\b.*?(?:</(?P=unread)\s*>|$)|<!--.*?(?:-->|$)|<!doctype\b[^>]*>"
    rf"|</?(?:{_TAGS})(?:\s[^<>]*)?/?(?:>|$)",
    re.DOTALL | re.IGNORECASE,
)
_PAGE_CODE = re.compile(
    r"\.getTime\(\)|\bvar \w+ ?=|\bfunction ?\w*\([\w, ]*\) ?\{|\bdocument\.\w+[(.]"
    r"|\bwindow\.\w+ ?[=(.]|\$\(document\)|^\s*[.#@][\w-]+[^{}]*\{[^{}]*:[^{}]*\}",
    re.MULTILINE,
)
_ARTICLES = "The|A|An|Le|La|Les|L'|Il|El|Los|Las|Das|Der|Die|Un|Une"
_ARTICLE_LAST = re.compile(rf"^(?P<rest>.+?), (?P<article>{_ARTICLES})(?P<tail> \(.*)?$", re.DOTALL)


def decode_html(title: str) -> str:
    """Decode closed HTML entities, also those encoded twice; other text is unchanged."""
    for _ in range(_PASSES):
        decoded = _ENTITY.sub(lambda match: html.unescape(match.group()), title)
        if decoded == title:
            break
        title = decoded
    return title


def without_markup(title: str) -> str:
    """Remove HTML tags and comments, scripts and styles; what is no tag, as in "<3", stays.

    Titles without any stay as they are; in the others white space becomes single spaces.
    """
    text, count = _MARKUP.subn(" ", title)
    return " ".join(text.split()) if count else title


def is_page_code(title: str) -> bool:
    """Whether a title is script or style of the page that it was taken from."""
    return _PAGE_CODE.search(title) is not None


def put_article_first(title: str) -> str:
    """Turn "Matrix, The (1999)" into "The Matrix (1999)"."""
    match = _ARTICLE_LAST.match(title)
    if match is None:
        return title
    space = "" if match["article"].endswith("'") else " "
    return f"{match['article']}{space}{match['rest']}{match['tail'] or ''}"


def append_year(title: str, year: str | None) -> str:
    """Turn "Toy Story" and "1995" into "Toy Story (1995)"; text that is no year is ignored."""
    match = re.fullmatch(r"\s*(\d{4})(?:\.0)?\s*", year or "")
    if match is None or title.endswith(f"({match[1]})"):
        return title
    return f"{title} ({match[1]})"
