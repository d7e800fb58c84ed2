"""Is a synthetic insert in real speech found where it is?

A passage of real speech is replaced by a vocoder's copy of the very passage, so that the
words and the voice stay. The timeline tells where the classifier hears it; windows are four
seconds long, and nothing shorter is located well.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt

from safegen.audio import Audio
from safegen.errors import InputError
from safegen.evaluation.metrics import Rate
from safegen.evaluation.synthetic_bench import figures
from safegen.evaluation.synthetic_bench.heard import Clip, Judgement

Floats = npt.NDArray[np.float64]

LENGTHS: Final = (1.0, 2.0, 3.0, 4.0)
"""Of the insert, in seconds."""
SECONDS: Final = 16.0
NEAR_SECONDS: Final = 1.0
LEAST_AUC: Final = 0.85
_CLIPS: Final = 5
_FADE_SECONDS: Final = 0.01
_STEP_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Splice:
    """A sound with an insert.

    Attributes:
        clip: The sound; its generator made the insert.
        start: Of the insert, in seconds.
        seconds: Of the insert.
    """

    clip: Clip
    start: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SpliceRow:
    """Inserts of one length by one generator, or by all of them.

    Attributes:
        generator: Who made the inserts, "all" for all together.
        seconds: Length of the inserts.
        auc: Of windows that lie in the insert by half at least, or hold half of it, against
            windows that hold nothing of it; None without both.
        located: Sounds whose highest place is within a second of the insert's middle.
        sounds: How many.
    """

    generator: str
    seconds: float
    auc: float | None
    located: Rate
    sounds: int

    def as_json(self) -> dict[str, object]:
        """Give rates."""
        return {
            "generator": self.generator,
            "insert_seconds": self.seconds,
            "window_auc": figures.rounded(self.auc),
            "located_within_1s": self.located.as_json(),
            "sounds": self.sounds,
        }


def plan(clips: Sequence[Clip], *, count: int, seed: int) -> Iterator[Splice]:
    """Plan inserts of every length, by every generator that copies recordings.

    Args:
        clips: Real ones of speech and copies; a clip and its copies have the same name.
        count: Sounds for each generator and length.
        seed: Of the places.
    """
    real: dict[str, list[Clip]] = {}
    for clip in clips:
        if not clip.generator:
            real.setdefault(clip.source, []).append(clip)
    names = {_name(clip): clip for clip in clips if not clip.generator}
    dice = np.random.default_rng(seed)
    for generator in dict.fromkeys(clip.generator for clip in clips if clip.generator):
        copies = [c for c in clips if c.generator == generator and _name(c) in names]
        by_source: dict[str, list[Clip]] = {}
        for copy in copies:
            by_source.setdefault(copy.source, []).append(copy)
        hosts = [s for s in by_source if len(real[s]) >= _CLIPS]
        for seconds in LENGTHS if hosts else ():
            for number in range(count):
                source = hosts[number % len(hosts)]
                theirs = by_source[source]
                copy = theirs[(number // len(hosts)) % len(theirs)]
                yield _splice(copy, names[_name(copy)], real[source], seconds, dice)


def _splice(
    copy: Clip, twin: Clip, real: Sequence[Clip], seconds: float, dice: np.random.Generator
) -> Splice:
    """Place a copied passage among clips of the same speaker, anywhere on the grid of windows."""
    others = [clip for clip in real if clip.key != twin.key]
    around = [others[int(i)] for i in dice.permutation(len(others))[: _CLIPS - 1]]
    place = int(dice.integers(1, _CLIPS - 1))
    order = (*around[:place], twin, *around[place:])
    inside = float(dice.uniform(0.0, 4.0 - seconds))
    skipped = float(dice.uniform(0.0, 4.0))
    start = place * 4.0 + inside - skipped
    key = " + ".join([copy.key, *(c.key for c in order), f"{inside:.4f} {skipped:.4f} {seconds:g}"])
    clip = Clip(
        key=f"splice {key}",
        kind=copy.kind,
        generator=copy.generator,
        family=copy.family,
        source=copy.source,
        make=partial(_spliced, order, copy, place, inside, skipped, seconds),
    )
    return Splice(clip=clip, start=start, seconds=seconds)


def rows(found: Sequence[tuple[Splice, Judgement]]) -> list[SpliceRow]:
    """Count by length, for each generator and for all together."""
    out = []
    makers = [*dict.fromkeys(splice.clip.generator for splice, _ in found), "all"]
    for generator in makers if found else ():
        for seconds in LENGTHS:
            here = [
                (splice, j)
                for splice, j in found
                if splice.seconds == seconds and generator in (splice.clip.generator, "all")
            ]
            located = figures.share([_is_located(splice, j) for splice, j in here])
            if located is None:
                continue
            inside, outside = _windows(here)
            out.append(
                SpliceRow(
                    generator=generator,
                    seconds=seconds,
                    auc=figures.area(inside, outside),
                    located=located,
                    sounds=len(here),
                )
            )
    return out


def resolution(found: Sequence[SpliceRow]) -> float | None:
    """Give the shortest insert from which on all reach ``LEAST_AUC``; None if none does."""
    reached = None
    for row in sorted((r for r in found if r.generator == "all"), key=lambda r: -r.seconds):
        if row.auc is None or row.auc < LEAST_AUC:
            break
        reached = row.seconds
    return reached


def _windows(here: Sequence[tuple[Splice, Judgement]]) -> tuple[list[float], list[float]]:
    """Sort scores of windows into those of the insert and those of real sound."""
    inside: list[float] = []
    outside: list[float] = []
    for splice, judgement in here:
        end = splice.start + splice.seconds
        for window in judgement.finding.segments:
            common = min(end, window.end_seconds) - max(splice.start, window.start_seconds)
            if common <= 0.0:
                outside.append(window.score)
            elif common >= splice.seconds / 2.0:
                inside.append(window.score)
    return inside, outside


def _is_located(splice: Splice, judgement: Judgement) -> bool:
    """Say whether the middle of the highest place is near the middle of the insert."""
    segments = judgement.finding.segments
    if not segments:
        return False
    grid = np.arange(0.0, judgement.seconds, _STEP_SECONDS) + _STEP_SECONDS / 2
    total, count = np.zeros(len(grid)), np.zeros(len(grid))
    for window in segments:
        under = (grid >= window.start_seconds) & (grid < window.end_seconds)
        total[under] += window.score
        count[under] += 1
    heard = np.flatnonzero(count)
    mean = total[heard] / count[heard]
    highest = heard[mean >= mean.max() - 1e-12]
    # The first stretch of several that are as high.
    stretch = np.split(highest, np.flatnonzero(np.diff(highest) > 1) + 1)[0]
    middle = float(grid[stretch].mean())
    return abs(middle - (splice.start + splice.seconds / 2.0)) <= NEAR_SECONDS


def _spliced(
    order: tuple[Clip, ...],
    copy: Clip,
    place: int,
    inside: float,
    skipped: float,
    seconds: float,
) -> Audio:
    sounds = [clip.make() for clip in order]
    insert = copy.make()
    rate = insert.sample_rate
    if any(sound.sample_rate != rate for sound in sounds):
        raise InputError(
            f"clips of {copy.source} have other sample rates than their copies",
            remedy="Make the corpus again.",
        )
    host, fake = sounds[place].mono().copy(), insert.mono()
    begin, size, fade = (round(x * rate) for x in (inside, seconds, _FADE_SECONDS))
    end = min(begin + size, len(host), len(fake))
    weight = np.ones(end - begin, dtype=np.float32)
    ramp = np.linspace(0.0, 1.0, fade, dtype=np.float32)
    weight[:fade], weight[-fade:] = ramp, ramp[::-1]
    host[begin:end] += weight * (fake[begin:end] - host[begin:end])
    parts = [host if at == place else sound.mono() for at, sound in enumerate(sounds)]
    whole = np.concatenate(parts)[round(skipped * rate) :][: round(SECONDS * rate)]
    return Audio(waveform=whole[None], sample_rate=rate)


def _name(clip: Clip) -> str:
    """The file name, which a clip and its copies share."""
    return clip.key.rsplit(" ", 1)[0].rsplit("/", 1)[-1]
