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


def row(check: str, **options: Any) -> AuditRow:
    found = {row.check: row for row in audit(dataset(), **options).rows}
    assert check in found, list(found)
    return found[check]


def test_sizes_come_first() -> None:
    rows = audit(dataset()).rows
    assert [(one.check, one.count) for one in rows[:4]] == [
        ("users", 2),
        ("items", 4),
        ("interactions", 3),
        ("days", 3),
    ]
    # 3 of 2 users times 4 items
    assert rows[2].share == 3 / 8
    assert rows[3].examples == ("1970-01-02 to 1970-01-05",)


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
def test_repairs_made_while_reading_are_told(check: str, count: int, share: float) -> None:
    found = row(check)
    assert (found.count, found.share) == (count, share)


def test_a_check_that_found_nothing_says_nothing_was_done() -> None:
    assert row("repeated item ids").note == ""
    assert row("empty titles").note == "The items are left out of the catalog."


def test_same_titled_items_are_counted() -> None:
    found = row("items that share their title")
    assert (found.count, found.share, found.examples) == (2, 0.5, ("Same",))


def test_long_titles_are_counted_and_cut_in_the_examples() -> None:
    found = row("titles over 5 characters", max_title_length=5)
    assert (found.count, found.examples) == (1, ("<|end|> of it...",))


def test_titles_that_hold_a_control_token_are_counted() -> None:
    found = row("titles holding a control token", special_tokens=["<|end|>", "<s>"])
    assert (found.count, found.examples) == (1, ("<|end|> of it",))


def test_without_control_tokens_there_is_no_such_check() -> None:
    assert "titles holding a control token" not in {row.check for row in audit(dataset()).rows}


def test_items_without_interactions_are_counted() -> None:
    found = row("items without interactions")
    assert (found.count, found.share) == (2, 0.5)
    assert found.examples == ("Same", "<|end|> of it")


def test_short_users_are_counted() -> None:
    found = row("users with fewer than 2 interactions")
    assert (found.count, found.share, found.examples) == (1, 0.5, ("v",))
    assert row("users with fewer than 3 interactions", min_interactions=3).count == 2


def test_without_timestamps_there_is_no_span() -> None:
    made = Dataset.from_frames(
        pl.DataFrame({"user_id": ["u"], "item_id": ["a"]}),
        pl.DataFrame({"item_id": ["a"], "title": ["A"]}),
        order="row",
    )
    assert "days" not in {row.check for row in audit(made).rows}


def test_the_audit_is_given_as_json() -> None:
    first = audit(dataset()).to_json()["rows"][0]
    assert first == {"check": "users", "count": 2, "share": None, "examples": [], "note": ""}


@pytest.mark.parametrize("name", ["max_title_length", "min_interactions"])
def test_limits_below_one_are_refused(name: str) -> None:
    limits: dict[str, Any] = {name: 0}
    with pytest.raises(ValueError, match=f"{name} is 0: expected at least 1"):
        audit(dataset(), **limits)
