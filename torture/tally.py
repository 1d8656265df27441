"""The table of an attack: what was tried, what survived, and every fault."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bigrec.printable import printable


@dataclass
class Tally:
    """Tries of one kind.

    Attributes:
        test: What was tried.
        tries: Number of tries.
        faults: What went wrong, with what is needed to repeat it; one entry for each fault.
    """

    test: str
    tries: int = 0
    faults: list[str] = field(default_factory=list)

    def count(self, fault: str | None = None) -> None:
        """Count a try; with a fault if it did not survive."""
        self.tries += 1
        if fault is not None:
            self.faults.append(fault)

    @property
    def survived(self) -> int:
        """Tries without a fault."""
        return self.tries - len(self.faults)


def report(title: str, tallies: Sequence[Tally]) -> bool:
    """Print every fault and the table; whether all tries survived."""
    console = Console()
    table = Table("Test", "Tries", "Survived", "Faults", title=escape(title))
    for tally in tallies:
        for fault in tally.faults:
            shown = escape(printable(fault, lines=True))
            console.print(f"[bold red]Fault[/] ({escape(tally.test)}): {shown}")
        figures = (tally.tries, tally.survived, len(tally.faults))
        table.add_row(escape(tally.test), *(f"{figure:,}" for figure in figures))
    console.print(table)
    return not any(tally.faults for tally in tallies)


def finish(title: str, tallies: Sequence[Tally]) -> None:
    """Print the table, and exit with 1 if there is a fault."""
    sys.exit(0 if report(title, tallies) else 1)
