"""Does this recording carry one of our watermarks, and which id does it name?

The mark is a secret pattern of signs over a grid of *tiles*, 32 ms long and 125 Hz
wide, from 312 Hz to 5 kHz: a tile is a little louder where its sign is +1 and a
little softer where it is -1 (``safegen.watermark`` embeds it). Which signs, and the two
layers they form, is said in ``detectors.mark_pattern``.

Listening needs no original: log-magnitudes of the tiles, freed of the slow shape of the
sound (``detectors.tiles``), are correlated with the key's signs wherever the mark could
begin, and at whatever speed and pitch it could be played (``detectors.mark_search``).

The p-value needs no model of sound. For a sound made without knowledge of the key, the
signs are fair coins, so the normalized correlation z satisfies P(z >= t) <=
exp(-t * t / 2) whatever the sound is (Hoeffding 1963, theorem 2); the bound is multiplied
by the number of everything that was tried: alignments, speeds, windows, keys, and the
2**80 ids and words that could have been read. ``detectors.false_alarms`` checks the bound
against unmarked sound; a measured tail that is heavier than the bound replaces it.

What this module does not do: hold keys (``safegen.provenance.keys``), read files
(``safegen.audio``), or decide what a mark means (``safegen.policy``).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import exp, log
from typing import Final

import numpy as np
import numpy.typing as npt

from detectors.base import Interval, WatermarkFinding, Waveform
from detectors.mark_code import (
    CODE_BITS,
    EPOCH_BITS,
    EPOCH_CODE_BITS,
    PAYLOAD_BITS,
    decode_epoch,
    decode_payload,
    encode_epoch,
    encode_payload,
)
from detectors.mark_pattern import BUCKETS, Pattern, pattern
from detectors.mark_search import (
    Alignment,
    Evidence,
    Laid,
    Tried,
    aligned,
    hidden,
    lay,
    repeated,
    unrepeated,
    warped,
)
from detectors.tiles import BANDS, FRAME_SECONDS, SLOTS, Spectrum, listen

DETECTION_P: Final = 1e-6
"""Largest corrected p-value that is called a mark."""

_STAGES: Final = 3
"""Searches and, below, bounds: each is one more chance of a false alarm and is paid for."""
_BOUNDS: Final = 3
_PROMISING: Final = 0.1
"""Largest p-value of an alignment's known tiles at which it is worth decoding."""
_DOUBTFUL: Final = 2
"""How many alignments are looked at whose presence layer alone is no proof."""
_MOST: Final = 64
"""How many alignments are decoded at most; cuts in a sound begin new ones."""
_WORD_P: Final = 1e-3
"""Largest p-value of a 16-bit word that is told."""
_SPAN_ROWS: Final = 62
_STEP_ROWS: Final = 16
_MIN_SPAN_Z: Final = 4.0
"""Two seconds, half a second, and the least z of a span that is called marked."""
_LEAST_SECONDS: Final = 0.25
"""Shorter leftovers of a stretch that another alignment explains are not told."""
_SMALLEST_LOG_P: Final = -690.0
"""About 1e-300: no finding is ever told to be impossible by chance."""
_NOTHING: Final = WatermarkFinding(
    detected=False, payload=None, p_value=1.0, z=0.0, key_id="", intervals=()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """What was read along one alignment.

    Attributes:
        alignment: With the sub-key of its first block.
        log_p: Logarithm of the p-value, corrected for everything tried.
        payload: The id, if its checksum holds and the tiles agree.
        epoch: The 16-bit word, if the tiles agree.
        intervals: Where the sound is marked.
    """

    alignment: Alignment
    log_p: float
    payload: int | None
    epoch: int | None
    intervals: tuple[Interval, ...]


def detect(
    waveform: Waveform,
    sample_rate: int,
    *,
    keys: Mapping[str, bytes],
    search: bool,
    inflation: float = 1.0,
) -> WatermarkFinding:
    """Listen for every key, and read the id of the best.

    Sounds that are silent or shorter than half a second give a finding that says
    "not detected".

    Args:
        waveform: Shape (channels, samples).
        sample_rate: In Hz.
        keys: Key id -> secret of at least 16 bytes.
        search: Whether to try other speeds, tempos and pitches when nothing is found.
        inflation: Measured scale of the statistic on unmarked sound, >= 1; the bound is
            taken of z / inflation (``detectors.false_alarms``).

    Raises:
        ValueError: If a secret is too short, or ``inflation`` is below 1.

    Cost: about 3 ms of one core per second of sound, 25 ms more with ``search`` where nothing
    is found; 1 ms for each further key.
    """
    if inflation < 1.0:
        msg = f"inflation is at least 1, not {inflation}: a bound is never made smaller"
        raise ValueError(msg)
    spectrum = listen(waveform, sample_rate)
    if not spectrum.frames or not keys:
        return _NOTHING
    grid = spectrum.grid()
    found: list[_Reading] = []
    stages: list[Callable[[], Tried]] = [lambda: aligned(grid, keys), lambda: hidden(grid, keys)]
    if search:
        stages.append(lambda: warped(spectrum, keys))
    for stage in stages:
        found = _ranked([*found, *_readings(spectrum, stage(), keys, inflation)])
        # A mark without an id may be one that is played a little faster: search on.
        if found and found[0].payload is not None:
            break
    return _finding(found)


def log_p_by_key(
    waveform: Waveform, sample_rate: int, *, keys: Mapping[str, bytes]
) -> Mapping[str, float]:
    """Measure what ``detect`` with full search would say with each key alone.

    Keys that nothing was marked with turn one unmarked sound into many trials, which is
    how false alarms are counted.

    Returns:
        Key id -> natural logarithm of the p-value, not cut at 0; empty for silence.
    """
    spectrum = listen(waveform, sample_rate)
    if not spectrum.frames:
        return {}
    grid = spectrum.grid()
    least = dict.fromkeys(keys, float("inf"))
    for key_id, secret in keys.items():
        for tried in (aligned(grid, {key_id: secret}), hidden(grid, {key_id: secret})):
            for one in _readings(spectrum, tried, keys, 1.0):
                least[key_id] = min(least[key_id], one.log_p)
    together = warped(spectrum, keys)
    for key_id in keys:
        alone = Tried(
            found=tuple(one for one in together.found if one.key_id == key_id),
            log_count=together.log_count - log(len(keys)),
        )
        for one in _readings(spectrum, alone, keys, 1.0):
            least[key_id] = min(least[key_id], one.log_p)
    return least


def _ranked(readings: list[_Reading]) -> list[_Reading]:
    """Put readings with an id first, then the least likely to be chance."""
    return sorted(readings, key=lambda one: (one.payload is None, one.log_p))


def _finding(readings: list[_Reading]) -> WatermarkFinding:
    """Join the readings of one key and id: after a cut, a mark goes on at another alignment."""
    if not readings:
        return _NOTHING
    best = readings[0]
    is_detected = best.log_p < log(DETECTION_P)
    same = [
        one
        for one in readings
        if one.alignment.key_id == best.alignment.key_id
        and one.payload in (None, best.payload)
        and one.log_p < log(DETECTION_P)
    ]
    return WatermarkFinding(
        detected=is_detected,
        payload=best.payload if is_detected else None,
        p_value=exp(max(_SMALLEST_LOG_P, min(0.0, best.log_p))),
        z=best.alignment.z,
        key_id=best.alignment.key_id,
        intervals=_joined(same) if is_detected else (),
        epoch=best.epoch if is_detected else None,
        speed=1.0 / best.alignment.step,
        semitones=12.0 * float(np.log2(best.alignment.ratio)),
    )


def _readings(
    spectrum: Spectrum, tried: Tried, keys: Mapping[str, bytes], inflation: float
) -> list[_Reading]:
    """Read along the alignments of a search, best first."""
    log_tried = log(_STAGES * _BOUNDS) + tried.log_count
    out: list[_Reading] = []
    for found in tried.found:
        is_certain = _log_bound(found.z, inflation) + log_tried < log(DETECTION_P)
        if len(out) >= (_MOST if is_certain else _DOUBTFUL):
            break
        middle = (found.first + found.last) / 2 * FRAME_SECONDS
        if not any(_covers(one, middle) for one in out):
            out.append(_read(spectrum, found, keys[found.key_id], log_tried, inflation))
    return out


def _covers(one: _Reading, seconds: float) -> bool:
    """Say whether a place is explained already."""
    return one.payload is not None and any(
        interval.start_seconds <= seconds < interval.end_seconds for interval in one.intervals
    )


def _read(
    spectrum: Spectrum, found: Alignment, secret: bytes, log_tried: float, inflation: float
) -> _Reading:
    """Find the sub-key, then the marked stretches, then the word and the id in them."""
    used = pattern(secret)
    grid = spectrum.grid(found.ratio)
    near = lay(grid, found, first=found.first, last=found.last)
    if found.bucket is None:
        found = replace(found, bucket=_bucket(used, near))
    log_p = log_tried + min(
        _log_bound(found.z, inflation),
        log(BUCKETS) + _log_bound(_known(used, near, found).z, inflation),
    )
    if log_p > log(_PROMISING):
        return _Reading(alignment=found, log_p=log_p, payload=None, epoch=None, intervals=())
    everywhere = lay(grid, found)
    intervals = _marked(everywhere, *_row_evidence(used, everywhere, found, None, None))
    marked = _inside(everywhere, intervals) if intervals else near
    epoch: int | None = decode_epoch(_soft_epoch(used, marked))
    spelled = repeated(marked, used.epoch * _signs(encode_epoch(epoch or 0), used.epoch_index))
    if EPOCH_BITS * log(2) + _log_bound(spelled.z, inflation) > log(_WORD_P):
        epoch = None
    payload = decode_payload(_soft_payload(used, marked, found))
    if payload is not None:
        full = _known(used, near, found) + unrepeated(
            near.values, _data_signs(used, near, found, payload)
        )
        bits = PAYLOAD_BITS * log(2) + log(BUCKETS)
        log_read = log_tried + bits + _log_bound(full.z, inflation)
        log_p = min(log_p, log_read)
        if log_read > log(DETECTION_P):
            payload = None
    if payload is not None:
        intervals = _marked(everywhere, *_row_evidence(used, everywhere, found, payload, epoch))
    return _Reading(alignment=found, log_p=log_p, payload=payload, epoch=epoch, intervals=intervals)


def _log_bound(z: float, inflation: float) -> float:
    """Bound the chance of so high a correlation in one trial, as a logarithm."""
    return -((max(z, 0.0) / inflation) ** 2) / 2


def _bucket(used: Pattern, laid: Laid) -> int:
    """Find the sub-key of the block at the alignment's start: the best of all."""
    tiles = np.flatnonzero(used.id_sync[0])
    blocks = laid.by_block().reshape(-1, SLOTS * BANDS)[:, tiles]
    scores = blocks @ used.id_sync.reshape(BUCKETS, -1)[:, tiles].astype(np.float32).T
    first = laid.first_slot // SLOTS
    total = np.zeros(BUCKETS, np.float32)
    for number, row in enumerate(scores):
        total += np.roll(row, -(first + number))
    return int(np.argmax(total))


def _known(used: Pattern, laid: Laid, found: Alignment) -> Evidence:
    """Weigh all tiles whose signs follow from key and sub-key."""
    sync = used.id_sync[_buckets(laid, found), laid.slots]
    return repeated(laid, used.presence) + unrepeated(laid.values, sync)


def _buckets(laid: Laid, found: Alignment) -> npt.NDArray[np.int64]:
    """Sub-key of each row."""
    return np.asarray(((found.bucket or 0) + laid.blocks) % BUCKETS)


def _signs(code: npt.NDArray[np.uint8], index: npt.NDArray[np.int16]) -> npt.NDArray[np.int8]:
    """Spread code bits over the tiles that spell them, as -1 and +1."""
    return np.asarray((1 - 2 * code.astype(np.int8))[index], np.int8)


def _data_signs(used: Pattern, laid: Laid, found: Alignment, payload: int) -> npt.NDArray[np.int8]:
    code = _signs(encode_payload(payload), used.id_index)
    return np.asarray(used.id_data[_buckets(laid, found), laid.slots] * code[laid.slots])


def _soft_payload(used: Pattern, laid: Laid, found: Alignment) -> npt.NDArray[np.float64]:
    """Collect the evidence for each code bit of the id."""
    index = used.id_index[laid.slots]
    data = index >= 0
    votes = laid.values * used.id_data[_buckets(laid, found), laid.slots]
    return _sums(index[data], votes[data], CODE_BITS)


def _soft_epoch(used: Pattern, laid: Laid) -> npt.NDArray[np.float64]:
    """Collect the evidence for each code bit of the word."""
    data = used.epoch_index >= 0
    votes = laid.by_block().sum(axis=0) * used.epoch
    return _sums(used.epoch_index[data], votes[data], EPOCH_CODE_BITS)


def _sums(
    index: npt.NDArray[np.int16], votes: npt.NDArray[np.float32], count: int
) -> npt.NDArray[np.float64]:
    return np.asarray(np.bincount(index, weights=votes, minlength=count), np.float64)


def _row_evidence(
    used: Pattern, laid: Laid, found: Alignment, payload: int | None, epoch: int | None
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Match and energy of each row with every sign that is known."""
    buckets = _buckets(laid, found)
    signs = used.presence[laid.slots] + used.id_sync[buckets, laid.slots]
    if epoch is not None:
        word = used.epoch * _signs(encode_epoch(epoch), used.epoch_index)
        signs = signs + word[laid.slots]
    if payload is not None:
        signs = signs + _data_signs(used, laid, found, payload)
    match = (laid.values * signs).sum(axis=1)
    energy = (laid.values**2 * (signs != 0)).sum(axis=1)
    return match, energy


def _inside(laid: Laid, intervals: tuple[Interval, ...]) -> Laid:
    """Silence all rows that are not marked."""
    seconds = laid.frames * FRAME_SECONDS
    rows = np.zeros(len(seconds), np.bool_)
    for interval in intervals:
        rows |= (seconds >= interval.start_seconds) & (seconds < interval.end_seconds)
    return laid.only(rows)


def _marked(
    laid: Laid, match: npt.NDArray[np.float32], energy: npt.NDArray[np.float32]
) -> tuple[Interval, ...]:
    """Find the stretches that carry the mark.

    Windows of two seconds in steps of half a second find the stretches; the edges of each
    are where the evidence for "marked at this strength" against "unmarked" adds up to most.
    """
    score = match / np.sqrt(np.maximum(energy, 1e-9))  # of variance 1 where there is no mark
    found: list[tuple[int, int]] = []
    for start in range(0, max(1, len(match) - _SPAN_ROWS + _STEP_ROWS), _STEP_ROWS):
        stop = min(start + _SPAN_ROWS, len(match))
        if _z(match[start:stop], energy[start:stop]) < _MIN_SPAN_Z:
            continue
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], stop
        else:
            found.append((start, stop))
    width = float(laid.frames[1] - laid.frames[0]) if len(match) > 1 else 0.0
    intervals: list[Interval] = []
    for start, stop in found:
        strength = float(score[start:stop].mean())
        total = np.concatenate([[0.0], np.cumsum(score[start:stop] - strength / 2)])
        gained = total - np.minimum.accumulate(total)
        end = int(np.argmax(gained))
        begin = int(np.argmin(total[: end + 1]))
        if end == begin:
            continue
        rows = slice(start + begin, start + end)
        intervals.append(
            Interval(
                start_seconds=max(0.0, float(laid.frames[rows][0]) * FRAME_SECONDS),
                end_seconds=(float(laid.frames[rows][-1]) + width) * FRAME_SECONDS,
                score=_z(match[rows], energy[rows]),
            )
        )
    return tuple(intervals)


def _z(match: npt.NDArray[np.float32], energy: npt.NDArray[np.float32]) -> float:
    return float(match.sum() / np.sqrt(max(float(energy.sum()), 1e-9)))


def _joined(readings: list[_Reading]) -> tuple[Interval, ...]:
    """Put the stretches of all alignments in order; where they overlap, the stronger counts."""
    ranked = sorted(
        (interval for one in readings for interval in one.intervals), key=lambda one: -one.score
    )
    out: list[Interval] = []
    for interval in ranked:
        for piece in _outside(interval, out):
            if piece.end_seconds - piece.start_seconds >= _LEAST_SECONDS:
                out.append(piece)
    return tuple(sorted(out, key=lambda one: one.start_seconds))


def _outside(interval: Interval, taken: list[Interval]) -> list[Interval]:
    """Keep the parts of an interval that no other has."""
    pieces = [interval]
    for other in taken:
        sides = [
            (piece, side)
            for piece in pieces
            for side in (
                (piece.start_seconds, min(piece.end_seconds, other.start_seconds)),
                (max(piece.start_seconds, other.end_seconds), piece.end_seconds),
            )
        ]
        pieces = [
            replace(piece, start_seconds=start, end_seconds=end)
            for piece, (start, end) in sides
            if start < end
        ]
    return pieces
