"""The manifest: what is in a saved folder, byte for byte."""

from pathlib import Path

import pytest

from bigrec.errors import BundleError
from bigrec.recommender.bundle import FORMAT, MANIFEST, read_manifest, write_manifest
from bigrec.storage import read_json, write_json


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "weights").write_bytes(b"abc")
    (tmp_path / "settings.yaml").write_text("seed: 0\n")
    write_manifest(tmp_path, {"item_type": "movie"})
    return tmp_path


def test_the_manifest_lists_every_file_and_what_wrote_it(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    assert set(manifest["files"]) == {"adapter/weights", "settings.yaml"}
    assert manifest["item_type"] == "movie"
    assert set(manifest["versions"]) >= {"bigrec", "torch", "transformers", "peft"}


def test_a_changed_file_is_named(bundle: Path) -> None:
    (bundle / "adapter" / "weights").write_bytes(b"abd")
    with pytest.raises(BundleError, match="adapter/weights is damaged"):
        read_manifest(bundle)


def test_a_missing_file_is_named(bundle: Path) -> None:
    (bundle / "settings.yaml").unlink()
    with pytest.raises(BundleError, match=r"settings\.yaml is missing"):
        read_manifest(bundle)


def test_another_format_is_refused(bundle: Path) -> None:
    manifest = read_json(bundle / MANIFEST)
    write_json(bundle / MANIFEST, {**manifest, "format": FORMAT + 1})
    with pytest.raises(BundleError, match=f"this bigrec reads format {FORMAT}"):
        read_manifest(bundle)


def test_a_folder_without_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not a bundle"):
        read_manifest(tmp_path)


def test_a_bundle_retired_by_a_save_that_was_killed_is_recovered(bundle: Path) -> None:
    # Where names cannot be exchanged, there is an instant between two renames.
    bundle.rename(bundle.with_name(f".old-bigrec-{bundle.name}"))
    assert read_manifest(bundle)["item_type"] == "movie"


def test_a_damaged_manifest_is_refused(bundle: Path) -> None:
    write_json(bundle / MANIFEST, {"format": FORMAT})
    with pytest.raises(BundleError, match="it lists no files"):
        read_manifest(bundle)
