"""Signatures of bundles: whoever changed a bundle without the key is found out."""

import sys
from pathlib import Path

import pytest

from bigrec.errors import BundleError, StorageError
from bigrec.recommender.bundle import (
    MANIFEST,
    read_manifest,
)
from bigrec.recommender.signing import SIGNATURE, generate_keys, sign_manifest
from tests.recommender.test_bundle import write_bundle
from torture.damage import resign

FILES = ("settings.yaml", "catalog.parquet", "counts.parquet", "index/index.json")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle", FILES)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    generate_keys(tmp_path / "key")
    return tmp_path / "key"


def public(key: Path) -> Path:
    return key.with_name(key.name + ".pub")


def test_a_signed_bundle_is_verified_with_the_public_key(bundle: Path, key: Path) -> None:
    assert sign_manifest(bundle / MANIFEST, key) == bundle / SIGNATURE
    assert (bundle / SIGNATURE).stat().st_size == 64
    assert set(read_manifest(bundle, verify_key=public(key)).files) == set(FILES)
    # Who has no key can still read it.
    assert read_manifest(bundle).item_type == "movie"


def test_an_unsigned_bundle_is_refused_if_a_key_is_given(bundle: Path, key: Path) -> None:
    with pytest.raises(BundleError, match=r"bundle is not signed: it has no manifest\.sig"):
        read_manifest(bundle, verify_key=public(key))


def test_an_edit_with_new_digests_breaks_the_signature(bundle: Path, key: Path) -> None:
    sign_manifest(bundle / MANIFEST, key)
    (bundle / "settings.yaml").write_bytes(b"abd")
    resign(bundle)
    read_manifest(bundle)
    with pytest.raises(BundleError, match="is not a signature of this manifest by the key in"):
        read_manifest(bundle, verify_key=public(key))


def test_a_file_that_changed_after_the_signature_is_named(bundle: Path, key: Path) -> None:
    sign_manifest(bundle / MANIFEST, key)
    (bundle / "settings.yaml").write_bytes(b"abd")
    with pytest.raises(BundleError, match=r"settings\.yaml is damaged"):
        read_manifest(bundle, verify_key=public(key))


def test_a_signature_by_another_key_is_refused(bundle: Path, key: Path, tmp_path: Path) -> None:
    generate_keys(tmp_path / "other")
    sign_manifest(bundle / MANIFEST, tmp_path / "other")
    with pytest.raises(BundleError, match="somebody else signed it"):
        read_manifest(bundle, verify_key=public(key))


@pytest.mark.parametrize("content", [b"", b"x" * 63, b"x" * 64, b"x" * 65])
def test_what_is_no_signature_is_refused(bundle: Path, key: Path, content: bytes) -> None:
    (bundle / SIGNATURE).write_bytes(content)
    with pytest.raises(BundleError, match=r"manifest\.sig (is not a signature|has 65 bytes)"):
        read_manifest(bundle, verify_key=public(key))


def test_keys_of_openssh_sign_and_verify(bundle: Path, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.OpenSSH, form.NoEncryption())
    (tmp_path / "ssh").write_bytes(private)
    (tmp_path / "ssh.pub").write_bytes(
        key.public_key().public_bytes(form.Encoding.OpenSSH, form.PublicFormat.OpenSSH)
    )
    sign_manifest(bundle / MANIFEST, tmp_path / "ssh")
    assert read_manifest(bundle, verify_key=tmp_path / "ssh.pub")


def test_a_key_of_another_kind_is_told(bundle: Path, key: Path, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    other = Ed448PrivateKey.generate()
    unencrypted = form.NoEncryption()
    (tmp_path / "ed448").write_bytes(
        other.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, unencrypted)
    )
    with pytest.raises(BundleError, match="it holds a key of another kind, Ed448PrivateKey"):
        sign_manifest(bundle / MANIFEST, tmp_path / "ed448")
    (tmp_path / "locked").write_bytes(
        Ed25519PrivateKey.generate().private_bytes(
            form.Encoding.PEM, form.PrivateFormat.PKCS8, form.BestAvailableEncryption(b"secret")
        )
    )
    for name, message in [
        ("locked", "Expected an unencrypted private Ed25519 key"),
        ("key.pub", "Expected an unencrypted private Ed25519 key"),
        ("nowhere", "there is no such file"),
    ]:
        with pytest.raises(BundleError, match=f"{name} cannot be used: .*{message}"):
            sign_manifest(bundle / MANIFEST, tmp_path / name)
    with pytest.raises(BundleError, match="Expected an unencrypted public Ed25519 key"):
        read_manifest(bundle, verify_key=key)


def test_a_private_key_is_for_its_owner_alone_and_never_replaced(key: Path) -> None:
    assert key.stat().st_mode & 0o777 == 0o600
    content = key.read_bytes()
    for existing in (public(key), key):
        with pytest.raises(StorageError, match="exists, and a key that is replaced is lost"):
            generate_keys(key)
        if existing.exists() and existing != key:
            existing.unlink()
    assert key.read_bytes() == content
    assert not public(key).exists()


def test_a_key_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="Could not write"):
        generate_keys(tmp_path / "file" / "key")


def test_the_package_that_is_missing_is_named(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives", None)
    with pytest.raises(BundleError, match=r"pip install 'bigrec\[signing\]'"):
        read_manifest(bundle, verify_key=bundle / "key")


def test_the_commands_make_keys_sign_and_verify(bundle: Path, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from bigrec.cli import app

    runner = CliRunner()

    def run(*words: str | Path) -> tuple[int, str]:
        result = runner.invoke(app, ["bundle", *map(str, words)])
        return result.exit_code, result.output.replace("\n", "")

    key = tmp_path / "mine"
    assert run("keygen", key)[0] == 0
    assert run("verify", bundle, "--key", public(key))[0] == 2
    assert run("sign", bundle, "--key", key)[0] == 0
    code, output = run("verify", bundle, "--key", public(key))
    assert (code, "its 4 files are sound" in output) == (0, True)
    (bundle / "settings.yaml").write_bytes(b"x")
    for command in (("sign", bundle, "--key", key), ("verify", bundle, "--key", public(key))):
        code, output = run(*command)
        assert (code, "settings.yaml is damaged" in output) == (2, True)
