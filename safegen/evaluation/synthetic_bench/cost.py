"""What does judging cost, by part, in core seconds for each second of sound?

Processor time of all threads, so that the answer does not depend on their number.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from detectors.synthetic import comb
from detectors.synthetic.judging import Heard, Roster, hear, judge
from safegen.audio import Audio


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Core seconds for each second of sound.

    Attributes:
        seconds: Of sound, in all.
        traces: Windows are cut and measured.
        heads: All entries are asked.
        generic: The models that need the sound are asked.
        combs: Combs are looked for.
        whole: A file is judged, from its samples to the finding.
    """

    seconds: float
    traces: float
    heads: float
    generic: float
    combs: float
    whole: float

    def as_json(self) -> dict[str, float]:
        """Round."""
        return {
            "audio_seconds": round(self.seconds, 1),
            "traces": round(self.traces, 5),
            "heads": round(self.heads, 5),
            "generic_models": round(self.generic, 5),
            "combs": round(self.combs, 5),
            "whole": round(self.whole, 5),
        }


def measure(sounds: Sequence[Audio], roster: Roster) -> Cost:
    """Judge sounds and take the time; the first is judged once before, to load everything.

    Raises:
        UnheardError: If one has no window to judge.
        ValueError: If there are no sounds.
    """
    if not sounds:
        msg = "no sound to take the time of"
        raise ValueError(msg)
    judge(sounds[0].waveform, sounds[0].sample_rate, roster=roster)
    total = sum(sound.seconds for sound in sounds)
    start = time.process_time()
    heard = [hear(sound.waveform, sound.sample_rate) for sound in sounds]
    measured = time.process_time()
    for each in heard:
        _ask_heads(each, roster)
    asked = time.process_time()
    for each in heard:
        for model in roster.generic:
            model.logits(each.sound)
    listened = time.process_time()
    for each in heard:
        residual = each.windows.residual.mean(axis=0)
        comb.known(residual) or comb.search(residual)
    looked = time.process_time()
    for sound in sounds:
        judge(sound.waveform, sound.sample_rate, roster=roster)
    end = time.process_time()
    return Cost(
        seconds=total,
        traces=(measured - start) / total,
        heads=(asked - measured) / total,
        generic=(listened - asked) / total,
        combs=(looked - listened) / total,
        whole=(end - looked) / total,
    )


def _ask_heads(heard: Heard, roster: Roster) -> None:
    vectors = roster.reference.vectors(heard.windows)
    for entry in roster.entries:
        entry.scores(vectors)
