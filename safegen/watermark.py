"""Write a 64-bit id into a sound so that it survives copying, and listen for it.

The mark is computed at 16 kHz and only the *difference* is resampled and added:
the programme itself is never resampled, keeps its band and its channels, and is
bit-identical where it is silent. The pattern and its reading are in
``detectors.watermark``.

What the mark is not: proof. Whoever averages many marked blocks of one key can remove
the layer that repeats, and anybody who has the unmarked sound, too, can copy the mark onto
another recording; the payload is a claim that ``safegen verify`` compares with the record
it names.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from math import gcd
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.ndimage import minimum_filter1d, uniform_filter1d
from scipy.signal import resample_poly

from detectors import false_alarms, tiles
from detectors import watermark as ear
from detectors.base import WatermarkFinding, Waveform
from detectors.errors import DetectorError
from detectors.mark_pattern import Pattern, block_signs, first_bucket, pattern
from safegen.audio import Audio
from safegen.config import Config
from safegen.errors import SafegenError
from safegen.overlapping import Overlapping

DEFAULT_STRENGTH: Final = 0.25
"""Change of a tile's log-magnitude at 1.2 kHz, in nepers; 0.13 at 312 Hz and 0.5 at 5 kHz."""

_BIN_HZ: Final = tiles.SAMPLE_RATE / tiles.WINDOW
_REFERENCE_HZ: Final = 1_200.0
_TILT: Final = 0.5
"""High tiles change more than low ones: measured on speech, PESQ forgives them most."""
_REACH_SECONDS: Final = 0.1
"""Beyond which no sample decides over another's mark: a window of 32 ms, the filters of the
change of rate and the two of the headroom."""
_FIRST_DAY: Final = date(2026, 1, 1)

__all__ = [
    "DEFAULT_STRENGTH",
    "KeyedMark",
    "WatermarkFinding",
    "day_of_epoch",
    "detect",
    "embed",
    "embed_pieces",
    "epoch_of",
    "inflation_of",
]


class KeyedMark:
    """The keyed mark as a ``detectors.base.Watermarker``.

    Args:
        epoch: The presence layer's word, in [0, 2**16).
        strength: As in ``embed``.
        search: As in ``detect``.
    """

    method = "keyed"

    def __init__(
        self, *, epoch: int, strength: float = DEFAULT_STRENGTH, search: bool = True
    ) -> None:
        self._epoch = epoch
        self._strength = strength
        self._search = search

    def embed(self, waveform: Waveform, sample_rate: int, *, payload: int, key: bytes) -> Waveform:
        """Mark every channel; see ``embed``."""
        audio = Audio(waveform=waveform, sample_rate=sample_rate)
        return embed(
            audio, payload=payload, key=key, epoch=self._epoch, strength=self._strength
        ).waveform

    def detect(
        self, waveform: Waveform, sample_rate: int, *, keys: Mapping[str, bytes]
    ) -> WatermarkFinding:
        """Listen for every key; see ``detect``."""
        audio = Audio(waveform=waveform, sample_rate=sample_rate)
        return detect(audio, keys=keys, search=self._search)


def epoch_of(time: datetime) -> int:
    """Name a day by the presence layer's word: 1 is 2026-01-01 in UTC, 0 means untold."""
    days = (time.astimezone(UTC).date() - _FIRST_DAY).days + 1
    return days if 0 < days < 1 << 16 else 0


def day_of_epoch(epoch: int) -> date | None:
    """Give the day that a word names; None if it was not told."""
    return _FIRST_DAY + timedelta(days=epoch - 1) if epoch else None


