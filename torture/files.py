"""Fuzzed files: every row of a damaged table is read or told, or the file is refused.

Others say what a damaged file holds: Python's csv module in strict mode, json and gzip, and pyarrow
the number of rows of a Parquet file. A fault is a traceback, a hang, a row that is neither read nor
told, other values than theirs, a damaged file that is read, or a sound one that is refused.
"""

import argparse
import gzip
import random
import signal
import tempfile
import traceback
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from bigrec.data.files import reading
from bigrec.data.sources import load_dataset
from bigrec.data.tables import scan_table
from bigrec.errors import BigrecError
from torture.table_formats import FORMATS, UNSAID, Format, Held, Rows
from torture.tally import Tally, finish

HANG_S = 30
_HOSTILE = ['"', '""', ",", "\t", ";", "\n", "\r", "\r\n", "\0", "'", "{", "}", "[", "]", ":", "\\"]
_HOSTILE += [
    "é",
    "\u2028",
    "\ufeff",
    "\x85",
    " ",
    "0",
    "-",
    "nan",
    '",',
    ',"',
    "null",
    "NaN",
    "\\ud800",
]
_IDS = [
    "1",
    "2",
    "3",
    "12",
    "12.0",
    "007",
    "7",
    " 7",
    "B1",
    "b1",
    "é",
    "nan",
    "NULL",
    "",
    None,
    "x,y",
]
_TIMES = ["unknown", "", None, "2014-07-05", 1404583181000, -5, 0, "1404583181.5", 10**30]
_TITLES = [
    "A",
    "Matrix, The",
    'The "Best"',
    "B\nC",
    "<span>D</span>",
    "var x = 1",
    "",
    "nan",
    "\\",
    "'",
]
_NOTES = ["fine", 'a 14" screen', "one, two", "line\nbreak", '"', "", "é" * 9, "5,6,7"]
# Rows that are dropped are counted by these checks.
_DROPS = {
    "interactions": (
        "interactions without a user",
        "interactions without an item",
        "interactions without a time",
        "interactions with unknown items",
        "duplicate interactions",
    ),
    "items": (
        "items without an id",
        "page scripts as titles",
        "empty titles",
        "repeated item ids",
    ),
}
# Sound files that are refused all the same, because they are likely not meant so.
_STRICT = (
    "NUL byte",
    "looks like a row",
    "columns are named",
    "fields are separated by",
    "it is empty",
    "no object with a key",
    "hex escape",
    "surrogate",
)


class HangError(Exception):
    """A file took longer than `HANG_S` seconds."""


