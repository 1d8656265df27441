import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from bigrec.data.examples import TitleExample
from bigrec.data.sources import load_bigrec_json, load_dataset
from bigrec.data.splits import split_dataset
from bigrec.errors import DataError
from tests.conftest import installed

VIDEO_GAMES = Path(
    os.environ.get(
        "BIGREC_VIDEO_GAMES", Path(__file__).parents[3] / "shared" / "data" / "video_games"
    )
)

ITEMS = 'item_id,title,category\na,A &amp; B,K\nb,"C, The",\n'


def write(folder: Path, rows: str, *, items: str = ITEMS) -> Path:
    (folder / "interactions.csv").write_text(rows)
    (folder / "items.csv").write_text(items)
    return folder


def test_a_folder_of_tables_is_read(tmp_path: Path) -> None:
    write(tmp_path, "user_id,item_id,position,split\n7,b,1,test\n7,a,0,train\n")
    made = load_dataset(tmp_path)
    assert made.name == tmp_path.name
    assert made.interactions.user_ids == ["7"]
    np.testing.assert_array_equal(made.interactions.items, [0, 1])
    np.testing.assert_array_equal(made.interactions.splits, [0, 2])
    assert made.interactions.times is None
    assert made.catalog.titles == ["A & B", "C, The"]
    assert made.catalog.categories == ["K", ""]


def test_every_option_is_passed_on(tmp_path: Path) -> None:
    interactions = "u,i,when,p,stars,part\n7,b,1,0,5,test\n7,a,0,1,1,train\n"
    items = 'i,name,kind\na,A &amp; B,K\nb,"C, The",L\n'
    made = load_dataset(
        str(write(tmp_path, interactions, items=items)),
        format="tables",
        name="mine",
        item_type="game",
        user_id="u",
        item_id="i",
        title="name",
        category="kind",
        time="when",
        order="p",
        rating="stars",
        split="part",
        min_rating=5,
        decode_html=False,
        article_first=True,
    )
    assert (made.name, made.item_type) == ("mine", "game")
    assert made.catalog.titles == ["A &amp; B", "The C"]
    assert made.catalog.categories == ["K", "L"]
    np.testing.assert_array_equal(made.interactions.times, [1])
    np.testing.assert_array_equal(made.interactions.ratings, [5])
    np.testing.assert_array_equal(made.interactions.splits, [2])


def test_columns_of_texts_are_kept_and_one_that_the_file_lacks_is_told(tmp_path: Path) -> None:
    items = "item_id,title,category,brand\na,A,K,X\nb,B,,Y\n"
    folder = write(tmp_path, "user_id,item_id,position\n7,b,1\n7,a,0\n", items=items)
    made = load_dataset(folder, text_columns=["category", "brand"]).catalog
    assert made.texts == ["A\nK\nX", "B\nY"]
    assert made.columns["brand"].to_list() == ["X", "Y"]
    with pytest.raises(DataError, match=r"no column 'writer'.*item_id, title, category, brand"):
        load_dataset(folder, text_columns=["category", "writer"])


def test_a_named_timestamp_needs_no_position(tmp_path: Path) -> None:
    write(tmp_path, "user_id,item_id,position,when\n7,a,0,9\n7,b,,5\n")
    made = load_dataset(tmp_path, time="when")
    np.testing.assert_array_equal(made.interactions.items, [1, 0])


def test_order_row_takes_the_order_of_the_rows(tmp_path: Path) -> None:
    made = load_dataset(write(tmp_path, "user_id,item_id\n7,b\n7,a\n"), order="row")
    np.testing.assert_array_equal(made.interactions.items, [1, 0])


def test_an_error_names_the_file(tmp_path: Path) -> None:
    write(tmp_path, "user,item_id,timestamp\n7,b,1\n")
    with pytest.raises(DataError, match=r"interactions\.csv: the interactions have no column 'us"):
        load_dataset(tmp_path)


def test_files_of_other_formats_are_read_together(tmp_path: Path) -> None:
    pl.DataFrame({"user_id": [7], "item_id": ["a"], "timestamp": [1]}).write_parquet(
        tmp_path / "plays.parquet"
    )
    items = tmp_path / "games.jsonl"
    items.write_text('{"item_id": "a", "title": "A"}\n')
    made = load_dataset(tmp_path / "plays.parquet", items=items)
    assert (made.name, made.catalog.titles) == ("plays", ["A"])


