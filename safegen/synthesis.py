"""Who made this sound, as far as anything can tell? One answer out of all that was heard.

What is known goes before what is guessed: bytes in the log, then our watermark, then our
manifest, then the mark that the shipped codec writes, and only then the classifier. Its own
verdict is kept beside the answer, because a classifier is watched by what it said, not by
what was known better. No answer is "real": nothing that is heard proves that people made it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from detectors.synthetic.finding import SynthesisVerdict, SyntheticFinding
from safegen.audio import Audio
from safegen.config import Config
from safegen.errors import SafegenError

if TYPE_CHECKING:
    from detectors.base import WatermarkFinding
    from detectors.decoder_mark import DecoderMarkFinding
    from safegen.provenance.c2pa import C2paFinding

MAX_SEGMENTS: Final = 150
"""As many windows as the classifier hears of one file."""
MAX_HEADS: Final = 5
GENERIC: Final = "generic"
"""Family of the models that say whether, not who."""


class Because(StrEnum):
    """What an answer rests on, strongest first."""

    LOG = "log"
    WATERMARK = "watermark"
    MANIFEST = "manifest"
    DECODER_MARK = "decoder_mark"
    CLASSIFIER = "classifier"
    NOTHING = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The answer.

    Attributes:
        verdict: None if nothing could be asked.
        because: What it rests on.
        generator: Name of the generator, "" if nothing names one.
    """

    verdict: SynthesisVerdict | None = None
    because: Because = Because.NOTHING
    generator: str = ""


def classifier_of(config: Config) -> Callable[[Audio], SyntheticFinding]:
    """Open the classifier that this installation asks, at the gate and of uploads.

    Args:
        config: Says where the installation keeps generators that were added to it.

    Returns:
        Raises SafegenError if it can give no answer.
    """
    from detectors.errors import DetectorError
    from detectors.synthetic import judge
    from safegen.roster import roster_of

    def classify(audio: Audio) -> SyntheticFinding:
        try:
            return judge(audio.waveform, audio.sample_rate, roster=roster_of(config))
        except DetectorError as error:
            raise SafegenError(
                f"the classifier gave no answer: {error}", remedy="Run `safegen doctor`."
            ) from error

    return classify


def origin_of(
    finding: SyntheticFinding | None,
    *,
    is_logged: bool = False,
    mark: "WatermarkFinding | None" = None,
    root: "DecoderMarkFinding | None" = None,
    manifest: "C2paFinding | None" = None,
) -> Origin:
    """Put together what was heard.

    Args:
        finding: The classifier's; None if it gave no answer.
        is_logged: Whether these bytes are those of a logged release.
        mark: Of our watermark; None if nobody listened, or if its claim did not hold.
        root: Of the mark of the shipped codec; likewise.
        manifest: Content Credentials; likewise.
    """
    own = SynthesisVerdict.OWN_GENERATOR
    name = finding.generator if finding is not None and finding.verdict is own else ""
    if is_logged:
        return Origin(verdict=own, because=Because.LOG, generator=name)
    if mark is not None and mark.detected:
        return Origin(verdict=own, because=Because.WATERMARK, generator=name)
    # Only a manifest under our own root may name a record of ours.
    if manifest is not None and manifest.state == "trusted" and manifest.record_id:
        return Origin(verdict=own, because=Because.MANIFEST, generator=name)
    if root is not None and root.detected:
        return Origin(verdict=own, because=Because.DECODER_MARK, generator=name)
    if finding is None or not math.isfinite(finding.probability):
        return Origin()
    return Origin(verdict=finding.verdict, because=Because.CLASSIFIER, generator=finding.generator)


def summary_json(finding: SyntheticFinding | None, origin: Origin) -> dict[str, Any]:
    """Write the answer and the classifier's numbers; the same keys whatever was found."""
    heard = finding if finding is not None and math.isfinite(finding.probability) else None
    return {
        "verdict": None if origin.verdict is None else origin.verdict.value,
        "because": origin.because.value,
        "generator": origin.generator,
        "classifier_verdict": None if heard is None else heard.verdict.value,
        "probability": None if heard is None else round(heard.probability, 4),
        "prior": None if heard is None else heard.prior,
        "llr": None if heard is None else _rounded(heard.llr),
        "p_value": None if heard is None else _rounded(heard.p_value, 6),
        "abstained": None if heard is None else heard.abstained,
        "reason": "" if heard is None else heard.reason,
        "out_of_domain": "" if heard is None else heard.out_of_domain,
        "distance": None if heard is None else _rounded(heard.distance),
        "model": "" if heard is None else heard.model_id,
        "calibration": "" if heard is None else heard.calibration_id,
        "data_card": "" if heard is None else heard.data_card_id,
    }


def synthesis_json(finding: SyntheticFinding | None, origin: Origin) -> dict[str, Any]:
    """Write the answer with all that it rests on; the same keys whatever was found."""
    summary = summary_json(finding, origin)
    if finding is None or summary["probability"] is None:
        nothing: dict[str, Any] = {"segments": [], "peaks": [], "combs": [], "heads": []}
        return {**summary, "resolution_seconds": None, **nothing}
    applied = [answer for answer in finding.answers if answer.applied]
    # Models that say whether, not who, stand last, and are always told.
    generic = [answer for answer in applied if answer.family == GENERIC][: MAX_HEADS - 1]
    named = [answer for answer in applied if answer.family != GENERIC]
    best = [*named[: MAX_HEADS - len(generic)], *generic]
    return {
        **summary,
        "resolution_seconds": finding.resolution_seconds,
        "segments": [
            {
                "start_seconds": _rounded(segment.start_seconds),
                "end_seconds": _rounded(segment.end_seconds),
                "score": _rounded(segment.score),
            }
            for segment in finding.segments[:MAX_SEGMENTS]
        ],
        "peaks": [
            {
                "hz": _rounded(peak.hz, 1),
                "excess_db": _rounded(peak.excess_db, 2),
                "stride": peak.stride,
                "spacing_hz": None if peak.spacing_hz is None else _rounded(peak.spacing_hz),
            }
            for peak in finding.peaks
        ],
        "combs": [
            {
                "spacing_hz": _rounded(comb.spacing_hz),
                "z": _rounded(comb.z, 1),
                "excess_db": _rounded(comb.excess_db, 2),
                "reading": comb.reading,
            }
            for comb in finding.combs
        ],
        "heads": [
            {
                "name": answer.name,
                "family": answer.family,
                "own": answer.own,
                "score": _rounded(answer.score),
                "llr": _rounded(answer.llr),
                "p_value": _rounded(answer.p_value, 6),
            }
            for answer in best
        ],
    }


def _rounded(value: float, digits: int = 3) -> float | None:
    """Round for a record, which holds no infinities."""
    return round(float(value), digits) if math.isfinite(value) else None
