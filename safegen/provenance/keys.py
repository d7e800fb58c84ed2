"""Where do the secrets lie, and who may read them?

One folder (mode 0700), one file per key (mode 0600), one JSON object per file. A key
file is written once and never changed: rotating adds the next epoch beside it, so old
watermarks stay detectable and old checkpoints and signatures stay checkable.

    watermark-0001.json   32 bytes, the master key of the keyed watermark
    commitment-0001.json  32 bytes, salts the commitments in records
    log-0001.json         Ed25519, signs the log's checkpoints
    ca-0001.json          ES256 root of a private C2PA authority, signs only leaves
    c2pa-0001.json        ES256 leaf and its chain, signs manifests

Nothing here prints, and no representation shows a secret.
"""

import base64
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, get_args

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from safegen.errors import InputError, SafegenError
from safegen.provenance import authority
from safegen.provenance.authority import Identity
from safegen.provenance.notes import NoteSigner, NoteVerifier, parse_verifier

KeyKind = Literal["watermark", "commitment", "log", "ca", "c2pa"]
RotatableKind = Literal["watermark", "log", "c2pa"]
KINDS: Final[tuple[KeyKind, ...]] = get_args(KeyKind)
ROTATABLE: Final[tuple[RotatableKind, ...]] = get_args(RotatableKind)
SECRET_BYTES: Final = 32

_SCHEMA: Final = "safegen.key/1"
_FILE_NAME: Final = re.compile(r"(watermark|commitment|log|ca|c2pa)-([0-9]{4})\.json")
_MAX_FILE_BYTES: Final = 65_536
_INIT_REMEDY: Final = "Run `safegen keys init`."


@dataclass(frozen=True, slots=True, kw_only=True)
class WatermarkKey:
    """A master key of the watermark.

    Attributes:
        key_id: Names it in records; says nothing about it.
        secret: 32 bytes.
    """

    key_id: str
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestKey:
    """What signs C2PA manifests.

    Attributes:
        key_id: Names it in records.
        private_key_pem: PKCS 8, unencrypted.
        chain_pem: Leaf first, then the root.
    """

    key_id: str
    private_key_pem: str = field(repr=False)
    chain_pem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyInfo:
    """What may be told about a key.

    Attributes:
        kind: What it is for.
        epoch: From 1; the highest of its kind is in use.
        key_id: Names it.
        created_at: When.
        expires_at: Of a certificate; None for other keys.
        public: The log's verifier key, or a certificate's SHA-256; "" for a secret.
        is_current: Whether it is the one in use.
    """

    kind: KeyKind
    epoch: int
    key_id: str
    created_at: datetime
    expires_at: datetime | None
    public: str
    is_current: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _KeyFile:
    kind: KeyKind
    epoch: int
    key_id: str
    created_at: datetime
    secret: str = field(repr=False)
    public: str


