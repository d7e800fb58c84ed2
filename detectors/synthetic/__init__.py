"""Was this music made by the generator shipped here?

A logistic regression over the evidence features of four-second segments, averaged over
the file and calibrated to a probability at even odds. It has heard two kinds of music:
outputs of this project's generator (and music passed through its codec), and recordings
and soundfont renders, with the same codec histories, half of each marked.

What a low probability does not mean: "made by people". Other generators leave other
traces. Outside what it was trained on the classifier abstains: sound that is too short,
too quiet, too narrow, or unlike any music it has heard by the domain features.

The recipe is ``safegen.training.synthetic``; the figures are ``safegen eval synthetic``.
"""

import functools
import hashlib
import json
from dataclasses import dataclass
from importlib import resources
from typing import Final

import numpy as np
import numpy.typing as npt

from detectors import features
from detectors.base import Interval, Waveform
from detectors.errors import DetectorError
from detectors.synthetic.finding import SynthesisVerdict, SyntheticFinding

__all__ = [
    "SynthesisVerdict",
    "SyntheticFinding",
    "Weights",
    "classify",
    "judge",
    "parse",
    "shipped",
]

Floats = npt.NDArray[np.float64]

WEIGHTS: Final = "own-music.safetensors"
WEIGHTS_SHA256: Final = "f34e08debf0a273d95ab9c9f3103a94dce092c2c936d048a3090171091d7151e"
STEP_SECONDS: Final = 2.0
LEAST_RMS: Final = 1e-3
"""-60 dB of full scale."""
LEAST_SAMPLE_RATE: Final = 22_050
NEIGHBORS: Final = 5
UNDECIDED: Final = 0.5
"""Probability reported with every abstention."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """A trained classifier.

    Attributes:
        mean: Of the evidence features, shape (f,).
        scale: Their standard deviations, shape (f,).
        coefficients: Log-odds per standardized feature, shape (f,).
        intercept: Log-odds at the mean.
        slope: Calibration: log-odds of a file per mean log-odds of its segments.
        offset: Calibration: log-odds of a file whose segments average 0.
        domain_mean: Of the domain features, shape (d,).
        domain_axes: Whitening, shape (d, k).
        known: Training segments on the whitened axes, shape (n, k).
        domain_limit: Mean distance to the ``NEIGHBORS`` closest known segments beyond
            which the classifier abstains.
        speech_mean: Of the domain features, shape (d,), music and speech together.
        speech_scale: Their standard deviations, shape (d,).
        speech_coefficients: Log-odds of speech per standardized feature, shape (d,).
        speech_intercept: Log-odds of speech at the mean.
        model_id: Name and hash.
    """

    mean: Floats
    scale: Floats
    coefficients: Floats
    intercept: float
    slope: float
    offset: float
    domain_mean: Floats
    domain_axes: Floats
    known: Floats
    domain_limit: float
    speech_mean: Floats
    speech_scale: Floats
    speech_coefficients: Floats
    speech_intercept: float
    model_id: str

    def speech_log_odds(self, domain: Floats) -> Floats:
        """Score segments for speech; shape (segments, d) to (segments,)."""
        standardized = (domain - self.speech_mean) / self.speech_scale
        return standardized @ self.speech_coefficients + self.speech_intercept

    def log_odds(self, evidence: Floats) -> Floats:
        """Score segments; shape (segments, f) to (segments,)."""
        return (evidence - self.mean) / self.scale @ self.coefficients + self.intercept

    def probability(self, log_odds: float) -> float:
        """Calibrate the mean log-odds of a file's segments."""
        return float(1.0 / (1.0 + np.exp(-(self.slope * log_odds + self.offset))))

    def distance(self, domain: Floats) -> Floats:
        """Mean distance to the closest known segments; shape (segments, d) to (segments,)."""
        points = (domain - self.domain_mean) @ self.domain_axes
        squared = (
            (points**2).sum(axis=1)[:, None]
            + (self.known**2).sum(axis=1)
            - 2.0 * points @ self.known.T
        )
        nearest = np.partition(np.maximum(squared, 0.0), NEIGHBORS - 1, axis=1)[:, :NEIGHBORS]
        return np.asarray(np.sqrt(nearest).mean(axis=1), dtype=np.float64)


def classify(waveform: Waveform, sample_rate: int) -> SyntheticFinding:
    """Listen to a whole file.

    Args:
        waveform: Shape (channels, samples), float32 in [-1, 1].
        sample_rate: In Hz.

    Raises:
        DetectorError: If the weights are missing or not the ones pinned here.

    Cost: about 15 ms of one core per second of sound.
    """
    return judge(waveform, sample_rate, weights=shipped())


