"""The manifest of a bundle: its files with their digests, and what it was made with.

A bundle holds Parquet, safetensors, JSON and YAML, never pickle or code. It may come from anybody:
the manifest is checked whole before any other file is read, and every reader bounds what it reads.
"""

import importlib.metadata
import re
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from bigrec.errors import BundleError
from bigrec.recommender.signing import SIGNATURE, check_signature
from bigrec.settings.loading import BUNDLE_MANIFEST
from bigrec.storage import (
    check_format,
    file_digest,
    first_problems,
    parse_json,
    read_bytes,
    read_json,
    write_json,
)
from bigrec.storage.temporaries import recover_folder

if TYPE_CHECKING:
    from bigrec.lm.model import LanguageModel

FORMAT: Literal[3] = 3
MANIFEST = BUNDLE_MANIFEST
_RECORDED = ("bigrec", "torch", "transformers", "peft", "numpy", "polars")
_SUFFIXES = frozenset({".json", ".yaml", ".parquet", ".safetensors", ".md", ".usearch"})
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_MAX_MANIFEST_BYTES = 1 << 20
_MAX_BYTES = 1 << 34
_MAX_DEPTH = 4
_MAX_FILES = 10_000
_REQUIRED = ("settings.yaml", "catalog.parquet", "counts.parquet")


def _file_name(name: str) -> str:
    """Refuse a name that is not a plain path below the bundle.

    Raises:
        ValueError: If so.
    """
    parts = name.split("/")
    if not all(_PART.fullmatch(part) for part in parts) or len(parts) > _MAX_DEPTH:
        raise ValueError("expected a relative path of letters, digits, '_', '.' and '-'")
    if PurePosixPath(name).suffix not in _SUFFIXES:
        raise ValueError(f"expected a file that ends in {', '.join(sorted(_SUFFIXES))}")
    return name


def _shown_text(text: str) -> str:
    """Refuse a text with control characters.

    Raises:
        ValueError: If so.
    """
    if not text.isprintable():
        raise ValueError("expected text without control characters")
    return text


Text = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_shown_text)]
_Sha256 = Annotated[str, Field(pattern=r"\A[0-9a-f]{64}\z")]
_Fingerprint = Annotated[str, Field(pattern=r"\A[0-9a-f]{16}\z")]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class BaseModelRecord(_Record):
    """The base model that a bundle was made with.

    Attributes:
        name: Its hub id, or where it was.
        fingerprint: Of its weights, tokenizer and code, and of the layers in use.
        dtype: The precision that it computed in.
    """

    name: Text
    fingerprint: _Fingerprint
    dtype: Literal["float32", "bfloat16", "float16"]

    @classmethod
    def of(cls, lm: "LanguageModel") -> Self:
        """The record of a language model's base."""
        values = {
            "name": lm.source.origin,
            "fingerprint": lm.base_fingerprint,
            "dtype": str(lm.model.dtype).removeprefix("torch."),
        }
        return cls.model_validate(values)


class Manifest(_Record):
    """What a bundle holds and what it was made with.

    Attributes:
        format: Version of the bundle's layout.
        created: Time in UTC.
        versions: Of the packages that wrote it.
        item_type: What the prompt calls one item.
        base_model: The base model; None without one.
        title_encoder: Fingerprint of the encoder of titles; None if no model reads titles.
        files: SHA-256 of every file, by its path in the bundle.
    """

    format: Literal[3]
    created: Text
    versions: dict[Text, Text]
    item_type: Text
    base_model: BaseModelRecord | None
    title_encoder: _Fingerprint | None
    files: Annotated[
        dict[Annotated[str, AfterValidator(_file_name)], _Sha256],
        Field(min_length=1, max_length=_MAX_FILES),
    ]


def write_manifest(
    folder: Path,
    *,
    item_type: str,
    base_model: BaseModelRecord | None,
    title_encoder: str | None,
) -> None:
    """Record every file below a folder with its digest.

    Args:
        folder: The folder, complete but for the manifest.
        item_type: What the prompt calls one item.
        base_model: The base model; None without one.
        title_encoder: Fingerprint of the encoder of titles; None if no model reads titles.
    """
    manifest = Manifest(
        format=FORMAT,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions={name: importlib.metadata.version(name) for name in _RECORDED},
        item_type=item_type,
        base_model=base_model,
        title_encoder=title_encoder,
        files={name: file_digest(folder / name) for name in sorted(_file_names(folder))},
    )
    write_json(folder / MANIFEST, manifest.model_dump())


