"""Lists for every user of a file on Ray: parts made by actors that load the bundle once.

The parts are those of one process, so that the output is the same, and a stopped call resumes.
"""

import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bigrec.data.histories import Histories
from bigrec.errors import BigrecError, BundleError, SettingsError
from bigrec.recommender.answering import Request
from bigrec.recommender.loading import Access, load_fitted
from bigrec.recommender.recommend_all import RecommendAll


@dataclass(frozen=True)
class RayParts:
    """Makes parts on the actors of Ray Data.

    Ray starts on this machine unless it runs already or ``RAY_ADDRESS`` names a cluster. A part
    whose actor ends is made again by another.

    Args:
        bundle: The recommender, at the same path on every machine.
        access: What the caller allows it.
        workers: Number of actors, each of one processor.
    """

    bundle: Path
    access: Access = field(repr=False)
    workers: int

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ValueError(f"workers is {self.workers}; expected at least 1.")

    def __call__(self, job: RecommendAll, numbers: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        """Make parts in any order.

        Raises:
            BigrecError: If an actor cannot make a part.
            SettingsError: If Ray is not installed.
        """
        ray = _started(self.workers)
        request = replace(
            job.request,
            items=None if job.request.items is None else tuple(job.request.items),
            exclude=tuple(job.request.exclude),
        )
        # Each machine gets the histories once.
        work = ray.put(
            _Work(self.bundle.absolute(), self.access, job.fitted.version, job.histories, request)
        )
        parts = ray.data.from_items(
            [{"part": number} for number in numbers], override_num_blocks=len(numbers)
        ).map_batches(
            _Actor,
            fn_constructor_args=[work],
            batch_size=1,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=min(self.workers, len(numbers))),
            num_cpus=1,
        )
        try:
            # Ray tells of actors that ended on stdout, which may be for a program to read.
            with redirect_stdout(sys.stderr):
                for row in parts.iter_rows():
                    yield int(row["part"]), bytes(row["content"])
        except ray.exceptions.RayError as error:
            raise _told(error) from error


@dataclass(frozen=True)
class _Work:
    """What an actor needs to make any part."""

    bundle: Path
    access: Access
    version: str
    histories: Histories
    request: Request


class _Actor:
    """Loads the bundle once and makes parts."""

    def __init__(self, reference: Any) -> None:
        work: _Work = importlib.import_module("ray").get(reference)
        fitted = load_fitted(work.bundle, work.access)
        if fitted.version != work.version:
            raise BundleError(
                f"{work.bundle} is another recommender where an actor of Ray reads it: expected "
                f"version {work.version}, found {fitted.version}. Copy the same bundle to every "
                "machine, and do not write it while lists are made."
            )
        # The name of the output decides nothing here.
        self._job = RecommendAll(fitted, work.histories, Path("lists.parquet"), work.request)

    def __call__(self, batch: Any) -> Any:
        """Make the parts of a table's column ``part``."""
        arrow = importlib.import_module("pyarrow")
        numbers = batch["part"].to_pylist()
        content = [self._job.part(number) for number in numbers]
        return arrow.table({"part": numbers, "content": arrow.array(content, arrow.large_binary())})


def _started(workers: int) -> Any:
    """The module ``ray``, connected.

    Raises:
        SettingsError: If it is not installed.
    """
    # Before the import, which reads it: nothing is reported to Ray's authors unless asked for.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray = importlib.import_module("ray")
        importlib.import_module("ray.data")
    except ImportError:
        raise SettingsError(
            "Lists are to be made on Ray, which is not installed. Run: pip install 'bigrec[ray]', "
            "or omit --ray-workers."
        ) from None
    ray.data.DataContext.get_current().enable_progress_bars = False
    if not ray.is_initialized():
        here = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": workers}
        ray.init(log_to_driver=False, include_dashboard=False, **here)
    return ray


def _told(error: BaseException) -> BigrecError:
    """Our error among the causes of one of Ray's, else one that tells its reason."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, BigrecError):
            return cause
        inner = getattr(cause, "cause", None)
        cause = inner if isinstance(inner, BaseException) else cause.__cause__
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return BigrecError(
        f"the lists could not be made on Ray: {lines[-1].rstrip('.')}. The parts that are complete "
        "stay: repeat the call to resume it, without --ray-workers if it fails again."
    )
