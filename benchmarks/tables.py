"""A comparison's figures as the Markdown tables that stand in docs.

python benchmarks/tables.py runs/mine/evaluation-*/comparison.json
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from bigrec.evaluation.protocol import SummaryRow
from bigrec.evaluation.reports.comparison import comparison_from_json
from bigrec.evaluation.significance import ComparisonRow
from bigrec.storage import read_json

METRICS = ("hr@1", "hr@10", "hr@20", "ndcg@10", "ndcg@20")
PROTOCOLS = {True: "Seen items left out", False: "Seen items kept, as published"}


def line(cells: Iterable[str]) -> str:
    """One row of a table."""
    return f"| {' | '.join(cells)} |"


def table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Heading and rows."""
    return [line(heading), line("---" for _ in heading), *map(line, rows), ""]


def interval(row: SummaryRow) -> str:
    """A figure with its interval."""
    return f"{row.value:.4f} [{row.low:.4f}, {row.high:.4f}]"


def differences(heading: str, rows: Iterable[ComparisonRow]) -> list[str]:
    """Paired differences with intervals and p-values."""
    return table(
        [heading, "metric", "difference", "p, Holm-corrected"],
        [
            [
                row.method,
                row.metric.upper(),
                f"{row.difference:+.4f} [{row.low:+.4f}, {row.high:+.4f}]",
                f"{row.p_corrected:.4f}",
            ]
            for row in rows
        ],
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path)
    report = comparison_from_json(read_json(parser.parse_args().file))
    found = [*report.notes, ""]
    for hide, title in PROTOCOLS.items():
        rules = {one.method: one.rule for one in report.chosen if one.exclude_seen == hide}
        rows = [row for row in report.rows if row.exclude_seen == hide]
        figures = {(row.method, row.metric): row for row in rows}
        methods = dict.fromkeys(row.method for row in rows)
        found += [f"## {title}", ""]
        found += table(
            ["", *map(str.upper, METRICS), "chosen on validation"],
            [
                [one, *(interval(figures[one, metric]) for metric in METRICS), rules.get(one, "")]
                for one in methods
            ],
        )
        found += differences(
            f"against {report.reference}",
            [row for row in report.differences if row.exclude_seen == hide],
        )
        found += differences(
            "against its signals without the model",
            [row for row in report.gains if row.exclude_seen == hide],
        )
        on_valid = [row for row in report.validation if row.exclude_seen == hide]
        found += table(
            ["on validation", "HR@10", "NDCG@10"],
            [
                [one, *(interval(row) for row in on_valid if row.method == one)]
                for one in dict.fromkeys(row.method for row in on_valid)
            ],
        )
        found += table(
            ["first ten of the list", "coverage", "novelty, bits", "Gini"],
            [
                [row.method, f"{row.coverage:.3f}", f"{row.novelty:.2f}", f"{row.gini:.3f}"]
                for row in report.beyond
                if row.exclude_seen == hide
            ],
        )
        found += table(
            ["agreement at 20 with", "overlap", "hits per item of both", "of one", "ratio"],
            [
                [
                    row.other,
                    f"{row.overlap:.3f}",
                    f"{row.rate_both:.4f}",
                    f"{row.rate_one:.4f}",
                    f"{row.ratio:.1f}",
                ]
                for row in report.agreement
                if row.exclude_seen == hide
            ],
        )
        for family, segments in report.segments.items():
            own = [
                row
                for row in segments
                if row.summary.exclude_seen == hide and row.summary.metric == "ndcg@10"
            ]
            names = {row.segment: row.queries for row in own}
            values = {(row.summary.method, row.segment): row.summary.value for row in own}
            found += table(
                [f"NDCG@10 by {family}", *(f"{name} ({count})" for name, count in names.items())],
                [[one, *(f"{values[one, name]:.4f}" for name in names)] for one in methods],
            )
    sys.stdout.write("\n".join(found))


if __name__ == "__main__":
    main()