def main() -> None:
    """Fuzz as many files as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    finish("Fuzzed files", fuzz(arguments.tries, arguments.seed))


def fuzz(tries: int, seed: int) -> list[Tally]:
    """Damage and read files.

    Args:
        tries: Number of files.
        seed: Seed of all of them; try ``n`` does not depend on the others.

    Returns:
        For each format, the files that were read and those that were refused.
    """
    tallies = {
        (suffix, outcome): Tally(f"{suffix}: {outcome}")
        for suffix in FORMATS
        for outcome in ("read whole", "refused")
    }
    with tempfile.TemporaryDirectory() as folder:
        for number in range(tries):
            rng = random.Random(f"{seed}/{number}")
            form = rng.choice(list(FORMATS.values()))
            was_read, fault = _attempt(Path(folder), form, rng)
            outcome = "read whole" if was_read else "refused"
            tallies[form.suffix, outcome].count(
                None if fault is None else f"--seed {seed}, try {number}: {fault}"
            )
    return list(tallies.values())


def _attempt(folder: Path, form: Format, rng: random.Random) -> tuple[bool, str | None]:
    """Damage a file of interactions or of items; whether it was read, and the fault."""
    held: dict[str, Held] = {}
    paths: dict[str, Path] = {}
    damaged = rng.choice(("interactions", "items"))
    for name, rows in (("interactions", _interactions(rng)), ("items", _items(rng))):
        paths[name] = folder / f"{name}{form.suffix}"
        raw, held[name] = _file(rows, form, rng, is_damaged=name == damaged)
        paths[name].write_bytes(raw)
    try:
        with _time_limit():
            return _judge(paths, held, damaged)
    except HangError:
        return False, f"no end after {HANG_S} s"
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001 - a panic of polars is no Exception
        return False, f"a traceback: {traceback.format_exc(limit=-3)}"


def _file(rows: Rows, form: Format, rng: random.Random, *, is_damaged: bool) -> tuple[bytes, Held]:
    """The bytes of a file, and what another program reads from them."""
    raw = form.write(rows)
    damage = _damage_bytes if form.suffix == ".parquet" else _damage_text
    if is_damaged and rng.random() < 0.75:
        raw = damage(raw, rng)
    if not form.is_packed:
        return raw, form.held(raw)
    packed = gzip.compress(raw, mtime=0)
    if is_damaged and rng.random() < 0.3:
        packed = _damage_bytes(packed, rng)
    try:
        return packed, form.held(gzip.decompress(packed))
    except (OSError, EOFError, zlib.error):
        return packed, None


def _judge(paths: dict[str, Path], held: dict[str, Held], damaged: str) -> tuple[bool, str | None]:
    path, rows = paths[damaged], held[damaged]
    try:
        with reading(path):
            frame = scan_table(path).collect()
    except BigrecError as error:
        is_sound = isinstance(rows, list) and not any(text in str(error) for text in _STRICT)
        fault = f"a sound file was refused: {error}" if is_sound else None
        return False, fault or _message_fault(error, path)
    if rows is None:
        return True, f"a damaged file was read: {path.read_bytes()!r:.2000}"
    if isinstance(rows, list) and frame.to_dicts() != _completed(rows, frame.columns):
        return True, f"{frame.to_dicts()!r:.500} was read, expected {rows!r:.500}"
    try:
        made = load_dataset(paths["interactions"], items=paths["items"])
    except BigrecError as error:
        return False, _message_fault(error, *paths.values())
    counts = {row.name: row.count for row in made.repairs.as_rows()}
    for name, kept in (("interactions", len(made.interactions)), ("items", made.catalog.n_items)):
        told = sum(counts.get(check, 0) for check in _DROPS[name])
        total = _total(held[name])
        if total is not None and kept + told != total:
            return True, f"{total} {name}: {kept} kept, {told} told as dropped"
    return True, None


def _message_fault(error: BigrecError, *paths: Path) -> str | None:
    if any(path.name in str(error) for path in paths):
        return None
    return f"a message without the name of the file: {error}"


def _completed(rows: Rows, columns: Sequence[str]) -> Rows:
    """Rows with None for missing values, without columns that the table has not."""
    names = dict.fromkeys(name for row in rows for name in row) or columns
    return [{name: row.get(name) for name in names} for row in rows]


def _total(held: Held) -> int | None:
    if isinstance(held, list):
        return len(held)
    return None if held == UNSAID else held


@contextmanager
def _time_limit() -> Iterator[None]:
    def stop(_number: int, _frame: FrameType | None) -> None:
        raise HangError

    previous = signal.signal(signal.SIGALRM, stop)
    signal.alarm(HANG_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def _interactions(rng: random.Random) -> Rows:
    rows: Rows = []
    for number in range(rng.randint(1, 12)):
        time: Any = 1404583181 + number // 2
        row: dict[str, Any] = {"user_id": rng.choice(_IDS), "item_id": rng.choice(_IDS)}
        row["timestamp"] = rng.choice(_TIMES) if rng.random() < 0.01 else time
        if rng.random() < 0.9:
            row["rating"] = rng.choice([1, 4.5, "", None, 5])
        row["review"] = rng.choice(_NOTES)
        rows.append(row)
    return rows


def _items(rng: random.Random) -> Rows:
    titles = {_loose(item): rng.choice(_TITLES) for item in _IDS}
    return [
        {"item_id": item, "title": titles[_loose(item)], "description": rng.choice(_NOTES)}
        for item in rng.sample(_IDS, rng.randint(5, len(_IDS)))
    ]


def _loose(item: str | None) -> str:
    """An id as bigrec reads it: one id has one title."""
    return (item or "").strip().removesuffix(".0")


def _damage_text(raw: bytes, rng: random.Random) -> bytes:
    text = raw.decode("utf-8")
    for _ in range(rng.randint(1, 3)):
        start = rng.randint(0, len(text))
        end = min(len(text), start + rng.choice([0, 0, 1, 2, 9, 40]))
        piece = rng.choice([*_HOSTILE, "", text[start:end] * 2, "\ufeff" + text[start:end]])
        text = text[:start] + piece + text[end:]
    change = rng.random()
    if change < 0.05:
        text = text[: rng.randint(0, len(text))]
    elif change < 0.1:
        text = text.replace("\n", rng.choice(["\r", "\r\n", "\n\n", "\u2028", ""]))
    encoding = rng.choice(["utf-16", "utf-16-le", "latin-1", "utf-8-sig"])
    if rng.random() < 0.1:
        return text.encode(encoding, errors="replace")
    raw = text.encode("utf-8", errors="replace")
    return _damage_bytes(raw, rng) if rng.random() < 0.1 else raw


def _damage_bytes(raw: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(raw)
    for _ in range(rng.randint(1, 3)):
        start = rng.randint(0, max(0, len(damaged) - 1))
        kind = rng.randrange(5)
        if kind == 0:
            del damaged[start:]
        elif kind == 1:
            damaged[start : start + rng.randint(1, 20)] = rng.randbytes(rng.randint(0, 20))
        elif kind == 2:
            damaged[start:start] = damaged[start : start + 50]
        elif damaged:
            damaged[start % len(damaged)] ^= 1 << rng.randrange(8)
    return bytes(damaged)


if __name__ == "__main__":
    main()
