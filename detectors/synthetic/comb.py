"""Does the spectrum stand out at the multiples of one frequency?

A decoder that turns few frames into many samples by an integer stride leaves lines at the
multiples of its sample rate over the stride, whatever it learned (Odena, Dumoulin and Olah,
Distill 2016; Pons et al., ICASSP 2021). The lines are told from what is played by
comparing them with the multiples of other spacings *in the same sound*: no threshold has
to be carried over from other sound.

A method nearby is the subject of patent applications; docs/synthetic.md says what is known
of them, and how to switch this evidence off.
"""

from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from detectors.synthetic.finding import Comb, Peak
from detectors.synthetic.traces import BIN_HZ, FIRST_BIN, LAST_BIN, Floats

DECODERS: Final[tuple[tuple[int, int], ...]] = (
    (256, 22_050),
    (512, 44_100),
    (256, 24_000),
    (300, 24_000),
    (240, 24_000),
    (320, 24_000),
    (256, 16_000),
    (320, 16_000),
    (200, 16_000),
    (320, 32_000),
    (640, 32_000),
    (480, 48_000),
    (960, 48_000),
    (256, 44_100),
    (1024, 44_100),
)
"""Stride in samples and sample rate in Hz of decoders in use: vocoders, codecs, latent decoders."""

STANDS_OUT: Final = 4.0
"""Least z of a comb that is shown."""
BLIND_STANDS_OUT: Final = 7.0
"""The same after a search of thousands of spacings; 1 in 20 pieces of music reaches it."""
LEAST_PEAK_DB: Final = 1.0
MOST_PEAKS: Final = 12
BLIND_HZ: Final = (20.0, 400.0)

HUM_SHARE: Final = 0.25
"""Less than this share of the odd lines' excess at the even ones is hum, not a decoder."""

_LOW_HZ: Final = 700.0
_HIGH_HZ: Final = 7_600.0
_ABOVE_MAINS_HZ: Final = 2_000.0
"""From here the harmonics of mains hum are no longer heard."""
_MAINS_HZ: Final = (50.0, 60.0)
_CLIP_DB: Final = (-3.0, 5.0)
_BLIND_STEP: Final = 0.0004
_SAME: Final = 0.004


def measure(residual: Floats, spacing_hz: float) -> Comb:
    """Measure one comb.

    Args:
        residual: Of ``detectors.synthetic.traces``, the mean of all windows of a sound.
        spacing_hz: Distance of the lines, at least ``BLIND_HZ[0]``.
    """
    z, excess = measure_all(residual[None], spacing_hz)
    return Comb(
        spacing_hz=spacing_hz,
        z=float(z[0]),
        excess_db=float(excess[0]),
        reading=reading(spacing_hz),
    )


