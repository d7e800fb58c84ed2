"""Keys: who may read them, that none is ever lost, and that none is ever shown."""

import base64
import json
import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from safegen.errors import InputError, SafegenError
from safegen.provenance import authority
from safegen.provenance.keys import KeyStore
from safegen.provenance.notes import open_note


def secrets_of(folder: Path) -> list[str]:
    """Collect every private value below a folder, in each form it may leak in."""
    found: list[str] = []
    for path in folder.glob("*.json"):
        secret = json.loads(path.read_text())["secret"]
        if secret.startswith("-----"):
            found += [line for line in secret.splitlines() if len(line) > 30]
        else:
            found += [secret, base64.b64decode(secret).hex(), repr(base64.b64decode(secret))]
    return found


def test_every_key_is_made_at_once(keys: KeyStore) -> None:
    listed = [(info.kind, info.epoch, info.is_current) for info in keys.list()]

    assert listed == [(kind, 1, True) for kind in ("watermark", "commitment", "log", "ca", "c2pa")]
    assert keys.exists


def test_only_the_owner_may_read_them(keys: KeyStore) -> None:
    modes = {stat.S_IMODE(path.stat().st_mode) for path in keys.folder.iterdir()}

    assert stat.S_IMODE(keys.folder.stat().st_mode) == 0o700
    assert modes == {0o600}


def test_a_wide_umask_does_not_widen_them(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = KeyStore(tmp_path / "keys")
        store.init()
        store.rotate("log")
    finally:
        os.umask(before)

    assert {stat.S_IMODE(path.stat().st_mode) for path in store.folder.iterdir()} == {0o600}
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700


def test_keys_that_exist_are_never_overwritten(keys: KeyStore) -> None:
    before = {path.name: path.read_bytes() for path in keys.folder.iterdir()}

    with pytest.raises(InputError, match="exists already") as caught:
        keys.init()

    assert caught.value.exit_code == 2
    assert {path.name: path.read_bytes() for path in keys.folder.iterdir()} == before


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "notes.txt").write_text("mine")

    with pytest.raises(InputError, match="exists already"):
        KeyStore(tmp_path / "keys").init()

    assert [path.name for path in tmp_path.iterdir()] == ["keys"]


def test_a_failed_init_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(SafegenError, match="No space left on device"):
        KeyStore(tmp_path / "keys").init()

    assert list(tmp_path.iterdir()) == []


def test_missing_keys_name_the_command(tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "keys")

    assert not store.exists
    with pytest.raises(SafegenError, match="no keys yet") as caught:
        store.current_watermark_key()
    assert caught.value.remedy == "Run `safegen keys init`."
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o602])
def test_a_key_that_others_can_read_is_refused(keys: KeyStore, mode: int) -> None:
    path = keys.folder / "log-0001.json"
    path.chmod(mode)

    with pytest.raises(SafegenError, match=f"mode {mode:04o} lets others") as caught:
        keys.log_signer()
    assert f"chmod 600 {path}" in caught.value.remedy


def test_a_folder_that_others_can_enter_is_refused(keys: KeyStore) -> None:
    keys.folder.chmod(0o755)

    with pytest.raises(SafegenError, match="mode 0755 lets others"):
        keys.watermark_keys()
    with pytest.raises(SafegenError, match="mode 0755 lets others"):
        keys.rotate("watermark")


def test_a_link_in_place_of_a_key_is_refused(keys: KeyStore, tmp_path: Path) -> None:
    path = keys.folder / "watermark-0001.json"
    path.rename(tmp_path / "elsewhere.json")
    path.symlink_to(tmp_path / "elsewhere.json")

    with pytest.raises(SafegenError, match="cannot be read"):
        keys.watermark_keys()


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"secret": "c2VjcmV0LXZhbHVl"', '{"schema": "other"}'],
)
def test_a_damaged_key_is_refused_without_showing_it(keys: KeyStore, text: str) -> None:
    path = keys.folder / "watermark-0001.json"
    path.write_text(text)

    with pytest.raises(SafegenError, match="damaged") as caught:
        keys.watermark_keys()
    assert "c2VjcmV0" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_key_under_the_name_of_another_is_refused(keys: KeyStore) -> None:
    (keys.folder / "watermark-0001.json").rename(keys.folder / "commitment-0002.json")

    with pytest.raises(SafegenError, match="damaged"):
        keys.commitment_key()