def is_bundle(folder: Path) -> bool:
    """Whether a folder is a bundle of any version, damaged or not, by what its manifest records."""
    try:
        values = read_json(folder / MANIFEST, max_bytes=_MAX_MANIFEST_BYTES)
    except BundleError:
        return False
    return isinstance(values, dict) and {"format", "versions", "files"} <= values.keys()


def read_manifest(folder: Path, *, verify_key: Path | None = None) -> Manifest:
    """Check a bundle against its manifest and return the manifest.

    Args:
        folder: The bundle.
        verify_key: File of the public key that the bundle must be signed with; None takes a bundle
            of anybody.

    Raises:
        BundleError: If the folder is no bundle, is of another format version, is not signed with
            the key, or a file is missing, not listed or differs from what was written.
    """
    path = folder / MANIFEST
    try:
        recover_folder(folder)
        is_bundle = path.is_file()
    except (OSError, ValueError):
        is_bundle = False  # no name that the system allows
    if not is_bundle:
        raise BundleError(
            f"{folder} is not a bundle: it has no {MANIFEST}. Give the folder that save() or "
            "`bigrec evaluate` wrote."
        )
    # Read once: what is verified is what is used.
    content = read_bytes(path, max_bytes=_MAX_MANIFEST_BYTES)
    if verify_key is not None:
        check_signature(content, folder / SIGNATURE, verify_key)
    manifest = _parse(content, path)
    _check_names(folder, manifest)
    _check_digests(folder, manifest)
    return manifest


def _parse(content: bytes, path: Path) -> Manifest:
    values = parse_json(content, what=str(path))
    check_format(
        values,
        FORMAT,
        what=str(path),
        cure="Fit the recommender and save it again with this version.",
    )
    try:
        return Manifest.model_validate(values)
    except ValidationError as error:
        raise BundleError(
            f"{path} is damaged: {first_problems(error)}. Copy the bundle again."
        ) from None


def _check_names(folder: Path, manifest: Manifest) -> None:
    """Compare the folder with the manifest by names and sizes alone."""
    found = _file_names(folder)
    for name in (*_REQUIRED, *manifest.files):
        if name not in manifest.files:
            raise BundleError(
                f"{folder / MANIFEST} is damaged: it does not list {name}. Copy the bundle again."
            )
        if name not in found:
            raise BundleError(
                f"{folder / name} is missing: the bundle is incomplete. Copy it again."
            )
    unlisted = sorted(found.keys() - manifest.files.keys())
    if unlisted:
        raise BundleError(
            f"{folder / unlisted[0]} is not part of the bundle: {MANIFEST} does not list it. "
            "Remove it, or copy the bundle again."
        )
    size = sum(found.values())
    if size > _MAX_BYTES:
        raise BundleError(
            f"{folder} has {size:,} bytes; expected at most {_MAX_BYTES:,}. Copy the bundle again."
        )


def _check_digests(folder: Path, manifest: Manifest) -> None:
    for name, digest in manifest.files.items():
        try:
            found = file_digest(folder / name)
        except OSError as error:
            raise BundleError(
                f"{folder / name} could not be read: {error.strerror or error}."
            ) from error
        if found != digest:
            raise BundleError(
                f"{folder / name} is damaged: its bytes are not those that were saved. Copy the "
                "bundle again."
            )


def _file_names(folder: Path) -> dict[str, int]:
    """Sizes of all files of a bundle by their names, manifest and signature aside."""
    try:
        # One more than a manifest can list tells as much as all of them.
        found = dict(islice(_walk(folder, folder), _MAX_FILES + 3))
    except OSError as error:
        raise BundleError(f"{folder} could not be read: {error.strerror or error}.") from error
    return {name: size for name, size in found.items() if name not in {MANIFEST, SIGNATURE}}


def _walk(folder: Path, bundle: Path) -> Iterator[tuple[str, int]]:
    for path in folder.iterdir():
        status = path.lstat()
        if stat.S_ISDIR(status.st_mode):
            if len(path.relative_to(bundle).parts) == _MAX_DEPTH:
                raise BundleError(f"{path} is not part of the bundle: it lies too deep.")
            yield from _walk(path, bundle)
        elif stat.S_ISREG(status.st_mode):
            yield path.relative_to(bundle).as_posix(), status.st_size
        else:
            kind = "a link" if stat.S_ISLNK(status.st_mode) else "not a file"
            raise BundleError(
                f"{path} is {kind}: a bundle holds files alone. Copy the bundle with what its "
                "links point to, as cp -rL does."
            )
