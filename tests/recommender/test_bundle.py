"""The manifest: what is in a saved folder, byte for byte, and what it may name."""

import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from bigrec.errors import BundleError
from bigrec.recommender.bundle import (
    FORMAT,
    MANIFEST,
    BaseModelRecord,
    read_manifest,
    write_manifest,
)
from bigrec.storage import read_json

FILES = (
    "settings.yaml",
    "catalog.parquet",
    "counts.parquet",
    "index/index.json",
    "adapter/weights.safetensors",
)
BASE_MODEL = BaseModelRecord(name="a/b", fingerprint="0123456789abcdef", dtype="float32")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle")


def write_bundle(folder: Path, files: Sequence[str] = FILES) -> Path:
    """A bundle whose files hold nothing of use."""
    for name in files:
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_bytes(b"abc")
    write_manifest(folder, item_type="movie", base_model=BASE_MODEL, title_encoder=None)
    return folder


def edit(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = read_json(bundle / MANIFEST)
    change(manifest)
    (bundle / MANIFEST).write_text(json.dumps(manifest))


def test_the_manifest_lists_every_file_and_what_wrote_it(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    assert set(manifest.files) == set(FILES)
    assert manifest.item_type == "movie"
    assert set(manifest.versions) >= {"bigrec", "torch", "transformers", "peft"}


def test_a_changed_file_is_named(bundle: Path) -> None:
    (bundle / "adapter" / "weights.safetensors").write_bytes(b"abd")
    with pytest.raises(BundleError, match=r"adapter/weights\.safetensors is damaged"):
        read_manifest(bundle)


def test_a_missing_file_is_named(bundle: Path) -> None:
    (bundle / "settings.yaml").unlink()
    with pytest.raises(BundleError, match=r"settings\.yaml is missing"):
        read_manifest(bundle)


@pytest.mark.parametrize("name", ["code.py", "index/more.json", ".hidden", "empty/.keep"])
def test_a_file_that_is_not_listed_is_named(bundle: Path, name: str) -> None:
    (bundle / name).parent.mkdir(exist_ok=True)
    (bundle / name).write_text("x")
    with pytest.raises(BundleError, match=rf"{re.escape(name)} is not part of the bundle"):
        read_manifest(bundle)


def test_another_format_is_refused(bundle: Path) -> None:
    edit(bundle, lambda manifest: manifest.update(format=FORMAT + 1))
    with pytest.raises(BundleError, match=f"this bigrec reads format {FORMAT}"):
        read_manifest(bundle)


def test_a_folder_without_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not a bundle"):
        read_manifest(tmp_path)


def test_a_bundle_retired_by_a_save_that_was_killed_is_recovered(bundle: Path) -> None:
    # Where names cannot be exchanged, there is an instant between two renames.
    bundle.rename(bundle.with_name(f".old-bigrec-{bundle.name}"))
    assert read_manifest(bundle).item_type == "movie"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"files": {}}, "files: Dictionary should have at least 1 item"),
        ({"files": ["settings.yaml"]}, "files: Input should be a valid dictionary"),
        ({"files": None}, "files: "),
        ({"files": {"settings.yaml": 3}}, "files.settings.yaml: Input should be a valid string"),
        ({"files": {"settings.yaml": "abc"}}, "files.settings.yaml: String should match"),
        ({"item_type": 3}, "item_type: Input should be a valid string"),
        ({"item_type": "a\x1b[2J"}, "item_type: Value error, expected text without control"),
        ({"base_model": 3}, "base_model: "),
        ({"title_encoder": "no fingerprint"}, "title_encoder: String should match"),
        ({"base_model": {"name": "a/b"}}, "it lacks base_model.fingerprint, base_model.dtype"),
        ({"base_model": {**BASE_MODEL.model_dump(), "dtype": "int8"}}, "base_model.dtype: "),
        ({"versions": "1"}, "versions: "),
        ({"more": 1}, "more: Extra inputs are not permitted"),
    ],
    ids=str,
)
def test_values_of_another_type_are_named(
    bundle: Path, change: dict[str, Any], reason: str
) -> None:
    edit(bundle, lambda manifest: manifest.update(change))
    with pytest.raises(BundleError, match=rf"manifest\.json is damaged: {re.escape(reason)}"):
        read_manifest(bundle)


