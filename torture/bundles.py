"""Damaged bundles."""

import json
from pathlib import Path

from bigrec.recommender.bundle import MANIFEST
from bigrec.storage import file_digest

_SIGNATURES = ("manifest.sig", MANIFEST)
# Digests of other files that a description holds, by its name.
_INNER = {
    "index.json": ("embeddings_sha256", "embeddings.safetensors"),
    "model.json": ("arrays_sha256", "arrays.safetensors"),
}


def resign(bundle: Path) -> None:
    """Let all digests of a bundle be those of its files, as who edits it on purpose would."""
    for name, (key, other) in _INNER.items():
        for path in bundle.rglob(name):
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
                content[key] = file_digest(path.with_name(other))
                path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
            except (OSError, ValueError, TypeError, RecursionError):
                continue
    manifest = json.loads((bundle / MANIFEST).read_text())
    manifest["files"] = {
        path.relative_to(bundle).as_posix(): file_digest(path)
        for path in sorted(bundle.rglob("*"))
        if path.is_file() and path.name not in _SIGNATURES
    }
    (bundle / MANIFEST).write_text(json.dumps(manifest))
