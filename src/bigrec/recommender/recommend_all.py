"""Lists for every user of a file, part by part: in bounded memory, and resumable.

Each part is a Parquet file in a folder beside the output, written whole or not at all. After it was
stopped or killed, the same call resumes with the first part that is missing. At the end the parts
become one file, atomically, and are removed.
"""

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl

from bigrec.data.histories import Histories
from bigrec.errors import BundleError, DataError, StorageError
from bigrec.grounding.index import MAX_BYTES
from bigrec.recommender.answering import Request, popular_titles, rank_histories
from bigrec.recommender.candidates import Candidates
from bigrec.recommender.fitted import FittedRecommender
from bigrec.storage import atomic_file, fingerprint, read_json, write_json
from bigrec.storage.locks import exclusive
from bigrec.types import BoolArray, FloatArray, IntArray, ProgressCallback

_FORMAT = 1
_PLAN = "plan.json"
_MAX_PLAN_BYTES = 1 << 12
_PER_PART, _PER_WRITTEN_PART = 4096, 64
_ROWS_PER_GROUP = 122_880
_SUFFIXES = (".parquet", ".csv", ".jsonl")
# Of a listed item, while its part is made: five arrays, and a row of the table with its texts.
_BYTES_PER_LISTED = 200


@dataclass(frozen=True, slots=True)
class Summary:
    """What became of the histories.

    Attributes:
        users: Histories.
        rows: Listed items of all.
        by_popularity: Histories of which nothing was known.
        skipped: Items of histories that the catalog lacks.
        unknown: Different ones.
        ignored: Items to exclude that the catalog lacks.
    """

    users: int
    rows: int
    by_popularity: int
    skipped: int
    unknown: int
    ignored: int


