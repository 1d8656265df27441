import pytest

from bigrec.data.titles import (
    append_year,
    decode_html,
    is_page_code,
    put_article_first,
    without_markup,
)


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Might &amp; Magic", "Might & Magic"),
        ("Might &amp;amp; Magic", "Might & Magic"),
        ("Who&#39;s &#x41;", "Who's A"),
        ("Q&A", "Q&A"),
        ("Rock&notes", "Rock&notes"),
        ("&madeup;", "&madeup;"),
    ],
)
def test_closed_entities_are_decoded_and_other_text_is_kept(title: str, expected: str) -> None:
    assert decode_html(title) == expected


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Matrix, The (1999)", "The Matrix (1999)"),
        ("Matrix, The", "The Matrix"),
        ("Beautiful Mind, A (2001)", "A Beautiful Mind (2001)"),
        ("Avventura, L' (1960)", "L'Avventura (1960)"),
        ("Postino, Il (The Postman) (1994)", "Il Postino (The Postman) (1994)"),
        ("Good, the Bad and the Ugly, The (1966)", "The Good, the Bad and the Ugly (1966)"),
        ("Me, Myself, Theo (2000)", "Me, Myself, Theo (2000)"),
        ("Fargo (1996)", "Fargo (1996)"),
    ],
)
def test_an_article_behind_a_comma_goes_first(title: str, expected: str) -> None:
    assert put_article_first(title) == expected


@pytest.mark.parametrize(
    ("title", "year", "expected"),
    [
        ("Toy Story", "1995", "Toy Story (1995)"),
        ("Toy Story", "1995.0", "Toy Story (1995)"),
        ("Toy Story (1995)", "1995", "Toy Story (1995)"),
        ("Toy Story", None, "Toy Story"),
        ("Toy Story", "V", "Toy Story"),
        ("1984", "1956", "1984 (1956)"),
    ],
)
def test_a_year_is_appended_unless_it_is_there(title: str, year: str | None, expected: str) -> None:
    assert append_year(title, year) == expected


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ('<span id="productTitle" class="a">\n\n\n  Movie A\n</span>', "Movie A"),
        ("<b>Bold</b> and<br/>bolder", "Bold and bolder"),
        ("Cut <span class=", "Cut"),
        ("<!-- note -->Text<script>var a = 1;</script>", "Text"),
        ("<style>.a { b: c; }", ""),
        ("I <3  you", "I <3  you"),
        ("<Untitled>", "<Untitled>"),
        ("a < b > c", "a < b > c"),
        ("<i>", ""),
    ],
)
def test_markup_is_removed_and_other_angles_are_kept(title: str, expected: str) -> None:
    assert without_markup(title) == expected


@pytest.mark.parametrize(
    "code",
    [
        "var aPageStart = (new Date()).getTime();\nvar ue_t0=ue_t0||+new Date();",
        "(function(){ return 1 })()",
        "function init(a, b) { }",
        "window.ue = 1",
        "document.getElementById('x')",
        "$(document).ready()",
        ".a-size { color: red; }",
    ],
)
def test_code_of_a_page_is_no_title(code: str) -> None:
    assert is_page_code(code)


@pytest.mark.parametrize(
    "title",
    ["Function", "JavaScript: The Good Parts", "Variations (var. 3)", "The Window.", "#1 {x}"],
)
def test_titles_are_no_code(title: str) -> None:
    assert not is_page_code(title)
