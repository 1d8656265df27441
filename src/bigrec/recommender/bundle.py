"""The manifest of a bundle: its files with their digests, and the versions that wrote it.

A bundle holds Parquet, safetensors, JSON and YAML, never pickle.
"""

import importlib.metadata
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bigrec.errors import BundleError
from bigrec.storage import check_format, file_digest, read_json, write_json
from bigrec.storage.temporaries import recover_folder

FORMAT = 2
MANIFEST = "manifest.json"
_RECORDED = ("bigrec", "torch", "transformers", "peft", "numpy", "polars")


def write_manifest(folder: Path, content: Mapping[str, Any]) -> None:
    """Record every file below a folder with its digest.

    Args:
        folder: The folder, complete but for the manifest.
        content: Further entries, JSON-like.
    """
    files = {
        path.relative_to(folder).as_posix(): file_digest(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    write_json(
        folder / MANIFEST,
        {
            "format": FORMAT,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": {name: importlib.metadata.version(name) for name in _RECORDED},
            **content,
            "files": files,
        },
    )


def read_manifest(folder: Path) -> dict[str, Any]:
    """Check a bundle against its manifest and return the manifest.

    Raises:
        BundleError: If the folder is no bundle, is of another format version, or a file is
            missing or differs from what was written.
    """
    recover_folder(folder)
    if not (folder / MANIFEST).is_file():
        raise BundleError(
            f"{folder} is not a bundle: it has no {MANIFEST}. Give the folder that save() or "
            "`bigrec evaluate` wrote."
        )
    manifest = read_json(folder / MANIFEST)
    check_format(
        manifest,
        FORMAT,
        what=str(folder / MANIFEST),
        cure="Bundles from before version 0.1 have other names, such as noun for item_type and "
        "grounding: direct for mode: retrieval. Fit and save it again with this version.",
    )
    files = manifest.get("files")
    if not isinstance(files, dict):
        raise BundleError(f"{folder / MANIFEST} is damaged: it lists no files.")
    for name, digest in files.items():
        path = folder / name
        if not path.is_file():
            raise BundleError(f"{path} is missing: the bundle is incomplete. Copy it again.")
        if file_digest(path) != digest:
            raise BundleError(
                f"{path} is damaged: its bytes are not those that were saved. Copy the bundle "
                "again."
            )
    return dict(manifest)
