"""Layers of evidence, and a verdict that knows when to be silent.

1. Every entry of the generator registry scores every window; a file's score is the mean.
   The best entry decides whether the sound comes from a known generator: its likelihood
   ratio is compared with that of the best entry *on real sound*, so that asking many
   entries is paid for.
2. The generic model, and any plugged-in model, say whether it is synthetic at all. They
   answer only for sound like the sound they were calibrated on.
3. Everything else is inconclusive. Only where no layer finds anything, and none is outside
   its domain, is there "no synthesis evidence".
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from detectors.base import Interval, Waveform
from detectors.synthetic import comb, traces
from detectors.synthetic.calibration import Calibration, bound, probability, yardstick
from detectors.synthetic.entries import Entry
from detectors.synthetic.finding import (
    EVEN_PRIOR,
    Comb,
    HeadAnswer,
    SynthesisVerdict,
    SyntheticFinding,
)
from detectors.synthetic.reference import Reference, Vectors, Windows, windows_of

Floats = npt.NDArray[np.float64]

STEP_SECONDS: Final = 2.0
MOST_WINDOWS: Final = 150
"""Of a file; longer files are heard at evenly spaced windows, five minutes in all."""
LEAST_RMS: Final = 1e-3
"""-60 dB of full scale."""
LEAST_SAMPLE_RATE: Final = 8_000

KNOWN_P: Final = 0.005
"""A known generator is named if so little real sound finds an entry that fits as well."""
MARGIN: Final = 1.0
"""Least lead in log likelihood ratio of the named entry over one of another family."""
LIKELY_P: Final = 0.01
"""Synthetic by nobody known is likely if so little real sound scores as high."""
CLEAR_P: Final = 0.6
"""No evidence is said where at least this much real sound scores as high."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenericModel:
    """A model that says whether, not who: the shipped network or a plug-in.

    Attributes:
        name: Of the model.
        logits: Windows at 16 kHz of shape (n, samples) to scores of shape (n,), higher is
            more synthetic.
        speech: Yardsticks for speech; None if it cannot judge speech.
        music: Yardsticks for music; None if it cannot judge music.
        model_id: Name and hash of the weights.
        calibration_id: Hash of the scores it is measured by.
    """

    name: str
    logits: Callable[[npt.NDArray[np.float32]], Floats]
    speech: Calibration | None
    music: Calibration | None
    model_id: str
    calibration_id: str

    def calibration(self, *, speech: bool) -> Calibration | None:
        """Choose the yardsticks."""
        return self.speech if speech else self.music


@dataclass(frozen=True, kw_only=True)
class Roster:
    """Everything that is asked.

    Attributes:
        reference: Real windows.
        entries: Of the generator registry.
        generic: Models that say whether, not who.
        combs: Whether combs are looked at; entries that rest on a comb alone are left out
            without them.
    """

    reference: Reference
    entries: tuple[Entry, ...]
    generic: tuple[GenericModel, ...] = ()
    combs: bool = True

    @cached_property
    def model_id(self) -> str:
        """Name and hash of all models together."""
        parts = [e.digest for e in self.entries] + [g.model_id for g in self.generic]
        digest = hashlib.sha256("\0".join([self.reference.digest, *parts]).encode()).hexdigest()
        return f"roster-{len(self.entries)}-{digest[:12]}"

    @cached_property
    def calibration_id(self) -> str:
        """Hash of every yardstick."""
        parts = [self.reference.digest, *(g.calibration_id for g in self.generic)]
        parts += [e.digest for e in self.entries]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    @cached_property
    def data_card_id(self) -> str:
        """Hash of what the models say they learned from."""
        cards = [self.reference.card, *(e.card for e in self.entries)]
        return hashlib.sha256("\0".join(cards).encode()).hexdigest()[:16]

    @cached_property
    def _best_on_real(self) -> dict[bool, Calibration]:
        """How well the best of all entries fits real sound, by speech or music, and length."""
        out = {}
        for speech in (True, False):
            rows = self.reference.calibrate & (self.reference.speech == speech)
            vectors = self.reference.vectors(self.reference.windows.rows(rows))
            source = self.reference.source[rows]
            yardsticks = []
            for count in LENGTHS:
                seconds = count * traces.WINDOW_SECONDS
                groups = grouped(source, count)
                best = np.full(len(groups), -np.inf)
                for entry in self.entries:
                    if not entry.judges(speech=speech, seconds=seconds):
                        continue
                    scores = entry.scores(vectors)
                    at = entry.calibration(speech=speech).at(entry.min_seconds)
                    found = [at.evidence(float(scores[g].mean())) for g in groups]
                    best = np.maximum(best, found)
                if len(groups) >= LEAST_GROUPS and np.isfinite(best).all():
                    yardsticks.append(yardstick(best, seconds=seconds))
            out[speech] = Calibration(yardsticks=tuple(yardsticks))
        return out

    def p_known(self, evidence: float, *, speech: bool, seconds: float) -> float:
        """Say how much real sound finds an entry that fits as well, in (0, 1]."""
        calibration = self._best_on_real[speech]
        if not calibration.yardsticks:
            return 1.0
        return calibration.at(self._least_seconds(speech, seconds)).p_value(evidence)

    def least_p(self, *, speech: bool, seconds: float) -> float:
        """Give the smallest p-value that the counted real sound supports."""
        calibration = self._best_on_real[speech]
        if not calibration.yardsticks:
            return 0.0
        return 1.0 / (len(calibration.at(self._least_seconds(speech, seconds)).real) + 1)

    def _least_seconds(self, speech: bool, seconds: float) -> float:
        """Give the length from which all entries that judge this sound do so."""
        asked = (e.min_seconds for e in self.entries if e.judges(speech=speech, seconds=seconds))
        return max(asked, default=traces.WINDOW_SECONDS)


