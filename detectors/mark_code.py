"""How do 64 bits survive a channel that garbles one sign in four?

A convolutional code of rate 1/3, bent into a ring (tail-biting: it ends where it
began), decoded from soft evidence. The id carries a checksum; the 16-bit word of the
presence layer does not, its agreement with the tiles is tested instead.
"""

from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

PAYLOAD_BITS: Final = 64
CHECK_BITS: Final = 16
EPOCH_BITS: Final = 16
_MEMORY: Final = 9
_POLYNOMIALS: Final = (0o557, 0o663, 0o711)
"""Rate 1/3, constraint length 9, free distance 18. Source: 3GPP TS 25.212 section 4.2.3.1."""
CODE_BITS: Final = (PAYLOAD_BITS + CHECK_BITS) * len(_POLYNOMIALS)
EPOCH_CODE_BITS: Final = EPOCH_BITS * len(_POLYNOMIALS)


def encode_payload(payload: int) -> npt.NDArray[np.uint8]:
    """Add the checksum and the code to an id.

    Returns:
        ``CODE_BITS`` bits, 0 or 1.

    Raises:
        ValueError: If the payload is not in [0, 2**64).
    """
    if not 0 <= payload < 1 << PAYLOAD_BITS:
        msg = f"a payload is in [0, 2**64), not {payload}"
        raise ValueError(msg)
    return _convolve(_bits(payload << CHECK_BITS | _checksum(payload), PAYLOAD_BITS + CHECK_BITS))


def decode_payload(soft: npt.NDArray[np.floating]) -> int | None:
    """Find the most likely id; None if its checksum does not hold.

    Args:
        soft: Shape (CODE_BITS,); positive speaks for bit 0, size is confidence.
    """
    word = _number(_viterbi(soft))
    payload = word >> CHECK_BITS
    return payload if word & ((1 << CHECK_BITS) - 1) == _checksum(payload) else None


def encode_epoch(epoch: int) -> npt.NDArray[np.uint8]:
    """Add the code to a word of the presence layer.

    Returns:
        ``EPOCH_CODE_BITS`` bits, 0 or 1.

    Raises:
        ValueError: If the word is not in [0, 2**16).
    """
    if not 0 <= epoch < 1 << EPOCH_BITS:
        msg = f"an epoch is in [0, 2**16), not {epoch}"
        raise ValueError(msg)
    return _convolve(_bits(epoch, EPOCH_BITS))


def decode_epoch(soft: npt.NDArray[np.floating]) -> int:
    """Find the most likely word; there always is one, so its agreement must be tested.

    Args:
        soft: Shape (EPOCH_CODE_BITS,); positive speaks for bit 0.
    """
    return _number(_viterbi(soft))


def _convolve(bits: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    out = np.empty((len(bits), len(_POLYNOMIALS)), np.uint8)
    history = np.stack([np.roll(bits, delay) for delay in range(_MEMORY)])
    for column, polynomial in enumerate(_POLYNOMIALS):
        taps = _bits(polynomial, _MEMORY)
        out[:, column] = history[taps == 1].sum(axis=0) % 2
    return out.reshape(-1)


def _viterbi(soft: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """Run the circular trellis three times round and keep the middle round."""
    evidence = soft.reshape(-1, len(_POLYNOMIALS)).astype(np.float64)
    rounds = np.concatenate([evidence, evidence, evidence])
    branch = rounds @ _outputs().T  # (steps, 2 ** _MEMORY): gain of each register content
    states = 1 << (_MEMORY - 1)
    score = np.zeros(states)
    choices = np.empty((len(rounds), states), np.bool_)
    for step, gains in enumerate(branch):
        # A register is (new bit, state); the state that follows drops the oldest bit.
        total = gains.reshape(2, states // 2, 2) + score.reshape(states // 2, 2)
        choices[step] = (total[..., 1] > total[..., 0]).reshape(-1)
        score = total.max(axis=2).reshape(-1)
        score -= score.max()
    state = int(np.argmax(score))
    bits = np.empty(len(rounds), np.uint8)
    for step in range(len(rounds) - 1, -1, -1):
        bits[step] = state >> (_MEMORY - 2)
        state = (state << 1 | int(choices[step, state])) & (states - 1)
    return bits[len(evidence) : 2 * len(evidence)]


@lru_cache(maxsize=1)
def _outputs() -> npt.NDArray[np.float64]:
    """Outputs of each register content, newest bit first: shape (2 ** _MEMORY, 3), -1 or +1."""
    registers = np.arange(1 << _MEMORY)
    columns = [
        1.0 - 2.0 * (np.bitwise_count(registers & polynomial) % 2) for polynomial in _POLYNOMIALS
    ]
    return np.stack(columns, axis=1)


def _bits(value: int, count: int) -> npt.NDArray[np.uint8]:
    """Write a number with its highest bit first."""
    return np.array([value >> shift & 1 for shift in range(count - 1, -1, -1)], np.uint8)


def _number(bits: npt.NDArray[np.uint8]) -> int:
    return int("".join("1" if bit else "0" for bit in bits), 2)


def _checksum(payload: int) -> int:
    """CRC-16/CCITT-FALSE of the payload's eight bytes, polynomial 0x1021."""
    crc = 0xFFFF
    for byte in payload.to_bytes(PAYLOAD_BITS // 8, "big"):
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc
