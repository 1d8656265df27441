"""Datasets from files, whatever they were published as."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bigrec.data.catalog import Catalog
from bigrec.data.dataset import Dataset
from bigrec.data.examples import TitleExample
from bigrec.data.interactions import Interactions
from bigrec.data.readers import amazon, movielens, recbole
from bigrec.data.readers import tables as plain_tables
from bigrec.data.repairs import Repairs
from bigrec.data.tables import SourceTables, reading
from bigrec.errors import DataError


class _Reader(NamedTuple):
    read: Callable[[Path, Path | None], SourceTables | None]
    looks_for: str


_AUTO = "auto"
# In the order they are tried: plain tables last, because a reader before may know the file.
_READERS = {
    "movielens": _Reader(movielens.read, movielens.LOOKS_FOR),
    "recbole": _Reader(recbole.read, recbole.LOOKS_FOR),
    "amazon-2018": _Reader(amazon.read_2018, amazon.LOOKS_FOR_2018),
    "amazon-2023": _Reader(amazon.read_2023, amazon.LOOKS_FOR_2023),
    "tables": _Reader(plain_tables.read, plain_tables.LOOKS_FOR),
}


def load_dataset(
    source: str | Path,
    *,
    items: str | Path | None = None,
    kind: str = _AUTO,
    name: str | None = None,
    noun: str | None = None,
    min_rating: float | None = None,
    decode_html: bool = True,
    article_first: bool = False,
    user_id: str | None = None,
    item_id: str | None = None,
    title: str | None = None,
    time: str | None = None,
    order: str | None = None,
    rating: str | None = None,
    split: str | None = None,
    category: str | None = None,
) -> Dataset:
    """Read a dataset from files.

    Args:
        source: A folder, a file of interactions, or ``ml-100k``: MovieLens-100K from the installed
            wheel ``recbole``, unless there is a folder of that name.
        items: The file of titles, where it is not beside the interactions.
        kind: ``tables``, ``movielens``, ``recbole``, ``amazon-2018`` or ``amazon-2023``; ``auto``
            tells it from the files.
        name: What the dataset is called in tables; by default from the source.
        noun: What one title is called in the prompt; by default from the kind.
        min_rating: Leave out interactions rated lower.
        decode_html: Turn ``&amp;`` in titles into ``&``.
        article_first: Turn "Matrix, The (1999)" into "The Matrix (1999)".
        user_id: Column of the user. This and the columns below are known for every kind but
            ``tables``, where they default to the names of the options.
        item_id: Column of the item, in both files.
        title: Column of the title.
        time: Column of the timestamp, ``timestamp`` by default.
        order: Column of the position in the user's history; by default ``position`` where there
            is no timestamp. ``"row"`` takes the order of the rows.
        rating: Column of the rating.
        split: Column that says train, valid or test.
        category: Column of the category.

    Raises:
        DataError: If the files are missing, damaged, or hold what cannot be used.
        ValueError: If there is no such kind.
    """
    found = _find(source, None if items is None else Path(items), kind)
    columns = dict(found.columns)
    if time is not None:
        # A timestamp that the caller names needs no position found by the reader.
        columns.pop("order", None)
    of_interactions = {"user_id": user_id, "time": time, "order": order}
    of_interactions |= {"rating": rating, "split": split}
    of_items = {"title": title, "category": category, "year": None}
    repairs = Repairs()
    with reading(found.items_path):
        catalog = Catalog.from_frame(
            found.items,
            decode_html=decode_html,
            article_first=article_first,
            repairs=repairs,
            **_chosen({**of_items, "item_id": item_id}, columns),
        )
    with reading(found.interactions_path):
        interactions = Interactions.from_frame(
            found.interactions,
            catalog,
            min_rating=min_rating,
            repairs=repairs,
            **_chosen({**of_interactions, "item_id": item_id}, columns),
        )
    return Dataset(name or found.name, noun or found.noun, interactions, catalog, repairs)


def load_bigrec_json(path: str | Path, *, noun: str = "item") -> list[TitleExample]:
    """Read examples as the authors of BIGRec published theirs, to evaluate on.

    Args:
        path: A JSON list of ``instruction``, ``input`` (titles in double quotes, separated by
            commas) and ``output`` (one title in double quotes).
        noun: What one title is called in the prompt.

    Raises:
        DataError: If the file is missing or is written differently.
    """
    path = Path(path)
    with reading(path):
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise DataError(f"expected JSON, got an error at {error}. Download it again.") from None
        if not isinstance(rows, list) or not rows:
            raise DataError("expected a JSON list of examples. Give a file of the published data.")
        return [
            TitleExample(
                history=tuple(_quoted(row, "input", number)),
                target=_quoted(row, "output", number)[0],
                noun=noun,
            )
            for number, row in enumerate(rows, start=1)
        ]


def _find(source: str | Path, items: Path | None, kind: str) -> SourceTables:
    if kind != _AUTO and kind not in _READERS:
        raise ValueError(f"kind is {kind!r}: expected {_AUTO}, {', '.join(_READERS)}.")
    path = Path(source)
    if str(source) == recbole.SHORT_NAME and not path.exists():
        path = recbole.installed_ml_100k()
    for file in (path, *([items] if items is not None else [])):
        if not file.exists():
            raise DataError(
                f"{file} does not exist: expected a folder or a file, or the short name "
                f"{recbole.SHORT_NAME!r}."
            )
    kinds = list(_READERS) if kind == _AUTO else [kind]
    for one in kinds:
        found = _READERS[one].read(path, items)
        if found is not None:
            return found
    looked_for = "".join(f"\n  {one}: {_READERS[one].looks_for}" for one in kinds)
    there = sorted(file.name for file in path.iterdir())[:10] if path.is_dir() else [path.name]
    raise DataError(
        f"no dataset was found in {path}, which holds {', '.join(there) or 'nothing'}. Looked for:"
        f"{looked_for}"
    )


def _chosen(given: dict[str, str | None], found: dict[str, str]) -> dict[str, str]:
    """What the caller names, else what the reader found; the rest keeps its default."""
    chosen = {option: name or found.get(option) for option, name in given.items()}
    return {option: name for option, name in chosen.items() if name is not None}


def _quoted(row: object, field: str, number: int) -> list[str]:
    text = row.get(field) if isinstance(row, dict) else None
    match = re.search(r'"(.*)"', text, re.DOTALL) if isinstance(text, str) else None
    if match is None:
        raise DataError(
            f"example {number} has no title in double quotes in {field!r}: got {text!r:.100}. Give "
            "a file of the published data."
        )
    # Between two titles stands quote, comma, quote; a title may itself hold a quote or a comma.
    return re.split(r'",\s*"', match[1])