def judge(waveform: Waveform, sample_rate: int, *, weights: Weights) -> SyntheticFinding:
    """Listen with given weights; recipes and benchmarks use this."""
    seconds = waveform.shape[1] / sample_rate
    if seconds < features.SEGMENT_SECONDS:
        return _abstain(
            f"too short: {seconds:.1f} s, at least {features.SEGMENT_SECONDS:g} s", weights
        )
    if sample_rate < LEAST_SAMPLE_RATE:
        return _abstain(
            f"too narrow: sample rate {sample_rate} Hz, at least {LEAST_SAMPLE_RATE} Hz", weights
        )
    heard = [
        (start, segment)
        for start, segment in segments(features.prepare(waveform, sample_rate))
        if float(np.sqrt(np.mean(segment**2))) >= LEAST_RMS
    ]
    if not heard:
        return _abstain("too quiet: no four seconds reach -60 dB", weights)
    evidence = np.stack([features.evidence(segment) for _, segment in heard])
    domain = np.stack([features.domain(segment) for _, segment in heard])
    log_odds = weights.log_odds(evidence)
    found = tuple(
        Interval(
            start_seconds=start,
            end_seconds=start + features.SEGMENT_SECONDS,
            score=weights.probability(float(value)),
        )
        for (start, _), value in zip(heard, log_odds, strict=True)
    )
    speech = float(np.median(weights.speech_log_odds(domain)))
    if speech > 0.0:
        return _abstain(f"sounds like speech: log-odds {speech:.1f}, limit 0", weights, found=found)
    distance = float(np.median(weights.distance(domain)))
    if distance > weights.domain_limit:
        return _abstain(
            f"unlike the music it knows: distance {distance:.1f}, limit {weights.domain_limit:.1f}",
            weights,
            found=found,
        )
    probability = weights.probability(float(log_odds.mean()))
    return SyntheticFinding(
        probability=probability,
        abstained=False,
        reason="",
        segments=found,
        model_id=weights.model_id,
        verdict=(
            SynthesisVerdict.OWN_GENERATOR
            if probability >= UNDECIDED
            else SynthesisVerdict.NO_SYNTHESIS_EVIDENCE
        ),
        llr=weights.slope * float(log_odds.mean()) + weights.offset,
        resolution_seconds=features.SEGMENT_SECONDS,
    )


def segments(mono: Floats) -> list[tuple[float, Floats]]:
    """Cut mono sound into segments every ``STEP_SECONDS``, with their start in seconds."""
    step = round(STEP_SECONDS * features.SAMPLE_RATE)
    last = max(0, len(mono) - features.SEGMENT_SAMPLES)
    return [
        (start / features.SAMPLE_RATE, mono[start : start + features.SEGMENT_SAMPLES])
        for start in range(0, last + 1, step)
    ]


@functools.cache
def shipped() -> Weights:
    """Read the weights that ship with the package.

    Raises:
        DetectorError: If they are missing, or their hash is not ``WEIGHTS_SHA256``.
    """
    source = resources.files("detectors") / "weights" / WEIGHTS
    try:
        data = source.read_bytes()
    except OSError as error:
        msg = f"the classifier's weights cannot be read: {error}"
        raise DetectorError(msg) from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != WEIGHTS_SHA256:
        msg = f"detectors/weights/{WEIGHTS} has sha256 {digest}, pinned is {WEIGHTS_SHA256}"
        raise DetectorError(msg)
    return parse(data)


def parse(data: bytes) -> Weights:
    """Read weights from the bytes of a safetensors file written by the recipe.

    Raises:
        DetectorError: If they were trained on other features.
    """
    from safetensors.numpy import load

    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    facts = json.loads(header["__metadata__"]["classifier"])
    if tuple(facts["features"]) != features.names():
        msg = "the classifier's weights were trained on other features"
        raise DetectorError(msg)
    tensors = {name: np.asarray(t, dtype=np.float64) for name, t in load(data).items()}
    return Weights(
        **tensors,
        intercept=float(facts["intercept"]),
        slope=float(facts["slope"]),
        offset=float(facts["offset"]),
        domain_limit=float(facts["domain_limit"]),
        speech_intercept=float(facts["speech_intercept"]),
        model_id=f"own-music-{hashlib.sha256(data).hexdigest()[:12]}",
    )


def _abstain(
    reason: str, weights: Weights, *, found: tuple[Interval, ...] = ()
) -> SyntheticFinding:
    return SyntheticFinding(
        probability=UNDECIDED,
        abstained=True,
        reason=reason,
        segments=found,
        model_id=weights.model_id,
    )