def test_a_missing_source_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere does not exist: expected .* 'ml-100k', 'sample'"):
        load_dataset(tmp_path / "nowhere")


def test_a_missing_file_of_items_is_reported(tmp_path: Path) -> None:
    write(tmp_path, "user_id\n")
    with pytest.raises(DataError, match=r"nothing\.csv does not exist"):
        load_dataset(tmp_path, items=tmp_path / "nothing.csv")


def test_an_unknown_folder_is_reported_with_the_files_of_every_format(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError) as caught:
        load_dataset(tmp_path)
    message = str(caught.value)
    assert "which holds notes.txt. Looked for:\n  movielens: u.data and u.item, or" in message
    for name in ("recbole", "amazon-2018", "amazon-2023", "tables"):
        assert f"\n  {name}: " in message


def test_a_table_that_cannot_be_read_is_told_where_nothing_was_found(tmp_path: Path) -> None:
    (tmp_path / "reviews.json.gz").write_bytes(b"no gzip")
    (tmp_path / "meta.csv").write_text("a\n", encoding="utf-16")
    with pytest.raises(DataError) as caught:
        load_dataset(tmp_path)
    *_, first, second = str(caught.value).split("\n")
    assert first.endswith("meta.csv: it is in UTF-16: save it as UTF-8.")
    assert "reviews.json.gz: its name ends in .gz, but it is not compressed with gzip" in second


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("data.zip", b"PK\x03\x04rest", r"data\.zip: it is a zip archive or a spreadsheet: unpack"),
        ("data.xlsx", b"PK\x03\x04rest", r"data\.xlsx: it is a zip archive or a spreadsheet"),
        ("ratings.dat", None, r"ratings\.dat: it is a pipe: expected a file"),
        ("events.dat", b"\xfd7zXZ", r"events\.dat: it is compressed with xz: unpack it"),
        ("reviews.json", b"{'asin': __import__('os')}", r"reviews\.json: line 1, character 2: "),
        ("plays.csv", b"", r"plays\.csv: it is empty"),
    ],
)
def test_why_a_file_is_no_data_is_told_where_nothing_was_found(
    tmp_path: Path, name: str, content: bytes | None, reason: str
) -> None:
    if content is None:
        os.mkfifo(tmp_path / name)
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"no dataset was found in .*(?s:.*)\n.*{reason}"):
        load_dataset(tmp_path)


def test_pipes_and_links_to_nothing_are_told(tmp_path: Path) -> None:
    write(tmp_path, "user_id,item_id,timestamp\n7,a,1\n")
    os.mkfifo(tmp_path / "pipe.csv")
    os.mkfifo(tmp_path / "other.json")
    assert len(load_dataset(tmp_path).interactions) == 1
    with pytest.raises(DataError, match=r"pipe\.csv: it is a pipe: expected a file"):
        load_dataset(tmp_path / "pipe.csv")
    with pytest.raises(DataError, match=r"pipe\.csv: it is a pipe: expected a file"):
        load_dataset(tmp_path, items=tmp_path / "pipe.csv")
    (tmp_path / "items.csv").unlink()
    (tmp_path / "items.csv").symlink_to(tmp_path / "gone.csv")
    with pytest.raises(DataError, match=r"items\.csv could not be read: .*No such file"):
        load_dataset(tmp_path)


def test_a_path_that_the_system_refuses_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"could not be searched for a dataset: .*too long"):
        load_dataset(tmp_path / ("x" * 300))


def test_json_lines_named_json_are_read_as_files(tmp_path: Path) -> None:
    reviews, items = tmp_path / "review.json", tmp_path / "business.json"
    reviews.write_text(
        '{"user_id": "u", "business_id": "b", "date": "2014-07-05 17:59:41", "attributes": null}\n'
    )
    items.write_text('[{"business_id": "b", "name": "Bar", "categories": ["Food", "Bars"]}]')
    made = load_dataset(
        reviews,
        items=items,
        item_id="business_id",
        title="name",
        time="date",
        category="categories",
    )
    assert (made.catalog.titles, made.catalog.categories) == (["Bar"], ["Food > Bars"])
    assert made.interactions.user_ids == ["u"]


