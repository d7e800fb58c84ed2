"""How are a TensorFlow checkpoint's numbers read without TensorFlow?

A checkpoint of format V2 is two files. ``.index`` is a LevelDB table: sorted names, each
with a small protocol buffer that says where in ``.data-00000-of-00001`` the numbers lie.
Only what such checkpoints use is read: uncompressed blocks, one shard, float32. Every
length is checked against the file before it is believed.

Source: LevelDB's doc/table_format.md; TensorFlow's core/protobuf/tensor_bundle.proto and
core/framework/tensor_shape.proto.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from safegen.errors import InputError

MAGIC: Final = 0xDB4775248B80FB57
_FOOTER_BYTES: Final = 48
_FLOAT32: Final = 1
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Where a tensor lies.

    Attributes:
        kind: TensorFlow's number of the data type; 1 is float32.
        shape: Of the tensor.
        shard: Number of the data file.
        offset: Of the first byte in the data file.
        size_bytes: Of the tensor.
    """

    kind: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size_bytes: int


def read_index(index: bytes) -> Mapping[str, Entry]:
    """List the tensors of a checkpoint by name.

    Raises:
        InputError: If the bytes are not such an index.
    """
    if len(index) < _FOOTER_BYTES or int.from_bytes(index[-8:], "little") != MAGIC:
        raise _broken("it does not end with LevelDB's magic number")
    footer = _Reader(index[-_FOOTER_BYTES:])
    footer.varint()  # where the block of meta information lies; checkpoints leave it empty
    footer.varint()
    entries = {}
    for _, handle in _rows(_block(index, footer)):
        for name, value in _rows(_block(index, _Reader(handle))):
            if name:  # the first row, without a name, is the header
                entries[name.decode("utf-8", "replace")] = _entry(value)
    return entries


def read_tensor(entries: Mapping[str, Entry], data: bytes, name: str) -> npt.NDArray[np.float32]:
    """Read one tensor.

    Args:
        entries: Of ``read_index``.
        data: The data file that belongs to the index.
        name: Of the tensor.

    Raises:
        InputError: If there is no such tensor, or it is not float32 within the file.
    """
    found = entries.get(name)
    if found is None:
        raise _broken(f"it has no tensor {name}")
    values = int(np.prod(found.shape, dtype=np.int64))
    if found.kind != _FLOAT32 or found.shard != 0 or found.size_bytes != 4 * values:
        raise _broken(
            f"tensor {name} has type {found.kind}, shard {found.shard} and "
            f"{found.size_bytes} bytes for shape {found.shape}"
        )
    if found.offset + found.size_bytes > len(data):
        raise _broken(
            f"tensor {name} ends at byte {found.offset + found.size_bytes} of {len(data)}"
        )
    flat = np.frombuffer(data, dtype="<f4", count=values, offset=found.offset)
    return flat.astype(np.float32).reshape(found.shape)


class _Reader:
    """Takes numbers off the front of some bytes and refuses to run past their end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    @property
    def is_empty(self) -> bool:
        return self.at >= len(self._data)

    def varint(self) -> int:
        value = 0
        for group in range(_LONGEST_VARINT):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << (7 * group)
            if byte < 0x80:
                return value
        raise _broken("a number has more than ten bytes")

    def take(self, count: int) -> bytes:
        if count > len(self._data) - self.at:
            raise _broken(f"it ends {count - (len(self._data) - self.at)} bytes too early")
        self.at += count
        return self._data[self.at - count : self.at]


def _block(index: bytes, handle: _Reader) -> bytes:
    """Find a block by its handle; its last bytes, the table of restarts, are left out."""
    offset, size = handle.varint(), handle.varint()
    if offset + size >= len(index) or size < 4:
        raise _broken(f"a block of {size} bytes at {offset} is not within its {len(index)} bytes")
    if index[offset + size] != 0:
        raise _broken("its blocks are compressed")
    block = index[offset : offset + size]
    restarts = 4 * (int.from_bytes(block[-4:], "little") + 1)
    if restarts > size:
        raise _broken("a block is shorter than its own table")
    return block[: size - restarts]


def _rows(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values; each key says how much it shares with the one before."""
    reader, key = _Reader(block), b""
    while not reader.is_empty:
        shared, fresh, length = reader.varint(), reader.varint(), reader.varint()
        if shared > len(key):
            raise _broken("a name shares more than there is")
        key = key[:shared] + reader.take(fresh)
        yield key, reader.take(length)


def _entry(value: bytes) -> Entry:
    numbers = {1: 0, 3: 0, 4: 0, 5: 0}
    shape: list[int] = []
    for field, content in _fields(value):
        if field == 2 and isinstance(content, bytes):
            for part, dimension in _fields(content):
                if part == 2 and isinstance(dimension, bytes):
                    sizes = [n for at, n in _fields(dimension) if at == 1 and isinstance(n, int)]
                    shape.append(sizes[0] if sizes else 0)
        elif field in numbers and isinstance(content, int):
            numbers[field] = content
    return Entry(
        kind=numbers[1],
        shape=tuple(shape),
        shard=numbers[3],
        offset=numbers[4],
        size_bytes=numbers[5],
    )


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Walk over a protocol buffer: the number of each field and its content."""
    reader = _Reader(message)
    while not reader.is_empty:
        tag = reader.varint()
        wire = tag & 7
        if wire == _VARINT:
            yield tag >> 3, reader.varint()
        elif wire == _BYTES:
            yield tag >> 3, reader.take(reader.varint())
        elif wire in (_FIXED32, _FIXED64):
            yield tag >> 3, reader.take(4 if wire == _FIXED32 else 8)
        else:
            raise _broken(f"field type {wire} is unknown")


def _broken(reason: str) -> InputError:
    return InputError(
        f"this is not a checkpoint of TensorFlow that can be read: {reason}",
        remedy="Fetch it again with `safegen eval assets --out FOLDER musicnn`.",
    )
