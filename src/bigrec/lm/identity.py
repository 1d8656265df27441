"""Fingerprints of base models, computed before anything of a model is loaded."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from bigrec.lm.locate import ModelSource
from bigrec.storage import file_digest, fingerprint

_SAMPLE_BYTES = 1 << 20
_SUFFIXES = frozenset({".safetensors", ".bin", ".json", ".model", ".jinja", ".py"})
_VOCABULARIES = frozenset({"vocab.txt", "merges.txt"})


def identify(source: ModelSource) -> tuple[ModelSource, str]:
    """The fingerprint of a model's weights, tokenizer and code, without loading any of them.

    Args:
        source: The model. Of a model on the hub, its ``config.json`` is downloaded.

    Returns:
        The source, a model on the hub pinned to its present commit, and the fingerprint.

    Raises:
        OSError: If a file cannot be read, or the hub cannot be reached.
    """
    if source.gguf_file is not None:
        identity: Any = file_digest(Path(source.location) / source.gguf_file)
    elif source.is_local:
        identity = [
            _sampled_digest(file)
            for file in sorted(Path(source.location).iterdir())
            if file.suffix in _SUFFIXES or file.name in _VOCABULARIES
        ]
    else:
        from transformers.utils.hub import (  # noqa: PLC0415 - seconds
            cached_file,
            extract_commit_hash,
        )

        file = cached_file(source.location, "config.json", revision=source.revision)
        commit = extract_commit_hash(file, None)
        source = replace(source, revision=commit or source.revision)
        identity = [source.location, commit]
    return source, fingerprint(identity)


def truncated_fingerprint(base: str, num_layers: int) -> str:
    """The fingerprint of a base model's first layers.

    Args:
        base: Fingerprint of the whole model.
        num_layers: Layers that are kept.
    """
    return fingerprint([base, num_layers])


def _sampled_digest(path: Path) -> list[Any]:
    """Digest of size, first and last MiB. Weights of two trainings differ everywhere."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(_SAMPLE_BYTES)
        stream.seek(max(0, size - _SAMPLE_BYTES))
        tail = stream.read(_SAMPLE_BYTES)
    return [path.name, size, hashlib.sha256(head + tail).hexdigest()]
