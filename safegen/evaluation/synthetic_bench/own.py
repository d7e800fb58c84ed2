"""Are the outputs of the models that ship told from recordings of music?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from detectors.synthetic.finding import SynthesisVerdict
from safegen.audio import Audio
from safegen.evaluation.generation import read_prompts
from safegen.evaluation.metrics import Rate
from safegen.evaluation.synthetic_bench import figures
from safegen.evaluation.synthetic_bench.heard import Clip, Judgement
from safegen.evaluation.synthetic_bench.known import grouped
from safegen.evaluation.synthetic_bench.negatives import marked
from safegen.generation.base import Generator
from safegen.training.measured import TREATMENTS, Treatment
from safegen.training.outputs import generated, requests_for

SECONDS: Final = 10.0
FIRST_SEED: Final = 1
"""As ``safegen eval memorization``, so that both share their outputs."""
CODECS: Final = ("clean", "mp3-64k", "opus-32k")
FAMILY: Final = "own"


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnRow:
    """Outputs of one shipped model after one treatment, beside recordings after the same.

    Attributes:
        generator: Of the model.
        treatment: What both classes went through.
        own: Outputs called our own.
        called: Outputs called synthetic, by whichever verdict.
        real_own: Recordings called our own; None without recordings.
        real_called: Recordings called synthetic.
    """

    generator: str
    treatment: str
    own: Rate
    called: Rate
    real_own: Rate | None
    real_called: Rate | None

    def as_json(self) -> dict[str, object]:
        """Give rates."""
        return {
            "generator": self.generator,
            "treatment": self.treatment,
            "called_own": self.own.as_json(),
            "called_synthetic": self.called.as_json(),
            "real_called_own": figures.as_json(self.real_own),
            "real_called_synthetic": figures.as_json(self.real_called),
        }


def treatments() -> dict[str, Treatment]:
    """Every codec, for sound that is marked and sound that is not."""
    out = {name: TREATMENTS[name] for name in CODECS}
    return out | {f"{name}, marked": partial(_marked_then, name) for name in CODECS}


def outputs(model: Generator, *, folder: Path, count: int) -> Iterator[Clip]:
    """List the outputs of a model on prompts it was not trained on; made if not in the folder."""
    prompts = tuple(wish.prompt for wish in read_prompts())[:count]
    requests = requests_for(prompts, seconds=SECONDS, first_seed=FIRST_SEED)
    facts = model.facts
    made = generated(model, requests, folder=folder)
    for request, generation in zip(requests, made, strict=True):
        audio = generation.audio
        yield Clip(
            key=f"{facts.name} {facts.version} {facts.weights_sha256} {request}",
            kind="music",
            generator=facts.name,
            family=FAMILY,
            source=f"prompt {request.seed}",
            make=partial(_as_is, audio),
        )


def rows(judgements: Sequence[Judgement]) -> list[OwnRow]:
    """Count by generator and treatment."""
    out = []
    for (_, treatment, _), here in grouped(judgements).items():
        real = [j for j in here if not j.clip.generator]
        for name in dict.fromkeys(j.clip.generator for j in here if j.clip.generator):
            mine = [j for j in here if j.clip.generator == name]
            own, called = _own(mine), figures.called(mine)
            if own is not None and called is not None:
                out.append(
                    OwnRow(
                        generator=name,
                        treatment=treatment,
                        own=own,
                        called=called,
                        real_own=_own(real),
                        real_called=figures.called(real),
                    )
                )
    return out


def by_generator(found: Sequence[OwnRow]) -> Mapping[str, list[OwnRow]]:
    """Put the rows of one model together."""
    return {
        name: [row for row in found if row.generator == name]
        for name in dict.fromkeys(row.generator for row in found)
    }


def _own(judgements: Sequence[Judgement]) -> Rate | None:
    return figures.share([j.finding.verdict is SynthesisVerdict.OWN_GENERATOR for j in judgements])


def _marked_then(codec: str, audio: Audio) -> Audio:
    return TREATMENTS[codec](marked(audio))


def _as_is(audio: Audio) -> Audio:
    return audio
