"""How is a statement of the log signed, so that anyone's tools can check it?

C2SP signed notes: text, an empty line, then one line per signature. A checkpoint is
a note of three lines: the log's name (origin), its size, its root.

Source: C2SP signed-note and tlog-checkpoint.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from safegen.errors import InputError, IntegrityError
from safegen.provenance.merkle import HASH_BYTES, MAX_SIZE

MAX_NOTE_BYTES: Final = 1_000_000
_ED25519: Final = b"\x01"
_SIGNATURE_BYTES: Final = 64
_KEY_HASH_BYTES: Final = 4
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_EM_DASH: Final = "\N{EM DASH} "


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteVerifier:
    """A public key under a name.

    Attributes:
        name: The signer's name; for a log its origin. No space, no plus sign.
        public_key: Raw Ed25519, 32 bytes.
    """

    name: str
    public_key: bytes

    def __post_init__(self) -> None:
        if not self.name or "+" in self.name or any(c.isspace() for c in self.name):
            msg = f"{self.name!r} cannot be the name of a note's key"
            raise ValueError(msg)

    @property
    def key_hash(self) -> bytes:
        """Four bytes that tell the keys of one name apart."""
        data = self.name.encode() + b"\n" + _ED25519 + self.public_key
        return hashlib.sha256(data).digest()[:_KEY_HASH_BYTES]

    @property
    def text(self) -> str:
        """The key as C2SP tools take it: name+hash+base64."""
        key = base64.b64encode(_ED25519 + self.public_key).decode()
        return f"{self.name}+{self.key_hash.hex()}+{key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteSigner:
    """A private key under a name; its representation shows neither.

    Attributes:
        name: As in ``NoteVerifier``.
        private_key: Ed25519.
    """

    name: str
    private_key: Ed25519PrivateKey = field(repr=False)

    @property
    def verifier(self) -> NoteVerifier:
        """The public half."""
        raw = self.private_key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return NoteVerifier(name=self.name, public_key=raw)

    def sign(self, text: str) -> str:
        """Write a note over ``text``, which must end in a newline.

        Raises:
            ValueError: If it does not, or holds other control characters.
        """
        if not text.endswith("\n") or any(ord(c) < 0x20 and c != "\n" for c in text):
            msg = "a note's text ends in a newline and has no control characters"
            raise ValueError(msg)
        return f"{text}\n{self.signature_line(text)}"

    def signature_line(self, text: str) -> str:
        """Write the line that a further signer adds to a note over ``text``."""
        signature = self.verifier.key_hash + self.private_key.sign(text.encode())
        return f"{_EM_DASH}{self.name} {base64.b64encode(signature).decode()}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What a log says about itself.

    Attributes:
        origin: Name of the log.
        size: Number of entries.
        root: Merkle root over them, 32 bytes.
    """

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The text that is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def parse_verifier(text: str) -> NoteVerifier:
    """Read a key written by ``NoteVerifier.text``.

    Raises:
        InputError: If it is not an Ed25519 verifier key, or its hash does not fit.
    """
    remedy = "Give the log's public key as `safegen keys list` prints it."
    try:
        name, key_hash, key = text.strip().split("+", 2)
        raw = base64.b64decode(key, validate=True)
        if raw[:1] != _ED25519 or len(raw) != 1 + HASH_BYTES:
            raise InputError("the log's public key is not an Ed25519 key", remedy=remedy)
        verifier = NoteVerifier(name=name, public_key=raw[1:])
    except ValueError as error:
        raise InputError("the log's public key cannot be read", remedy=remedy) from error
    if verifier.key_hash.hex() != key_hash:
        raise InputError(f"the log's public key has hash {key_hash}, not its own", remedy=remedy)
    return verifier


def parse_verifiers(text: str) -> tuple[NoteVerifier, ...]:
    """Read one key a line; a log whose key was rotated has several.

    Raises:
        InputError: If there is none, one cannot be read, or they are of different logs.
    """
    found = tuple(parse_verifier(line) for line in text.splitlines() if line.strip())
    if len({verifier.name for verifier in found}) != 1:
        raise InputError(
            f"{len(found)} public keys of {len({v.name for v in found})} logs, one log is needed",
            remedy="Give the log's public key as `safegen keys list` prints it.",
        )
    return found


def open_note(note: str, verifiers: Sequence[NoteVerifier]) -> str:
    """Return the text of a note that a known key has signed.

    Signatures of unknown keys are passed over, as witnesses add theirs; a signature
    that claims a known key and does not fit it condemns the note.

    Raises:
        IntegrityError: If no known key signed it, or a known key's signature is wrong.
    """
    if len(note.encode()) > MAX_NOTE_BYTES:
        raise IntegrityError(f"note of {len(note)} characters, limit {MAX_NOTE_BYTES}")
    text, separator, signatures = note.rpartition("\n\n")
    if not separator or not signatures.endswith("\n"):
        raise IntegrityError("note without signatures")
    text += "\n"
    known = {(verifier.name, verifier.key_hash): verifier for verifier in verifiers}
    is_signed = False
    for line in signatures.split("\n")[:-1]:
        name, raw = _signature(line)
        verifier = known.get((name, raw[:_KEY_HASH_BYTES]))
        if verifier is None:
            continue
        try:
            key = Ed25519PublicKey.from_public_bytes(verifier.public_key)
            key.verify(raw[_KEY_HASH_BYTES:], text.encode())
        except (InvalidSignature, ValueError) as error:
            raise IntegrityError(f"note: the signature of {name} does not fit") from error
        is_signed = True
    if not is_signed:
        raise IntegrityError(
            "note: signed by no key that is known here",
            remedy="If the log's key was rotated, restart this process to load the new one.",
        )
    return text


def open_checkpoint(note: str, verifiers: Sequence[NoteVerifier], *, origin: str) -> Checkpoint:
    """Read a signed checkpoint of the log ``origin``.

    Raises:
        IntegrityError: If the signature does not hold, the text is no checkpoint, or
            it speaks of another log.
    """
    lines = open_note(note, verifiers).split("\n")
    try:
        found, size, root_text = lines[0], lines[1], base64.b64decode(lines[2], validate=True)
    except (IndexError, binascii.Error, ValueError) as error:
        raise IntegrityError("checkpoint: not three lines of origin, size and root") from error
    if found != origin:
        raise IntegrityError(f"checkpoint: of the log {found}, not of {origin}")
    if not _SIZE.fullmatch(size) or int(size) > MAX_SIZE or len(root_text) != HASH_BYTES:
        raise IntegrityError(f"checkpoint: size {size!r} or root cannot be right")
    return Checkpoint(origin=found, size=int(size), root=root_text)


def origin_of(note: str) -> str:
    """Name the log a checkpoint claims to be of, before its signature is checked."""
    return note.split("\n", 1)[0]


def _signature(line: str) -> tuple[str, bytes]:
    try:
        name, encoded = line.removeprefix(_EM_DASH).split(" ")
        raw = base64.b64decode(encoded, validate=True)
    except ValueError as error:
        raise IntegrityError("note: a signature line cannot be read") from error
    if not line.startswith(_EM_DASH) or len(raw) <= _KEY_HASH_BYTES:
        raise IntegrityError("note: a signature line cannot be read")
    return name, raw