LENGTHS: Final = (1, 2, 5)
"""Windows of the sounds that yardsticks are made for: 4, 8 and 20 seconds. A sound is measured
by the shortest one of its entry, however long it is: windows of one speaker agree, and
would promise more than the next speaker keeps."""
LEAST_GROUPS: Final = 30


def grouped(source: npt.NDArray[np.str_], count: int) -> list[npt.NDArray[np.int64]]:
    """Put windows of one source together to sounds of ``count`` windows, in their order."""
    out = []
    for name in dict.fromkeys(source.tolist()):
        rows = np.flatnonzero(source == name)
        out += [rows[i : i + count] for i in range(0, len(rows) - count + 1, count)]
    return out


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """The windows of a file.

    Attributes:
        starts: In seconds, shape (n,).
        sound: At 16 kHz, shape (n, WINDOW_SAMPLES).
        windows: Measured.
    """

    starts: Floats
    sound: npt.NDArray[np.float32]
    windows: Windows


class UnheardError(Exception):
    """A sound that has no window to judge; the message says why."""


def hear(waveform: Waveform, sample_rate: int) -> Heard:
    """Cut a file into windows and measure those that are not silent.

    Raises:
        UnheardError: If the sound is too short, too narrow or too quiet.
    """
    seconds = waveform.shape[1] / sample_rate
    if seconds < traces.WINDOW_SECONDS:
        msg = f"too short: {seconds:.1f} s, at least {traces.WINDOW_SECONDS:g} s"
        raise UnheardError(msg)
    if sample_rate < LEAST_SAMPLE_RATE:
        msg = f"too narrow: sample rate {sample_rate} Hz, at least {LEAST_SAMPLE_RATE} Hz"
        raise UnheardError(msg)
    mono = traces.prepare(waveform, sample_rate)
    # A resampler may return a sample or two less than it should.
    mono = np.pad(mono, (0, max(0, traces.WINDOW_SAMPLES - len(mono))))
    step = round(STEP_SECONDS * traces.SAMPLE_RATE)
    begins = np.arange(0, len(mono) - traces.WINDOW_SAMPLES + 1, step)
    if len(begins) > MOST_WINDOWS:
        begins = begins[np.linspace(0, len(begins) - 1, MOST_WINDOWS).astype(int)]
    loud = [b for b in begins if _rms(mono[b : b + traces.WINDOW_SAMPLES]) >= LEAST_RMS]
    if not loud:
        msg = "too quiet: no four seconds reach -60 dB"
        raise UnheardError(msg)
    sound = np.stack([mono[b : b + traces.WINDOW_SAMPLES] for b in loud])
    return Heard(
        starts=np.array(loud) / traces.SAMPLE_RATE,
        sound=sound,
        windows=windows_of([traces.trace(window) for window in sound]),
    )


def judge(
    waveform: Waveform, sample_rate: int, *, roster: Roster, prior: float = EVEN_PRIOR
) -> SyntheticFinding:
    """Listen to a whole file.

    Args:
        waveform: Shape (channels, samples), float32 in [-1, 1].
        sample_rate: In Hz.
        roster: Whom to ask.
        prior: Share of synthetic sound among what is judged, in (0, 1).
    """
    try:
        heard = hear(waveform, sample_rate)
    except UnheardError as error:
        return _silent(str(error), roster, prior)
    return judge_windows(heard, waveform.shape[1] / sample_rate, roster=roster, prior=prior)


