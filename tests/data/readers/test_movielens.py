from pathlib import Path

import numpy as np
import pytest

from bigrec.data.dataset import Dataset
from bigrec.data.readers.movielens import read
from bigrec.data.sources import load_dataset
from bigrec.errors import DataError


def u_item(movie: int, title: str, *flags: int) -> str:
    bits = "".join("|1" if number in flags else "|0" for number in range(19))
    return f"{movie}|{title}|01-Jan-1995||http://x{bits}\n"


def write_100k(folder: Path) -> Path:
    (folder / "u.data").write_text("7\t2\t3\t20\n7\t1\t5\t10\n")
    # flags 1 and 5 are Action and Comedy
    items = u_item(1, "Caf\u00e9 (1995)", 1, 5) + u_item(2, "unknown", 0)
    (folder / "u.item").write_bytes(items.encode("latin-1"))
    return folder


def write_dat(folder: Path, *, encoding: str) -> Path:
    (folder / "ratings.dat").write_text("7::2::3.5::20\n7::1::5::10\n")
    movies = "1::Caf\u00e9 (1995)::Action|Comedy\n2::Mission: Impossible (1996)::Drama\n"
    (folder / "movies.dat").write_bytes(movies.encode(encoding))
    return folder


def write_csv(folder: Path) -> Path:
    (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\n7,2,3.5,20\n7,1,5,10\n")
    movies = (
        'movieId,title,genres\n1,Caf\u00e9 (1995),Action|Comedy\n2,"Matrix, The (1999)",Drama\n'
    )
    (folder / "movies.csv").write_text(movies)
    return folder


def check(made: Dataset, *, ratings: list[float]) -> None:
    assert made.item_type == "movie"
    assert made.interactions.user_ids == ["7"]
    np.testing.assert_array_equal(made.interactions.items, [0, 1])
    np.testing.assert_array_equal(made.interactions.times, [10, 20])
    np.testing.assert_array_equal(made.interactions.ratings, ratings)
    assert made.catalog.item_ids == ["1", "2"]
    assert made.catalog.titles[0] == "Caf\u00e9 (1995)"
    assert made.catalog.categories is not None
    assert made.catalog.categories[0] == "Action, Comedy"


def test_the_original_100k_is_read(tmp_path: Path) -> None:
    made = load_dataset(write_100k(tmp_path))
    check(made, ratings=[5, 3])
    assert made.catalog.categories == ["Action, Comedy", "unknown"]
    assert made.name == tmp_path.name


def test_a_quoted_header_is_known(tmp_path: Path) -> None:
    folder = write_csv(tmp_path)
    header, rows = (folder / "ratings.csv").read_text().split("\n", 1)
    quoted = ",".join(f'"{name}"' for name in header.split(","))
    (folder / "ratings.csv").write_text(f"{quoted}\n{rows}")
    check(load_dataset(folder), ratings=[5, 3.5])


def test_a_bar_within_a_title_of_the_100k_edition_stays(tmp_path: Path) -> None:
    folder = write_100k(tmp_path)
    text = (folder / "u.item").read_text("latin-1").replace("Caf\u00e9", "Caf\u00e9|Bar")
    (folder / "u.item").write_text(text, "latin-1")
    assert load_dataset(folder).catalog.titles[0] == "Caf\u00e9|Bar (1995)"


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_1m_and_10m_are_read_in_their_encodings(tmp_path: Path, encoding: str) -> None:
    made = load_dataset(write_dat(tmp_path, encoding=encoding))
    check(made, ratings=[5, 3.5])
    assert made.catalog.titles[1] == "Mission: Impossible (1996)"


def test_the_csv_editions_are_read(tmp_path: Path) -> None:
    made = load_dataset(write_csv(tmp_path))
    check(made, ratings=[5, 3.5])
    assert made.catalog.titles[1] == "Matrix, The (1999)"


def test_the_file_of_ratings_is_a_source_like_its_folder(tmp_path: Path) -> None:
    check(load_dataset(write_100k(tmp_path) / "u.data"), ratings=[5, 3])


def test_a_title_with_the_separator_stays_whole(tmp_path: Path) -> None:
    write_dat(tmp_path, encoding="utf-8")
    (tmp_path / "movies.dat").write_text("1::A :: B::Drama\n2::C::Drama\n")
    assert load_dataset(tmp_path).catalog.titles == ["A :: B", "C"]


def test_every_movie_of_a_file_with_other_line_ends_is_read(tmp_path: Path) -> None:
    folder = write_100k(tmp_path)
    (folder / "u.item").write_bytes((folder / "u.item").read_bytes().replace(b"\n", b"\r"))
    check(load_dataset(folder), ratings=[5, 3])


def test_a_csv_edition_may_have_other_columns_and_no_genres(tmp_path: Path) -> None:
    folder = write_csv(tmp_path)
    (folder / "ratings.csv").write_text(
        "userId,movieId,rating,timestamp,user_id,item_id\n7,2,3.5,20,9,9\n7,1,5,10,9,9\n"
    )
    (folder / "movies.csv").write_text("movieId,title,item_id\n1,A,9\n2,B,9\n")
    made = load_dataset(folder)
    assert (made.interactions.user_ids, made.catalog.item_ids) == (["7"], ["1", "2"])
    assert made.catalog.categories is None
    (folder / "movies.csv").write_text("movieid,title\n1,A\n")
    with pytest.raises(DataError, match=r"movies\.csv: the items have no column 'movieId'\. Their"):
        load_dataset(folder)


def test_ratings_without_movies_are_reported(tmp_path: Path) -> None:
    write_100k(tmp_path)
    (tmp_path / "u.item").unlink()
    with pytest.raises(DataError, match=r"but no u\.item with the titles: .* does not exist"):
        read(tmp_path, None)


def test_a_line_of_too_few_fields_is_reported(tmp_path: Path) -> None:
    write_dat(tmp_path, encoding="utf-8")
    (tmp_path / "movies.dat").write_text("1::A::Drama\n\n2::B\n")
    with pytest.raises(DataError, match=r"movies\.dat has 2 fields in line 3: expected at least 3"):
        read(tmp_path, None)


def test_ratings_of_another_dataset_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text("user,item,stars\n")
    assert read(tmp_path, None) is None
    assert read(tmp_path / "ratings.csv", None) is None
