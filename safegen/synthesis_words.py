"""What does an answer about synthetic sound mean, in plain words?

Read from the JSON of records, so that pages, pictures and commands say the same; records
from before a figure was kept say less.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from detectors.synthetic.finding import SynthesisVerdict
from safegen.policy import p_text, verdict_text
from safegen.synthesis import Because

_KNOWN_BECAUSE = {
    Because.LOG: "ours: these are the bytes of a logged release",
    Because.WATERMARK: "ours: it carries our watermark",
    Because.MANIFEST: "ours: our signed manifest says so",
    Because.DECODER_MARK: "ours: it was made with the shipped safegen codec",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A stretch of time that the same windows cover.

    Attributes:
        start_seconds: Inclusive.
        end_seconds: Exclusive.
        score: Mean probability of these windows.
    """

    start_seconds: float
    end_seconds: float
    score: float


def headline(written: Mapping[str, Any]) -> str:
    """Say the answer; "" if there is none.

    Args:
        written: As ``safegen.synthesis.synthesis_json`` gives it.
    """
    because = Because(written.get("because", ""))
    if because in _KNOWN_BECAUSE:
        return _KNOWN_BECAUSE[because]
    verdict = written.get("verdict")
    if verdict:
        return verdict_text(SynthesisVerdict(verdict), str(written.get("generator", "")))
    return ""


def sentences(written: Mapping[str, Any]) -> tuple[str, ...]:
    """Say what the classifier's answer rests on, and what it cannot say; may be empty."""
    probability = written.get("probability")
    if probability is None:
        return ()
    out = []
    if written.get("because") and written["because"] != Because.CLASSIFIER.value:
        verdict = SynthesisVerdict(written["classifier_verdict"])
        name = next((str(head["name"]) for head in written.get("heads", ())), "")
        out.append(f"The classifier alone: {verdict_text(verdict, name)}.")
    if written.get("out_of_domain"):
        out.append(
            f"It abstains, because it has heard nothing like this ({written['out_of_domain']}): "
            "whatever it measured here means little."
        )
    elif written.get("abstained"):
        out.append(f"It abstains: {written.get('reason') or 'no reason given'}.")
    else:
        out.append(_figures(written, float(probability)))
    # The others are mostly multiples or parts of the strongest.
    out += [_comb(comb) for comb in written.get("combs", ())[:1]]
    if written.get("resolution_seconds") and written.get("segments"):
        out.append(f"Nothing shorter than {written['resolution_seconds']:g} s is located.")
    return tuple(out)


def cells(segments: Sequence[Mapping[str, float]]) -> tuple[Cell, ...]:
    """Turn overlapping windows into stretches side by side; silence between them stays open."""
    edges = sorted({s["start_seconds"] for s in segments} | {s["end_seconds"] for s in segments})
    out = []
    for start, end in pairwise(edges):
        inside = [
            s["score"] for s in segments if s["start_seconds"] <= start and end <= s["end_seconds"]
        ]
        if inside:
            score = math.fsum(inside) / len(inside)
            out.append(Cell(start_seconds=start, end_seconds=end, score=score))
    return tuple(out)


def _figures(written: Mapping[str, Any], probability: float) -> str:
    if written.get("llr") is None or written.get("p_value") is None:
        return f"Synthetic probability {probability:.2f}."
    return (
        f"Log likelihood ratio {written['llr']:.1f}, p {p_text(written['p_value'])} "
        f"({_share(written['p_value'])} of real sound looks as synthetic); synthetic "
        f"probability {probability:.2f} at a prior of {written['prior']:g}."
    )


def _share(p_value: float) -> str:
    """Write a share as people say it."""
    if p_value >= 0.1:
        return f"{100 * p_value:.0f} %"
    return f"1 in {round(1 / p_value)}" if p_value > 0 else "nothing"


def _comb(comb: Mapping[str, Any]) -> str:
    """Say what lines at equal distances point to; a comb alone is never a verdict."""
    reading = comb.get("reading")
    points = f"as a decoder with {reading} leaves them" if reading else "of no decoder known here"
    return f"Lines every {comb['spacing_hz']:.2f} Hz stand out (z {comb['z']:.1f}), {points}."