def judge_windows(
    heard: Heard, seconds: float, *, roster: Roster, prior: float = EVEN_PRIOR
) -> SyntheticFinding:
    """Judge measured windows of a sound of ``seconds``."""
    reference = roster.reference
    is_speech = float(np.median(reference.speech_log_odds(heard.windows.domain))) > 0.0
    distance = float(np.median(reference.distance(heard.windows.domain)))
    outside = ""
    if distance > 1.0:
        kind = "speech" if is_speech else "music"
        outside = f"unlike the {kind} it knows: {distance:.2f} times the limit"
    # What is unlike both kinds may be either; asking twice is paid for.
    kinds = (is_speech, not is_speech) if outside else (is_speech,)
    asked = [_ask_entries(roster, heard, seconds, speech=speech) for speech in kinds]
    heads, p_known, least = min(asked, key=lambda found: found[1])
    p_known = min(1.0, p_known * len(kinds))
    # Where less real sound was counted than the limit asks for, all of it must fit worse.
    limit = max(KNOWN_P, least * len(kinds))
    answers = [head.answer for head in heads]
    generic, generic_timeline = _ask_generic(roster, heard, speech=is_speech)
    residual = heard.windows.residual.mean(axis=0)
    combs = _combs(residual, roster)
    likely = generic[0] if generic else None
    verdict, named, reason = _decide(answers, p_known, limit, likely, outside)
    if named:
        llr, p_value = answers[0].llr, p_known
        timeline = np.clip(heads[0].timeline, -heads[0].limit, heads[0].limit)
    else:
        llr = 0.0 if likely is None else likely.llr
        p_value = 1.0 if likely is None else likely.p_value
        if p_known < p_value:
            llr, p_value = max(llr, bound(p_known)), p_known
        anybody = _anybody(roster, heads, speech=is_speech)
        timeline = generic_timeline if anybody is None else np.maximum(generic_timeline, anybody)
    abstained = verdict is SynthesisVerdict.INCONCLUSIVE
    return SyntheticFinding(
        probability=prior if abstained else probability(llr, prior),
        abstained=abstained,
        reason=reason,
        segments=_timeline(heard.starts, timeline, prior),
        model_id=roster.model_id,
        verdict=verdict,
        generator=named,
        llr=llr,
        prior=prior,
        p_value=p_value,
        out_of_domain=outside,
        distance=distance,
        resolution_seconds=traces.WINDOW_SECONDS,
        peaks=comb.peaks(residual, combs),
        combs=combs,
        answers=(*answers, *generic),
        calibration_id=roster.calibration_id,
        data_card_id=roster.data_card_id,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """An answer, the evidence of each window, and where the counts cut it."""

    answer: HeadAnswer
    timeline: Floats
    limit: float = 0.0


def _ask_entries(
    roster: Roster, heard: Heard, seconds: float, *, speech: bool
) -> tuple[list[_Asked], float, float]:
    """Ask every entry about sound of one kind.

    Returns:
        The best answer first, those that cannot judge last; the p-value of the best; and
        the smallest that could have been found.
    """
    vectors = roster.reference.vectors(heard.windows)
    residual = heard.windows.residual.mean(axis=0)
    out = []
    for entry in roster.entries:
        why = _cannot(entry, residual, speech=speech, seconds=seconds)
        if why:
            answer = HeadAnswer(
                name=entry.name, family=entry.family, own=entry.own, applied=False, reason=why
            )
            out.append(_Asked(answer=answer, timeline=np.zeros(len(vectors))))
            continue
        scores = entry.scores(vectors)
        calibration = entry.calibration(speech=speech)
        whole, window = calibration.at(entry.min_seconds), calibration.at(traces.WINDOW_SECONDS)
        mean = float(scores.mean())
        answer = HeadAnswer(
            name=entry.name,
            family=entry.family,
            own=entry.own,
            score=mean,
            llr=whole.llr(mean),
            evidence=whole.evidence(mean),
            p_value=whole.p_value(mean),
        )
        timeline = np.array([window.evidence(float(s)) for s in scores])
        out.append(_Asked(answer=answer, timeline=timeline, limit=window.limit))
    out.sort(key=lambda a: (a.answer.applied, a.answer.evidence), reverse=True)
    if not out or not out[0].answer.applied:
        return out, 1.0, 0.0
    p_known = roster.p_known(out[0].answer.evidence, speech=speech, seconds=seconds)
    return out, p_known, roster.least_p(speech=speech, seconds=seconds)


def _cannot(entry: Entry, residual: Vectors, *, speech: bool, seconds: float) -> str:
    """Say why an entry cannot judge a sound, "" if it can."""
    if not entry.judges(speech=speech, seconds=seconds):
        made = " and ".join(entry.made)
        return f"it judges {made} of {entry.min_seconds:g} s and more"
    if any(comb.is_hum(residual, spacing) for spacing in entry.spacings_hz):
        return "lines where its decoder leaves some are those of mains hum here"
    return ""


def _anybody(roster: Roster, heads: Sequence[_Asked], *, speech: bool) -> Floats | None:
    """Say for each window how much likelier it is of any entry at all than real, as ln."""
    applied = [head.timeline for head in heads if head.answer.applied]
    if not applied:
        return None
    best = np.max(applied, axis=0)
    seconds = traces.WINDOW_SECONDS
    return np.array([bound(roster.p_known(float(b), speech=speech, seconds=seconds)) for b in best])


def _ask_generic(roster: Roster, heard: Heard, *, speech: bool) -> tuple[list[HeadAnswer], Floats]:
    """Ask the models that say whether, not who, in the order of the roster."""
    answers, timelines = [], []
    for model in roster.generic:
        calibration = model.calibration(speech=speech)
        if calibration is None:
            continue
        scores = model.logits(heard.sound)
        window = calibration.at(traces.WINDOW_SECONDS)
        mean = float(scores.mean())
        answers.append(
            HeadAnswer(
                name=model.name,
                family="generic",
                own=False,
                score=mean,
                llr=window.llr(mean),
                evidence=window.evidence(mean),
                p_value=window.p_value(mean),
            )
        )
        timelines.append(np.array([window.llr(float(s)) for s in scores]))
    none = np.zeros(len(heard.starts))
    return answers, timelines[0] if timelines else none


def _decide(
    answers: Sequence[HeadAnswer],
    p_known: float,
    limit: float,
    likely: HeadAnswer | None,
    outside: str,
) -> tuple[SynthesisVerdict, str, str]:
    """Choose the verdict, the generator it names and the reason if it is silent."""
    best = next((a for a in answers if a.applied), None)
    if best is not None and p_known <= limit and best.llr > 0:
        rival = next((a for a in answers[1:] if a.applied and a.family != best.family), None)
        if rival is not None and best.evidence - rival.evidence < MARGIN:
            return SynthesisVerdict.SYNTHETIC_LIKELY, "", ""
        own = SynthesisVerdict.OWN_GENERATOR if best.own else SynthesisVerdict.KNOWN_GENERATOR
        return own, best.name, ""
    if outside:
        return SynthesisVerdict.INCONCLUSIVE, "", outside
    if likely is None:
        reason = "no known generator fits, and no model is calibrated for this kind of sound"
        return SynthesisVerdict.INCONCLUSIVE, "", reason
    if likely.p_value <= LIKELY_P and likely.llr > 0:
        return SynthesisVerdict.SYNTHETIC_LIKELY, "", ""
    if likely.p_value >= CLEAR_P and p_known >= CLEAR_P / 5:
        return SynthesisVerdict.NO_SYNTHESIS_EVIDENCE, "", ""
    return SynthesisVerdict.INCONCLUSIVE, "", "the evidence is weak"


def _combs(residual: npt.NDArray[np.float32], roster: Roster) -> tuple[Comb, ...]:
    if not roster.combs:
        return ()
    found = comb.known(residual)
    if found:
        return found
    blind = comb.search(residual)
    return () if blind is None else (blind,)


def _timeline(starts: Floats, llrs: Floats, prior: float) -> tuple[Interval, ...]:
    return tuple(
        Interval(
            start_seconds=float(start),
            end_seconds=float(start) + traces.WINDOW_SECONDS,
            score=probability(float(llr), prior),
        )
        for start, llr in zip(starts, llrs, strict=True)
    )


def _silent(reason: str, roster: Roster, prior: float) -> SyntheticFinding:
    return SyntheticFinding(
        probability=prior,
        abstained=True,
        reason=reason,
        segments=(),
        model_id=roster.model_id,
        prior=prior,
        resolution_seconds=traces.WINDOW_SECONDS,
        calibration_id=roster.calibration_id,
        data_card_id=roster.data_card_id,
    )


def _rms(window: npt.NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(window.astype(np.float64) ** 2)))