@dataclass(frozen=True, eq=False)
class RecommendAll:
    """A list for every user of a file.

    Args:
        fitted: The recommender.
        histories: Those of all users.
        out: The file to write, by its suffix Parquet, CSV or JSON lines: a row for each listed
            item with ``user_id``, ``rank``, ``item_id``, ``title``, ``score`` and ``source``.
        request: What is asked for each.

    Raises:
        DataError: If an item is not in the catalog or a history empty, unless these are skipped.
        ValueError: If the output's suffix is another one, or a value is out of range.
    """

    fitted: FittedRecommender = field(repr=False)
    histories: Histories = field(repr=False)
    out: Path
    request: Request

    def __post_init__(self) -> None:
        if self.out.suffix not in _SUFFIXES:
            raise ValueError(
                f"the output is {self.out}; expected a name that ends in {', '.join(_SUFFIXES)}."
            )
        if self.out.is_dir():
            raise ValueError(f"the output is {self.out}, a folder; expected a file to write.")
        self.request.check(self.fitted)
        self.fitted.rule(
            exclude_seen=self.request.excludes_seen(self.fitted), gammas=self.request.gammas
        )
        # Told before anything is made.
        _ = self._candidates
        if self.request.unknown == "error":
            self.fitted.catalog.resolve(self.histories.item_ids, name="the histories")
            empty = np.flatnonzero(self._known_items == 0)
            if len(empty):
                raise DataError(
                    f"{len(empty):,} histories are empty, such as that of user "
                    f"{self.histories.user_ids[int(empty[0])]!r}: expected at least one item in "
                    "each. With unknown='skip' (--unknown skip) they are answered by popularity."
                )

    @property
    def per_part(self) -> int:
        """Histories in each part; few in generative mode, which is slow, so that little is lost."""
        return _PER_WRITTEN_PART if self.fitted.settings.mode == "generative" else _PER_PART

    @property
    def n_parts(self) -> int:
        """Number of parts."""
        return -(-len(self.histories) // self.per_part)

    @property
    def folder(self) -> Path:
        """Holds the parts until all are complete."""
        return self.out.with_name(f"{self.out.name}.parts")

    @property
    def working_bytes(self) -> int:
        """Upper bound of the memory beside the recommender and the histories, in bytes.

        With ``c`` histories in a part, ``b`` of them ranked at a time, ``k`` listed, ``n`` items,
        ``t`` titles, ``d`` dimensions and ``s`` signals it is ``max_bytes`` for the distances
        (256 MiB) + ``8 b (s (2 n + t) + 3 t)`` for the signals + ``8 c d`` for the encoded
        histories + ``200 c k`` for the lists + ``8 c e`` for ``e`` excluded items. ``b`` is half of
        ``max_bytes`` over the ``36 t`` bytes of a query's distances. The language model's own
        memory while it encodes is not in it.
        """
        catalog, c = self.fitted.catalog, min(self.per_part, len(self.histories))
        n_signals = 0 if self.fitted.fusion is None else len(self.fitted.fusion.signals)
        b = min(c, max(1, MAX_BYTES // 2 // (36 * catalog.n_titles)))
        scored = n_signals * (2 * catalog.n_items + catalog.n_titles) + 3 * catalog.n_titles
        d = int(self.fitted.encoder.ranker.index.embeddings.shape[1])
        listed = min(int(self.request.k), catalog.n_titles)
        excluded = len(self._candidates.excluded_items)
        per_history = 8 * d + _BYTES_PER_LISTED * listed + 8 * excluded
        return MAX_BYTES + (8 * b * scored if n_signals else 0) + c * per_history

    def run(
        self, *, progress: ProgressCallback | None = None, make: "MakeParts | None" = None
    ) -> Summary:
        """Make the parts that are missing, and write the output.

        Args:
            progress: Called with (histories done, histories in total).
            make: Makes the parts; by default one after the other, in this process.

        Raises:
            StorageError: If another process makes the same output, the folder of parts is of
                another call, or something cannot be written.
        """
        with exclusive(self.folder):
            self._check_plan()
            paths = [self.folder / f"part-{number:06d}.parquet" for number in range(self.n_parts)]
            missing = [number for number, path in enumerate(paths) if not path.is_file()]
            made = (make or _one_by_one)(self, missing) if missing else iter(())
            for done in range(self.n_parts - len(missing), self.n_parts):
                if progress is not None:
                    progress(done * self.per_part, len(self.histories))
                number, content = next(made)
                with atomic_file(paths[number]) as temporary:
                    temporary.write_bytes(content)
            n_rows = _merge(paths, self.out)
            if progress is not None:
                progress(len(self.histories), len(self.histories))
            for path in (*paths, self.folder / _PLAN):
                path.unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()
        return Summary(
            users=len(self.histories),
            rows=n_rows,
            by_popularity=int((self._known_items == 0).sum()),
            skipped=int((self._numbers[self.histories.items] < 0).sum()),
            unknown=int((self._numbers < 0).sum()),
            ignored=len(self._candidates.ignored),
        )

    def part(self, number: int) -> bytes:
        """A part of the lists, as Parquet: rows of ``per_part`` users, fewer in the last one."""
        start, content = number * self.per_part, io.BytesIO()
        self._rows(slice(start, start + self.per_part)).write_parquet(content)
        return content.getvalue()

    @cached_property
    def _candidates(self) -> Candidates:
        return self.request.candidates(self.fitted)

    @cached_property
    def _numbers(self) -> IntArray:
        """Item number of each different id of the histories, -1 for those of no item."""
        return self.fitted.catalog.numbers(self.histories.item_ids)

    @cached_property
    def _known_items(self) -> IntArray:
        """Number of known items in each history, ``[u]``."""
        known = np.concatenate([[0], np.cumsum(self._numbers[self.histories.items] >= 0)])
        return np.diff(known[self.histories.starts])

    @property
    def _key(self) -> str:
        """Identifies the content of the parts."""
        request = self.request
        return fingerprint(
            [
                _FORMAT,
                self.fitted.version,
                self.histories.fingerprint,
                self.per_part,
                int(request.k),
                request.excludes_seen(self.fitted),
                request.beams,
                None if request.gammas is None else dict(request.gammas),
                hashlib.sha256(self._candidates.shown.data).hexdigest(),
            ]
        )

    def _check_plan(self) -> None:
        """Refuse a folder of parts of another call.

        Raises:
            StorageError: If it is one.
        """
        path, plan = self.folder / _PLAN, {"format": _FORMAT, "key": self._key}
        if not path.is_file():
            write_json(path, plan)
            return
        with suppress(BundleError):
            if read_json(path, max_bytes=_MAX_PLAN_BYTES) == plan:
                return
        raise StorageError(
            f"{self.folder} holds parts of another call: of other histories, another recommender "
            "or other options. Repeat that call to resume it, or remove the folder."
        )

    def _rows(self, users: slice) -> pl.DataFrame:
        """The rows of some users."""
        items, scores, known = self._lists(users)
        user, place = np.nonzero(items >= 0)
        listed = items[user, place]
        source = pl.Series(["popularity", self.fitted.source])
        return pl.DataFrame(
            {
                "user_id": self.histories.user_ids[users].gather(user),
                "rank": place + 1,
                "item_id": self._item_ids.gather(listed),
                "title": self._titles.gather(listed),
                "score": scores[user, place],
                "source": source.gather(known[user].astype(np.int64)),
            }
        )

    @cached_property
    def _item_ids(self) -> pl.Series:
        return pl.Series(self.fitted.catalog.item_ids)

    @cached_property
    def _titles(self) -> pl.Series:
        return pl.Series(self.fitted.catalog.titles)

    def _lists(self, users: slice) -> tuple[IntArray, FloatArray, BoolArray]:
        """Listed items, -1 where there are no more, and scores ``[c, k]``; which are ranked."""
        histories = list(self._read(users))
        known = np.array([len(history) > 0 for history in histories])
        k = min(int(self.request.k), self.fitted.catalog.n_titles)
        items, scores = (
            np.full((len(histories), k), -1, dtype=np.int64),
            np.zeros((len(histories), k)),
        )
        if known.any():
            ranked = [history for history in histories if len(history)]
            _, lists = rank_histories(self.fitted, ranked, self._candidates, self.request)
            titles = lists.title_ids
            items[known] = np.where(titles >= 0, self._candidates.shown[titles], -1)
            scores[known] = lists.scores
        if not known.all():
            popular = popular_titles(self.fitted, self._candidates, k=k)
            items[~known, : len(popular)] = self._candidates.shown[popular]
            scores[~known, : len(popular)] = self.fitted.title_counts[popular]
        return items, scores, known

    def _read(self, users: slice) -> Iterator[IntArray]:
        """Known item numbers of the histories of some users."""
        starts = self.histories.starts[users.start : users.stop + 1]
        for start, stop in pairwise(starts):
            numbers = self._numbers[self.histories.items[start:stop]]
            yield numbers[numbers >= 0]


MakeParts = Callable[[RecommendAll, Sequence[int]], Iterator[tuple[int, bytes]]]
"""From numbers of parts to each number with its part, in any order."""


def _one_by_one(job: RecommendAll, numbers: Sequence[int]) -> Iterator[tuple[int, bytes]]:
    return ((number, job.part(number)) for number in numbers)


def _merge(parts: list[Path], out: Path) -> int:
    """Write parts as one file, whole or not at all.

    Returns:
        The number of rows.

    Raises:
        StorageError: If it cannot be written, or a part is damaged.
    """
    table = pl.scan_parquet(parts, glob=False)
    try:
        with atomic_file(out) as temporary:
            if out.suffix == ".parquet":
                table.sink_parquet(temporary, row_group_size=_ROWS_PER_GROUP)
            elif out.suffix == ".csv":
                table.sink_csv(temporary)
            else:
                table.sink_ndjson(temporary)
        return int(table.select(pl.len()).collect().item())
    except pl.exceptions.PolarsError as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise StorageError(
            f"{out} could not be made of the parts in {parts[0].parent}: {reason}. Free some "
            "space, or remove the folder of parts if one is damaged."
        ) from None
