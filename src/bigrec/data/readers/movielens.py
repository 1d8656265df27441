"""Reader of MovieLens in GroupLens' formats: 100K, 1M, 10M and the later CSV editions."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import polars as pl

from bigrec.data.csv_rows import Dialect
from bigrec.data.delimited import scan_delimited
from bigrec.data.files import read_lines, reading
from bigrec.data.tables import SourceTables, first_fields, scan_table
from bigrec.errors import DataError

LOOKS_FOR = "u.data and u.item, or ratings.dat and movies.dat, or ratings.csv and movies.csv"

_GENRES_100K = (
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)
_COLUMNS = ("user_id", "item_id", "rating", "timestamp")
_GENRES = "genres"
_CSV = {"user_id": "userId", "item_id": "movieId"}


class _Edition(NamedTuple):
    ratings: str
    movies: str
    scan_ratings: Callable[[Path], pl.LazyFrame]
    scan_movies: Callable[[Path], pl.LazyFrame]
    columns: Mapping[str, str]


def read(source: Path, items: Path | None) -> SourceTables | None:
    """Find an edition of MovieLens; None if there is none.

    Raises:
        DataError: If the file of titles is missing.
    """
    for edition in _EDITIONS:
        ratings = source / edition.ratings if source.is_dir() else source
        if ratings.name != edition.ratings or not _is_movielens(ratings):
            continue
        movies = items or ratings.parent / edition.movies
        if not movies.is_file():
            raise DataError(
                f"there is {ratings}, but no {edition.movies} with the titles: {movies} does not "
                "exist. Add it there, or name it with items=..."
            )
        titles = edition.scan_movies(movies)
        with reading(movies):
            category = {"category": _GENRES} if _GENRES in titles.collect_schema() else {}
        return SourceTables(
            edition.scan_ratings(ratings),
            ratings,
            titles,
            movies,
            name=ratings.resolve().parent.name,
            item_type="movie",
            columns={**edition.columns, **category},
        )
    return None


def _is_movielens(ratings: Path) -> bool:
    if not ratings.is_file():
        return False
    # Other datasets have a ratings.csv as well.
    return ratings.suffix != ".csv" or first_fields(ratings) >= {*_CSV.values(), "rating"}


def _scan_tabs(path: Path) -> pl.LazyFrame:
    return scan_delimited(path, Dialect("\t", has_quotes=False), names=_COLUMNS)


def _scan_colons(path: Path) -> pl.LazyFrame:
    # "::" reads as two one-byte separators around an empty column; ratings have no other colon.
    columns = [name for column in _COLUMNS for name in (column, f"no {column}")][:-1]
    return scan_delimited(path, Dialect(":", has_quotes=False), names=columns).select(_COLUMNS)


def _read_u_item(path: Path) -> pl.LazyFrame:
    rows = []
    for movie, *rest in _fields(path, separator="|", at_least=5 + len(_GENRES_100K)):
        flags = rest[-len(_GENRES_100K) :]
        genres = [genre for genre, flag in zip(_GENRES_100K, flags, strict=True) if flag == "1"]
        # Two dates and an address stand between the title and the genres.
        title = "|".join(rest[: -len(_GENRES_100K) - 3])
        rows.append((movie, title, ", ".join(genres)))
    return _movies(rows)


def _read_movies_dat(path: Path) -> pl.LazyFrame:
    rows = [
        (movie, "::".join(title), genres)
        for movie, *title, genres in _fields(path, separator="::", at_least=3)
    ]
    return _movies(rows)


def _fields(path: Path, *, separator: str, at_least: int) -> list[list[str]]:
    rows = []
    for number, line in read_lines(path):
        row = line.split(separator)
        if len(row) < at_least:
            raise DataError(
                f"{path} has {len(row)} fields in line {number}: expected at least {at_least}, "
                f"separated by {separator!r}. Download it again."
            )
        rows.append(row)
    return rows


def _movies(rows: list[tuple[str, str, str]]) -> pl.LazyFrame:
    columns = ("item_id", "title", _GENRES)
    frame = pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String), orient="row")
    return _with_plain_genres(frame.lazy())


def _scan_movies_csv(path: Path) -> pl.LazyFrame:
    return _with_plain_genres(scan_table(path))


def _with_plain_genres(movies: pl.LazyFrame) -> pl.LazyFrame:
    if _GENRES not in movies.collect_schema():
        return movies
    return movies.with_columns(pl.col(_GENRES).str.replace_all("|", ", ", literal=True))


_EDITIONS = (
    _Edition("u.data", "u.item", _scan_tabs, _read_u_item, {}),
    _Edition("ratings.dat", "movies.dat", _scan_colons, _read_movies_dat, {}),
    _Edition("ratings.csv", "movies.csv", scan_table, _scan_movies_csv, _CSV),
)
