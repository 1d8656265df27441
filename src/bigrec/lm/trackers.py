"""Experiment trackers that training reports to, by accelerate's classes."""

import importlib.util
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker

from bigrec.errors import SettingsError
from bigrec.lm.distributed import all_processes, process_state
from bigrec.lm.hardware import first_line

Report = Callable[[Mapping[str, float], int], None]
"""Called with figures by name, and the step they are of."""

_PROJECT = "bigrec"


def check_trackers(names: Sequence[str]) -> None:
    """Refuse a tracker that is not installed.

    Args:
        names: Trackers, by the names of their packages.

    Raises:
        SettingsError: If one is not installed.
    """
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise SettingsError(
                f"report_to names {name!r}, which is not installed. Run: pip install {name}, or "
                f"remove {name!r} from report_to."
            )


@contextmanager
def reporting(
    names: Sequence[str], *, folder: Path, configuration: Mapping[str, Any]
) -> Iterator[Report]:
    """Within the block, report figures to trackers. Of several processes the first one does.

    Trackers start with the first figures, so that nothing is left of a training that was complete.

    Args:
        names: Trackers; with none, nothing is reported.
        folder: For trackers that write files.
        configuration: Reported once, by the names of the values.

    Yields:
        Reports figures.

    Raises:
        SettingsError: If a tracker is not installed or, on the first report, cannot be started.
    """
    check_trackers(names)
    if all_processes().index:
        yield ignore_figures
        return
    with ExitStack() as stack:
        trackers: list[GeneralTracker] = []

        def report(figures: Mapping[str, float], step: int) -> None:
            trackers.extend(
                _start(name, stack, folder=folder, configuration=configuration)
                for name in names[len(trackers) :]
            )
            for tracker in trackers:
                tracker.log(dict(figures), step=step)

        yield report


def ignore_figures(_: Mapping[str, float], __: int) -> None:
    """A `Report` that goes nowhere."""


def _start(
    name: str, stack: ExitStack, *, folder: Path, configuration: Mapping[str, Any]
) -> GeneralTracker:
    """Start a tracker; it is finished with the stack."""
    make = LOGGER_TYPE_TO_CLASS[name]
    # Trackers take plain values only.
    plain = {
        key: value if isinstance(value, bool | int | float | str) else json.dumps(value)
        for key, value in configuration.items()
    }
    try:
        # Trackers ask for it.
        process_state()
        tracker: GeneralTracker = (
            make(_PROJECT, str(folder)) if make.requires_logging_directory else make(_PROJECT)
        )
        tracker.start()
        stack.callback(tracker.finish)
        tracker.store_init_configuration(plain)
    except Exception as error:
        raise SettingsError(
            f"report_to names {name!r}, which cannot be started: {first_line(error)}. Set it up as "
            "its documentation says, or remove it from report_to."
        ) from error
    return tracker