def test_a_rotated_watermark_key_leaves_the_old_one_detectable(keys: KeyStore) -> None:
    old = keys.current_watermark_key()
    info = keys.rotate("watermark")
    new = keys.current_watermark_key()

    assert (info.epoch, info.key_id) == (2, new.key_id)
    assert new.secret != old.secret
    assert keys.watermark_keys() == {old.key_id: old.secret, new.key_id: new.secret}
    assert all(len(secret) == 32 for secret in keys.watermark_keys().values())


def test_a_rotated_log_key_keeps_the_logs_name_and_the_old_public_key(keys: KeyStore) -> None:
    old_signer, origin = keys.log_signer(), keys.log_origin()
    keys.rotate("log")
    new_signer = keys.log_signer()

    assert keys.log_origin() == origin
    assert [v.text for v in keys.log_verifiers()] == [
        old_signer.verifier.text,
        new_signer.verifier.text,
    ]
    assert keys.log_public_key().splitlines() == [v.text for v in keys.log_verifiers()]
    for signer in (old_signer, new_signer):
        assert open_note(signer.sign("text\n"), keys.log_verifiers()) == "text\n"


def test_a_rotated_manifest_key_has_the_same_root(keys: KeyStore) -> None:
    anchors, old = keys.trust_anchors(), keys.manifest_key()
    keys.rotate("c2pa")
    new = keys.manifest_key()

    assert keys.trust_anchors() == anchors
    assert new.chain_pem != old.chain_pem
    assert new.chain_pem.endswith(anchors)
    assert authority.organization(new.chain_pem) == "Example Audio"


def test_the_leaf_has_the_profile_that_validators_want(keys: KeyStore) -> None:
    leaf, root = x509.load_pem_x509_certificates(keys.manifest_key().chain_pem.encode())
    usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    identifier = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    subject = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value

    leaf.verify_directly_issued_by(root)
    assert ExtendedKeyUsageOID.EMAIL_PROTECTION in usages
    assert x509.ObjectIdentifier("1.3.6.1.4.1.62558.2.1") in usages
    assert identifier.key_identifier == subject.digest
    assert leaf.not_valid_after_utc <= root.not_valid_after_utc
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_a_leaf_never_outlives_its_root() -> None:
    root = authority.new_root("Example", at=datetime(2026, 1, 1, tzinfo=UTC))
    leaf = authority.new_leaf(root, "Example", at=datetime(2044, 1, 1, tzinfo=UTC))

    assert authority.expires_at(leaf.chain_pem) == authority.expires_at(root.chain_pem)


@pytest.mark.parametrize("name", ["", "x" * 65])
def test_an_organization_has_a_name_that_a_certificate_can_hold(name: str) -> None:
    with pytest.raises(ValueError, match="1 to 64 characters"):
        authority.new_root(name, at=datetime(2026, 1, 1, tzinfo=UTC))


def test_no_representation_shows_a_secret(keys: KeyStore) -> None:
    shown = "".join(
        repr(value)
        for value in (
            keys,
            keys.list(),
            keys.current_watermark_key(),
            keys.manifest_key(),
            keys.log_signer(),
            keys.log_verifiers(),
            keys._read(keys.folder / "ca-0001.json"),
        )
    )

    assert secrets_of(keys.folder)
    for secret in secrets_of(keys.folder):
        assert secret not in shown


def test_two_installations_share_no_key(tmp_path: Path) -> None:
    stores = [KeyStore(tmp_path / name) for name in ("a", "b")]
    for store in stores:
        store.init()

    assert not set(secrets_of(stores[0].folder)) & set(secrets_of(stores[1].folder))
    assert stores[0].log_origin() != stores[1].log_origin()
