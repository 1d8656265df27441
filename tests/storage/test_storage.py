"""Atomic writes, format versions and fingerprints."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigrec.errors import BundleError, StorageError
from bigrec.storage import (
    atomic_file,
    atomic_folder,
    check_format,
    file_digest,
    fingerprint,
    read_json,
    write_json,
)


def file_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="stop"), atomic_file(path) as temporary:
        temporary.write_text("half of the n")
        raise RuntimeError("stop")
    assert path.read_text() == "old"
    assert file_names(tmp_path) == ["a.txt"]


def test_a_write_that_fails_leaves_the_old_folder(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    (path / "kept").write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_folder(path) as temporary:
        (temporary / "new").write_text("new")
        raise KeyboardInterrupt
    assert file_names(path) == ["kept"]
    assert file_names(tmp_path) == ["folder"]


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    for name in ("first", "second"):
        with atomic_folder(path) as temporary:
            (temporary / name).write_text(name)
    assert file_names(path) == ["second"]
    assert file_names(tmp_path) == ["folder"]


def test_a_path_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StorageError, match=r"Could not write .*Nothing was changed there"):
        write_json(tmp_path / "file" / "a.json", {})
    with (
        pytest.raises(StorageError, match="choose a folder you may write to"),
        atomic_folder(tmp_path / "file" / "folder"),
    ):
        pass


def test_a_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    with (
        pytest.raises(StorageError, match=r"No space left on device.*Free some space"),
        atomic_file(tmp_path / "a"),
        Path("/dev/full").open("w") as full,
    ):
        full.write("x")
        full.flush()
    assert file_names(tmp_path) == []


def test_json_is_read_back_and_damage_is_reported_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"title": "Amélie", "values": [1, 2.5, None]})
    assert read_json(path) == {"title": "Amélie", "values": [1, 2.5, None]}
    path.write_text('{"title": ')
    with pytest.raises(BundleError, match=r"a\.json is damaged: expected JSON"):
        read_json(path)
    with pytest.raises(BundleError, match=r"b\.json is missing"):
        read_json(tmp_path / "b.json")


def test_nan_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", [float("nan")])
    assert file_names(tmp_path) == []


@given(st.dictionaries(st.text(), st.integers(), min_size=2))
def test_a_fingerprint_ignores_the_order_of_keys(values: dict[str, int]) -> None:
    reordered = dict(reversed(list(values.items())))
    assert fingerprint(values) == fingerprint(reordered)
    assert fingerprint(values) != fingerprint([*values])


def test_the_digest_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    # The first test vector of FIPS 180-2.
    assert file_digest(tmp_path / "a").startswith("ba7816bf8f01cfea414140de5dae2223")


@pytest.mark.parametrize("content", [{"format": 1}, {}, [], None])
def test_another_format_version_is_refused(content: Any) -> None:
    check_format({"format": 2}, 2, what="a.json", cure="Write it again.")
    with pytest.raises(BundleError, match=r"a\.json has format .*; this bigrec reads format 2\. W"):
        check_format(content, 2, what="a.json", cure="Write it again.")
