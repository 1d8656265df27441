from typing import Any

import polars as pl
import pytest

from bigrec.data.audit import AuditRow, audit
from bigrec.data.dataset import Dataset

DAY = 86_400


def dataset() -> Dataset:
    return Dataset.from_frames(
        pl.DataFrame(
            {
                "user_id": list("uuuuv"),
                "item_id": list("abbza"),
                "timestamp": [2 * DAY, DAY, DAY, 0, 4 * DAY],
            }
        ),
        pl.DataFrame(
            {
                "item_id": list("abcde"),
                "title": ["A &amp; B", "Same", "Same", "<|end|> of it", "None"],
            }
        ),
    )


def rows(*, min_interactions: int = 2, **options: Any) -> dict[str, AuditRow]:
    checks = audit(dataset(), min_interactions=min_interactions, **options)
    return {row.check: row for row in checks.rows}


def row(check: str, **options: Any) -> AuditRow:
    return rows(**options)[check]


def test_sizes_come_first() -> None:
    sizes = list(rows().values())[:4]
    assert [(size.check, size.count) for size in sizes] == [
        ("users", 2),
        ("items", 4),
        ("interactions", 3),
        ("days", 3),
    ]
    # 3 of 2 users times 4 items
    assert sizes[2].share == 3 / 8
    assert sizes[3].examples == ("1970-01-02 to 1970-01-05",)


@pytest.mark.parametrize(
    ("check", "count", "share"),
    [
        ("empty titles", 1, 1 / 5),
        ("HTML entities in titles", 1, 1 / 5),
        ("interactions with unknown items", 1, 1 / 5),
        ("interactions out of order", 1, 1 / 4),
        ("duplicate interactions", 1, 1 / 4),
        ("repeated item ids", 0, 0.0),
    ],
)
def test_repairs_made_while_reading_are_reported(check: str, count: int, share: float) -> None:
    checked = row(check)
    assert (checked.count, checked.share) == (count, share)


def test_a_check_without_cases_has_no_note() -> None:
    assert row("repeated item ids").note == ""
    assert row("empty titles").note == "The items are dropped from the catalog."


def test_same_titled_items_are_counted() -> None:
    checked = row("items that share their title")
    assert (checked.count, checked.share, checked.examples) == (2, 0.5, ("Same",))


def test_long_titles_are_counted_and_truncated_in_the_examples() -> None:
    checked = row("titles over 5 characters", max_title_length=5)
    assert (checked.count, checked.examples) == (1, ("<|end|> of it...",))


def test_titles_with_a_control_token_are_counted() -> None:
    checked = row("titles with a control token", special_tokens=["<|end|>", "<s>"])
    assert (checked.count, checked.examples) == (1, ("<|end|> of it",))


def test_without_control_tokens_there_is_no_such_check() -> None:
    assert "titles with a control token" not in rows()


def test_items_without_interactions_are_counted() -> None:
    checked = row("items without interactions")
    assert (checked.count, checked.share) == (2, 0.5)
    assert checked.examples == ("Same", "<|end|> of it")


def test_short_users_are_counted() -> None:
    checked = row("users with fewer than 2 interactions")
    assert (checked.count, checked.share, checked.examples) == (1, 0.5, ("v",))
    assert row("users with fewer than 3 interactions", min_interactions=3).count == 2


def test_without_timestamps_there_is_no_span() -> None:
    without_times = Dataset.from_frames(
        pl.DataFrame({"user_id": ["u"], "item_id": ["a"]}),
        pl.DataFrame({"item_id": ["a"], "title": ["A"]}),
        order="row",
    )
    checks = audit(without_times, min_interactions=2).rows
    assert "days" not in {row.check for row in checks}


def test_the_audit_converts_to_json() -> None:
    first = audit(dataset(), min_interactions=2).to_json()["rows"][0]
    assert first == {"check": "users", "count": 2, "share": None, "examples": [], "note": ""}


@pytest.mark.parametrize("name", ["max_title_length", "min_interactions"])
def test_limits_below_one_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is 0: expected at least 1"):
        rows(**{name: 0})


def test_titles_without_a_part_of_their_text_are_counted() -> None:
    items = pl.DataFrame(
        {
            "item_id": list("ab"),
            "title": ["A", "B"],
            "category": ["Drama", None],
            "brand": ["", "x"],
        }
    )
    frame = pl.DataFrame({"user_id": ["u", "u"], "item_id": ["a", "b"], "timestamp": [0, 1]})
    made = Dataset.from_frames(frame, items, category="category", item_columns=["brand"])
    checks = audit(made.reading(["category", "brand"]), min_interactions=2).rows
    found = {check.check: (check.count, check.examples) for check in checks}
    assert found["titles without category"] == (1, ("B",))
    assert found["titles without brand"] == (1, ("A",))
    assert not any(
        check.check.startswith("titles without") for check in audit(made, min_interactions=2).rows
    )


@pytest.mark.parametrize(
    ("times", "note"),
    [
        ([20140705, 20140706], "Most are no Unix times from 1990 to 2100: their order counts, not"),
        ([1404583181, 1404683181], "Between the first interaction and the last."),
        (["2014-07-05", "2014-07-06"], "Between the first interaction and the last."),
    ],
)
def test_the_span_tells_whether_its_dates_mean_anything(times: list[Any], note: str) -> None:
    made = Dataset.from_frames(
        pl.DataFrame({"user_id": ["u", "u"], "item_id": ["a", "a"], "timestamp": times}),
        pl.DataFrame({"item_id": ["a"], "title": ["A"]}),
    )
    (days,) = (row for row in audit(made, min_interactions=2).rows if row.check == "days")
    assert days.note.startswith(note)