class KeyStore:
    """The keys of one installation.

    Args:
        folder: ``Config.keys``.
        now: Gives the current UTC time.
        entropy: Gives that many random bytes.
    """

    def __init__(
        self,
        folder: Path,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        entropy: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self.folder = folder
        self._now = now
        self._entropy = entropy

    @property
    def exists(self) -> bool:
        """Whether there is at least one key file."""
        return self.folder.is_dir() and any(
            _FILE_NAME.fullmatch(path.name) for path in self.folder.iterdir()
        )

    def init(self, *, organization: str = authority.DEFAULT_ORGANIZATION) -> tuple[KeyInfo, ...]:
        """Create every key; all of them appear at once, or none.

        Args:
            organization: Who signs, as every reader of a manifest will see it.

        Raises:
            InputError: If there are keys already; they are never overwritten.
            SafegenError: If the folder cannot be made.
        """
        if self.exists or (self.folder.is_dir() and any(self.folder.iterdir())):
            raise InputError(
                f"{self.folder}: exists already, keys are never overwritten",
                remedy="Run `safegen keys list`, or `safegen keys rotate watermark|log|c2pa`.",
            )
        created_at = self._now()
        root = authority.new_root(organization, at=created_at)
        leaf = authority.new_leaf(root, organization, at=created_at)
        draft = self.folder.with_name(f".{self.folder.name}.{self._entropy(8).hex()}")
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            draft.mkdir(mode=0o700)
            for file in (
                self._new_secret("watermark", 1, created_at),
                self._new_secret("commitment", 1, created_at),
                self._new_log_key(1, created_at, origin=""),
                _identity_file("ca", 1, created_at, root),
                _identity_file("c2pa", 1, created_at, leaf),
            ):
                _write_new(draft / _name(file), file)
            _sync_folder(draft)
            # Onto an empty or missing folder only: another `init` cannot be overwritten.
            draft.rename(self.folder)
            _sync_folder(self.folder.parent)
        except OSError as error:
            raise SafegenError(
                f"{self.folder}: the keys could not be written ({error.strerror})",
                remedy="Check that you may write there and that no keys are there already.",
            ) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return self.list()

    def rotate(self, kind: RotatableKind) -> KeyInfo:
        """Add the next epoch of a key; from now on it is the one in use.

        A new watermark key leaves the old ones detectable. A new log key keeps the
        log's name; the old public keys go on verifying old checkpoints. A new C2PA
        leaf comes from the same root, so the trust anchors stay.

        Raises:
            SafegenError: If there are no keys, or they are readable by others.
        """
        current = self._current(kind)
        epoch, created_at = current.epoch + 1, self._now()
        if kind == "watermark":
            file = self._new_secret("watermark", epoch, created_at)
        elif kind == "log":
            file = self._new_log_key(epoch, created_at, origin=self.log_origin())
        else:
            root_file = self._current("ca")
            root = Identity(private_key_pem=root_file.secret, chain_pem=root_file.public)
            organization = authority.organization(root.chain_pem)
            leaf = authority.new_leaf(root, organization, at=created_at)
            file = _identity_file("c2pa", epoch, created_at, leaf)
        _write_new(self.folder / _name(file), file)
        _sync_folder(self.folder)
        return _info(file, is_current=True)

    def list(self) -> tuple[KeyInfo, ...]:
        """Describe every key, by kind and epoch, without its secret."""
        files = [file for kind in KINDS for file in self._all(kind)]
        newest = {file.kind: file.epoch for file in files}
        return tuple(_info(file, is_current=newest[file.kind] == file.epoch) for file in files)

    def watermark_keys(self) -> Mapping[str, bytes]:
        """Give every watermark key, oldest first; detection tries them all."""
        return {file.key_id: _secret(file) for file in self._all("watermark")}

    def current_watermark_key(self) -> WatermarkKey:
        """Give the watermark key that new outputs are marked with."""
        file = self._current("watermark")
        return WatermarkKey(key_id=file.key_id, secret=_secret(file))

    def commitment_key(self) -> bytes:
        """Give the key that the salts of private values come from."""
        return _secret(self._current("commitment"))

    def log_origin(self) -> str:
        """Name the log: the same through all rotations of its key."""
        return _verifier(self._current("log")).name

    def log_signer(self) -> NoteSigner:
        """Give the key that signs checkpoints."""
        file = self._current("log")
        key = Ed25519PrivateKey.from_private_bytes(_secret(file))
        signer = NoteSigner(name=_verifier(file).name, private_key=key)
        if signer.verifier.text != file.public:
            raise _damaged(self.folder / _name(file))
        return signer

    def log_verifiers(self) -> tuple[NoteVerifier, ...]:
        """Give every public key that ever signed for the log, oldest first."""
        return tuple(_verifier(file) for file in self._all("log"))

    def log_public_key(self) -> str:
        """Give the same as text to hand to auditors: one verifier key a line."""
        return "".join(f"{verifier.text}\n" for verifier in self.log_verifiers())

    def manifest_key(self) -> ManifestKey:
        """Give the key and certificates that sign C2PA manifests."""
        file = self._current("c2pa")
        return ManifestKey(key_id=file.key_id, private_key_pem=file.secret, chain_pem=file.public)

    def trust_anchors(self) -> str:
        """Give the root certificates our manifests are trusted by, as PEM."""
        return "".join(file.public for file in self._all("ca"))

    def _new_secret(
        self, kind: Literal["watermark", "commitment"], epoch: int, at: datetime
    ) -> _KeyFile:
        secret = self._entropy(SECRET_BYTES)
        digest = hashlib.sha256(f"safegen.key-id/{kind}".encode() + secret).hexdigest()
        return _KeyFile(
            kind=kind,
            epoch=epoch,
            key_id=f"{kind}-{epoch:04d}-{digest[:8]}",
            created_at=at,
            secret=base64.b64encode(secret).decode(),
            public="",
        )

    def _new_log_key(self, epoch: int, at: datetime, *, origin: str) -> _KeyFile:
        secret = self._entropy(SECRET_BYTES)
        key = Ed25519PrivateKey.from_private_bytes(secret)
        raw = key.public_key().public_bytes_raw()
        name = origin or f"safegen/{hashlib.sha256(raw).hexdigest()[:16]}"
        verifier = NoteVerifier(name=name, public_key=raw)
        return _KeyFile(
            kind="log",
            epoch=epoch,
            key_id=f"log-{epoch:04d}-{verifier.key_hash.hex()}",
            created_at=at,
            secret=base64.b64encode(secret).decode(),
            public=verifier.text,
        )

    def _current(self, kind: KeyKind) -> _KeyFile:
        return self._read(self._paths(kind)[-1])

    def _all(self, kind: KeyKind) -> tuple[_KeyFile, ...]:
        return tuple(self._read(path) for path in self._paths(kind))

    def _paths(self, kind: KeyKind) -> tuple[Path, ...]:
        if not self.folder.is_dir():
            raise SafegenError(f"{self.folder}: there are no keys yet", remedy=_INIT_REMEDY)
        _refuse_readable_by_others(self.folder, self.folder.stat())
        names = (_FILE_NAME.fullmatch(path.name) for path in self.folder.iterdir())
        found = sorted(match.group(0) for match in names if match and match.group(1) == kind)
        if not found:
            raise SafegenError(f"{self.folder}: there is no {kind} key", remedy=_INIT_REMEDY)
        return tuple(self.folder / name for name in found)

    def _read(self, path: Path) -> _KeyFile:
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise SafegenError(
                f"{path}: the key cannot be read ({error.strerror})",
                remedy="Run the command as the user who owns the keys.",
            ) from error
        with os.fdopen(handle, "rb") as file:
            _refuse_readable_by_others(path, os.fstat(handle))
            data = file.read(_MAX_FILE_BYTES)
        match = _FILE_NAME.fullmatch(path.name)
        try:
            values = json.loads(data)
            found = _KeyFile(
                kind=values["kind"],
                epoch=int(values["epoch"]),
                key_id=str(values["key_id"]),
                created_at=datetime.fromisoformat(values["created_at"]),
                secret=str(values["secret"]),
                public=str(values["public"]),
            )
        except (ValueError, KeyError, TypeError):
            # No cause is chained: a JSON error quotes the text around the fault.
            raise _damaged(path) from None
        is_named_right = match is not None and _name(found) == path.name
        if values.get("schema") != _SCHEMA or not is_named_right:
            raise _damaged(path)
        return found


def _name(file: _KeyFile) -> str:
    return f"{file.kind}-{file.epoch:04d}.json"


def _identity_file(
    kind: Literal["ca", "c2pa"], epoch: int, at: datetime, identity: Identity
) -> _KeyFile:
    fingerprint = authority.fingerprint(identity.chain_pem)
    return _KeyFile(
        kind=kind,
        epoch=epoch,
        key_id=f"{kind}-{epoch:04d}-{fingerprint[:8]}",
        created_at=at,
        secret=identity.private_key_pem,
        public=identity.chain_pem,
    )


def _info(file: _KeyFile, *, is_current: bool) -> KeyInfo:
    is_certificate = file.kind in ("ca", "c2pa")
    return KeyInfo(
        kind=file.kind,
        epoch=file.epoch,
        key_id=file.key_id,
        created_at=file.created_at,
        expires_at=authority.expires_at(file.public) if is_certificate else None,
        public=f"sha256:{authority.fingerprint(file.public)}" if is_certificate else file.public,
        is_current=is_current,
    )


def _secret(file: _KeyFile) -> bytes:
    try:
        secret = base64.b64decode(file.secret, validate=True)
    except ValueError:
        raise _damaged(Path(_name(file))) from None
    if len(secret) != SECRET_BYTES:
        raise _damaged(Path(_name(file)))
    return secret


def _verifier(file: _KeyFile) -> NoteVerifier:
    return parse_verifier(file.public)


def _write_new(path: Path, file: _KeyFile) -> None:
    """Write a key so that it is there completely or not at all, and never over another."""
    text = json.dumps(
        {
            "schema": _SCHEMA,
            "kind": file.kind,
            "epoch": file.epoch,
            "key_id": file.key_id,
            "created_at": file.created_at.isoformat(timespec="seconds"),
            "public": file.public,
            "secret": file.secret,
        },
        indent=1,
    )
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        handle = os.open(draft, flags, 0o600)
        try:
            with os.fdopen(handle, "wb") as out:
                os.fchmod(handle, 0o600)
                out.write(text.encode() + b"\n")
                out.flush()
                os.fsync(handle)
            os.link(draft, path)
        finally:
            draft.unlink(missing_ok=True)
    except FileExistsError as error:
        raise InputError(
            f"{path}: exists already, keys are never overwritten",
            remedy="Run `safegen keys list` to see what is there.",
        ) from error


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _refuse_readable_by_others(path: Path, found: os.stat_result) -> None:
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        wanted = "700" if stat.S_ISDIR(found.st_mode) else "600"
        raise SafegenError(
            f"{path}: mode {mode:04o} lets others at the keys, 0{wanted} is needed",
            remedy=f"Run `chmod {wanted} {path}`; if others may have read it, rotate the keys.",
        )
    if found.st_uid not in (0, os.geteuid()):
        raise SafegenError(
            f"{path}: owned by user {found.st_uid}, you are {os.geteuid()}",
            remedy="Run the command as the user who owns the keys.",
        )


def _damaged(path: Path) -> SafegenError:
    return SafegenError(
        f"{path}: the key file is damaged",
        remedy="Restore it from your backup; do not create a new one under its name.",
    )
