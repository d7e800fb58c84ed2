"""What every generator is to the gate: something that turns a request into sound.

A generator holds no key, judges nothing and writes no files; the gate does. What the
shipped codec writes into its own sound is public and names nobody. A generator says
what it is through its card, and hands over, beside the sound, the white-box facts the
gate can check (the plan it wrote, the codec tokens it used).

One method is enough to be a ``Generator``. Two more are offered by those that can: many
items at once (``BatchGenerator``), and a sound piece by piece (``StreamingGenerator``).
"""

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Generator as PythonGenerator
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from safegen.audio import Audio


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of a sound.

    Attributes:
        start_seconds: >= 0.
        end_seconds: > ``start_seconds``.
    """

    start_seconds: float
    end_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """A part of a story: from its start until the next chapter, this prompt holds.

    Attributes:
        prompt: Text, not empty.
        start_seconds: >= 0; the first chapter starts at 0.
    """

    prompt: str
    start_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a user asked for.

    Which of the inputs a model takes says its card (``ModelCard.accepts``);
    ``safegen.generation.requests.check`` refuses the others.

    Attributes:
        prompt: Text; may be empty if another input says what is wanted.
        seconds: Wanted length of the result, > 0; of a continuation with its beginning.
        seed: Seed of this one item, in [0, 2**63).
        negative_prompt: What to steer away from, empty for nothing.
        melody: Sound whose melody is followed.
        continue_from: Sound that the result begins with.
        source: Sound that is varied (``strength``) or repaired (``inpaint``).
        strength: How much of ``source`` is made anew, in (0, 1].
        inpaint: Stretches of ``source`` that are made anew; the rest is kept. Empty to
            vary all of it.
        story: Prompts that follow each other, ``prompt`` unused; empty without a story.
    """

    prompt: str
    seconds: float
    seed: int
    negative_prompt: str = ""
    melody: Audio | None = None
    continue_from: Audio | None = None
    source: Audio | None = None
    strength: float = 1.0
    inpaint: tuple[Span, ...] = ()
    story: tuple[Chapter, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What goes into the record about the model, whoever made it.

    Attributes:
        name: As users type it, "music-flow" or the name a caller gave.
        version: Of the weights or of the foreign generator; "unknown" if untold.
        license: SPDX id or free text.
        weights_sha256: Lower-case hex, empty if there are none or they are not ours to see.
        training_manifest_sha256: Lower-case hex, empty if unknown.
        license_accepted: Day on which the operator accepted a license that asks for it,
            "2026-11-22"; empty if none asks, or nobody did.
        package: Python package and version that brought the generator, "my-package 1.2";
            empty for models that ship, public ones and a caller's own.
    """

    name: str
    version: str
    license: str
    weights_sha256: str = ""
    training_manifest_sha256: str = ""
    license_accepted: str = ""
    package: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One output of a generator, without an id and unjudged.

    Attributes:
        audio: The sound.
        plan_json: Canonical JSON of the score the model wrote, "" if it wrote none.
        plan_tokens: The same as integers, shape (n,), empty if it wrote none.
        codes: Codec tokens, shape (codebooks, frames), empty if there are none.
    """

    audio: Audio
    plan_json: str = ""
    plan_tokens: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    codes: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0), np.int64))


class Generator(Protocol):
    """Anything that generates."""

    @property
    def facts(self) -> ModelFacts:
        """What the record says about the model."""

    def generate(
        self, request: Request, *, progress: Callable[[float], None] | None = None
    ) -> Generation:
        """Make one item; the same request gives the same bits on the same build.

        Args:
            request: What is wanted.
            progress: Called with the share done, in [0, 1].

        Raises:
            safegen.errors.InputError: If the request is outside what the model can do.
        """


Pieces = PythonGenerator[Generation, None, None]
"""Consecutive pieces of one sound; ``close`` stops their making."""


@runtime_checkable
class BatchGenerator(Generator, Protocol):
    """A generator that makes many items faster together than one after the other."""

    def generate_batch(
        self, requests: Sequence[Request], *, progress: Callable[[float], None] | None = None
    ) -> list[Generation]:
        """Make items that differ in whatever they like; each has the bits it has alone.

        Args:
            requests: At least one.
            progress: Called with the share done of all of them, in [0, 1].

        Raises:
            safegen.errors.InputError: If one is outside what the model can do; none is made.
        """


@runtime_checkable
class StreamingGenerator(Generator, Protocol):
    """A generator whose sound can be heard before it is finished."""

    def stream(
        self, request: Request, *, progress: Callable[[float], None] | None = None
    ) -> Iterator[Generation]:
        """Make one item piece by piece; the same request gives the same bits.

        A piece holds the samples that follow those of the piece before it, of one rate and
        as many channels, and the tokens that became known with it; ``plan_json`` and
        ``plan_tokens`` are those of the whole, in the first piece at the latest.
        ``joined`` makes one generation of them. The samples need not be those of
        ``generate``, whose decoder sees the whole at once.

        Raises:
            safegen.errors.InputError: If the request is outside what the model can do,
                before the first piece.
        """


def joined(pieces: Sequence[Generation]) -> Generation:
    """Make one generation of consecutive pieces.

    Raises:
        ValueError: If there is no piece, or they differ in rate, channels or codebooks.
    """
    first = pieces[0] if pieces else None
    if first is None or any(x.audio.sample_rate != first.audio.sample_rate for x in pieces):
        msg = f"{len(pieces)} pieces of one rate are needed"
        raise ValueError(msg)
    codes = [x.codes for x in pieces if x.codes.size]
    return Generation(
        audio=Audio(
            waveform=np.concatenate([x.audio.waveform for x in pieces], axis=1),
            sample_rate=first.audio.sample_rate,
        ),
        plan_json=first.plan_json,
        plan_tokens=first.plan_tokens,
        codes=np.concatenate(codes, axis=1) if codes else first.codes,
    )


def pieces_of(
    generator: Generator, request: Request, *, progress: Callable[[float], None] | None = None
) -> Pieces:
    """Make one item piece by piece, or in one piece if the generator does not stream."""
    if isinstance(generator, StreamingGenerator):
        yield from generator.stream(request, progress=progress)
    else:
        yield generator.generate(request, progress=progress)


def together(
    generator: Generator,
    requests: Sequence[Request],
    *,
    progress: Callable[[float], None] | None = None,
) -> list[Generation]:
    """Make many items at once, or one after the other if the generator knows no batches."""
    if not requests:
        return []
    if isinstance(generator, BatchGenerator):
        return generator.generate_batch(requests, progress=progress)
    report = progress or (lambda _: None)

    def made(number: int, request: Request) -> Generation:
        return generator.generate(
            request, progress=lambda share: report((number + share) / len(requests))
        )

    return [made(number, request) for number, request in enumerate(requests)]
