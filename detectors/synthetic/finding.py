"""What the synthetic-audio classifier can say about a sound.

There is no "real" among the verdicts: nothing that is heard proves that people made it.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from detectors.base import Interval

EVEN_PRIOR: Final = 0.5
"""Share of synthetic sound among what is judged that probabilities assume by default."""


class SynthesisVerdict(StrEnum):
    """The answer, from the most to the least specific."""

    OWN_GENERATOR = "own_generator"
    KNOWN_GENERATOR = "known_generator"
    SYNTHETIC_LIKELY = "synthetic_likely"
    INCONCLUSIVE = "inconclusive"
    NO_SYNTHESIS_EVIDENCE = "no_synthesis_evidence"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """A line that stands out of the spectrum.

    Attributes:
        hz: Frequency.
        excess_db: Over its surroundings, in the mean spectrum.
        stride: The stride a decoder would have whose lines fall on it, in samples at the
            decoder's rate; None if no comb passes through it.
        spacing_hz: Of that comb, None with ``stride``.
    """

    hz: float
    excess_db: float
    stride: int | None = None
    spacing_hz: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comb:
    """Lines at the multiples of one frequency.

    Attributes:
        spacing_hz: Distance of the lines.
        z: How far the mean excess at the multiples stands above that at the multiples of
            other spacings, in standard deviations of those.
        excess_db: Mean excess at the multiples.
        reading: Which decoders have lines there, e.g. "stride 256 at 22050 Hz"; "" if unknown.
    """

    spacing_hz: float
    z: float
    excess_db: float
    reading: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadAnswer:
    """What one entry of the generator registry says.

    Attributes:
        name: Of the entry.
        family: Of the generator.
        own: Whether it is a generator that ships with the project.
        score: Log-odds of its head, uncalibrated.
        llr: Natural logarithm of the likelihood ratio, this generator against real sound.
        evidence: The same before it is cut where the counts of the calibration end.
        p_value: Share of real calibration sound that scores as high, in (0, 1].
        applied: Whether the entry can judge this sound at all.
        reason: Why it cannot, "" if it can.
    """

    name: str
    family: str
    own: bool
    score: float = 0.0
    llr: float = 0.0
    evidence: float = 0.0
    p_value: float = 1.0
    applied: bool = True
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticFinding:
    """What the classifier says about a file.

    Attributes:
        probability: That it is synthetic, at ``prior``, in [0, 1]; ``prior`` if it abstained.
        abstained: Whether the verdict is ``inconclusive``.
        reason: Why it abstained, "" if it did not.
        segments: The timeline: windows with their own probability. One window decides
            little, the file's probability rests on all of them.
        model_id: Names and hash of the models that answered.
        verdict: The answer.
        generator: Name of the entry, if the verdict names one; "" otherwise.
        llr: Natural logarithm of the likelihood ratio, synthetic against real; 0 if
            nothing could be asked.
        prior: Share of synthetic sound that ``probability`` assumes.
        p_value: Chance that real sound of the calibration set looks as synthetic, in (0, 1].
        out_of_domain: Why the sound is unlike what the classifier knows, "" if it is not.
        distance: From what it knows, as a multiple of the limit.
        resolution_seconds: Length of a window; nothing shorter is located.
        peaks: Lines of the spectrum, strongest first.
        combs: Combs that stand out, strongest first; a comb of no known decoder is
            evidence to look at, never a verdict.
        answers: Of every entry of the registry, best first.
        calibration_id: Hash of what scores are compared with.
        data_card_id: Hash of the description of what the models learned from.
    """

    probability: float
    abstained: bool
    reason: str
    segments: tuple[Interval, ...]
    model_id: str
    verdict: SynthesisVerdict = SynthesisVerdict.INCONCLUSIVE
    generator: str = ""
    llr: float = 0.0
    prior: float = EVEN_PRIOR
    p_value: float = 1.0
    out_of_domain: str = ""
    distance: float = 0.0
    resolution_seconds: float = 0.0
    peaks: tuple[Peak, ...] = ()
    combs: tuple[Comb, ...] = ()
    answers: tuple[HeadAnswer, ...] = ()
    calibration_id: str = ""
    data_card_id: str = ""
