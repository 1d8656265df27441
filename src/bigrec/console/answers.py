"""Answers of a recommender as views for the terminal and as JSON-like values."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from bigrec.console import Shown, rich_table
from bigrec.evaluation.reports.evaluation import recommendations_table
from bigrec.evaluation.reports.table import Cell, Table, pairs_table
from bigrec.memory import peak_bytes
from bigrec.printable import printable

if TYPE_CHECKING:
    from bigrec.recommender.explaining import Explanation, SimilarItem
    from bigrec.recommender.recommend_all import RecommendAll, Summary
    from bigrec.recommender.recommendations import Recommendations

# A table is measured and drawn row by row: a thousand take half a second.
_MAX_ROWS = 1000
_MIB = 1 << 20


def recommendations(listed: "Recommendations") -> Shown:
    """A list. Of a very long one the table has the best items only."""
    lines: list[RenderableType] = [rich_table(recommendations_table(listed[:_MAX_ROWS]))]
    if len(listed) > _MAX_ROWS:
        lines.append(
            f"These are the best {_MAX_ROWS:,} of {len(listed):,} items: --json has all of them."
        )
    if listed.source == "popularity":
        lines.append("Nothing of the history is known: ranked by training interactions.")
    absent = [*listed.unknown, *listed.ignored]
    if absent:
        lines.append(_text(f"Not in the catalog: {', '.join(absent)}"))
    return Shown(Group(*lines), [asdict(line) for line in listed])


def plan(job: "RecommendAll") -> str:
    """What lists for all users take, before they are made."""
    histories = job.histories
    return (
        f"{len(histories):,} histories with {len(histories.items):,} items, in {job.n_parts:,} "
        f"parts of {job.per_part:,}. Memory: {peak_bytes() // _MIB:,} MiB so far, of which "
        f"{histories.n_bytes // _MIB:,} MiB are the histories; at most "
        f"{job.working_bytes // _MIB:,} MiB more."
    )


def summary(job: "RecommendAll", done: "Summary") -> Shown:
    """What became of the histories of all users."""
    values = {"out": str(job.out), **asdict(done), "dropped_rows": job.histories.n_dropped}
    names = {
        "out": "Lists",
        "users": "Users",
        "rows": "Rows",
        "by_popularity": "Answered by popularity, because nothing of the history is known",
        "skipped": "Items of histories that were skipped",
        "unknown": "Different ones that the catalog lacks",
        "ignored": "Items to exclude that the catalog lacks",
        "dropped_rows": "Rows without a user or an item, dropped",
    }
    texts = {
        names[name]: f"{value:,}" if isinstance(value, int) else value
        for name, value in values.items()
    }
    values["peak_mib"] = peak_bytes() // _MIB
    return Shown(rich_table(pairs_table("", texts)), values)


def explanation(explained: "Explanation") -> Shown:
    """Why an item is where it is."""
    rank = "excluded: it is in the history" if explained.rank is None else str(explained.rank)
    pairs = {
        "Item": f"{explained.item_id}: {explained.title}",
        "Rank": rank,
        "Score": f"{explained.score:.6g}",
        "Distance": "" if explained.distance is None else f"{explained.distance:.3f}",
        "Ranked by": explained.source + (f": {explained.rule}" if explained.rule else ""),
    }
    if explained.generated_text is not None:
        pairs["Grounded from"] = explained.generated_text
    parts = Table(
        "Parts of the score",
        ("Model", "Gamma", "Weight", "Share"),
        tuple(
            (
                Cell(part.name),
                Cell("" if part.gamma is None else f"{part.gamma:g}"),
                Cell(f"{part.weight:.3f}"),
                Cell(f"{part.share:.1%}"),
            )
            for part in explained.parts
        ),
        "Weight: 1 for the title that the model ranks first, 0 for the last. Share of what the "
        "score is above that of a title that every part ranks last.",
    )
    texts = Table(
        "Generated texts",
        ("Text", "Log-probability"),
        tuple((Cell(text.text), Cell(f"{text.log_prob:.3f}")) for text in explained.texts),
    )
    tables = [
        pairs_table("", pairs),
        parts,
        *([texts] if explained.texts else []),
        _items_table("Nearest titles", explained.nearest),
        _items_table("The history, nearest first", explained.history),
    ]
    return Shown(Group(*map(rich_table, tables)), explained.to_dict())


def _items_table(title: str, items: tuple["SimilarItem", ...]) -> Table:
    rows = tuple((Cell(i.item_id), Cell(i.title), Cell(f"{i.distance:.3f}")) for i in items)
    return Table(title, ("Item", "Title", "Distance"), rows)


def _text(text: str) -> Text:
    return Text(printable(text))
