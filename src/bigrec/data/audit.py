"""Checks of a dataset: what was repaired in it, and what is worth knowing before training."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np

from bigrec.data.catalog import Catalog
from bigrec.data.dataset import Dataset
from bigrec.data.interactions import Interactions
from bigrec.data.times import days_between

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One check.

    Attributes:
        check: What was looked at.
        count: How many there are.
        share: Part of all that could be, in [0, 1]; None where that says nothing.
        examples: At most five of them.
        note: What was done about it, or what to do.
    """

    check: str
    count: int
    share: float | None
    examples: tuple[str, ...]
    note: str


@dataclass(frozen=True, slots=True)
class Audit:
    """All checks: sizes first, then what was repaired, then what was left as it is."""

    rows: list[AuditRow]

    def to_json(self) -> dict[str, Any]:
        """The rows as JSON-like values."""
        return {"rows": [{**asdict(row), "examples": list(row.examples)} for row in self.rows]}


def audit(
    dataset: Dataset,
    *,
    special_tokens: Sequence[str] = (),
    max_title_length: int = 150,
    min_interactions: int = 2,
) -> Audit:
    """Check a dataset.

    Args:
        dataset: What to check.
        special_tokens: Control tokens of the language model, which no title should hold.
        max_title_length: Characters above which a title counts as long.
        min_interactions: Interactions below which a user gives no example: ``min_history + 1``.

    Raises:
        ValueError: If a limit is below 1.
    """
    limits = {"max_title_length": max_title_length, "min_interactions": min_interactions}
    for name, value in limits.items():
        if value < 1:
            raise ValueError(f"{name} is {value}: expected at least 1.")
    interactions, catalog = dataset.interactions, dataset.catalog
    repaired = [
        AuditRow(row.name, row.count, row.share, row.examples, row.done if row.count else "")
        for row in dataset.repairs.as_rows()
    ]
    return Audit(
        [
            *_sizes(interactions, catalog),
            *repaired,
            *_title_rows(catalog, special_tokens, max_title_length),
            _unused_items(interactions, catalog),
            _short_users(interactions, min_interactions),
        ]
    )


def _sizes(interactions: Interactions, catalog: Catalog) -> list[AuditRow]:
    users, items, rows = len(interactions.user_ids), catalog.n_items, len(interactions)
    density = rows / (users * items)
    sizes = [
        AuditRow("users", users, None, (), ""),
        AuditRow("items", items, None, (), ""),
        AuditRow("interactions", rows, density, (), "Share: of all pairs of a user and an item."),
    ]
    if interactions.times is not None:
        first, last = int(interactions.times.min()), int(interactions.times.max())
        start, end, days = days_between(first, last)
        note = "From the first interaction to the last."
        sizes.append(AuditRow("days", days, None, (f"{start} to {end}",), note))
    return sizes


def _title_rows(
    catalog: Catalog, special_tokens: Sequence[str], max_title_length: int
) -> list[AuditRow]:
    shared = np.flatnonzero(np.bincount(catalog.group)[catalog.group] > 1)
    shared_titles = dict.fromkeys(catalog.titles[item] for item in shared)
    long = [title for title in catalog.titles if len(title) > max_title_length]
    rows = [
        _row(
            "items that share their title",
            len(shared),
            of=catalog.n_items,
            examples=shared_titles,
            note="They are ranked as one and share a place.",
        ),
        _row(
            f"titles over {max_title_length} characters",
            len(long),
            of=catalog.n_items,
            examples=(f"{title[:60]}..." for title in long),
            note="Kept; the prompt cuts a title at a quarter of its tokens.",
        ),
    ]
    if special_tokens:
        pattern = re.compile("|".join(map(re.escape, special_tokens)))
        holding = [title for title in catalog.titles if pattern.search(title)]
        note = "Kept; the prompt writes such a token as plain text."
        rows.append(
            _row(
                "titles holding a control token",
                len(holding),
                of=catalog.n_items,
                examples=holding,
                note=note,
            )
        )
    return rows


def _unused_items(interactions: Interactions, catalog: Catalog) -> AuditRow:
    unused = np.flatnonzero(np.bincount(interactions.items, minlength=catalog.n_items) == 0)
    return _row(
        "items without interactions",
        len(unused),
        of=catalog.n_items,
        examples=(catalog.titles[item] for item in unused),
        note="Kept: they can be recommended by their title.",
    )


def _short_users(interactions: Interactions, min_interactions: int) -> AuditRow:
    short = np.flatnonzero(np.diff(interactions.user_start) < min_interactions)
    return _row(
        f"users with fewer than {min_interactions} interactions",
        len(short),
        of=len(interactions.user_ids),
        examples=(interactions.user_ids[user] for user in short),
        note="They give no example; their interactions are counted.",
    )


def _row(check: str, count: int, *, of: int, examples: Iterable[str], note: str) -> AuditRow:
    shown = tuple(islice(examples, _SHOWN))
    return AuditRow(check, count, count / of, shown, note if count else "")
