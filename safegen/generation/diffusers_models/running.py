"""What do all diffusion pipelines share? Own randomness, equal batches, exact lengths.

Every draw of an item comes from its own generator on the CPU, in the same order whoever
shares its batch: the first noise is drawn here and handed in, and a scheduler that adds
noise on its way gets the items' generators, not the library's global one.

On the CPU items are made one after the other, where a batch saves no time, so an item has
the same bits alone and among others. On a GPU items that have the same shape are made
together: the same noise, and the same sound but for what other kernels round in the last
bits.
"""

from __future__ import annotations

import functools
import inspect
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from safegen.audio import Audio, resample
from safegen.errors import InputError, SafegenError
from safegen.generation.base import Generation, ModelFacts, Request
from safegen.generation.diffusers_models.loading import quiet
from safegen.generation.memory import room_for_sound
from safegen.generation.model_card import ModelCard
from safegen.generation.public_families import Device, Precision
from safegen.generation.requests import check
from safegen.generation.stages import dice, ended

EDGE_SECONDS: Final = 0.02
"""How long a kept stretch and a new one are blended where they meet."""
_BROWNIAN: Final = "CosineDPMSolverMultistepScheduler"
_REPEATABLE: Final = (
    _BROWNIAN,
    "DDIMScheduler",
    "DPMSolverMultistepScheduler",
    "EDMDPMSolverMultistepScheduler",
    "EDMEulerScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "FlowMatchEulerDiscreteScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "UniPCMultistepScheduler",
)
"""Schedulers that draw nothing, or draw from the generators they are handed."""

OnStep = Callable[[int], None]
"""Called with the number of steps done."""


class Diffuser(ABC):
    """A pipeline as a generator; each family says how its pipeline is called.

    Args:
        card: What is reported about it.
        pipeline: Of ``diffusers``, on its device.
        device: Where it is.
        precision: Of its weights.
    """

    def __init__(
        self, card: ModelCard, pipeline: Any, *, device: Device, precision: Precision
    ) -> None:
        self.card = card
        self.pipeline = pipeline
        self.scheduler = pipeline.scheduler
        self.device: Device = device
        self.precision: Precision = precision
        # A run changes the pipeline: its scheduler, its precision, its tokenizer's padding.
        self._alone = threading.Lock()
        name = type(self.scheduler).__name__
        if name not in _REPEATABLE:
            raise InputError(
                f"{card.name}: its scheduler is {name}, whose noise cannot be repeated here",
                remedy=f"Save the pipeline with one of: {', '.join(_REPEATABLE)}.",
            )

    @property
    def facts(self) -> ModelFacts:
        """What the record says about the model."""
        return self.card.facts

    def generate(
        self, request: Request, *, progress: Callable[[float], None] | None = None
    ) -> Generation:
        """Make one item; see ``safegen.generation.base.Generator``.

        Raises:
            InputError: If the request is outside what the card allows.
            SafegenError: If memory runs out, or the model's numbers overflow.
        """
        return self.generate_batch([request], progress=progress)[0]

    def generate_batch(
        self, requests: Sequence[Request], *, progress: Callable[[float], None] | None = None
    ) -> list[Generation]:
        """Make items; together on a GPU if they have the same shape, else one by one.

        Raises:
            InputError: If one request is outside what the card allows; none is made.
            SafegenError: If memory runs out, or the model's numbers overflow.
        """
        with self._alone:
            for request in requests:
                check(request, self.card)
                self.refuse(request)
            made: dict[int, Audio] = {}
            for group in self._groups(requests):
                share = _share_of(progress, done=len(made), now=len(group), of=len(requests))
                together = self._together([requests[place] for place in group], share)
                made.update(zip(group, together, strict=True))
        return [
            Generation(
                audio=made[place],
                plan_json="",
                plan_tokens=np.zeros(0, dtype=np.int64),
                codes=np.zeros((0, 0), dtype=np.int64),
            )
            for place in range(len(requests))
        ]

    def _groups(self, requests: Sequence[Request]) -> list[list[int]]:
        """Say which requests are made together, by their places."""
        if self.device == "cpu":
            return [[place] for place in range(len(requests))]
        groups: dict[Hashable, list[int]] = {}
        for place, request in enumerate(requests):
            groups.setdefault(self.shape(request), []).append(place)
        return list(groups.values())

    def _together(
        self, requests: Sequence[Request], progress: Callable[[float], None] | None
    ) -> list[Audio]:
        steps = self.steps(requests[0])

        def on_step(done: int) -> None:
            if progress is not None:
                progress(min(1.0, done / steps))

        with (
            room_for_sound(
                self.card,
                batch=len(requests),
                seconds=requests[0].seconds,
                device=self.device,
                precision=self.precision,
            ),
            torch.inference_mode(),
            quiet(),
        ):
            made = self.make(requests, [dice(x.seed, "diffusion") for x in requests], on_step)
            waveforms = made.float().cpu().numpy()
        return [self._finished(x, y) for x, y in zip(requests, waveforms, strict=True)]

    def _finished(self, request: Request, waveform: np.ndarray[Any, Any]) -> Audio:
        """Cut to the asked length; what would clip is made softer, not cut off."""
        if not np.isfinite(waveform).all():
            raise SafegenError(
                f"{self.card.name} made samples that are NaN or infinite in {self.precision}",
                remedy="Use `--precision float32`.",
            )
        loudest = max(1.0, float(np.abs(waveform).max()))
        audio = Audio(
            waveform=np.asarray(waveform / loudest, dtype=np.float32),
            sample_rate=self.card.sample_rate,
        )
        return ended(audio, self.samples(request))

    def samples(self, request: Request) -> int:
        """Count the samples that a request asks for."""
        return round(request.seconds * self.card.sample_rate)

    def refuse(self, request: Request) -> None:  # noqa: B027 - most families refuse nothing more
        """Refuse what the card alone does not tell.

        Raises:
            InputError: If this pipeline cannot do it.
        """

    @abstractmethod
    def shape(self, request: Request) -> Hashable:
        """Tell what requests must share to be made together."""

    @abstractmethod
    def steps(self, request: Request) -> int:
        """Count the steps of a request."""

    @abstractmethod
    def make(
        self, requests: Sequence[Request], dices: list[torch.Generator], on_step: OnStep
    ) -> Tensor:
        """Run the pipeline on requests of one shape.

        Args:
            requests: n >= 1.
            dices: Each request's randomness, on the CPU.
            on_step: Told after every step.

        Returns:
            Waveforms, shape (n, channels, samples), at least as long as asked.
        """