def measure_all(
    residuals: Floats, spacing_hz: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Measure one comb in many sounds; shape (n, bins) to two of shape (n,): z and excess in dB."""
    clipped = np.clip(residuals, *_CLIP_DB)
    excess = clipped[:, _bins(spacing_hz)].mean(axis=1, dtype=np.float64)
    others = np.stack(
        [clipped[:, _bins(q)].mean(axis=1, dtype=np.float64) for q in _decoys(spacing_hz)]
    )
    z = (excess - others.mean(axis=0)) / np.maximum(others.std(axis=0), 1e-6)
    return z, excess


def template(spacing_hz: float) -> npt.NDArray[np.float64]:
    """Give the weights that turn a residual into the excess of a comb over other spacings.

    Returns:
        Shape (residual,); they sum to 0.
    """
    out = np.zeros(LAST_BIN - FIRST_BIN)
    lines = _bins(spacing_hz)
    np.add.at(out, lines, 1.0 / len(lines))
    decoys = _decoys(spacing_hz)
    for other in decoys:
        lines = _bins(other)
        np.add.at(out, lines, -1.0 / (len(lines) * len(decoys)))
    return out


def known(residual: Floats) -> tuple[Comb, ...]:
    """Measure the combs of all ``DECODERS``; those that stand out, strongest first."""
    combs = [measure(residual, spacing) for spacing in _spacings()]
    seen = (c for c in combs if c.z >= STANDS_OUT and not is_hum(residual, c.spacing_hz))
    return tuple(sorted(seen, key=lambda c: -c.z))


def is_hum(residual: Floats, spacing_hz: float) -> bool:
    """Say whether the lines are those of mains hum: at the odd multiples and not at the even.

    Always False for spacings that have nothing to do with the mains.
    """
    if not _meets_mains(spacing_hz):
        return False
    clipped = np.clip(residual, *_CLIP_DB)
    odd, even = (
        float(np.mean(clipped[lines]))
        - float(np.mean([np.mean(clipped[_bins(other)]) for other in _decoys(spacing_hz)]))
        for lines in (_bins(spacing_hz, 1), _bins(spacing_hz, 0))
    )
    return odd > 0.0 and even < HUM_SHARE * odd


def search(residual: Floats) -> Comb | None:
    """Look for a comb of any spacing in ``BLIND_HZ``; None if nothing stands out.

    Steady synthesizer tones fool it: this is a hint at what to look at.
    """
    low, high = BLIND_HZ
    count = int(np.log(high / low) / np.log1p(_BLIND_STEP))
    clipped = np.clip(residual, *_CLIP_DB)
    spacings = low * (1 + _BLIND_STEP) ** np.arange(count)
    excess = np.array([clipped[_bins(spacing)].mean() for spacing in spacings])
    counts = np.array([len(_bins(spacing)) for spacing in spacings])
    # More lines make a steadier mean: compare like with like.
    strength = (excess - np.median(excess)) * np.sqrt(counts)
    for index in np.argsort(-strength)[:5]:
        comb = measure(residual, float(spacings[index]))
        if comb.z >= BLIND_STANDS_OUT:
            return comb
    return None


def peaks(residual: Floats, combs: tuple[Comb, ...]) -> tuple[Peak, ...]:
    """Name the strongest lines and the comb that each lies on, if any."""
    inner = residual[1:-1]
    tops = (inner > residual[:-2]) & (inner >= residual[2:]) & (inner >= LEAST_PEAK_DB)
    bins = np.flatnonzero(tops) + 1
    out = []
    for index in sorted(bins, key=lambda i: -residual[i])[:MOST_PEAKS]:
        hz = float((index + FIRST_BIN) * BIN_HZ)
        owner = next((c for c in combs if _on(hz, c.spacing_hz)), None)
        out.append(
            Peak(
                hz=hz,
                excess_db=float(residual[index]),
                stride=None if owner is None else stride_of(owner.spacing_hz),
                spacing_hz=None if owner is None else owner.spacing_hz,
            )
        )
    return tuple(out)


def reading(spacing_hz: float) -> str:
    """Say which decoders have lines at this spacing, "" if none that is known here."""
    fitting = [
        f"stride {stride} at {rate} Hz"
        for stride, rate in DECODERS
        if abs(rate / stride / spacing_hz - 1.0) < _SAME
    ]
    return " or ".join(fitting)


def stride_of(spacing_hz: float) -> int | None:
    """Give the stride of the first known decoder of this spacing, None if there is none."""
    return next((s for s, rate in DECODERS if abs(rate / s / spacing_hz - 1.0) < _SAME), None)


@cache
def _spacings() -> tuple[float, ...]:
    return tuple(sorted({rate / stride for stride, rate in DECODERS}))


@cache
def _decoys(spacing_hz: float) -> tuple[float, ...]:
    off = np.linspace(0.04, 0.3, 30)
    return tuple(float(q) for q in spacing_hz * (1.0 + np.concatenate([-off[::-1], off])))


@cache
def _bins(spacing_hz: float, parity: int | None = None) -> npt.NDArray[np.int64]:
    """Give the bins of a residual at the multiples of a spacing; all, even or odd ones."""
    low = _ABOVE_MAINS_HZ if _meets_mains(spacing_hz) else _LOW_HZ
    multiples = np.arange(np.ceil(low / spacing_hz), np.floor(_HIGH_HZ / spacing_hz) + 1)
    if parity is not None:
        multiples = multiples[multiples % 2 == parity]
    return np.asarray(np.round(multiples * spacing_hz / BIN_HZ), dtype=np.int64) - FIRST_BIN


def _meets_mains(spacing_hz: float) -> bool:
    return any(_harmonic(spacing_hz, mains) for mains in _MAINS_HZ)


def _harmonic(spacing_hz: float, mains_hz: float) -> bool:
    """Say whether the multiples of one fall on multiples of the other."""
    ratio = max(spacing_hz, mains_hz) / min(spacing_hz, mains_hz)
    return abs(ratio - round(ratio)) < 0.01 and round(ratio) <= 4


def _on(hz: float, spacing_hz: float) -> bool:
    nearest = round(hz / spacing_hz) * spacing_hz
    return abs(hz - nearest) <= BIN_HZ
