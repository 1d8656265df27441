"""One value for a table, its Markdown form, and the one format of a value with its interval."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from bigrec.printable import printable

METRIC_FORMAT = ".3f"
"""Format of a metric in [0, 1]."""

DIFFERENCE_FORMAT = "+.4f"
"""Format of a difference between two metrics."""

Mark = Literal["", "best", "weak"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: Plain text; writers escape it.
        interval: Interval of the value, which writers show after the text or below it.
        mark: ``best`` for the best of a column, ``weak`` for a value that may be chance.
    """

    text: str
    interval: str = ""
    mark: Mark = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table that is written as HTML, Markdown or in the terminal.

    Attributes:
        title: Plain text; empty for a table that needs none.
        columns: Heads of the columns; none for a table without a head.
        rows: Cells of each row, one for each column.
        note: Sentences that a reader needs to understand the figures.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    def keep(self, columns: Collection[str]) -> "Table":
        """The table with some of its columns, in their order; other names are ignored."""
        kept = [place for place, name in enumerate(self.columns) if name in columns]
        return replace(
            self,
            columns=tuple(self.columns[place] for place in kept),
            rows=tuple(tuple(row[place] for place in kept) for row in self.rows),
        )


def value_with_interval(
    value: float, low: float, high: float, *, layout: str, mark: Mark = ""
) -> Cell:
    """The cell of a value with its interval: ``0.110 [0.104, 0.117]``.

    Args:
        value: The value.
        low: Lower end of its interval.
        high: Upper end of its interval.
        layout: Format of all three numbers: `METRIC_FORMAT` or `DIFFERENCE_FORMAT`.
        mark: Mark of the cell.
    """
    return Cell(f"{value:{layout}}", f"[{low:{layout}}, {high:{layout}}]", mark)


def pairs_table(title: str, values: Mapping[str, str]) -> Table:
    """A table of names and values, without a head."""
    return Table(title, (), tuple((Cell(name), Cell(text)) for name, text in values.items()))


def to_markdown(table: Table) -> str:
    """The table in GitHub's Markdown, the best of a column in bold; ends with an empty line.

    Weak values have no mark: Markdown has no pale text.
    """
    n_columns = len(table.columns) or max(map(len, table.rows), default=0)
    heads = table.columns or ("",) * n_columns
    lines = [
        *([f"### {markdown_text(table.title)}", ""] if table.title else []),
        _line(list(map(markdown_text, heads))),
        _line(["---"] * n_columns),
        *(_line([_markdown_cell(cell) for cell in row]) for row in table.rows),
        "",
        *([markdown_text(table.note), ""] if table.note else []),
    ]
    return "\n".join(lines) + "\n"


def markdown_text(text: str) -> str:
    """Plain text as one line of Markdown: printable, and nothing of it is markup."""
    # A bar ends a cell, a line break a row; "<" begins an HTML tag, the others links, images, code
    # and emphasis.
    escaped = re.sub(r"([\\`*_\[\]|~])", r"\\\1", printable(" ".join(text.split())))
    return escaped.replace("<", "&lt;")


def _markdown_cell(cell: Cell) -> str:
    text = markdown_text(cell.text)
    marked = f"**{text}**" if cell.mark == "best" and text else text
    return f"{marked} {cell.interval}" if cell.interval else marked


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