def seeded(scheduler: Any, dices: list[torch.Generator], **changes: Any) -> Any:
    """Make a fresh scheduler of the same settings that draws from the items' generators.

    Pipelines differ in whether they hand their generators on (AceStepPipeline does not),
    and a scheduler keeps state between runs, so each run gets its own. The one with a
    Brownian tree wants its increments over steps that do not overlap: these are independent
    normal numbers, so they are drawn from the generators too.
    """
    fresh = type(scheduler).from_config(scheduler.config, **changes)
    inner = fresh.step
    takes_generator = "generator" in inspect.signature(inner).parameters

    @functools.wraps(inner)
    def step(model_output: Tensor, *args: Any, **options: Any) -> Any:
        if takes_generator:
            options["generator"] = dices
        if type(fresh).__name__ == _BROWNIAN:
            fresh.noise_sampler = lambda _now, _next: drawn(dices, model_output[0])
        return inner(model_output, *args, **options)

    fresh.step = step
    return fresh


@contextmanager
def in_float32(model: Any) -> Iterator[None]:
    """Compute in float32 for a while: bfloat16 has eight bits, and a sound needs sixteen."""
    dtype = model.dtype
    model.to(torch.float32)
    try:
        yield
    finally:
        model.to(dtype)


def drawn(dices: list[torch.Generator], like: Tensor) -> Tensor:
    """Draw normal numbers for every item on the CPU, shape (n, *like.shape)."""
    noise = torch.stack([torch.randn(like.shape, generator=x) for x in dices])
    return noise.to(device=like.device, dtype=like.dtype)


def fitted(sounds: Sequence[Audio], like: Tensor, *, sample_rate: int) -> Tensor:
    """Bring sounds to a rate, a number of channels and a length, with silence at the end.

    Args:
        sounds: n >= 1.
        like: Shape (channels, samples), on the device and of the type that is wanted.
        sample_rate: Wanted, in Hz.

    Returns:
        Shape (n, channels, samples).
    """
    channels, samples = like.shape
    out = torch.zeros(len(sounds), channels, samples)
    for row, sound in zip(out, sounds, strict=True):
        heard = resample(sound, sample_rate).waveform[:, :samples]
        if heard.shape[0] != channels:
            heard = heard.mean(axis=0, keepdims=True)
        row[:, : heard.shape[1]] = torch.from_numpy(np.ascontiguousarray(heard))
    return out.to(device=like.device, dtype=like.dtype)


def spliced(made: Tensor, kept: Tensor, keep: Tensor, *, sample_rate: int) -> Tensor:
    """Put back what shall stay, blended for a moment where it meets what is new.

    Args:
        made: Shape (n, channels, samples).
        kept: Likewise: the sound that was given.
        keep: Shape (samples,), bool: where it stays.
        sample_rate: In Hz.

    Returns:
        Shape (n, channels, samples), ``kept`` where ``keep`` holds, but for the edges.
    """
    edge = max(1, round(EDGE_SECONDS * sample_rate))
    share = np.zeros(len(keep), dtype=np.float32)
    flags = np.concatenate([[False], keep.cpu().numpy(), [False]])
    changes = np.flatnonzero(flags[1:] != flags[:-1]).reshape(-1, 2)
    for first, last in changes:
        width = min(edge, (last - first) // 2)
        share[first:last] = 1.0
        ramp = (np.arange(width, dtype=np.float32) + 1) / (width + 1)
        if first > 0:
            share[first : first + width] = ramp
        if last < len(share):
            share[last - width : last] = ramp[::-1]
    weight = torch.from_numpy(share).to(made.device)
    return made * (1 - weight) + kept * weight


def refuse_long_text(card: ModelCard, tokenizer: Any, texts: Sequence[str], *, most: int) -> None:
    """Refuse a text of which the model would read only the beginning.

    Raises:
        InputError: If one has more tokens than the model reads.
    """
    for text in texts:
        with quiet():
            count = len(tokenizer(text).input_ids)
        if count > most:
            raise InputError(
                f"a text has {count} tokens, {card.name} reads {most}",
                remedy="Shorten the prompt.",
            )


def _share_of(
    progress: Callable[[float], None] | None, *, done: int, now: int, of: int
) -> Callable[[float], None] | None:
    """Turn the share of a group into the share of all."""
    if progress is None:
        return None
    return lambda share: progress((done + now * share) / of)
