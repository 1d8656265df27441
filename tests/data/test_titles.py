import pytest

from bigrec.data.titles import append_year, decode_html, put_article_first


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
