"""Was this sound made by the shipped codec's decoder?

The decoder of the shipped models writes a fixed pattern while the sound is still a
log-mel spectrogram, before it has a phase: every *tile*, 80 ms of one mel band, is a
little louder or softer. The signs run for 130 s, longer than anything the models make,
so there is no rhythm in them. They come from a public label, because weights and code
are public: the mark says "made by a shipped safegen codec", not "by this installation".

What it is not: proof. Whoever edits ``Codec.decode`` can leave it out, and anybody can
write it into any sound. It is a lead that no honest use of the models loses.

Listening needs no original: log-energies of the tiles, freed of what their neighbors
predict, are correlated with the signs at every alignment; if that finds nothing, at
other speeds, tempi and pitches, too.

The p-value needs no calibration, but a reading: a sound made without knowledge of the
pattern is a fixed sound, and had the label been another one, its signs would be other
fair coins. Over that draw the normalized correlation z satisfies
P(z >= t) <= exp(-t * t / 2) whatever the sound is (Hoeffding 1963, theorem 2), times the
number of alignments, windows and rates tried. Against a sound made with the pattern in
hand it says nothing.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import exp, gcd, log, log2
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import fft
from scipy.ndimage import uniform_filter1d
from scipy.signal import resample_poly

from detectors.base import Interval, Waveform
from detectors.tiles import unpredictable

MELS: Final = 160
TOP_HZ: Final = 16_000.0
FRAME_SECONDS: Final = 0.02
"""The codec's mel grid: 160 bands from 0 Hz to 16 kHz, a frame every 20 ms."""

LABEL: Final = b"safegen decoder mark 1"
"""What the signs are expanded from; public."""
STRENGTH: Final = 0.04
"""Change of a tile's log10 magnitude; 0.04 is 0.8 dB."""
TILE_FRAMES: Final = 4
FIRST_BAND: Final = 12
BANDS: Final = 112
"""The mel bands 12 to 123, 260 Hz to 7.5 kHz, carry the pattern."""
SLOTS: Final = 1620
"""Tiles in time until the pattern repeats: 129.6 s."""
PERIOD_FRAMES: Final = SLOTS * TILE_FRAMES
DETECTION_P: Final = 1e-6
"""Largest corrected p-value that is called a mark."""

_SAMPLE_RATE: Final = 16_000
_WINDOW: Final = 1024
_HOP: Final = 160
_HOPS_PER_FRAME: Final = 2
_LEAST_SECONDS: Final = 1.0
"""Shorter sounds hold too few tiles to say anything."""
_STRETCH_SECONDS: Final = 60
_OVERLAP_SECONDS: Final = 6
_WINDOW_FRAMES: Final = 600
_SPAN_ROWS: Final = 25
_STEP_ROWS: Final = 5
_LEAST_SPAN_Z: Final = 5.0
"""Two seconds, 0.4 s, and the least z of a span that is called marked."""

Grid = npt.NDArray[np.float32]
"""Shape (frames, BANDS): one value per frame and band of tiles."""
Power = npt.NDArray[np.float32]
"""Shape (hops, bins): a short-time power spectrum."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How a sound was changed since it was made.

    Attributes:
        tempo: Above 1 is faster.
        pitch: Factor on all frequencies.
    """

    tempo: float
    pitch: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderMarkFinding:
    """What was heard of the decoder's mark.

    Attributes:
        detected: Whether the mark is there.
        p_value: Chance of this finding in a sound made without knowledge of the pattern,
            over the draw of the pattern, corrected for everything that was tried.
        score: The normalized correlation at the best alignment, about normal if unmarked.
        speed: Tempo of what was heard relative to what was made, 1.0 if unchanged.
        semitones: Transposition of what was heard against what was made.
        intervals: Marked stretches, with the correlation over each; empty unless detected.
    """

    detected: bool
    p_value: float
    score: float
    speed: float
    semitones: float
    intervals: tuple[Interval, ...]


UNCHANGED: Final = Rate(tempo=1.0, pitch=1.0)


def _rates() -> tuple[Rate, ...]:
    speeds = [round(1.0 + 0.01 * step, 2) for step in range(-8, 9) if step]
    others = [round(1.0 + 0.01 * step, 2) for step in range(-6, 7) if step]
    return (
        *(Rate(tempo=step, pitch=step) for step in speeds),
        *(Rate(tempo=step, pitch=1.0) for step in others),
        *(Rate(tempo=1.0, pitch=step) for step in others),
    )


RATES: Final = _rates()
"""What is tried where the sound as it is gives nothing: speed, tempo alone, pitch alone."""


def bias(frames: int) -> npt.NDArray[np.float32]:
    """Give what the decoder adds to its log10-mel frames, counted from the sound's start.

    Args:
        frames: How many, >= 0, each of ``FRAME_SECONDS``.

    Returns:
        Shape (frames, MELS), values -STRENGTH, 0 and STRENGTH.
    """
    out = np.zeros((frames, MELS), np.float32)
    slots = (np.arange(frames) // TILE_FRAMES) % SLOTS
    out[:, FIRST_BAND : FIRST_BAND + BANDS] = np.float32(STRENGTH) * signs(LABEL)[slots]
    return out


@lru_cache(maxsize=4)
def signs(label: bytes) -> npt.NDArray[np.int8]:
    """Expand a label into the pattern: shape (SLOTS, BANDS), -1 or +1, on every platform."""
    tiles = SLOTS * BANDS
    coins = np.frombuffer(hashlib.shake_256(label).digest(-(-tiles // 8)), np.uint8)
    return (np.unpackbits(coins)[:tiles].astype(np.int8) * 2 - 1).reshape(SLOTS, BANDS)


def hear(
    waveform: Waveform, sample_rate: int, *, search: bool = True, label: bytes = LABEL
) -> DecoderMarkFinding:
    """Listen for the pattern at every alignment.

    Silence, and sounds shorter than a second, give a finding that says "not detected".

    Args:
        waveform: Shape (channels, samples).
        sample_rate: In Hz.
        search: Whether to try ``RATES`` where the sound as it is gives nothing.
        label: Which pattern; another label is a matched negative.

    Cost: 0.005 of one core per second of stereo, 0.05 with the search.
    """
    sound = _at_rate(waveform, sample_rate)
    heard = _try(sound, (UNCHANGED,), label)
    log_p = heard.log_p
    # Half of the allowed false alarms for the sound as it is, half for all other rates.
    if search and log_p >= _LOG_LIMIT:
        other = _try(sound, RATES, label)
        if other.log_p < log_p:
            heard, log_p = other, other.log_p
    if not heard.fits:
        return DecoderMarkFinding(
            detected=False, p_value=1.0, score=0.0, speed=1.0, semitones=0.0, intervals=()
        )
    best = max(heard.fits, key=lambda fit: fit.z)
    detected = log_p < _LOG_LIMIT
    sure = [fit for fit in heard.fits if _log_p(fit.z, heard.tried) < _LOG_LIMIT]
    return DecoderMarkFinding(
        detected=detected,
        p_value=exp(min(0.0, log_p)),
        score=best.z,
        speed=best.rate.tempo,
        semitones=12 * log2(best.rate.pitch),
        intervals=_joined([part for fit in sure for part in _marked(sound, fit, label)]),
    )


_LOG_LIMIT: Final = log(DETECTION_P)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stretch:
    """Part of a sound, in samples."""

    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fit:
    """The best alignment in one stretch, at the best of the rates."""

    z: float
    offset: int
    rate: Rate
    stretch: _Stretch


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    """What came of trying some rates: a fit for every stretch, and how much was tried."""

    fits: tuple[_Fit, ...]
    tried: int

    @property
    def log_p(self) -> float:
        """Of the best fit, corrected."""
        return min((_log_p(fit.z, self.tried) for fit in self.fits), default=0.0)


def _log_p(z: float, tried: int) -> float:
    """Bound the chance of so high a correlation in any trial, twice as there are two rounds."""
    return log(2 * max(1, tried)) - max(z, 0.0) ** 2 / 2


def _at_rate(waveform: Waveform, sample_rate: int) -> Waveform:
    """Bring the sound to the listening rate; nothing is left of what is too short."""
    if waveform.shape[1] < sample_rate * _LEAST_SECONDS:
        return np.zeros((0, 0), np.float32)
    sound = np.nan_to_num(waveform, posinf=0.0, neginf=0.0)
    if sample_rate != _SAMPLE_RATE:
        common = gcd(_SAMPLE_RATE, sample_rate)
        sound = resample_poly(sound, _SAMPLE_RATE // common, sample_rate // common, axis=1)
    return np.asarray(sound, np.float32)


def _stretches(samples: int) -> Iterator[_Stretch]:
    """Cut into overlapping minutes, so that an hour needs no more memory than a minute."""
    length, step = (
        seconds * _SAMPLE_RATE
        for seconds in (_STRETCH_SECONDS, _STRETCH_SECONDS - _OVERLAP_SECONDS)
    )
    overlap = length - step
    for start in range(0, max(1, samples - overlap), step):
        yield _Stretch(start=start, end=min(samples, start + length))


def _try(sound: Waveform, rates: Sequence[Rate], label: bytes) -> _Trial:
    """Find the best alignment in every stretch over all of these rates."""
    fits: list[_Fit] = []
    tried = 0
    for stretch in _stretches(sound.shape[1]):
        power = _power(sound[:, stretch.start : stretch.end])
        best: _Fit | None = None
        for rate in rates:
            grid = _listen(power, rate)
            windows = _windows(len(grid))
            tried += PERIOD_FRAMES * len(windows)
            for window in windows:
                z = _correlation(grid, window, label)
                offset = int(np.argmax(z))
                if best is None or z[offset] > best.z:
                    best = _Fit(z=float(z[offset]), offset=offset, rate=rate, stretch=stretch)
        if best is not None:
            fits.append(best)
    return _Trial(fits=tuple(fits), tried=tried)


def _power(sound: Waveform) -> Power:
    """Measure the power of windows centered on every hop, channels added up."""
    shape = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)).astype(np.float32)
    hops = sound.shape[1] // _HOP
    total = np.zeros((hops, _WINDOW // 2 + 1), np.float32)
    for channel in sound:
        padded = np.pad(channel, _WINDOW // 2)
        frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP][:hops]
        spectrum = fft.rfft(frames * shape, axis=1)
        total += spectrum.real**2 + spectrum.imag**2
    return total


def _listen(power: Power, rate: Rate) -> Grid:
    """Say how each tile stands out from its surroundings, as if the rate were undone."""
    mean = float(power.mean()) if len(power) else 0.0
    if not mean > 1e-12:
        return np.zeros((0, BANDS), np.float32)
    # The floor turns digital silence into a constant instead of minus infinity.
    level = np.log(power @ _filters(rate.pitch) + np.float32(1e-6 * mean))
    level = _tile_means(level, rate.tempo)
    level -= uniform_filter1d(level, 80, axis=0, mode="nearest")
    level -= uniform_filter1d(level, 9, axis=1, mode="nearest")
    level = unpredictable(level, tile_frames=TILE_FRAMES)
    spread = uniform_filter1d(uniform_filter1d(level**2, 40, axis=0), 3, axis=1)
    # The running sum may end a rounding error below zero.
    return np.asarray(level / (np.sqrt(np.maximum(spread, 0.0)) + 0.05), dtype=np.float32)


@lru_cache(maxsize=64)
def _filters(pitch: float) -> npt.NDArray[np.float32]:
    """Build triangles over the covered mel bands, moved by a pitch; shape (bins, BANDS)."""
    top = 2595.0 * np.log10(1.0 + TOP_HZ / 700.0)
    edges = 700.0 * (10.0 ** (np.linspace(0.0, top, MELS + 2) / 2595.0) - 1.0) * pitch
    edges = edges[FIRST_BAND : FIRST_BAND + BANDS + 2]
    bins = np.arange(_WINDOW // 2 + 1)[:, None] * (_SAMPLE_RATE / _WINDOW)
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    weights = np.maximum(0.0, np.minimum(rising, falling))
    return np.asarray(weights / np.maximum(weights.sum(axis=0), 1e-3), np.float32)


def _tile_means(level: Grid, tempo: float) -> Grid:
    """Average over the tile that would begin at each frame, had the tempo not changed."""
    total = np.zeros((len(level) + 1, BANDS))
    np.cumsum(level, axis=0, out=total[1:])
    frame = _HOPS_PER_FRAME / tempo
    frames = max(0, int((len(level) - 1) / frame) - TILE_FRAMES + 1)
    starts = np.arange(frames + TILE_FRAMES) * frame
    whole = np.minimum(starts.astype(np.int64), len(level) - 1)
    part = (starts - whole)[:, None]
    at = total[whole] * (1 - part) + total[whole + 1] * part
    return np.asarray((at[TILE_FRAMES:] - at[:-TILE_FRAMES]) / (TILE_FRAMES * frame), np.float32)


def _windows(frames: int) -> list[_Stretch]:
    """Choose what is searched: everything, and half-overlapping windows if it is long."""
    if frames == 0:
        return []
    found = [_Stretch(start=0, end=frames)]
    if frames > _WINDOW_FRAMES * 4 // 3:
        step = _WINDOW_FRAMES // 2
        found += [
            _Stretch(start=start, end=min(frames, start + _WINDOW_FRAMES))
            for start in range(0, frames - step, step)
        ]
    return found


def _correlation(grid: Grid, window: _Stretch, label: bytes) -> npt.NDArray[np.float32]:
    """Correlate with the pattern, normalized; entry o is for a pattern that begins at frame o."""
    rows = np.zeros((PERIOD_FRAMES, BANDS), np.float32)
    rows[window.start : window.end] = grid[window.start : window.end]
    match = fft.irfft((fft.rfft(rows, axis=0) * _spectrum(label)).sum(axis=1), PERIOD_FRAMES)
    # The tiles of an alignment are the rows congruent to it modulo a tile.
    energy = (rows**2).sum(axis=1).reshape(SLOTS, TILE_FRAMES).sum(axis=0)
    energy = np.maximum(energy, 1e-4 * max(float(energy.max()), 1e-9))
    z = match.reshape(SLOTS, TILE_FRAMES) / np.sqrt(energy)
    return np.asarray(z.reshape(-1), np.float32)


@lru_cache(maxsize=4)
def _spectrum(label: bytes) -> npt.NDArray[np.complex64]:
    sparse = np.zeros((PERIOD_FRAMES, BANDS), np.float32)
    sparse[::TILE_FRAMES] = signs(label)
    return np.asarray(fft.rfft(sparse, axis=0).conj(), np.complex64)


def _marked(sound: Waveform, fit: _Fit, label: bytes) -> Iterator[Interval]:
    """Find where in a stretch the pattern is present at the found alignment."""
    grid = _listen(_power(sound[:, fit.stretch.start : fit.stretch.end]), fit.rate)
    rows = np.arange(fit.offset % TILE_FRAMES, len(grid), TILE_FRAMES)
    slots = ((rows - fit.offset) // TILE_FRAMES) % SLOTS
    match = (grid[rows] * signs(label)[slots]).sum(axis=1)
    energy = (grid[rows] ** 2).sum(axis=1)
    begin = fit.stretch.start / _SAMPLE_RATE
    frame = FRAME_SECONDS / fit.rate.tempo
    for start in range(0, max(1, len(rows) - _SPAN_ROWS + _STEP_ROWS), _STEP_ROWS):
        span = slice(start, min(start + _SPAN_ROWS, len(rows)))
        z = float(match[span].sum() / np.sqrt(max(float(energy[span].sum()), 1e-9)))
        if z >= _LEAST_SPAN_Z:
            yield Interval(
                start_seconds=begin + float(rows[span][0]) * frame,
                end_seconds=begin + float(rows[span][-1] + TILE_FRAMES) * frame,
                score=z,
            )


def _joined(spans: Sequence[Interval]) -> tuple[Interval, ...]:
    """Join spans that overlap; the score of the strongest stays."""
    joined: list[Interval] = []
    for span in sorted(spans, key=lambda each: each.start_seconds):
        if joined and span.start_seconds <= joined[-1].end_seconds:
            joined[-1] = Interval(
                start_seconds=joined[-1].start_seconds,
                end_seconds=max(joined[-1].end_seconds, span.end_seconds),
                score=max(joined[-1].score, span.score),
            )
        else:
            joined.append(span)
    return tuple(joined)
