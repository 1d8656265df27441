"""What the HTML pages of reports share: the shell, its style, tables, plots and foldable parts.

Every function takes plain text and escapes it, except where it says HTML.
"""

import json
from base64 import b64encode
from collections.abc import Sequence
from html import escape
from typing import Any

from bigrec.evaluation.protocol import SummaryRow

_STYLE = """
:root { color-scheme: light dark; --line: #8886; --soft: #8881; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
body.wide { max-width: 88rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; } h3 { font-size: 1rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .75rem; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; }
th { background: var(--soft); }
table.numbers td { white-space: nowrap; }
.wide p, .wide figcaption { max-width: 60rem; }
.wide .scroll { margin: 1rem 0; }
.wide th, .wide td { padding: .25rem .5rem; }
.wide th { max-width: 20rem; }
.wide table { font-size: .8125rem; }
/* Collapsed borders stay behind when a cell sticks, and a see-through cell shows what passes
  below it. */
table.sticky { border-collapse: separate; border-spacing: 0; }
.sticky th { position: sticky; top: 0; z-index: 1;
  background: linear-gradient(var(--soft), var(--soft)), Canvas; }
.sticky td:first-child { position: sticky; left: 0; background: Canvas; }
.sticky th:first-child { left: 0; z-index: 2; }
.scroll:has(.sticky) { max-height: 85vh; overflow: auto; }
.best { font-weight: 700; }
.weak { opacity: .6; }
img { max-width: 100%; width: 700px; height: auto; background: #fff; border-radius: 4px; }
.wide img { width: 1000px; }
.wide figure { margin: 1.5rem 0; }
details { margin: .5rem 0; border: 1px solid var(--line); border-radius: 4px; padding: .5rem 1rem; }
@media print { .scroll:has(.sticky) { max-height: none; overflow: visible; } }
"""


def page(title: str, body: Sequence[str], *, css: str = "") -> str:
    """A whole page that needs no other file.

    Args:
        title: For the browser; a heading is part of the body.
        body: Blocks of HTML.
        css: Class of the body: ``wide`` for tables of many columns.
    """
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body{_class(css)}>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def paragraphs(texts: Sequence[str]) -> list[str]:
    """One paragraph for each text."""
    return [f"<p>{escape(text)}</p>" for text in texts]


def cell(text: str, *, css: str = "") -> str:
    """One cell of a table."""
    return f"<td{_class(css)}>{escape(text)}</td>"


def table(heads: Sequence[str], lines: Sequence[Sequence[str]], *, css: str = "") -> str:
    """A table that scrolls sideways where it is too wide.

    Args:
        heads: Texts of the head; none for a table without one.
        lines: The cells of each line, as HTML from ``cell``.
        css: ``numbers`` keeps each cell on one line; ``sticky`` keeps the head and the first
            column in sight.
    """
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "\n".join(f"<tr>{''.join(cells)}</tr>" for cells in lines)
    top = f"<thead><tr>{head}</tr></thead>" if head else ""
    return f'<div class="scroll"><table{_class(css)}>{top}<tbody>\n{body}\n</tbody></table></div>'


def metric_tables(rows: Sequence[SummaryRow], *, css: str = "numbers") -> list[str]:
    """A table for each kind of metric, the best of every column in bold.

    Args:
        rows: Of one protocol.
        css: As for ``table``.
    """
    families = dict.fromkeys(row.metric.split("@")[0] for row in rows)
    return [
        _metric_table([row for row in rows if row.metric.split("@")[0] == family], css=css)
        for family in families
    ]


def pairs(lines: Sequence[tuple[str, str]]) -> str:
    """A table of names and values."""
    return table([], [[cell(name), cell(value)] for name, value in lines])


def plot(caption: str, png: bytes) -> str:
    """An image inside the page, with its caption."""
    text = escape(caption)
    return (
        f"<figure><figcaption>{text}</figcaption>"
        f'<img alt="{text}" src="data:image/png;base64,{base64_text(png)}"></figure>'
    )


def details(summary: str, body: str, *, opened: bool = False) -> str:
    """HTML that folds under one line of text."""
    attribute = " open" if opened else ""
    return f"<details{attribute}><summary>{escape(summary)}</summary>{body}</details>"


def setting_text(value: Any) -> str:
    """A setting as a table shows it: text as it is, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def base64_text(content: bytes) -> str:
    """Bytes as base64."""
    return b64encode(content).decode("ascii")


def _metric_table(rows: Sequence[SummaryRow], *, css: str) -> str:
    metrics = list(dict.fromkeys(row.metric for row in rows))
    best = {name: max(row.value for row in rows if row.metric == name) for name in metrics}
    lines = []
    for method in dict.fromkeys(row.method for row in rows):
        found = {row.metric: row for row in rows if row.method == method}
        line = [cell(method)]
        for name in metrics:
            row = found.get(name)
            mark = "best" if row is not None and row.value == best[name] else ""
            line.append(cell(_interval(row) if row else "", css=mark))
        lines.append(line)
    return table(["Method", *(metric.upper() for metric in metrics)], lines, css=css)


def _interval(row: SummaryRow) -> str:
    return f"{row.value:.3f} [{row.low:.3f}, {row.high:.3f}]"


def _class(css: str) -> str:
    return f' class="{css}"' if css else ""
