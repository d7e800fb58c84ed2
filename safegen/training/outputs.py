"""What does the shipped model make of these prompts? Each output is generated once.

Benchmarks and recipes that need many outputs share a folder: a sound as FLAC, its score
and codes beside it, named by the weights, the prompt, the length and the seed. New
weights make new names, so a stale output is never mistaken for a fresh one.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from safegen.audio import Audio, load, save
from safegen.generation.base import Generation, Generator, Request
from safegen.generation.captions import caption
from safegen.generation.compose import compose


def generated(
    generator: Generator, requests: tuple[Request, ...], *, folder: Path
) -> Iterator[Generation]:
    """Yield the output of each request, from the folder if it is there."""
    folder.mkdir(parents=True, exist_ok=True)
    for request in requests:
        sound = folder / f"{_name(generator, request)}.flac"
        facts = sound.with_suffix(".npz")
        if not facts.exists():
            made = generator.generate(request)
            save(made.audio, sound)
            temporary = facts.with_suffix(".part")
            with temporary.open("wb") as file:
                np.savez(
                    file, tokens=made.plan_tokens, codes=made.codes, plan=np.array(made.plan_json)
                )
            temporary.replace(facts)
        with np.load(facts, allow_pickle=False) as data:
            yield Generation(
                audio=load(sound),
                plan_json=str(data["plan"]),
                plan_tokens=data["tokens"],
                codes=data["codes"],
            )


def prompts_of(seeds: range) -> tuple[str, ...]:
    """Describe pieces in words; with unseen seeds these are unseen prompts."""
    return tuple(caption(compose(seed), random.Random(seed)) for seed in seeds)  # noqa: S311


def requests_for(
    prompts: tuple[str, ...], *, seconds: float, first_seed: int
) -> tuple[Request, ...]:
    """Ask for one output per prompt, each with a seed of its own."""
    return tuple(
        Request(prompt=prompt, seconds=seconds, seed=first_seed + number)
        for number, prompt in enumerate(prompts)
    )


def excerpt(audio: Audio, *, seconds: float, start: float) -> Audio:
    """Cut a mono excerpt; ``start`` in [0, 1] chooses where it lies."""
    begin = start * max(0.0, audio.seconds - seconds)
    part = audio.cut(begin, begin + seconds)
    return Audio(waveform=part.mono()[None], sample_rate=part.sample_rate)


def _name(generator: Generator, request: Request) -> str:
    facts = generator.facts
    parts = (
        facts.name,
        facts.version,
        facts.weights_sha256,
        request.prompt,
        request.negative_prompt,
        f"{request.seconds:g}",
        str(request.seed),
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
