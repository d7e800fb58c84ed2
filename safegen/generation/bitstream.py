"""How do the codec's tokens travel: bits in a file that is checked while it arrives.

A `.sgc` file is a head of 40 bytes and then blocks of one second: 25 frames of one to
four codes, ten bits each, frame by frame, and a CRC-32. A block is decoded as soon as it
is there. Reading trusts nothing: sizes follow from two numbers of the head that are
bounded and under a checksum, each block's checksum covers the head and the block's
number, and what is held is never more than the bytes that were handed in.

What this module does not do: sound (``safegen.generation.codec_stream``) or files.
docs/codec.md describes the format for other programs.
"""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from safegen.errors import InputError, IntegrityError

SUFFIX: Final = ".sgc"
MAGIC: Final = b"\x89SGC\r\n\x1a\n"
"""Changed by every transfer that mends line ends or drops a bit, as in PNG."""
VERSION: Final = 1
CHANNELS: Final = 1
MAX_CODEBOOKS: Final = 4
BITS: Final = 10
SAMPLE_RATE: Final = 32_000
SAMPLES_PER_FRAME: Final = 1280
BLOCK_FRAMES: Final = 25
MAX_SAMPLES: Final = 3600 * SAMPLE_RATE
MAX_GAIN: Final = 1000.0
CODEC_ID_BYTES: Final = 16

