"""Does this recording carry one of our watermarks, and which id does it name?

The mark is a secret pattern of signs over a grid of *tiles*, 32 ms long and 125 Hz
wide, from 312 Hz to 5 kHz: a tile is a little louder where its sign is +1 and a
little softer where it is -1 (``safegen.watermark`` embeds it). The grid repeats
every 4.1 s. An eighth of the tiles carries signs known from the key alone, for
finding the mark and its alignment; the others carry a 64-bit id, a checksum and a
convolutional code over both.

Listening needs no original: log-magnitudes of the tiles, freed of the slow shape
of the sound, are folded onto one block and correlated with the key's signs at
every alignment.

The p-value needs no calibration either. For a sound that was made without
knowledge of the key, the signs are fair coins, so the normalized correlation z
satisfies P(z >= t) <= exp(-t * t / 2) whatever the sound is (Hoeffding 1963,
theorem 2); the bound is multiplied by the number of alignments, windows and keys tried.
Once an id has been read, all tiles have known signs and the same bound holds over them,
multiplied by the 2**64 ids that could have been read.

What this module does not do: hold keys (``safegen.provenance.keys``), read files
(``safegen.audio``), or decide what a mark means (``safegen.policy``).
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import exp, gcd, log
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter1d
from scipy.signal import resample_poly

from detectors.base import Interval, WatermarkFinding, Waveform

SAMPLE_RATE: Final = 16_000
WINDOW: Final = 512
HOP: Final = 128
TILE_FRAMES: Final = 4
TILE_BINS: Final = 4
FIRST_BIN: Final = 10
BANDS: Final = 37
SLOTS: Final = 128
BLOCK_FRAMES: Final = SLOTS * TILE_FRAMES
FRAME_SECONDS: Final = HOP / SAMPLE_RATE

WINDOW_SHAPE: Final = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)).astype(
    np.float32
)
"""Periodic Hann window."""

PAYLOAD_BITS: Final = 64
CHECK_BITS: Final = 16
CODE_BITS: Final = (PAYLOAD_BITS + CHECK_BITS) * 3
SYNC_TILES: Final = SLOTS * BANDS // 8
DETECTION_P: Final = 1e-6
"""Largest corrected p-value that is called a mark."""

_MIN_FRAMES: Final = 64
"""Half a second; shorter sounds hold too few tiles to say anything."""
_WINDOW_FRAMES: Final = 3 * BLOCK_FRAMES
_CHUNK_FRAMES: Final = 15 * BLOCK_FRAMES
_DECODED: Final = 4
"""How many alignments are decoded; the right one is nearly always the best or its neighbor."""
_SPAN_ROWS: Final = 62
_STEP_ROWS: Final = 16
_MIN_SPAN_Z: Final = 4.0
"""Two seconds, half a second, and the least z of a span that is called marked."""
_FORMAT: Final = b"safegen watermark 1"

_MEMORY: Final = 9
_POLYNOMIALS: Final = (0o557, 0o663, 0o711)
"""Rate 1/3, constraint length 9, free distance 18. Source: 3GPP TS 25.212 section 4.2.3.1."""

Grid = npt.NDArray[np.float32]
"""Shape (frames, BANDS): one value per hop and band."""
Signs = npt.NDArray[np.int8]
"""Shape (SLOTS, BANDS), values -1, 0 and +1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """What one key says about the tiles.

    Attributes:
        signs: Shape (SLOTS, BANDS), -1 or +1 everywhere.
        is_sync: Shape (SLOTS, BANDS); the tiles whose sign is final.
        code_index: Shape (SLOTS, BANDS); which code bit multiplies the sign, -1 at sync tiles.
    """

    signs: Signs
    is_sync: npt.NDArray[np.bool_]
    code_index: npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Window:
    """One stretch of frames, folded onto a block.

    Attributes:
        rows: Shape (BLOCK_FRAMES, BANDS).
        values: Spectrum over the rows, for correlating at all alignments at once.
        squares: The same of the squared rows.
    """

    rows: Grid
    values: npt.NDArray[np.complexfloating]
    squares: npt.NDArray[np.complexfloating]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """One alignment of one key in one window that is worth decoding."""

    z: float
    offset: int
    window: _Window
    key_id: str


