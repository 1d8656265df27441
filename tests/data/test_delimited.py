"""What the csv module reads in strict mode is read whole; all else is refused."""

import csv
import gzip
import io
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bigrec.data import delimited, files
from bigrec.data.csv_rows import Dialect
from bigrec.data.delimited import read_header, scan_delimited
from bigrec.errors import DataError

CSV, TSV, PLAIN = Dialect(","), Dialect("\t"), Dialect("\t", has_quotes=False)


def write(folder: Path, content: str | bytes, *, name: str = "t.csv") -> Path:
    raw = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(gzip.compress(raw, mtime=0) if name.endswith(".gz") else raw)
    return folder / name


def rows(path: Path, dialect: Dialect = CSV) -> list[tuple[str | None, ...]]:
    return scan_delimited(path, dialect).collect().rows()


def oracle(content: str, dialect: Dialect) -> list[list[str]] | None:
    """Header and rows as the csv module reads them; None if it refuses the file or rows differ."""
    lines = io.StringIO(content.removeprefix("\ufeff"), newline="")
    try:
        read = csv.reader(
            lines,
            delimiter=dialect.separator,
            quoting=csv.QUOTE_MINIMAL if dialect.has_quotes else csv.QUOTE_NONE,
            strict=True,
        )
        found = [row for row in read if row]
    except csv.Error:
        return None
    return found if found and {len(row) for row in found} == {len(found[0])} else None


FIELDS = st.text(st.sampled_from("ab1é \"',;\n\r"), max_size=4)


@st.composite
def sound_files(pick: st.DrawFn) -> str:
    width = pick(st.integers(2, 4))
    header = [f"c{n}" for n in range(width)]
    body = pick(st.lists(st.lists(FIELDS, min_size=width, max_size=width), max_size=5))
    stream = io.StringIO()
    quotes_all = pick(st.booleans())
    ending = pick(st.sampled_from(["\n", "\r\n"]))
    csv.writer(
        stream, quoting=csv.QUOTE_ALL if quotes_all else csv.QUOTE_MINIMAL, lineterminator=ending
    ).writerows([header, *body])
    text = stream.getvalue()
    return pick(st.sampled_from(["", "\ufeff"])) + (text.rstrip() if pick(st.booleans()) else text)


@st.composite
def damaged_files(pick: st.DrawFn) -> str:
    text = pick(sound_files())
    for _ in range(pick(st.integers(1, 3))):
        position = pick(st.integers(0, len(text)))
        cut = position + pick(st.integers(0, 2))
        text = (
            text[:position] + pick(st.sampled_from(['"', ",", "\n", "\r", "\0", ""])) + text[cut:]
        )
    return text


@pytest.mark.parametrize("dialect", [CSV, Dialect(",", has_quotes=False)])
@pytest.mark.parametrize("block_bytes", [7, 1 << 20])
@given(
    content=sound_files() | damaged_files(),
    order=st.lists(st.integers(0, 4), min_size=1, max_size=3, unique=True),
)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_every_row_is_read_or_the_file_is_refused(
    tmp_path: Path, dialect: Dialect, block_bytes: int, content: str, order: list[int]
) -> None:
    path = write(tmp_path, content)
    expected = oracle(content, dialect)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "BLOCK_BYTES", block_bytes)
        patch.setattr(delimited, "_BATCH_ROWS", 2)
        found = read_some(path, dialect, order)
    if isinstance(found, str):
        assert expected is None or any(text in found for text in MORE_REFUSALS)
        return
    assert expected is not None
    positions, frame = found
    assert frame.rows() == [
        tuple(row[position] or None for position in positions) for row in expected[1:]
    ]


MORE_REFUSALS = ("NUL byte", "looks like a row", "several columns", "separated by", "it is empty")


def read_some(
    path: Path, dialect: Dialect, order: list[int]
) -> tuple[list[int], pl.DataFrame] | str:
    """Some columns and their positions, or why they could not be read."""
    try:
        header = read_header(path, dialect)
        chosen = [position for position in order if position < len(header)] or [0]
        frame = scan_delimited(path, dialect).select(header[position] for position in chosen)
        return chosen, frame.collect()
    except DataError as error:
        return str(error)


def refusal(path: Path, dialect: Dialect = CSV) -> str:
    with pytest.raises(DataError) as caught:
        rows(path, dialect)
    return str(caught.value)


def test_a_byte_order_mark_is_part_of_a_field_but_at_the_start_of_the_file(
    tmp_path: Path,
) -> None:
    # Two files, each with its mark, of which the second lost its header.
    assert rows(write(tmp_path, "\ufeffa,b\n\ufeff1,2\n3,4\n")) == [("\ufeff1", "2"), ("3", "4")]