_HEAD: Final = struct.Struct("<8sBBBBIf16s")
_CRC: Final = struct.Struct("<I")
HEAD_BYTES: Final = _HEAD.size + _CRC.size
MAX_FILE_BYTES: Final = HEAD_BYTES + 3600 * (BLOCK_FRAMES * MAX_CODEBOOKS * BITS // 8 + _CRC.size)
_REMEDY: Final = "Fetch the file again, or encode the sound again with `safegen codec encode`."

Codes = npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What a file says before its codes.

    Attributes:
        codec_id: First 16 bytes of the SHA-256 of the codec's weights.
        codebooks: Codes of each frame, in [1, 4].
        samples: Exact length of the sound at 32 kHz, in [1, MAX_SAMPLES].
        gain: Factor that gives the sound its loudness back, in [0, MAX_GAIN]; the
            nearest number of single precision is stored.
    """

    codec_id: bytes
    codebooks: int
    samples: int
    gain: float

    @property
    def frames(self) -> int:
        """Frames of 40 ms; the last one may reach beyond the sound's end."""
        return -(-self.samples // SAMPLES_PER_FRAME)

    @property
    def seconds(self) -> float:
        """Length of the sound."""
        return self.samples / SAMPLE_RATE

    @property
    def blocks(self) -> int:
        """Blocks that follow the head."""
        return -(-self.frames // BLOCK_FRAMES)

    @property
    def size_bytes(self) -> int:
        """Size of the whole file."""
        return HEAD_BYTES + sum(self.block_bytes(number) for number in range(self.blocks))

    def block_frames(self, number: int) -> int:
        """Count the frames of a block, 25 but for the last."""
        return min(BLOCK_FRAMES, self.frames - number * BLOCK_FRAMES)

    def block_bytes(self, number: int) -> int:
        """Measure a block with its checksum."""
        return -(-self.block_frames(number) * self.codebooks * BITS // 8) + _CRC.size


def write(head: Head, codes: Codes) -> bytes:
    """Write a file in memory.

    Args:
        head: What is said before the codes.
        codes: Shape (head.codebooks, head.frames), in [0, 1024).

    Raises:
        ValueError: If the two do not fit each other or the format.
    """
    if codes.shape != (head.codebooks, head.frames):
        msg = f"codes of shape {codes.shape}, not {(head.codebooks, head.frames)}"
        raise ValueError(msg)
    if codes.min() < 0 or codes.max() >= 1 << BITS:
        msg = f"codes from {codes.min()} to {codes.max()}, outside 0 to {(1 << BITS) - 1}"
        raise ValueError(msg)
    first = _HEAD.pack(
        MAGIC, VERSION, head.codebooks, CHANNELS, 0, head.samples, head.gain, head.codec_id
    )
    parts = [first + _CRC.pack(zlib.crc32(first))]
    _read_head(parts[0])  # what cannot be read is not written
    for number in range(head.blocks):
        begin = number * BLOCK_FRAMES
        packed = pack(codes[:, begin : begin + BLOCK_FRAMES])
        parts.append(packed + _CRC.pack(_block_crc(first, number, packed)))
    return b"".join(parts)


class Reader:
    """Takes a file in pieces of any size and gives the codes of every block that is whole.

    Attributes:
        head: None until its 40 bytes have arrived.
    """

    def __init__(self) -> None:
        self.head: Head | None = None
        self._first = b""
        self._waiting = bytearray()
        self._blocks = 0

    @property
    def is_complete(self) -> bool:
        """Whether the last block has been given."""
        return self.head is not None and self._blocks == self.head.blocks

    def feed(self, data: bytes) -> Codes | None:
        """Take the next bytes.

        Returns:
            The codes that became whole, shape (codebooks, n), n >= 1, or None.

        Raises:
            InputError: If this is no such file, or one of another version.
            IntegrityError: If the head or a block is damaged, or bytes follow the last
                block. What was given before is good.
        """
        self._waiting += data
        if self.head is None:
            if not MAGIC.startswith(self._waiting[: len(MAGIC)]):
                raise InputError(
                    f"the file begins with {bytes(self._waiting[:4])!r}, not as a codec file does",
                    remedy="Give a file that `safegen codec encode` wrote.",
                )
            if len(self._waiting) < HEAD_BYTES:
                return None
            self.head = _read_head(bytes(self._waiting[:HEAD_BYTES]))
            self._first = bytes(self._waiting[: _HEAD.size])
            del self._waiting[:HEAD_BYTES]
        found: list[Codes] = []
        at = 0
        while not self.is_complete:
            size = self.head.block_bytes(self._blocks)
            if len(self._waiting) - at < size:
                break
            found.append(self._block(self.head, bytes(self._waiting[at : at + size])))
            at += size
        del self._waiting[:at]
        if self.is_complete and self._waiting:
            raise IntegrityError(
                f"{len(self._waiting)} bytes follow the last block", remedy=_REMEDY
            )
        return np.concatenate(found, axis=1) if found else None

    def finish(self) -> Head:
        """Say that no more bytes come.

        Raises:
            InputError: If there were none.
            IntegrityError: If the file was cut.
        """
        if self.head is None:
            if not self._waiting:
                raise InputError("the file is empty (0 bytes)", remedy=_REMEDY)
            raise IntegrityError(
                f"the file ends after {len(self._waiting)} of the {HEAD_BYTES} bytes of its head",
                remedy=_REMEDY,
            )
        if not self.is_complete:
            raise IntegrityError(
                f"truncated, {self._blocks} of {self.head.blocks} s are there", remedy=_REMEDY
            )
        return self.head

    def _block(self, head: Head, data: bytes) -> Codes:
        packed, (expected,) = data[: -_CRC.size], _CRC.unpack(data[-_CRC.size :])
        number = self._blocks
        if _block_crc(self._first, number, packed) != expected:
            raise IntegrityError(
                f"block {number + 1} of {head.blocks} (second {number}) is damaged",
                remedy=_REMEDY,
            )
        self._blocks += 1
        return unpack(packed, codebooks=head.codebooks, frames=head.block_frames(number))


def read(data: bytes) -> tuple[Head, Codes]:
    """Read a whole file.

    Returns:
        Its head, and codes of shape (codebooks, frames).

    Raises:
        InputError: If this is no such file, or one of another version.
        IntegrityError: If it is damaged, cut or lengthened.
    """
    reader = Reader()
    codes = reader.feed(data)
    head = reader.finish()
    if codes is None:
        msg = "a complete file has at least one block"
        raise ValueError(msg)
    return head, codes


def pack(codes: Codes) -> bytes:
    """Pack codes of shape (codebooks, n) frame by frame, highest bit first, zeros at the end."""
    flat = codes.T.reshape(-1).astype(np.uint16)
    bits = (flat[:, None] >> np.arange(BITS - 1, -1, -1, dtype=np.uint16)) & 1
    return np.packbits(bits.astype(np.uint8)).tobytes()


def unpack(packed: bytes, *, codebooks: int, frames: int) -> Codes:
    """Give back what ``pack`` packed.

    Raises:
        IntegrityError: If bits after the last code are not zero.
    """
    bits = np.unpackbits(np.frombuffer(packed, np.uint8))
    used = codebooks * frames * BITS
    if bits[used:].any():
        raise IntegrityError("bits after the last code of a block are not 0", remedy=_REMEDY)
    weights = (1 << np.arange(BITS - 1, -1, -1)).astype(np.int16)
    flat = bits[:used].reshape(-1, BITS).astype(np.int16) @ weights
    return np.ascontiguousarray(flat.reshape(frames, codebooks).T, dtype=np.int16)


def _read_head(data: bytes) -> Head:
    """Check 40 bytes, in this order: version, checksum, and then what they say."""
    magic, version, codebooks, channels, reserved, samples, gain, codec_id = _HEAD.unpack(
        data[: _HEAD.size]
    )
    if version != VERSION:
        raise InputError(
            f"a codec file of version {version}, this program reads version {VERSION}",
            remedy="Use the version of safegen that wrote it, or encode the sound again.",
        )
    if _CRC.unpack(data[_HEAD.size :])[0] != zlib.crc32(data[: _HEAD.size]):
        raise IntegrityError("the head of the file is damaged", remedy=_REMEDY)
    is_possible = (
        magic == MAGIC
        and 1 <= codebooks <= MAX_CODEBOOKS
        and channels == CHANNELS
        and reserved == 0
        and 1 <= samples <= MAX_SAMPLES
        and math.isfinite(gain)
        and 0.0 <= gain <= MAX_GAIN
    )
    if not is_possible:
        raise InputError(
            f"the head says {codebooks} codebooks, {channels} channels, {samples} samples and a "
            f"gain of {gain:g}; at most {MAX_CODEBOOKS}, {CHANNELS}, {MAX_SAMPLES} and "
            f"{MAX_GAIN:g} are read",
            remedy="Encode the sound again, in pieces of at most an hour.",
        )
    return Head(codec_id=codec_id, codebooks=codebooks, samples=samples, gain=gain)


def _block_crc(first: bytes, number: int, packed: bytes) -> int:
    """Cover head and number, too: blocks of other files or in another order do not pass."""
    return zlib.crc32(packed, zlib.crc32(_CRC.pack(number), zlib.crc32(first)))