def detect(waveform: Waveform, sample_rate: int, *, keys: Mapping[str, bytes]) -> WatermarkFinding:
    """Listen for every key at every alignment, and read the id of the best.

    Ties go to the key named first. Sounds that are silent or shorter than half a
    second give a finding that says "not detected".

    Args:
        waveform: Shape (channels, samples).
        sample_rate: In Hz.
        keys: Key id -> secret of at least 16 bytes.

    Cost: about 4 ms of one core per second of 44.1 kHz stereo, 20 ms for decoding, 1 ms per key.
    """
    grid = listen(waveform, sample_rate)
    windows = _windows(grid)
    candidates = _candidates(windows, keys)
    if not candidates:
        return WatermarkFinding(
            detected=False, payload=None, p_value=1.0, z=0.0, key_id="", intervals=()
        )
    tried = log(BLOCK_FRAMES * len(windows) * len(keys))
    best = candidates[0]
    # Two bounds are tried, so each counts twice.
    log_p = log(2) + _log_bound(best.z, tried)
    payload: int | None = None
    intervals: tuple[Interval, ...] = ()
    for candidate in candidates:
        used = pattern(keys[candidate.key_id])
        read = _read(candidate.window.rows, used, candidate.offset)
        if read is None:
            continue
        signs = tile_signs(used, read)
        full = _log_bound(
            _agreement(candidate.window.rows, signs, candidate.offset),
            tried + PAYLOAD_BITS * log(2),
        )
        bound = log(2) + min(full, _log_bound(candidate.z, tried))
        if bound < log(DETECTION_P) and (payload is None or bound < log_p):
            payload, best, log_p = read, candidate, bound
            intervals = _marked(grid, signs, candidate.offset)
    return WatermarkFinding(
        detected=log_p < log(DETECTION_P),
        payload=payload,
        p_value=exp(min(0.0, log_p)),
        z=best.z,
        key_id=best.key_id,
        intervals=intervals,
    )