def embed(
    audio: Audio,
    *,
    payload: int,
    key: bytes,
    epoch: int = 0,
    strength: float = DEFAULT_STRENGTH,
) -> Audio:
    """Mark every channel with the same id.

    Args:
        audio: Any rate and number of channels. Sounds of less than about three
            seconds are marked, too, but the id may not be readable afterwards.
        payload: In [0, 2**64).
        key: The secret, at least 16 bytes.
        epoch: Word of the presence layer, in [0, 2**16): the day of marking
            (``epoch_of``), which is still heard where the id is not; 0 if untold.
        strength: Change of a tile at 1.2 kHz in nepers, > 0.

    Returns:
        A sound of the same shape and rate. No sample goes beyond full scale that did not before.

    Raises:
        ValueError: If the payload, the word or the key is out of range.

    Cost: about 6 ms of one core per second of 44.1 kHz stereo.
    """
    signs = _Signs(pattern(key), bucket=first_bucket(key, payload), payload=payload, epoch=epoch)
    waveform = _marked(audio.waveform, audio.sample_rate, signs, strength=strength, first_frame=0)
    return Audio(waveform=waveform, sample_rate=audio.sample_rate)


def embed_pieces(
    sample_rate: int,
    *,
    payload: int,
    key: bytes,
    epoch: int = 0,
    strength: float = DEFAULT_STRENGTH,
) -> Overlapping:
    """Mark a sound that comes piece by piece as ``embed`` marks the whole.

    Pieces of any size give the same mark, to the last bits of a float; it comes a tenth of
    a second late. Arguments are those of ``embed``.

    Raises:
        ValueError: If the payload, the word or the key is out of range.
    """
    signs = _Signs(pattern(key), bucket=first_bucket(key, payload), payload=payload, epoch=epoch)
    signs.rows(0, 1)  # a word that is out of range shall be told before the first piece
    # Where a sample of the programme, one of the mark's rate and a frame begin together.
    common = gcd(tiles.SAMPLE_RATE, sample_rate)
    up, down = tiles.SAMPLE_RATE // common, sample_rate // common
    grid = down * (tiles.HOP // gcd(up, tiles.HOP))

    def change(waveform: Waveform, first: int) -> Waveform:
        frame = first * up // down // tiles.HOP
        return _marked(waveform, sample_rate, signs, strength=strength, first_frame=frame)

    return Overlapping(change, margin=round(_REACH_SECONDS * sample_rate), grid=grid)


def detect(
    audio: Audio,
    *,
    keys: Mapping[str, bytes],
    search: bool = True,
    inflation: float | None = None,
) -> WatermarkFinding:
    """Listen for every key; the finding is the best key's, corrected for having tried all.

    Args:
        audio: Any rate, length and number of channels.
        keys: Key id -> secret.
        search: Whether to try other speeds, tempos and pitches when nothing is found.
        inflation: Measured scale of unmarked sound, as ``inflation_of`` gives it; None
            takes the shipped measurement.
    """
    return ear.detect(
        audio.waveform,
        audio.sample_rate,
        keys=keys,
        search=search,
        inflation=false_alarms.shipped().inflation if inflation is None else inflation,
    )


def inflation_of(config: Config) -> float:
    """Give the scale of unmarked sound that this installation knows: the worst measured.

    Raises:
        SafegenError: If the installation's own calibration is damaged.
    """
    path = config.calibration
    scales = [false_alarms.shipped().inflation]
    if path.exists():
        try:
            scales.append(false_alarms.parse(path.read_text("utf-8")).inflation)
        except (DetectorError, UnicodeDecodeError) as error:
            raise SafegenError(
                f"{path}: {error}",
                remedy="Measure again with `safegen eval watermark --calibrate FOLDER`, or "
                "delete the file to use the shipped measurement.",
            ) from error
    return max(scales)


class _Signs:
    """The signs of all blocks of one mark, made when they are needed."""

    def __init__(self, used: Pattern, *, bucket: int, payload: int, epoch: int) -> None:
        self._used = used
        self._bucket = bucket
        self._payload = payload
        self._epoch = epoch

    def rows(self, first: int, last: int) -> npt.NDArray[np.int8]:
        """Signs of the frames ``first`` to ``last``, shape (frames, BANDS)."""
        frames = np.arange(first, last)
        blocks = range(first // tiles.BLOCK_FRAMES, (last - 1) // tiles.BLOCK_FRAMES + 1)
        signs = np.concatenate([self._block(number) for number in blocks])
        return signs[frames // tiles.TILE_FRAMES - blocks.start * tiles.SLOTS]

    def _block(self, number: int) -> npt.NDArray[np.int8]:
        return block_signs(
            self._used, bucket=self._bucket + number, payload=self._payload, epoch=self._epoch
        )


def _marked(
    waveform: Waveform, sample_rate: int, signs: _Signs, *, strength: float, first_frame: int
) -> Waveform:
    """Mark a waveform whose first sample is the center of a frame."""
    low = tiles.to_mark_rate(waveform, sample_rate)
    delta = np.stack([_difference(channel, signs, strength, first_frame) for channel in low])
    delta = _to_rate(delta, sample_rate, waveform.shape[1])
    marked = waveform + _within_headroom(waveform, delta)
    limit = np.maximum(np.abs(waveform), 1.0)
    return np.asarray(np.clip(marked, -limit, limit), dtype=np.float32)


def _difference(
    channel: npt.NDArray[np.float32], signs: _Signs, strength: float, first_frame: int
) -> npt.NDArray[np.float32]:
    """Compute marked minus unmarked for one channel at the mark's rate."""
    first, last = tiles.FIRST_BIN, tiles.FIRST_BIN + tiles.BANDS * tiles.TILE_BINS
    center_hz = (first + tiles.TILE_BINS * (np.arange(tiles.BANDS) + 0.5)) * _BIN_HZ
    change = strength * (center_hz / _REFERENCE_HZ) ** _TILT
    louder, softer = np.expm1(change), np.expm1(-change)
    out = np.zeros(len(channel) + 4 * tiles.WINDOW, np.float32)
    done = 0
    for frames in tiles.spectra(channel):
        rows = signs.rows(first_frame + done, first_frame + done + len(frames))
        gains = np.where(rows > 0, louder, softer).astype(np.float32)
        changed = np.zeros_like(frames)
        changed[:, first:last] = frames[:, first:last] * np.repeat(gains, tiles.TILE_BINS, axis=1)
        pieces = np.fft.irfft(changed, tiles.WINDOW, axis=1) * tiles.WINDOW_SHAPE
        for part in range(tiles.WINDOW // tiles.HOP):
            piece = pieces[:, part * tiles.HOP : (part + 1) * tiles.HOP].reshape(-1)
            begin = (done + part) * tiles.HOP
            # Four Hann windows squared overlap to 1.5.
            out[begin : begin + len(piece)] += piece / 1.5
        done += len(frames)
    return out[tiles.WINDOW // 2 : tiles.WINDOW // 2 + len(channel)]


def _to_rate(
    delta: npt.NDArray[np.float32], sample_rate: int, samples: int
) -> npt.NDArray[np.float32]:
    """Bring the difference to the programme's rate and length."""
    if sample_rate != tiles.SAMPLE_RATE:
        common = gcd(tiles.SAMPLE_RATE, sample_rate)
        delta = resample_poly(
            delta, sample_rate // common, tiles.SAMPLE_RATE // common, axis=1
        ).astype(np.float32)
    missing = max(0, samples - delta.shape[1])
    return np.pad(delta, ((0, 0), (0, missing)))[:, :samples]


def _within_headroom(
    waveform: npt.NDArray[np.float32], delta: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Turn the mark down around peaks that it would push over full scale."""
    limit = np.maximum(np.abs(waveform), 1.0)
    over = np.abs(waveform + delta) > limit
    if not over.any():
        return delta
    room = np.maximum(limit - np.abs(waveform), 0.0)
    allowed = np.where(over, room / np.maximum(np.abs(delta), 1e-12), 1.0)
    # The mean of minima never exceeds what the sample in the middle allows.
    width = 255
    calm = uniform_filter1d(minimum_filter1d(allowed, width, axis=1), width, axis=1)
    return np.asarray(delta * np.clip(calm, 0.0, 1.0), dtype=np.float32)
