"""Signatures of bundles: Ed25519 over the manifest's bytes, which hold the digest of every file.

A digest tells accidental damage; a signature tells that only the holder of a key can have made the
bundle. The signature is 64 raw bytes, as ``openssl pkeyutl`` writes them. Keys are PEM or OpenSSH.
"""

import os
from pathlib import Path
from typing import Any

from bigrec.errors import BundleError, StorageError
from bigrec.storage import atomic_file, read_bytes

SIGNATURE = "manifest.sig"
_SIGNATURE_BYTES = 64
_MAX_KEY_BYTES = 1 << 16
_PRIVATE, _PUBLIC = "private", "public"


def generate_keys(path: Path) -> Path:
    """Make a pair of keys: the private one to sign with, and ``.pub`` to give to others.

    Args:
        path: The private key's file, unencrypted PEM that its owner alone may read.

    Returns:
        The public key's file.

    Raises:
        BundleError: If the cryptography package is missing.
        StorageError: If a file exists or cannot be written.
    """
    ed25519, form = _modules()
    key = ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    public = key.public_key().public_bytes(
        form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo
    )
    public_path = path.with_name(path.name + ".pub")
    _write_new(public_path, public, mode=0o644)
    try:
        _write_new(path, private, mode=0o600)
    except StorageError:
        public_path.unlink()
        raise
    return public_path


def sign_manifest(manifest: Path, key: Path) -> Path:
    """Sign a manifest; the signature is written beside it.

    Args:
        manifest: The manifest of a bundle that was checked.
        key: File of an unencrypted private Ed25519 key.

    Returns:
        The signature's file.

    Raises:
        BundleError: If the key cannot be used, or the cryptography package is missing.
        StorageError: If the signature cannot be written.
    """
    signature: bytes = _read_key(key, _PRIVATE).sign(manifest.read_bytes())
    path = manifest.with_name(SIGNATURE)
    with atomic_file(path) as temporary:
        temporary.write_bytes(signature)
    return path


def check_signature(content: bytes, signature: Path, key: Path) -> None:
    """Refuse a manifest that was not signed with a key.

    Args:
        content: The manifest's bytes.
        signature: File of the signature.
        key: File of the public Ed25519 key.

    Raises:
        BundleError: If there is no signature or it is not of this key and content, the key cannot
            be used, or the cryptography package is missing.
    """
    public = _read_key(key, _PUBLIC)
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - optional

    if not signature.is_file():
        raise BundleError(
            f"{signature.parent} is not signed: it has no {SIGNATURE}. Ask its author to sign it "
            "with `bigrec bundle sign`, or load it without a key if you trust it."
        )
    try:
        public.verify(read_bytes(signature, max_bytes=_SIGNATURE_BYTES), content)
    except InvalidSignature:
        raise BundleError(
            f"{signature} is not a signature of this manifest by the key in {key}: the bundle was "
            "changed after it was signed, or somebody else signed it. Do not use it."
        ) from None


def _modules() -> tuple[Any, Any]:
    """The modules of Ed25519 and of key formats.

    Raises:
        BundleError: If the cryptography package is missing.
    """
    try:
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - optional
        from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415 - optional
    except ImportError:
        raise BundleError(
            "signatures of bundles need a package. Run: pip install 'bigrec[signing]'"
        ) from None
    return ed25519, serialization


def _read_key(path: Path, kind: str) -> Any:
    """The private or public Ed25519 key in a file.

    Raises:
        BundleError: If it cannot be read or is another kind of key.
    """
    ed25519, form = _modules()
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - optional

    if not path.is_file():
        raise _unusable(path, kind, "there is no such file")
    content = read_bytes(path, max_bytes=_MAX_KEY_BYTES)
    is_ssh = b"OPENSSH" in content or content.startswith(b"ssh-")
    if kind == _PRIVATE:
        load = form.load_ssh_private_key if is_ssh else form.load_pem_private_key
        options: dict[str, Any] = {"password": None}
        expected = ed25519.Ed25519PrivateKey
    else:
        load = form.load_ssh_public_key if is_ssh else form.load_pem_public_key
        options, expected = {}, ed25519.Ed25519PublicKey
    try:
        key = load(content, **options)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _unusable(path, kind, str(error).partition(". ")[0]) from None
    if not isinstance(key, expected):
        raise _unusable(path, kind, f"it holds a key of another kind, {type(key).__name__}")
    return key


def _unusable(path: Path, kind: str, reason: str) -> BundleError:
    return BundleError(
        f"{path} cannot be used: {reason}. Expected an unencrypted {kind} Ed25519 key, as "
        "`bigrec bundle keygen` writes it."
    )


def _write_new(path: Path, content: bytes, *, mode: int) -> None:
    if path.exists():
        raise StorageError(f"{path} exists, and a key that is replaced is lost. Give another name.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
            stream.write(content)
    except OSError as error:
        raise StorageError(f"Could not write {path}: {error.strerror or error}.") from error