def test_a_quote_within_a_field_is_text_in_a_column_that_is_not_selected(tmp_path: Path) -> None:
    lines = ["id,note"] + [
        f'{n},a 14" screen' if n % 400 == 0 else f"{n},fine" for n in range(1680)
    ]
    path = write(tmp_path, "\n".join(lines))
    assert scan_delimited(path, CSV).select("id").collect()["id"].to_list() == [
        str(n) for n in range(1680)
    ]
    assert rows(path)[400] == ("400", 'a 14" screen')


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b,c\n1,2,3\n4,K, The,5\n", "line 3, character 10: the row has 4 fields, expected 3"),
        ("a,b,c\n1,2,3\n\n4,5\n", "line 4, character 4: the row has 2 fields, expected 3"),
        ("a,b\n1,2,\n", "line 2, character 5: the row has 3 fields, expected 2"),
        ('a,b\n"1, 2",3,4\n', "line 2, character 10: the row has 3 fields, expected 2"),
        ("a,b\r1,2\r3\r", "line 3, character 2: the row has 1 fields, expected 2"),
        (
            'a,b\n1,é"\n2,"x" y\n',
            "line 3, character 6: ' ' follows the quote that ends the field from line 3, character",
        ),
        (
            'a,b\n1,"x\ny" z\n',
            "line 3, character 3: ' ' follows the quote that ends the field from line 2, character",
        ),
        ('a,b\n1,2\n3,"x\ny\n', "line 3, character 3: a quote opens a field that does not end"),
        ('a,"b\n1,2\n', "line 1, character 3: a quote opens a field that does not end within 131"),
        (f'a,b\n1,"2"\n3,{"x" * 140_000}\n', "line 3: field larger than field limit"),
        ("a,b\n1,2\né,\0\n", "line 3, character 3: there is a NUL byte. Save the file as UTF-8 if"),
        ("a,b,a\n1,2,3\n", "several columns are named 'a': expected another name for every"),
        ("\n\n", "it is empty: expected a line with the names of the columns, then rows."),
        ("a;b\n1;2\n", "its fields are separated by semicolons: expected commas. Convert it with"),
        ('"a";"b"\n1;2\n', "its fields are separated by semicolons: expected commas. Convert it"),
        ('\n"a"\t"b"\n1\t2\n', "its fields are separated by tabs: expected commas. Convert it"),
        ('"a";"b",c\n1;2\n', "line 1, character 4: ';' follows the quote that ends the field"),
        ("sep=;\na;b\n1;2\n", "its first line is 'sep=;', which spreadsheets alone read: expected"),
        ("SEP=,\na,b\n1,2\n", "its first line is 'SEP=,', which spreadsheets alone read: expected"),
        ("a,b\n1,2,3\n", "line 2, character 5: the row has 3 fields, expected 2, like the header"),
    ],
)
def test_a_damaged_file_is_refused_with_line_and_character(
    tmp_path: Path, content: str, message: str
) -> None:
    assert refusal(write(tmp_path, content)).startswith(message)


@pytest.mark.parametrize(
    "content",
    [
        'id,note\n1,"one\n2,two\n3,three"\n4,four\n',
        'user,item,n\nann,"x,1\nbob,y,2\neve,z,3\nkim,w",4\n',
    ],
)
def test_rows_between_two_stray_quotes_are_not_taken_for_a_field(
    tmp_path: Path, content: str
) -> None:
    message = refusal(write(tmp_path, content))
    assert "a quoted field spans lines 2 to" in message
    assert "every line of it looks like a row" in message


def test_a_field_of_several_lines_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, 'id,note\n1,"roses, red\nviolets, blue"\n2,"\n"\n')
    assert rows(path) == [("1", "roses, red\nviolets, blue"), ("2", "\n")]


def test_tabs_without_quotes_take_a_quote_as_text(tmp_path: Path) -> None:
    path = write(tmp_path, 'id\ttitle\n1\t"Best\n\n2\ta "b"\n')
    assert rows(path, PLAIN) == [("1", '"Best'), ("2", 'a "b"')]
    assert refusal(path, TSV).startswith("line 4, character 6: 'b' follows the quote that ends")


def test_columns_without_a_name_are_numbered(tmp_path: Path) -> None:
    assert read_header(write(tmp_path, ",a,\n0,1,\n"), CSV) == ["column 1", "a", "column 3"]


def test_names_are_given_for_a_file_without_a_header(tmp_path: Path) -> None:
    frame = scan_delimited(write(tmp_path, "1\t2\n3\t\n"), PLAIN, names=["a", "b"])
    assert frame.collect().rows() == [("1", "2"), ("3", None)]


def test_a_file_of_one_column_and_the_parts_of_a_gzip_file_are_read(tmp_path: Path) -> None:
    assert rows(write(tmp_path, "a\n1\n\n2")) == [("1",), ("2",)]
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n1,2\n") + gzip.compress(b"3,4\n"))
    assert rows(path) == [("1", "2"), ("3", "4")]


def test_a_selection_and_the_first_rows_are_read(tmp_path: Path) -> None:
    frame = scan_delimited(write(tmp_path, 'a,b\n1,"x"\n2,y\n3,z\n'), CSV)
    assert frame.head(2).collect().rows() == [("1", "x"), ("2", "y")]
    assert frame.filter(pl.col("a") != "2").select("b").collect().rows() == [("x",), ("z",)]


def test_a_line_that_does_not_end_is_refused_before_all_of_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(delimited, "_MAX_LINE_BYTES", 5000)
    path = tmp_path / "t.csv.gz"
    # The end of the file is damaged, which nobody finds who stops before.
    path.write_bytes(gzip.compress(b"a,b\n1,2\n" + b"x" * 10_000_000)[:-4] + b"rest")
    with pytest.raises(DataError, match="line 3 has more than 5,000 bytes: expected lines that"):
        scan_delimited(path, Dialect(",")).collect()