@lru_cache(maxsize=256)
def pattern(secret: bytes) -> Pattern:
    """Expand a secret into signs and roles, the same on every platform.

    Raises:
        ValueError: If the secret is shorter than 16 bytes.
    """
    if len(secret) < 16:
        msg = f"a watermark secret has at least 16 bytes, not {len(secret)}"
        raise ValueError(msg)
    tiles = SLOTS * BANDS
    # SHAKE-256 of key and label: a sponge keyed by prefix is a PRF (NIST SP 800-185, KMAC).
    seed = len(secret).to_bytes(2, "big") + secret + _FORMAT
    coins = np.frombuffer(hashlib.shake_256(seed + b" signs").digest(-(-tiles // 8)), np.uint8)
    lots = np.frombuffer(hashlib.shake_256(seed + b" roles").digest(tiles * 8), ">u8")
    order = np.argsort(lots, kind="stable")
    roles = np.full(tiles, -1, np.int16)
    roles[order[SYNC_TILES:]] = np.arange(tiles - SYNC_TILES) % CODE_BITS
    signs = np.unpackbits(coins)[:tiles].astype(np.int8) * 2 - 1
    shape = (SLOTS, BANDS)
    return Pattern(
        signs=signs.reshape(shape),
        is_sync=(roles < 0).reshape(shape),
        code_index=roles.reshape(shape),
    )


def tile_signs(used: Pattern, payload: int) -> Signs:
    """Say for each tile whether the mark of this id makes it louder (+1) or softer (-1)."""
    code = 1 - 2 * encode(payload).astype(np.int8)
    return np.where(used.is_sync, used.signs, used.signs * code[used.code_index]).astype(np.int8)


def encode(payload: int) -> npt.NDArray[np.uint8]:
    """Add the checksum and the convolutional code (tail-biting: it ends where it began).

    Returns:
        ``CODE_BITS`` bits, 0 or 1.

    Raises:
        ValueError: If the payload is not in [0, 2**64).
    """
    if not 0 <= payload < 1 << PAYLOAD_BITS:
        msg = f"a payload is in [0, 2**64), not {payload}"
        raise ValueError(msg)
    word = payload << CHECK_BITS | _checksum(payload)
    bits = _bits(word, PAYLOAD_BITS + CHECK_BITS)
    out = np.empty((len(bits), len(_POLYNOMIALS)), np.uint8)
    history = np.stack([np.roll(bits, delay) for delay in range(_MEMORY)])  # (9, 80)
    for column, polynomial in enumerate(_POLYNOMIALS):
        taps = _bits(polynomial, _MEMORY)
        out[:, column] = history[taps == 1].sum(axis=0) % 2
    return out.reshape(-1)


def decode(soft: npt.NDArray[np.floating]) -> int | None:
    """Find the most likely id; None if its checksum does not hold.

    Args:
        soft: Shape (CODE_BITS,); positive speaks for bit 0, size is confidence.
    """
    bits = _viterbi(soft.reshape(-1, len(_POLYNOMIALS)).astype(np.float64))
    word = int("".join("1" if bit else "0" for bit in bits), 2)
    payload = word >> CHECK_BITS
    return payload if word & ((1 << CHECK_BITS) - 1) == _checksum(payload) else None


def to_mark_rate(waveform: Waveform, sample_rate: int) -> Waveform:
    """Resample each channel to ``SAMPLE_RATE``."""
    if sample_rate == SAMPLE_RATE:
        return waveform
    common = gcd(SAMPLE_RATE, sample_rate)
    out = resample_poly(waveform, SAMPLE_RATE // common, sample_rate // common, axis=1)
    return np.asarray(out, dtype=np.float32)


def spectra(channel: npt.NDArray[np.float32]) -> Iterator[npt.NDArray[np.complex64]]:
    """Yield the short-time spectrum, a minute at a time; frame t is centered on sample t * HOP.

    Args:
        channel: Shape (samples,), at ``SAMPLE_RATE``.

    Yields:
        Shape (frames, WINDOW // 2 + 1).
    """
    padded = np.pad(channel, (WINDOW // 2, WINDOW // 2 + HOP))
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    for start in range(0, len(frames), _CHUNK_FRAMES):
        part = frames[start : start + _CHUNK_FRAMES] * WINDOW_SHAPE
        yield np.fft.rfft(part, axis=1).astype(np.complex64)


def listen(waveform: Waveform, sample_rate: int) -> Grid:
    """Measure each tile at each hop, freed of whatever its surroundings predict.

    Channels are added as powers, so opposite phases do not cancel the mark. Nothing
    here depends on a key; that is what makes the p-value a bound.

    Returns:
        Shape (frames, BANDS); a tile that starts at frame t has its value at row t.
        No rows if the sound is too short or silent.
    """
    if waveform.shape[1] * SAMPLE_RATE < _MIN_FRAMES * HOP * sample_rate:
        return np.zeros((0, BANDS), np.float32)
    bins = slice(FIRST_BIN, FIRST_BIN + BANDS * TILE_BINS)
    power = np.zeros((0, BANDS * TILE_BINS), np.float32)
    for channel in to_mark_rate(waveform, sample_rate):
        one = np.concatenate([np.abs(part[:, bins]) ** 2 for part in spectra(channel)])
        power = power + one if len(power) else one
    mean = float(power.mean())
    if not mean > 1e-12:
        return np.zeros((0, BANDS), np.float32)
    # The floor turns digital silence into a constant instead of minus infinity.
    level = np.log(power + 3e-7 * mean).reshape(len(power), BANDS, TILE_BINS).mean(axis=2)
    level = _tile_mean(level)
    level -= uniform_filter1d(level, 120, axis=0, mode="nearest")
    level -= uniform_filter1d(level, 11, axis=1, mode="nearest")
    level = _unpredictable(level)
    spread = uniform_filter1d(uniform_filter1d(level**2, 24, axis=0), 3, axis=1)
    # The running sum may end a rounding error below zero.
    return np.asarray(level / (np.sqrt(np.maximum(spread, 0.0)) + 0.05), dtype=np.float32)


def _tile_mean(level: Grid) -> Grid:
    """Average each row with the following rows of its tile."""
    total = np.cumsum(
        np.pad(level, ((1, TILE_FRAMES - 1), (0, 0)), mode="edge"), axis=0, dtype=np.float64
    )
    return np.asarray((total[TILE_FRAMES:] - total[:-TILE_FRAMES]) / TILE_FRAMES, np.float32)


def _unpredictable(level: Grid) -> Grid:
    """Subtract from each tile what its four neighbors predict by least squares.

    Held notes and harmonics say much about their neighbors, the key's signs nothing.
    """
    rows, columns = level.shape
    padded = np.pad(level, ((TILE_FRAMES, TILE_FRAMES), (1, 1)), mode="edge")
    around = [
        padded[TILE_FRAMES + row : TILE_FRAMES + row + rows, 1 + column : 1 + column + columns]
        for row, column in ((-TILE_FRAMES, 0), (TILE_FRAMES, 0), (0, -1), (0, 1))
    ]
    gram = np.array([[np.vdot(one, other) for other in around] for one in around], np.float64)
    target = np.array([np.vdot(one, level) for one in around], np.float64)
    ridge = 1e-3 * float(np.vdot(level, level)) + 1e-9
    weights = np.linalg.solve(gram + ridge * np.eye(len(around)), target)
    out = level.copy()
    for weight, neighbor in zip(weights, around, strict=True):
        out -= np.float32(weight) * neighbor
    return out


def _windows(grid: Grid) -> list[_Window]:
    """Choose what is searched: everything, and half-overlapping windows if it is long."""
    frames = len(grid)
    if frames == 0:
        return []
    stretches = [(0, frames)]
    if frames > _WINDOW_FRAMES * 4 // 3:
        step = _WINDOW_FRAMES // 2
        stretches += [(start, start + _WINDOW_FRAMES) for start in range(0, frames - step, step)]
    return [_fold(grid[first:last], first) for first, last in stretches]


def _fold(frames: Grid, first: int) -> _Window:
    """Add all blocks up, so that row t holds every frame congruent to t modulo a block."""
    start = first % BLOCK_FRAMES
    blocks = -(-(start + len(frames)) // BLOCK_FRAMES)
    padded = np.zeros((blocks * BLOCK_FRAMES, BANDS), np.float32)
    padded[start : start + len(frames)] = frames
    rows = padded.reshape(-1, BLOCK_FRAMES, BANDS).sum(axis=0)
    return _Window(
        rows=rows, values=np.fft.rfft(rows, axis=0), squares=np.fft.rfft(rows**2, axis=0)
    )


def _candidates(windows: list[_Window], keys: Mapping[str, bytes]) -> list[_Candidate]:
    """Correlate with the keys' sync tiles at every alignment; the best few, best first."""
    found: list[_Candidate] = []
    for key_id, secret in keys.items():
        used = pattern(secret)
        sparse = np.zeros((BLOCK_FRAMES, BANDS), np.float32)
        sparse[::TILE_FRAMES] = used.signs * used.is_sync
        sync = np.fft.rfft(sparse, axis=0).conj()
        mask = np.fft.rfft(np.abs(sparse), axis=0).conj()
        for window in windows:
            match = np.fft.irfft((window.values * sync).sum(axis=1), BLOCK_FRAMES)
            energy = np.fft.irfft((window.squares * mask).sum(axis=1), BLOCK_FRAMES)
            # An empty alignment proves nothing: its correlation counts as 0.
            least = 1e-4 * max(float(energy.max()), 1e-9)
            z = np.where(energy > least, match / np.sqrt(np.maximum(energy, least)), 0.0)
            found += [
                _Candidate(z=float(z[offset]), offset=int(offset), window=window, key_id=key_id)
                for offset in np.argsort(-z, kind="stable")[:_DECODED]
                if z[offset] > 0.0
            ]
    return sorted(found, key=lambda candidate: -candidate.z)[:_DECODED]


def _log_bound(z: float, log_tried: float) -> float:
    """Bound the chance of so high a correlation in any of so many trials, as a logarithm."""
    return log_tried - max(z, 0.0) ** 2 / 2


def _agreement(rows: Grid, signs: Signs, offset: int) -> float:
    """Correlate all tiles of a folded window with known signs at one alignment."""
    tiles = np.roll(rows, -offset, axis=0)[::TILE_FRAMES]
    return float((tiles * signs).sum() / np.sqrt(max(float((tiles**2).sum()), 1e-9)))


def _read(folded: Grid, used: Pattern, offset: int) -> int | None:
    """Collect the evidence for each code bit at one alignment and decode."""
    tiles = np.roll(folded, -offset, axis=0)[::TILE_FRAMES]
    data = ~used.is_sync
    soft = np.bincount(
        used.code_index[data], weights=(tiles * used.signs)[data], minlength=CODE_BITS
    )
    return decode(soft.astype(np.float64))


def _marked(grid: Grid, signs: Signs, offset: int) -> tuple[Interval, ...]:
    """Find where the known mark is present.

    Windows of two seconds in steps of half a second find the stretches; the edges of each
    are where the evidence for "marked at this strength" against "unmarked" adds up to most.
    """
    rows = np.arange(offset % TILE_FRAMES, len(grid), TILE_FRAMES)
    slots = ((rows - offset) // TILE_FRAMES) % SLOTS
    match = (grid[rows] * signs[slots]).sum(axis=1)
    energy = (grid[rows] ** 2).sum(axis=1)
    score = match / np.sqrt(np.maximum(energy, 1e-9))  # of variance 1 where there is no mark
    found: list[tuple[int, int]] = []
    for start in range(0, max(1, len(rows) - _SPAN_ROWS + _STEP_ROWS), _STEP_ROWS):
        stop = min(start + _SPAN_ROWS, len(rows))
        if _z(match[start:stop], energy[start:stop]) < _MIN_SPAN_Z:
            continue
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], stop
        else:
            found.append((start, stop))
    intervals: list[Interval] = []
    for start, stop in found:
        strength = float(score[start:stop].mean())
        total = np.concatenate([[0.0], np.cumsum(score[start:stop] - strength / 2)])
        gained = total - np.minimum.accumulate(total)
        end = int(np.argmax(gained))
        begin = int(np.argmin(total[: end + 1]))
        if end == begin:
            continue
        intervals.append(
            Interval(
                start_seconds=float(rows[start + begin] * FRAME_SECONDS),
                end_seconds=float((rows[start + end - 1] + TILE_FRAMES) * FRAME_SECONDS),
                score=_z(match[start + begin : start + end], energy[start + begin : start + end]),
            )
        )
    return tuple(intervals)


def _z(match: npt.NDArray[np.float32], energy: npt.NDArray[np.float32]) -> float:
    return float(match.sum() / np.sqrt(max(float(energy.sum()), 1e-9)))


def _viterbi(soft: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Run the circular trellis three times round and keep the middle round.

    Args:
        soft: Shape (bits, 3); positive speaks for 0.
    """
    table = _trellis()
    rounds = np.concatenate([soft, soft, soft])
    branch = rounds @ table.signs.T  # (steps, 2 ** _MEMORY): gain of each register content
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
    return bits[len(soft) : 2 * len(soft)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trellis:
    """Outputs of each register content, newest bit first: shape (2 ** _MEMORY, 3), -1 or +1."""

    signs: npt.NDArray[np.float64]


@lru_cache(maxsize=1)
def _trellis() -> _Trellis:
    registers = np.arange(1 << _MEMORY)
    columns = [
        1.0 - 2.0 * (np.bitwise_count(registers & polynomial) % 2) for polynomial in _POLYNOMIALS
    ]
    return _Trellis(signs=np.stack(columns, axis=1))


def _bits(value: int, count: int) -> npt.NDArray[np.uint8]:
    """Write a number with its highest bit first."""
    return np.array([value >> shift & 1 for shift in range(count - 1, -1, -1)], np.uint8)


def _checksum(payload: int) -> int:
    """CRC-16/CCITT-FALSE of the payload's eight bytes, polynomial 0x1021."""
    crc = 0xFFFF
    for byte in payload.to_bytes(PAYLOAD_BITS // 8, "big"):
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc
