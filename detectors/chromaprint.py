"""What does this recording sound like, in 32 bits per eighth of a second?

A Chromaprint fingerprint: the sound at 11,025 Hz mono is cut into frames of 4,096
samples every 1,365, each frame becomes 12 chroma energies, and 16 filters over 16
smoothed frames give two bits each. Two backends give the same items:
libchromaprint, through pyacoustid's ``chromaprint`` module, where it is installed,
else the numpy implementation below. Resampling is always ours, so that the items
do not depend on which library opened the file.

What this module does not do: compare fingerprints (``detectors.fingerprint``).
A fingerprint string from elsewhere is unpacked by ``decode`` below, never by
libchromaprint, whose decoder had a heap overflow before 1.6.1.

Source of the constants: acoustid/chromaprint (MIT), src/fingerprinter_configuration.cpp,
src/chroma.cpp, src/filter.h and src/fingerprint_compressor.cpp @ 1.5.1.
"""

import base64
import binascii
import functools
import importlib
import math
from collections.abc import Callable
from types import ModuleType
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from detectors.base import Waveform
from detectors.errors import DetectorError

Items = npt.NDArray[np.uint32]
Pcm = npt.NDArray[np.int16]
Backend = Literal["libchromaprint", "numpy"]

ENGINE: Final = "chromaprint"
"""Name under which items are stored and matches are reported."""

SAMPLE_RATE: Final = 11_025
FRAME: Final = 4096
HOP: Final = FRAME // 3
ITEM_SECONDS: Final = HOP / SAMPLE_RATE
FRAMES_PER_ITEM: Final = 20
"""16 columns of the widest filter, each smoothed over 5 frames."""
SPAN_SECONDS: Final = (FRAME + (FRAMES_PER_ITEM - 1) * HOP) / SAMPLE_RATE
"""Sound that one item has heard; shorter recordings have no item."""
SILENCE: Final = 627_964_279
"""The item of digital silence."""
QUERY_SHIFTS: Final = (0, 341, 683, 1024)
"""In samples, a quarter of a hop apart: exact items of a clean excerpt go from 36 to 87 %."""

_ALGORITHM: Final = 1  # CHROMAPRINT_ALGORITHM_TEST2, the default
_BANDS: Final = 12
_MIN_HZ: Final = 28
_MAX_HZ: Final = 3520
_SMOOTHING: Final = (0.25, 0.75, 1.0, 0.75, 0.25)
_LEAST_NORM: Final = 0.01
_WIDTH: Final = 16
_GRAY: Final = np.array([0, 1, 3, 2], dtype=np.uint32)
# kind, first band, bands, frames, three thresholds
_CLASSIFIERS: Final = (
    (0, 4, 3, 15, 1.98215, 2.35817, 2.63523),
    (4, 4, 6, 15, -1.03809, -0.651211, -0.282167),
    (1, 0, 4, 16, -0.298702, 0.119262, 0.558497),
    (3, 8, 2, 12, -0.105439, 0.0153946, 0.135898),
    (3, 4, 4, 8, -0.142891, 0.0258736, 0.200632),
    (4, 0, 3, 5, -0.826319, -0.590612, -0.368214),
    (1, 2, 2, 9, -0.557409, -0.233035, 0.0534525),
    (2, 7, 3, 4, -0.0646826, 0.00620476, 0.0784847),
    (2, 6, 2, 16, -0.192387, -0.029699, 0.215855),
    (2, 1, 3, 2, -0.0397818, -0.00568076, 0.0292026),
    (5, 10, 1, 15, -0.53823, -0.369934, -0.190235),
    (3, 6, 2, 10, -0.124877, 0.0296483, 0.139239),
    (2, 1, 1, 14, -0.101475, 0.0225617, 0.231971),
    (3, 5, 6, 4, -0.0799915, -0.00729616, 0.063262),
    (1, 9, 2, 12, -0.272556, 0.019424, 0.302559),
    (3, 4, 2, 14, -0.164292, -0.0321188, 0.0846339),
)
_FRAMES_AT_ONCE: Final = 512


def fingerprint(waveform: Waveform, sample_rate: int) -> Items:
    """Fingerprint a recording, one item every ``ITEM_SECONDS``.

    Args:
        waveform: Shape (channels, samples).
        sample_rate: In Hz.

    Returns:
        Items in time order; empty if the sound is shorter than ``SPAN_SECONDS``.
    """
    return items_of(pcm(waveform, sample_rate))


def query_fingerprints(waveform: Waveform, sample_rate: int) -> tuple[Items, ...]:
    """Fingerprint a recording from each of ``QUERY_SHIFTS``, to meet a reference cut anywhere."""
    samples = pcm(waveform, sample_rate)
    return tuple(items_of(samples[shift:]) for shift in QUERY_SHIFTS)


def backend() -> Backend:
    """Name the implementation in use."""
    return "numpy" if _library() is None else "libchromaprint"


def backend_note() -> str:
    """Say in a sentence why this backend is in use, for ``safegen doctor``."""
    module, note = _probe()
    return note if module is None else f"libchromaprint through {module.__name__}"


def items_of(samples: Pcm, *, using: Backend | None = None) -> Items:
    """Fingerprint 16-bit sound that is at ``SAMPLE_RATE`` and mono already.

    Args:
        samples: Shape (n,).
        using: Force one implementation; None takes libchromaprint if it is there.

    Raises:
        DetectorError: If libchromaprint was forced and is not installed.
    """
    if len(samples) < FRAME + (FRAMES_PER_ITEM - 1) * HOP:
        return np.zeros(0, np.uint32)
    library = _library()
    if using == "libchromaprint" and library is None:
        raise DetectorError(backend_note())
    if library is None or using == "numpy":
        return _numpy_items(samples)
    return _library_items(samples, library)


def items_at_pace(samples: Pcm, pace: float) -> Items:
    """Fingerprint sound of another tempo as if it were played at the work's.

    Args:
        samples: Shape (n,), 16-bit mono at ``SAMPLE_RATE``.
        pace: Tempo of the sound relative to the work; the frames lie so much closer.

    Returns:
        One item for every ``ITEM_SECONDS`` of the work.
    """
    hop = HOP / pace
    if abs(pace - 1.0) < 1e-9:
        return items_of(samples)
    if len(samples) < FRAME + (FRAMES_PER_ITEM - 1) * hop:
        return np.zeros(0, np.uint32)
    return _numpy_items(samples, hop=hop)


def pcm(waveform: Waveform, sample_rate: int) -> Pcm:
    """Mix to mono, resample to ``SAMPLE_RATE`` and round to 16 bits.

    The filter passes what the chroma hears (up to 3.5 kHz) and stops what would fold
    onto it. scipy's polyphase filter gives the same bits for any number of threads.
    """
    from scipy.signal import resample_poly

    mono = np.asarray(waveform, dtype=np.float32).mean(axis=0, dtype=np.float32)
    if sample_rate != SAMPLE_RATE:
        divisor = math.gcd(sample_rate, SAMPLE_RATE)
        up, down = SAMPLE_RATE // divisor, sample_rate // divisor
        mono = resample_poly(mono, up, down, window=_low_pass(sample_rate, up))
    return np.asarray(np.rint(np.clip(mono, -1.0, 1.0) * 32_767), dtype=np.int16)


