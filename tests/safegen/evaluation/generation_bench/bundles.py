"""Writes a TensorFlow checkpoint of format V2, so that reading one can be tested."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

MAGIC = 0xDB4775248B80FB57


def bundle(
    tensors: Mapping[str, npt.NDArray[np.float32]], *, kind: int = 1, packed: int = 0
) -> tuple[bytes, bytes]:
    """Index and data of these tensors, each name written out in full once in sixteen.

    ``kind`` is TensorFlow's data type, ``packed`` LevelDB's kind of compression (only said).
    """
    data = b""
    rows = [(b"", b"\x08\x01\x1a\x02\x08\x01")]
    for name, tensor in sorted(tensors.items()):
        raw = np.ascontiguousarray(tensor, dtype="<f4").tobytes()
        shape = b"".join(field(2, field(1, size)) for size in tensor.shape)
        entry = field(1, kind) + field(2, shape) + field(4, len(data)) + field(5, len(raw))
        rows.append((name.encode(), entry + b"\x35" + bytes(4)))
        data += raw
    first = block(rows)
    meta = block([])
    trailer = bytes([packed]) + bytes(4)
    index = first + trailer + meta + trailer
    handle = varint(0) + varint(len(first))
    top = block([(b"\xff", handle)])
    footer = varint(len(first) + 5) + varint(len(meta)) + varint(len(index)) + varint(len(top))
    return index + top + trailer + footer.ljust(40, b"\0") + MAGIC.to_bytes(8, "little"), data


def block(rows: list[tuple[bytes, bytes]]) -> bytes:
    out, previous, restarts = b"", b"", [0]
    for place, (key, value) in enumerate(rows):
        shared = 0
        if place % 16:
            while shared < min(len(key), len(previous)) and key[shared] == previous[shared]:
                shared += 1
        elif place:
            restarts.append(len(out))
        out += (
            varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        )
        previous = key
    return out + b"".join(x.to_bytes(4, "little") for x in (*restarts, len(restarts)))


def field(number: int, content: int | bytes) -> bytes:
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])
