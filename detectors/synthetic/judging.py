"""Layers of evidence, and a verdict that knows when to be silent.

1. Every entry of the generator registry scores every window; a file's score is the mean.
   What ships here is asked first, then the others. The best entry decides whether the
   sound comes from a known generator: its evidence is compared with that of the best
   entry *on real sound*, so that asking many entries is paid for.
2. The generic model, and any plugged-in model, say whether it is synthetic at all. They
   answer only for sound like the sound they were calibrated on.
3. Everything else is inconclusive. Only where no layer finds anything, and none is outside
   its domain, is there "no synthesis evidence".
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
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
"""Of a file; longer files, from five minutes, are heard at so many evenly spaced windows."""
LEAST_RMS: Final = 1e-3
"""-60 dB of full scale."""
LEAST_SAMPLE_RATE: Final = 8_000
CANCELED: Final = 0.1
"""Channels whose mix is this far below the loudest of them are out of phase."""
RUMBLE_BINS: Final = 16
"""Below 60 Hz there may be rumble in any recording."""
FEW_BINS: Final = 12
MOSTLY: Final = 0.9
FRAME: Final = 1_000
LEAST_SWING_DB: Final = 0.7
"""Voices move by 5 dB and more, compressed music by 1.5."""
LOUDEST: Final = 1e3
"""Samples beyond are no sound, whatever the scale was meant to be."""

KNOWN_P: Final = 0.005
"""A known generator is named if so little real sound finds an entry that fits as well."""
MARGIN: Final = 1.0
"""Least log likelihood ratio of the named entry, and its least lead over one of another family."""
SURE: Final = 2.0
"""Least log-odds of speech or of music at which models that know only one are asked."""
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
        combs: Whether combs are looked at.
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
    def own(self) -> "Roster":
        """The entries of what ships with this project, by themselves."""
        return replace(self, entries=tuple(e for e in self.entries if e.own), generic=())

    @cached_property
    def others(self) -> "Roster":
        """The other entries, by themselves."""
        return replace(self, entries=tuple(e for e in self.entries if not e.own), generic=())

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
    # Not a number is not within either.
    if not (np.abs(waveform) <= LOUDEST).all():
        msg = f"broken: a sample is not a number within {LOUDEST:g}"
        raise UnheardError(msg)
    mono = traces.prepare(_audible(waveform), sample_rate)
    # A resampler may return a sample or two less than it should.
    mono = np.pad(mono, (0, max(0, traces.WINDOW_SAMPLES - len(mono))))
    step = round(STEP_SECONDS * traces.SAMPLE_RATE)
    begins = np.arange(0, len(mono) - traces.WINDOW_SAMPLES + 1, step)
    if len(begins) > MOST_WINDOWS:
        begins = begins[np.linspace(0, len(begins) - 1, MOST_WINDOWS).astype(int)]
    loud = [b for b in begins if _rms(_steady(mono[b : b + traces.WINDOW_SAMPLES])) >= LEAST_RMS]
    if not loud:
        msg = "too quiet: no four seconds reach -60 dB"
        raise UnheardError(msg)
    sound = np.stack([_steady(mono[b : b + traces.WINDOW_SAMPLES]) for b in loud])
    reasons = [_no_sound(window) for window in sound]
    if all(reasons):
        raise UnheardError(reasons[0])
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
    odds = float(np.median(reference.speech_log_odds(heard.windows.domain)))
    is_speech = odds > 0.0
    distance = float(np.median(reference.distance(heard.windows.domain)))
    outside = ""
    if distance > 1.0:
        kind = "speech" if is_speech else "music"
        outside = f"unlike the {kind} it knows: {distance:.2f} times the limit"
    # What is unlike both kinds may be either; asking twice is paid for.
    kinds = (is_speech, not is_speech) if outside else (is_speech,)
    own, others = (_layer(part, heard, seconds, kinds) for part in (roster.own, roster.others))
    first, second = (own, others) if own.fits else (others, own)
    sure = roster.generic if abs(odds) >= SURE else ()
    generic, generic_timeline = _ask_generic(sure, heard, speech=is_speech)
    residual = heard.windows.residual.mean(axis=0)
    combs = _combs(residual, roster)
    likely = generic[0] if generic else None
    p_known = min(own.p_value, others.p_value)
    verdict, named, reason = _decide(first, p_known, likely, outside)
    if named:
        best = first.heads[0]
        llr, p_value = best.answer.llr, first.p_value
        timeline = np.clip(best.timeline, -best.limit, best.limit)
    else:
        llr, p_value = (likely.llr, likely.p_value) if likely else (0.0, 1.0)
        if verdict is SynthesisVerdict.SYNTHETIC_LIKELY:
            llr = max(llr, bound(p_known))
        # The better of two: asking twice is paid for.
        p_value = min(1.0, 2.0 * min(p_value, p_known))
        timeline = generic_timeline
        for layer in (own, others):
            timeline = np.maximum(timeline, _anybody(roster, layer, len(timeline)))
    ranked = sorted([*first.heads[1:], *second.heads], key=_rank, reverse=True)
    answers = [head.answer for head in (*first.heads[:1], *ranked)]
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """What a group of entries says.

    Attributes:
        heads: The best first, those that cannot judge last.
        speech: Whether the sound was taken for speech.
        p_value: How much real sound finds an entry of the group that fits as well.
        limit: Largest p-value that names the best.
    """

    heads: list[_Asked]
    speech: bool
    p_value: float
    limit: float

    @property
    def fits(self) -> bool:
        """Whether the best may be named."""
        return (
            bool(self.heads)
            and self.heads[0].answer.applied
            and self.heads[0].answer.llr >= MARGIN
            and self.p_value <= self.limit
        )


def _layer(roster: Roster, heard: Heard, seconds: float, kinds: Sequence[bool]) -> _Layer:
    """Ask a group of entries about sound that is speech, music, or either."""
    asked = [_ask_entries(roster, heard, seconds, speech=speech) for speech in kinds]
    chosen = min(range(len(kinds)), key=lambda kind: asked[kind][1])
    heads, p_value, least = asked[chosen]
    return _Layer(
        heads=heads,
        speech=kinds[chosen],
        p_value=min(1.0, p_value * len(kinds)),
        # Where less real sound was counted than the limit asks for, all of it must fit worse.
        limit=max(KNOWN_P, least * len(kinds)),
    )


def _rank(head: _Asked) -> tuple[bool, float]:
    return head.answer.applied, head.answer.evidence


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
    out.sort(key=_rank, reverse=True)
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


def _anybody(roster: Roster, layer: _Layer, count: int) -> Floats:
    """Say for each window how much likelier it is of any entry of a layer than real, as ln."""
    applied = [head.timeline for head in layer.heads if head.answer.applied]
    if not applied:
        return np.zeros(count)
    seconds = traces.WINDOW_SECONDS
    p_values = (
        roster.p_known(float(best), speech=layer.speech, seconds=seconds)
        for best in np.max(applied, axis=0)
    )
    return np.array([bound(p) for p in p_values])


def _ask_generic(
    models: Sequence[GenericModel], heard: Heard, *, speech: bool
) -> tuple[list[HeadAnswer], Floats]:
    """Ask the models that say whether, not who, in their order."""
    answers, timelines = [], []
    for model in models:
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
    first: _Layer,
    p_known: float,
    likely: HeadAnswer | None,
    outside: str,
) -> tuple[SynthesisVerdict, str, str]:
    """Choose the verdict, the generator it names and the reason if it is silent."""
    if first.fits:
        best, *rest = (head.answer for head in first.heads)
        if best.own:
            return SynthesisVerdict.OWN_GENERATOR, best.name, ""
        if outside:
            # Real sound of this kind was not counted: no stranger is accused.
            return SynthesisVerdict.INCONCLUSIVE, "", outside
        rival = next((a for a in rest if a.applied and a.family != best.family), None)
        if rival is not None and best.evidence - rival.evidence < MARGIN:
            return SynthesisVerdict.SYNTHETIC_LIKELY, "", ""
        return SynthesisVerdict.KNOWN_GENERATOR, best.name, ""
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


def _audible(waveform: Waveform) -> Waveform:
    """Give the loudest channel where mixing the channels would cancel them."""
    mixed = float(np.sqrt(np.mean(waveform.mean(axis=0, dtype=np.float64) ** 2)))
    levels = np.sqrt(np.mean(waveform.astype(np.float64) ** 2, axis=1))
    if mixed >= CANCELED * levels.max():
        return waveform
    return waveform[[int(levels.argmax())]]


def _steady(window: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Take the constant part away: it cannot be heard."""
    return np.asarray(window - window.mean(dtype=np.float64), dtype=np.float32)


def _no_sound(window: npt.NDArray[np.float32]) -> str:
    """Say why a window is a signal and neither a voice nor music, "" if it may be either."""
    power = np.sort(traces.mean_power(window)[RUMBLE_BINS:])[::-1]
    if power[:FEW_BINS].sum() > MOSTLY * power.sum():
        return "a few tones: nine tenths of the power lie within 50 Hz in all"
    frames = (window[: len(window) // FRAME * FRAME].reshape(-1, FRAME) ** 2).mean(axis=1)
    if frames.max() > MOSTLY * frames.sum():
        return "a click: nine tenths of the power lie within a sixteenth of a second"
    if float(np.std(10.0 * np.log10(frames + 1e-12))) < LEAST_SWING_DB:
        return f"a steady noise: its level moves by less than {LEAST_SWING_DB:g} dB"
    return ""


def _rms(window: npt.NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(window.astype(np.float64) ** 2)))
