"""A roster and clips made of numbers, so that a test takes no time."""

from dataclasses import fields, replace
from functools import cache

import numpy as np

from detectors.synthetic import traces, trivial
from detectors.synthetic.finding import SynthesisVerdict, SyntheticFinding
from detectors.synthetic.judging import Roster
from detectors.synthetic.reference import Windows
from safegen.audio import Audio
from safegen.evaluation.synthetic_bench.heard import Clip, Judgement, Piece
from safegen.training.heads import Facts, fit, learn_reference
from safegen.training.measured import Table, join

RESIDUAL = traces.LAST_BIN - traces.FIRST_BIN
SHAPE = len(traces.texture_names()) + len(traces.pulse_names())
FAR = 3.0
"""How far a generator's numbers lie from real ones."""


def windows(n: int, *, seed: int, bins: slice = slice(0, 0), shift: float = 0.0) -> Windows:
    """Draw windows; some bins of the residual are shifted."""
    dice = np.random.default_rng(seed)
    residual = dice.standard_normal((n, RESIDUAL)).astype(np.float32)
    residual[:, bins] += shift
    return Windows(
        residual=residual,
        shape=dice.standard_normal((n, SHAPE)).astype(np.float32),
        domain=dice.standard_normal((n, traces.DOMAIN_SIZE)).astype(np.float32),
    )


BINS = {"first": slice(0, 40), "second": slice(40, 80), "third": slice(80, 120)}
FAMILIES = {"first": "vocoder", "second": "vocoder", "third": "formant"}


def table(generator: str, *, kind: str, role: str, n: int, seed: int) -> Table:
    """Draw windows of one generator, "" for real ones, six sources."""
    shift = FAR if generator else 0.0
    made = windows(n, seed=seed, bins=BINS.get(generator, slice(0, 0)), shift=shift)
    if kind == "music":
        made = replace(made, domain=made.domain + 4.0)
    source = np.array([f"{kind} {role} {generator} {i * 6 // n}" for i in range(n)])
    same = {"generator": generator, "role": role, "kind": kind, "name": "x", "treatment": "clean"}
    columns = {name: np.full(n, value) for name, value in same.items()}
    assert {f.name for f in fields(Table)} == {"windows", "source", *columns}
    return Table(windows=made, source=source, **columns)


@cache
def roster(names: tuple[str, ...] = ("first", "second", "third")) -> Roster:
    """Fit entries for generators whose residual is shifted in bins of their own."""
    real = join(
        [
            table("", kind=kind, role=role, n=n, seed=10 * i + j)
            for i, kind in enumerate(("speech", "music"))
            # A p-value below the limit takes more than 200 sounds.
            for j, (role, n) in enumerate((("train", 60), ("calibrate", 240)))
        ]
    )
    reference = replace(learn_reference(real, card={}), digest="numbers")
    entries = []
    for number, name in enumerate(names):
        facts = Facts(
            name=name,
            family=FAMILIES[name],
            own=False,
            sample_rate=16_000,
            spacings_hz=(),
            min_seconds=0.0,
            card="",
        )
        outputs = table(name, kind="speech", role="held", n=60, seed=100 + number)
        entries.append(fit(facts, outputs, reference))
    return Roster(reference=reference, entries=tuple(entries))


def _never() -> Audio:
    raise AssertionError


def clip(generator: str = "", source: str = "a", kind: str = "speech", key: str = "k") -> Clip:
    """Plan a clip that must not be made."""
    return Clip(
        key=key,
        kind=kind,
        generator=generator,
        family=FAMILIES.get(generator, ""),
        source=source,
        make=_never,
    )


def piece(
    generator: str = "", *, source: str = "a", seed: int = 0, treatment: str = "clean"
) -> Piece:
    """Draw one window of a generator."""
    shift = FAR if generator else 0.0
    made = windows(1, seed=seed, bins=BINS.get(generator, slice(0, 0)), shift=shift)
    dice = np.random.default_rng(seed)
    return Piece(
        clip=clip(generator, source),
        treatment=treatment,
        seconds=4.0,
        starts=np.zeros(1),
        windows=made,
        logits=np.zeros((1, 0)),
        trivial=dice.standard_normal(len(trivial.trivial_names())),
    )


def judgement(
    verdict: SynthesisVerdict,
    *,
    generator: str = "",
    named: str = "",
    llr: float = 0.0,
    treatment: str = "clean",
    seconds: float = 4.0,
    finding: SyntheticFinding | None = None,
) -> Judgement:
    """Say something of a sound."""
    silent = verdict is SynthesisVerdict.INCONCLUSIVE
    said = SyntheticFinding(
        probability=0.5 if silent else float(1.0 / (1.0 + np.exp(-llr))),
        abstained=silent,
        reason="",
        segments=(),
        model_id="numbers",
        verdict=verdict,
        generator=named,
        llr=llr,
    )
    return Judgement(
        pieces=(piece(generator, treatment=treatment),), seconds=seconds, finding=finding or said
    )