def test_damaged_parquet_is_told(tmp_path: Path) -> None:
    write(tmp_path, "user_id\n")
    pl.DataFrame({"user_id": ["7"] * 99}).write_parquet(tmp_path / "plays.parquet")
    raw = (tmp_path / "plays.parquet").read_bytes()
    for damaged in (raw[:-20], raw[: len(raw) // 2], b"PAR1" + b"\xff" * 99 + b"PAR1"):
        (tmp_path / "plays.parquet").write_bytes(damaged)
        with pytest.raises(DataError, match=r"plays\.parquet: .*The file is damaged"):
            load_dataset(tmp_path / "plays.parquet")


def test_a_named_format_is_the_only_one_tried(tmp_path: Path) -> None:
    write(tmp_path, "user_id,item_id,timestamp\n7,a,1\n")
    with pytest.raises(DataError) as caught:
        load_dataset(tmp_path, format="movielens")
    assert str(caught.value).count("\n") == 1


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="format is 'netflix': expected auto, movielens, recbole"):
        load_dataset(tmp_path, format="netflix")


def test_a_folder_of_the_short_name_comes_before_the_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ml-100k").mkdir()
    write(tmp_path / "ml-100k", "user_id,item_id,timestamp\n7,a,1\n")
    monkeypatch.chdir(tmp_path)
    assert len(load_dataset("ml-100k").interactions) == 1


def paper_row(history: str, target: str) -> dict[str, str]:
    return {"instruction": "Given a list", "input": f"Played: {history}\n ", "output": target}


def test_examples_of_the_papers_authors_are_read(tmp_path: Path) -> None:
    file = tmp_path / "test.json"
    rows = [
        paper_row('"A", "B, the ""C"""', '"D"\n '),
        paper_row('"E"', '"F \\"G\\""'),
    ]
    file.write_text(json.dumps(rows))
    assert load_bigrec_json(file, item_type="game") == [
        TitleExample(("A", 'B, the ""C""'), "D", "game"),
        TitleExample(("E",), 'F \\"G\\"', "game"),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no json", r"test\.json: line 1, character 2: expected ident"),
        ("[]", "expected a JSON list of examples"),
        ("{}", "expected a JSON list of examples"),
        (
            '[{"input": "none", "output": "x"}]',
            "example 1 has no title in double quotes in 'input'",
        ),
        ("[7]", "example 1 has no title in double quotes in 'input': got None"),
    ],
)
def test_files_of_another_format_are_refused_as_paper_examples(
    tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "test.json").write_text(content)
    with pytest.raises(DataError, match=message):
        load_bigrec_json(tmp_path / "test.json")


def test_a_missing_file_of_paper_examples_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"test\.json could not be read"):
        load_bigrec_json(tmp_path / "test.json")


@pytest.mark.real
@pytest.mark.skipif(not installed("recbole"), reason="recbole is not installed")
def test_movielens_100k_is_read_whole() -> None:
    made = load_dataset("ml-100k")
    split = split_dataset(made.interactions, method="auto", max_history_length=10, min_history=10)
    assert (made.name, made.item_type) == ("ml-100k", "movie")
    assert len(made.interactions.user_ids) == 943
    assert len(made.interactions) == 100_000
    assert made.catalog.n_items == 1682
    # 18 titles occur twice, year included
    assert made.catalog.n_titles == 1682 - 18
    assert made.catalog.titles[0] == "Toy Story (1995)"
    # every position from 10 on, each user has at least 20
    assert len(split.train) + len(split.valid) + len(split.test) == 100_000 - 943 * 10


@pytest.mark.real
@pytest.mark.skipif(not VIDEO_GAMES.is_dir(), reason=f"no video games in {VIDEO_GAMES}")
def test_video_games_are_read_with_their_predefined_split() -> None:
    made = load_dataset(VIDEO_GAMES)
    assert len(made.interactions) == 342_329
    assert len(made.interactions.user_ids) == 49_156
    assert made.catalog.n_items == 17_332
    assert made.interactions.times is None
    repairs: dict[str, Any] = {row.name: row for row in made.repairs.as_rows()}
    assert repairs["HTML entities in titles"].count == 745
    split = split_dataset(made.interactions, method="auto", max_history_length=10, min_history=1)
    np.testing.assert_array_equal(np.bincount(split.row_splits), [299_987, 22_609, 19_733])
    assert (len(split.valid), len(split.test)) == (22_609, 19_733)
