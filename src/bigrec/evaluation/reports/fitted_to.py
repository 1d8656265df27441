"""The table of what methods were fitted to."""

from collections.abc import Sequence

from bigrec.evaluation.cold_targets import ColdRow
from bigrec.evaluation.reports.table import Cell, Table

_NOTE = (
    "Interactions that a method was fitted to, and the share of test targets whose title is in "
    "none of them, so that they are cold to it. Models of titles alone use no interactions."
)


def fitted_to_table(rows: Sequence[ColdRow]) -> Table:
    """What each method was fitted to, with its share of cold targets."""
    return Table(
        "What methods are fitted to",
        ("Method", "Interactions", "Cold targets"),
        tuple(
            (Cell(row.method.label), Cell(f"{row.interactions:,}"), Cell(f"{row.cold:.1%}"))
            for row in rows
        ),
        _NOTE,
    )
