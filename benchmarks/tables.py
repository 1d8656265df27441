"""The figures of a comparison as Markdown tables for the documentation.

python -m benchmarks.tables runs/mine/evaluation-*/comparison.json
python -m benchmarks.tables --summary runs/mine/evaluation-*/comparison.json
"""

import argparse
import sys
from pathlib import Path

from benchmarks.summary import summary_tables
from bigrec.evaluation.protocol import PROTOCOL_LABELS
from bigrec.evaluation.reports.comparison import comparison_from_json
from bigrec.evaluation.reports.comparison_tables import ComparisonTables, comparison_tables
from bigrec.evaluation.reports.data import ComparisonReport
from bigrec.evaluation.reports.metric_tables import INTERVAL_NOTE, VALIDATION_NOTE
from bigrec.evaluation.reports.table import Table, to_markdown
from bigrec.storage import read_json

_COLUMNS = (
    *("Method", "HR@1", "HR@10", "HR@10 on validation", "HR@20"),
    *("NDCG@10", "NDCG@10 on validation", "NDCG@20"),
)


def markdown(report: ComparisonReport) -> str:
    """The comparison's notes and the tables of each protocol."""
    blocks = [f"{note}\n\n" for note in report.notes]
    note = f"{INTERVAL_NOTE} {VALIDATION_NOTE}" if report.validation else INTERVAL_NOTE
    for exclude_seen, tables in comparison_tables(report).items():
        blocks.append(f"## {PROTOCOL_LABELS[exclude_seen].capitalize()}\n\n{note}\n\n")
        blocks += map(to_markdown, _ordered(tables))
    return "".join(blocks)


def _ordered(tables: ComparisonTables) -> list[Table]:
    return [
        *(table.keep(_COLUMNS) for table in tables.metrics),
        *(*tables.fusion, *tables.differences, *tables.gains, *tables.targets),
        *(*tables.beyond, *tables.agreement, *tables.segments, *tables.seeds),
    ]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--summary", action="store_true", help="one page, seen items excluded")
    arguments = parser.parse_args()
    report = comparison_from_json(read_json(arguments.file))
    if arguments.summary:
        text = "".join(map(to_markdown, summary_tables(report, exclude_seen=True)))
    else:
        text = markdown(report)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