def decode(text: str) -> Items:
    """Unpack a compressed fingerprint string as fpcalc and the AcoustID service write it.

    Raises:
        DetectorError: If the string is not a complete fingerprint of the default algorithm.

    Source: acoustid/chromaprint src/fingerprint_compressor.cpp: differing bits of
    neighbors as gaps of 3 bits, gaps over 6 continued in 5 bits, a zero ends an item.
    """
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise DetectorError(f"fingerprint is not base64: {error}") from error
    if len(data) < 4 or data[0] != _ALGORITHM:
        raise DetectorError(f"not a fingerprint of algorithm {_ALGORITHM}: {data[:4].hex()}")
    count = int.from_bytes(data[1:4], "big")
    gaps = _unpack(data[4:], 3)
    ends = np.flatnonzero(gaps == 0)
    if len(ends) < count:
        raise DetectorError(f"fingerprint is cut: {len(ends)} of {count} items")
    if count == 0:
        return np.zeros(0, np.uint32)
    gaps = gaps[: ends[count - 1] + 1]
    long = np.flatnonzero(gaps == 7)
    rest = _unpack(data[4 + (3 * len(gaps) + 7) // 8 :], 5)
    if len(rest) < len(long):
        raise DetectorError(f"fingerprint is cut: {len(rest)} of {len(long)} long gaps")
    gaps[long] += rest[: len(long)]
    owner = np.cumsum(gaps == 0) - (gaps == 0)
    reached = np.cumsum(gaps)
    before = np.concatenate(([0], reached[ends[: count - 1]]))
    bits = reached - before[owner]
    if (bits > 32).any():
        raise DetectorError(f"fingerprint names bit {int(bits.max())} of 32")
    changed = np.zeros(count, np.uint64)
    present = gaps > 0
    np.bitwise_or.at(changed, owner[present], np.uint64(1) << (bits[present] - 1).astype(np.uint64))
    return np.bitwise_xor.accumulate(changed.astype(np.uint32))


def to_blob(items: Items) -> bytes:
    """Write items as the registry stores them: little-endian uint32."""
    return items.astype("<u4").tobytes()


def from_blob(blob: bytes) -> Items:
    """Read items as the registry stores them.

    Raises:
        ValueError: If the length is not a multiple of four bytes.
    """
    return np.frombuffer(blob, dtype="<u4").astype(np.uint32)


def _unpack(data: bytes, width: int) -> npt.NDArray[np.int64]:
    """Split bytes into little-endian numbers of ``width`` bits; what is left over is dropped."""
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    whole = len(bits) // width
    weights = 1 << np.arange(width, dtype=np.int64)
    return bits[: whole * width].reshape(whole, width) @ weights


@functools.cache
def _probe() -> tuple[ModuleType | None, str]:
    """Find pyacoustid's module; several unrelated packages on PyPI own the same name."""
    try:
        module = importlib.import_module("chromaprint")
    except (ImportError, OSError) as error:
        return None, f"numpy, because {error}"
    if not callable(getattr(module, "Fingerprinter", None)):
        return None, "numpy, because the installed module `chromaprint` is not pyacoustid's"
    return module, ""


def _library() -> ModuleType | None:
    return _probe()[0]


def _library_items(samples: Pcm, module: ModuleType) -> Items:
    printer = module.Fingerprinter(_ALGORITHM)
    printer.start(SAMPLE_RATE, 1)
    printer.feed(samples.tobytes())
    return decode(printer.finish().decode("ascii"))


@functools.lru_cache(maxsize=16)
def _low_pass(sample_rate: int, up: int) -> npt.NDArray[np.float32]:
    """Design the anti-aliasing filter at the common rate ``sample_rate * up``, once per rate."""
    from scipy.signal import firwin, kaiserord

    passed_hz, stopped_hz = min(4_000.0, 0.42 * sample_rate), min(7_000.0, 0.58 * sample_rate)
    common = sample_rate * up
    length, beta = kaiserord(70.0, (stopped_hz - passed_hz) / (0.5 * common))
    taps = firwin(length | 1, (passed_hz + stopped_hz) / 2, window=("kaiser", beta), fs=common)
    return np.asarray(taps, dtype=np.float32)


def _numpy_items(samples: Pcm, *, hop: float = HOP) -> Items:
    """Run the whole chain in numpy; see the module's docstring.

    Cost: about a thousandth of the sound's length on one core.
    """
    chroma = _smoothed(_chroma(samples, hop))
    count = len(chroma) - _WIDTH + 1
    # corner[t, b] is the sum of all energy before frame t and below band b.
    corner = np.zeros((len(chroma) + 1, _BANDS + 1))
    corner[1:, 1:] = chroma.cumsum(axis=0).cumsum(axis=1)

    items = np.zeros(count, np.uint32)
    for kind, band, height, width, *thresholds in _CLASSIFIERS:
        level = _filter(corner, count, kind)(int(band), int(height), int(width))
        step = np.searchsorted(np.asarray(thresholds), level, side="right")
        items = (items << np.uint32(2)) | _GRAY[step]
    return items


def _chroma(samples: Pcm, hop: float) -> npt.NDArray[np.float64]:
    """Energy of the twelve pitch classes per frame, shape (frames, 12)."""
    from scipy.fft import rfft

    window, notes, first, last = _front_end()
    frames = np.lib.stride_tricks.sliding_window_view(samples, FRAME)
    starts = np.rint(np.arange((len(frames) - 1) // hop + 1) * hop).astype(np.int64)
    starts = starts[starts < len(frames)]
    out = np.empty((len(starts), _BANDS))
    for start in range(0, len(starts), _FRAMES_AT_ONCE):
        block = frames[starts[start : start + _FRAMES_AT_ONCE]] * window
        spectrum = rfft(block, axis=1)[:, first:last]
        power = spectrum.real.astype(np.float64) ** 2 + spectrum.imag.astype(np.float64) ** 2
        out[start : start + len(block)] = power @ notes
    return out


@functools.cache
def _front_end() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64], int, int]:
    """Window, (bins, 12) map from bins to pitch classes, and the range of bins that count."""
    turn = 2 * np.pi * np.arange(FRAME) / (FRAME - 1)
    window = ((0.54 - 0.46 * np.cos(turn)) / 32_767).astype(np.float32)
    first = max(1, round(FRAME * _MIN_HZ / SAMPLE_RATE))
    last = min(FRAME // 2, round(FRAME * _MAX_HZ / SAMPLE_RATE))
    octave = np.log2(np.arange(first, last) * SAMPLE_RATE / FRAME / (440 / 16))
    note = (_BANDS * (octave - np.floor(octave))).astype(int)
    return window, np.eye(_BANDS)[note], first, last


def _smoothed(chroma: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Smooth over five frames, then scale every frame to length 1; near silence becomes 0."""
    count = len(chroma) - len(_SMOOTHING) + 1
    smooth = np.zeros((count, _BANDS))
    for late, weight in enumerate(_SMOOTHING):
        smooth += chroma[late : late + count] * weight
    norm = np.sqrt((smooth**2).sum(axis=1, keepdims=True))
    return np.where(norm < _LEAST_NORM, 0.0, smooth / np.maximum(norm, _LEAST_NORM))


def _filter(
    corner: npt.NDArray[np.float64], count: int, kind: int
) -> Callable[[int, int, int], npt.NDArray[np.float64]]:
    """Give the filter of one kind: log ratio of two groups of rectangles, per item."""

    def area(t0: int, b0: int, t1: int, b1: int) -> npt.NDArray[np.float64]:
        late, early = corner[t1 : t1 + count], corner[t0 : t0 + count]
        total: npt.NDArray[np.float64] = late[:, b1] - early[:, b1] - late[:, b0] + early[:, b0]
        return total

    def level(b: int, h: int, w: int) -> npt.NDArray[np.float64]:
        whole = area(0, b, w, b + h)
        match kind:
            case 0:
                plus, minus = whole, np.zeros_like(whole)
            case 1:
                plus = area(0, b + h // 2, w, b + h)
                minus = area(0, b, w, b + h // 2)
            case 2:
                plus = area(w // 2, b, w, b + h)
                minus = area(0, b, w // 2, b + h)
            case 3:
                plus = area(0, b + h // 2, w // 2, b + h) + area(w // 2, b, w, b + h // 2)
                minus = area(0, b, w // 2, b + h // 2) + area(w // 2, b + h // 2, w, b + h)
            case 4:
                plus = area(0, b + h // 3, w, b + 2 * (h // 3))
                minus = area(0, b, w, b + h // 3) + area(0, b + 2 * (h // 3), w, b + h)
            case _:
                plus = area(w // 3, b, 2 * (w // 3), b + h)
                minus = area(0, b, w // 3, b + h) + area(2 * (w // 3), b, w, b + h)
        return np.asarray(np.log((1.0 + plus) / (1.0 + minus)))

    return level
