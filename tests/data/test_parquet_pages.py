"""Parquet files that declare far more than they hold, crafted byte by byte."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from bigrec.data.catalog import Catalog
from bigrec.data.files import reading
from bigrec.data.parquet import scan_parquet
from bigrec.data.parquet_pages import check_pages
from bigrec.data.stored_tables import read_table
from bigrec.errors import BundleError, DataError

INT, TEXT, LIST, STRUCT = 5, 8, 9, 12
Field = tuple[int, int, int | bytes]


def varint(value: int) -> bytes:
    low, rest = value & 127, value >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def integer(number: int, value: int) -> Field:
    return number, INT, varint((value << 1) ^ (value >> 63))


def struct(*fields: Field) -> bytes:
    """A structure of fields ``(number, kind, bytes)`` in ascending order."""
    content, last = b"", 0
    for number, kind, value in fields:
        assert isinstance(value, bytes)
        content += bytes([(number - last) << 4 | kind]) + value
        last = number
    return content + b"\0"


def listed(number: int, *structs: bytes) -> Field:
    return number, LIST, bytes([len(structs) << 4 | STRUCT]) + b"".join(structs)


def crafted(*, decoded: int = 24, n_values: int = 3, encoding: int = 0, start: int = 4) -> bytes:
    """A file of one column ``count`` with three numbers, and a page header that may lie."""
    page = (
        struct(
            integer(1, 0),
            integer(2, decoded),
            integer(3, 24),
            (
                5,
                STRUCT,
                struct(
                    *(integer(*pair) for pair in ((1, n_values), (2, encoding), (3, 3), (4, 3)))
                ),
            ),
        )
        + np.arange(3, dtype="<i8").tobytes()
    )
    encodings = (2, LIST, b"\x15\x00")
    path = (3, LIST, b"\x18" + varint(5) + b"count")
    sizes = [
        integer(4, 0),
        integer(5, 3),
        integer(6, len(page)),
        integer(7, len(page)),
        integer(9, start),
    ]
    chunk = struct(integer(2, 4), (3, STRUCT, struct(integer(1, 2), encodings, path, *sizes)))
    root = struct((4, TEXT, varint(6) + b"schema"), integer(5, 1))
    leaf = struct(integer(1, 2), integer(3, 0), (4, TEXT, varint(5) + b"count"))
    group = struct(listed(1, chunk), integer(2, len(page)), integer(3, 3))
    footer = struct(integer(1, 1), listed(2, root, leaf), integer(3, 3), listed(4, group))
    return b"PAR1" + page + footer + len(footer).to_bytes(4, "little") + b"PAR1"


def test_the_crafted_file_without_a_lie_is_sound(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(crafted())
    assert scan_parquet(tmp_path / "a.parquet").collect().to_dict(as_series=False) == {
        "count": [0, 1, 2]
    }


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        ({"decoded": 2**31 - 1}, "up to column 'count' its [0-9]+ bytes decode to more than"),
        ({"n_values": 2**31 - 1}, "up to column 'count' its [0-9]+ bytes decode to more than"),
        ({"decoded": -5}, "column 'count' has a page of negative size"),
        ({"n_values": -1}, "column 'count' has a page of negative size"),
        ({"encoding": 7}, "in the encoding DELTA_BYTE_ARRAY, whose size is not known"),
    ],
)
def test_pages_that_declare_gigabytes_are_refused_before_they_are_decoded(
    tmp_path: Path, lie: dict[str, int], reason: str
) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(crafted(**lie))
    with pytest.raises(BundleError, match=rf"a\.parquet could not be read as a table: .*{reason}"):
        read_table(path, {"count": pl.Int64}, n_rows=3)
    with pytest.raises(DataError, match=rf"a\.parquet: .*{reason}"), reading(path):
        scan_parquet(path).collect()


def test_only_the_columns_that_are_read_count(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    same = pl.repeat("x", 5_000_000, eager=True)
    pl.DataFrame({"a": pl.int_range(5_000_000, eager=True) % 7, "same": same}).write_parquet(path)
    assert path.stat().st_size < 4_000_000
    check_pages(path, columns=["a"])
    scan_parquet(path).select("a").collect()
    path.write_bytes(crafted(decoded=2**31 - 1))
    check_pages(path, columns=())


def test_rows_of_one_repeated_number_are_bounded_by_the_size_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pl.DataFrame({"count": pl.repeat(1, 20_000_000, dtype=pl.Int64, eager=True)}).write_parquet(
        path
    )
    assert path.stat().st_size < 200_000
    with pytest.raises(DataError, match="decode to more than"), reading(path):
        scan_parquet(path).collect()
    # So many were expected of it.
    assert len(read_table(path, {"count": pl.Int64}, n_rows=20_000_000)) == 20_000_000


def test_a_text_that_is_stored_once_and_repeated_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pl.DataFrame({"title": pl.repeat("x" * 100_000, 5_000, eager=True)}).write_parquet(path)
    with pytest.raises(DataError, match=r"a\.parquet: "), reading(path):
        scan_parquet(path).collect()


def test_a_description_beyond_the_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    sound = crafted()
    length_of_footer = sound[:-8] + b"\xff\xff\xff\x7f" + sound[-4:]
    for damaged in (length_of_footer, crafted(start=2**40), crafted(start=-3)):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"a\.parquet: .*The file is damaged"), reading(path):
            check_pages(path)


def test_tables_with_lists_and_many_pages_are_read(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "item_id": [f"i{number}" for number in range(30_000)],
            "title": [f"Title {number}" for number in range(30_000)],
            "tags": [["a", "b"][: number % 3] for number in range(30_000)],
            "is_new": [number % 2 == 0 for number in range(30_000)],
        }
    )
    Catalog.from_frame(frame, columns=["tags", "is_new"]).save(tmp_path / "a.parquet")
    frame.write_parquet(tmp_path / "b.parquet", data_page_size=1000, row_group_size=999)
    for name in "ab":
        check_pages(tmp_path / f"{name}.parquet")
    assert len(Catalog.load(tmp_path / "a.parquet").titles) == 30_000
    assert scan_parquet(tmp_path / "b.parquet").collect().equals(frame)