@pytest.mark.parametrize(
    "key", ["created", "versions", "item_type", "base_model", "title_encoder", "files"]
)
def test_a_missing_entry_is_named(bundle: Path, key: str) -> None:
    edit(bundle, lambda manifest: manifest.pop(key))
    with pytest.raises(BundleError, match=rf"manifest\.json is damaged: it lacks {key}"):
        read_manifest(bundle)


@pytest.mark.parametrize("name", FILES[:3])
def test_a_file_that_every_bundle_has_is_listed(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    edit(bundle, lambda manifest: manifest["files"].pop(name))
    with pytest.raises(BundleError, match=f"it does not list {name}"):
        read_manifest(bundle)


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd.json",
        "../outside.json",
        "index/../../outside.json",
        "index//index.json",
        "./settings.yaml",
        "index\\index.json",
        "C:/x.json",
        "weights.bin",
        "model.py",
        "adapter/adapter_model.pkl",
        "no_suffix",
        "a\x00.json",
        "",
        "a/b/c/d/e.json",
    ],
)
def test_a_name_that_is_not_a_plain_path_is_refused(bundle: Path, name: str) -> None:
    (bundle.parent / "outside.json").write_text("{}")
    edit(bundle, lambda manifest: manifest["files"].update({name: "0" * 64}))
    with pytest.raises(BundleError, match=r"manifest\.json is damaged: files\.?.*expected a "):
        read_manifest(bundle)


def test_links_and_pipes_are_refused(bundle: Path) -> None:
    (bundle.parent / "outside.json").write_bytes(b"abc")
    (bundle / "settings.yaml").unlink()
    (bundle / "settings.yaml").symlink_to(bundle.parent / "outside.json")
    with pytest.raises(BundleError, match=r"settings\.yaml is a link: a bundle holds files alone"):
        read_manifest(bundle)
    (bundle / "settings.yaml").unlink()
    os.mkfifo(bundle / "settings.yaml")
    with pytest.raises(BundleError, match=r"settings\.yaml is not a file"):
        read_manifest(bundle)


def test_a_folder_of_links_is_refused(bundle: Path) -> None:
    elsewhere = bundle.parent / "elsewhere"
    (bundle / "index").rename(elsewhere)
    (bundle / "index").symlink_to(elsewhere)
    with pytest.raises(BundleError, match="index is a link"):
        read_manifest(bundle)


def test_a_folder_too_large_is_refused_before_it_is_read(bundle: Path) -> None:
    with (bundle / "catalog.parquet").open("r+b") as stream:
        stream.truncate(1 << 35)  # takes no space
    with pytest.raises(BundleError, match="expected at most"):
        read_manifest(bundle)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"format": NaN}',
        '{"format": 1e999}',
        "1" * 5000,
        '{"format": "\\ud800"}',
        "\xff",
        "",
        '{"format": 3',
    ],
    ids=["deep", "NaN", "infinity", "digits", "surrogate", "bytes", "empty", "cut"],
)
def test_a_manifest_that_is_not_json_is_refused(bundle: Path, text: str) -> None:
    (bundle / MANIFEST).write_text(text, encoding="latin-1")
    with pytest.raises(BundleError, match=r"manifest\.json is damaged"):
        read_manifest(bundle)


def test_a_manifest_too_large_is_refused_before_it_is_read(bundle: Path) -> None:
    (bundle / MANIFEST).write_text(" " * (1 << 20) + "{}")
    with pytest.raises(BundleError, match="bytes; expected at most 1,048,576"):
        read_manifest(bundle)


@pytest.mark.parametrize("value", ["[]", "3", "null", '"text"'])
def test_a_manifest_that_is_no_object_is_refused(bundle: Path, value: str) -> None:
    (bundle / MANIFEST).write_text(value)
    with pytest.raises(BundleError, match="has format None"):
        read_manifest(bundle)


@pytest.mark.parametrize("name", ["a" * 255, "a" * 5000, "a\0b", "\ud800", "", "file/x"])
def test_a_name_that_cannot_be_a_folder_is_no_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(BundleError, match="is not a bundle: it has no manifest"):
        read_manifest(Path(name))


def test_the_working_directory_may_be_a_bundle(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bundle)
    for name in (".", "../bundle", ""):
        assert read_manifest(Path(name)).item_type == "movie"
