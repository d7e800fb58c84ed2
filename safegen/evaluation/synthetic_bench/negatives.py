"""Is real sound called synthetic when something has been done to it?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from safegen.audio import Audio
from safegen.evaluation import enhancer, perth
from safegen.evaluation.attacks import ATTACKS
from safegen.evaluation.metrics import Rate
from safegen.evaluation.synthetic_bench import figures
from safegen.evaluation.synthetic_bench.heard import Judgement
from safegen.evaluation.synthetic_bench.known import grouped
from safegen.training.measured import TREATMENTS, Treatment
from safegen.watermark import embed

ENHANCED: Final = "enhanced"
PERTH: Final = "marked by Perth"
SECONDS: Final = 8.0
"""Of speech: sound that is played faster must still fill a window."""
CHAIN: Final = ("aac-64k", "opus-24k", "mp3-64k")
_ATTACKS: Final = (
    *("pitch+1", "pitch-1", "pitch+2", "pitch-2", "tempo-0.90", "tempo-1.10"),
    *("speed-0.90", "speed-1.10", "compressor-4", "limiter-9db", "compand", "denoise"),
    *("mp3-32k", "aac-32k", "opus-16k"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hard:
    """Real sound after one thing that was done to it.

    Attributes:
        kind: "speech" or "music".
        name: What was done.
        called: How many are called synthetic.
        verdicts: How many got each verdict.
        accused: The generators that were named, most frequent first.
    """

    kind: str
    name: str
    called: Rate
    verdicts: Mapping[str, Rate]
    accused: Mapping[str, int]

    def as_json(self) -> dict[str, object]:
        """Give rates."""
        return {
            "kind": self.kind,
            "name": self.name,
            "called_synthetic": self.called.as_json(),
            "verdicts": {name: rate.as_json() for name, rate in self.verdicts.items()},
            "generators_named": dict(self.accused),
        }


def available() -> dict[str, Treatment]:
    """Give what can be done to real sound with what is installed, by name."""
    out: dict[str, Treatment] = {"untouched": lambda audio: audio, "marked by us": marked}
    if perth.is_installed():
        out[PERTH] = perth.embed
    if enhancer.is_installed():
        out[ENHANCED] = enhancer.enhance
    out |= {name: ATTACKS[name] for name in _ATTACKS}
    out |= {name: TREATMENTS[name] for name in ("opus-12k", "telephone")}
    out["three codecs"] = _through_three
    return out


def missing() -> dict[str, str]:
    """Say what cannot be done, and what gets it."""
    out = {}
    if not perth.is_installed():
        out[PERTH] = f"pip install --no-deps {perth.PACKAGE}==1.0.1"
    if not enhancer.is_installed():
        out[ENHANCED] = enhancer.GET
    return out


def rows(judgements: Sequence[Judgement]) -> list[Hard]:
    """Count by kind of sound and what was done to it."""
    groups: dict[tuple[str, str], list[Judgement]] = {}
    for (kind, name, _), same_length in grouped(judgements).items():
        groups.setdefault((kind, name), []).extend(same_length)
    out = []
    for (kind, name), here in groups.items():
        called = figures.called(here)
        if called is None:
            continue
        named = [j.finding.generator for j in here if j.finding.generator]
        order = sorted(set(named), key=lambda each: (-named.count(each), each))
        out.append(
            Hard(
                kind=kind,
                name=name,
                called=called,
                verdicts=figures.verdicts(here),
                accused={each: named.count(each) for each in order},
            )
        )
    return out


def marked(audio: Audio) -> Audio:
    """Mark a sound as we do, with a key and a payload of its own."""
    dice = np.random.default_rng(audio.waveform.shape[1] + int(1e6 * float(audio.waveform.std())))
    return embed(audio, payload=int(dice.integers(0, 2**63)), key=dice.bytes(32))


def _through_three(audio: Audio) -> Audio:
    for name in CHAIN:
        audio = TREATMENTS[name](audio)
    return audio
