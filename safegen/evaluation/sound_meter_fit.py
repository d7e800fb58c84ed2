"""Where do the weights of the sound meter come from, and how often is it right?

Scenes of seeds that no model trains on, each heard clean and through the codec. While it
learns, pairs of scenes are laid over each other in the mel domain and every item is moved
in time and level and blurred a little, so that a few hundred scenes are enough.

``ceiling`` asks the meter about scenes of other seeds again: with one sound, is it the
first guess; with two, are one or both among the first two.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from safegen.audio import Audio
from safegen.evaluation.sound_meter import SoundMeter, heard, probabilities
from safegen.generation.codec import Codec
from safegen.generation.scenes import Scene, compose_scene, render_scene
from safegen.generation.sounds import NAMES, sound
from safegen.training.loop import Progress, Run, save_module, started_from

SEEDS: Final = range(8_500_000, 8_500_260)
CEILING_SEEDS: Final = range(9_500_000, 9_501_000)
SECONDS: Final = 5.0
LEARNING_RATE: Final = 2e-3
_DECODED_EVERY: Final = 8
_BLUR: Final = 0.08


@dataclass(frozen=True, slots=True, kw_only=True)
class HeardScenes:
    """Scenes as the meter hears them.

    Attributes:
        mels: Shape (n, t, MELS).
        sounds: 1 where a sound is heard, shape (n, sounds).
    """

    mels: Tensor
    sounds: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """How often the meter is right.

    Attributes:
        one: Share of one-sound scenes whose sound is the first guess.
        either: Share of two-sound scenes with at least one of them in the first two.
        both: Share of two-sound scenes whose sounds are the first two guesses.
        scenes: How many scenes with one and with two sounds were asked about.
    """

    one: float
    either: float
    both: float
    scenes: tuple[int, int]


def listen(
    codec: Codec, *, samples: Path, path: Path, seeds: range = SEEDS, seconds: float = SECONDS
) -> Iterator[int]:
    """Render scenes, clean and through the codec, into a file; skip what is there.

    Every eighth scene is decoded to sound and heard again, the others only to log-mel.

    Yields:
        How many scenes are done.

    Cost: about 0.2 s of one core per scene.
    """
    from safetensors.torch import save_file

    if path.exists():
        yield len(seeds)
        return
    mels, rows = [], []
    for done, seed in enumerate(seeds, 1):
        scene = compose_scene(seed)
        audio = render_scene(scene, seconds=seconds, samples=samples)
        clean = heard(audio)
        mels += [clean, _passed(codec, audio, clean, aloud=done % _DECODED_EVERY == 0)]
        rows += [labels(scene, seconds=seconds)] * 2
        yield done
    save_file({"mels": torch.cat(mels).half(), "sounds": torch.stack(rows)}, path)


def fit(scenes: HeardScenes, *, folder: Path, steps: int, batch: int = 32) -> Iterator[Progress]:
    """Train the meter, or continue the run found in the folder.

    Args:
        scenes: What it learns from.
        folder: Where the run is kept; the result is ``sound-meter.safetensors``.
        steps: Optimizer steps of the whole run.
        batch: Scenes per step.

    Yields:
        The loss of each step.
    """
    with started_from(11):
        meter = SoundMeter()
    run = Run(meter, steps=steps, learning_rate=LEARNING_RATE, seed=11)
    run.resume(folder)
    while run.step < steps:
        mels, present = _batch(scenes, run.generator(), batch)
        loss = F.binary_cross_entropy_with_logits(meter(mels), present, reduction="sum") / batch
        yield run.update(loss)
        if run.step % 100 == 0 or run.step == steps:
            run.save(folder)
    save_module(run.averaged(), folder / "sound-meter.safetensors", prefix="")


def read_scenes(path: Path) -> HeardScenes:
    """Open what ``listen`` kept."""
    from safetensors.torch import load_file

    found = load_file(path)
    return HeardScenes(mels=found["mels"], sounds=found["sounds"])


def ceiling(
    meter: SoundMeter,
    *,
    samples: Path,
    codec: Codec | None = None,
    seeds: range = CEILING_SEEDS,
    seconds: float = SECONDS,
) -> Ceiling:
    """Ask the meter about scenes whose sounds are known.

    Args:
        meter: Which is asked.
        samples: Folder with the recorded sounds.
        codec: Scenes go through it first; clean scenes if None.
        seeds: Of the scenes; scenes of three sounds do not count.
        seconds: Of each scene.
    """
    one, either, both = [], [], []
    for seed in seeds:
        scene = compose_scene(seed)
        wanted = {NAMES[int(i)] for i in labels(scene, seconds=seconds).nonzero()}
        if len(wanted) > 2:
            continue
        audio = render_scene(scene, seconds=seconds, samples=samples)
        if codec is not None:
            audio = codec.decode_codes(codec.encode(audio))
        first, second = list(probabilities(audio, meter))[:2]
        if len(wanted) == 1:
            one.append(first in wanted)
        else:
            either.append(bool(wanted & {first, second}))
            both.append(wanted == {first, second})
    return Ceiling(
        one=_share(one),
        either=_share(either),
        both=_share(both),
        scenes=(len(one), len(both)),
    )


def labels(scene: Scene, *, seconds: float) -> Tensor:
    """Mark what is heard in the first seconds of a scene; shape (sounds,)."""
    from safegen.generation.scenes import events

    row = torch.zeros(len(NAMES))
    for layer in scene.layers:
        lasts = layer.end_seconds(seconds) - layer.start_seconds
        happens = bool(events(layer, seconds)) if sound(layer.sound).has_events else lasts > 0.5
        row[NAMES.index(layer.sound)] = float(lasts > 0 and happens)
    return row


def _passed(codec: Codec, audio: Audio, clean: Tensor, *, aloud: bool) -> Tensor:
    """Log-mel after the codec, by way of sound or without."""
    if aloud:
        return heard(codec.decode_codes(codec.encode(audio)))
    with torch.inference_mode():
        even = clean[:, : clean.shape[1] // 2 * 2]
        z = codec.quantizer.decode(codec.quantizer.encode(codec.encode_mel(even)))
        return codec.decode_mel(z)


def _batch(scenes: HeardScenes, dice: torch.Generator, batch: int) -> tuple[Tensor, Tensor]:
    """Draw items, half of them laid over another, all moved, leveled and blurred."""
    n, t, _ = scenes.mels.shape
    rows = torch.randint(n, (2, batch), generator=dice)
    gains = torch.rand((2, batch), generator=dice) * 0.5
    first, second = (scenes.mels[rows[i]].float() - gains[i, :, None, None] for i in (0, 1))
    is_mixed = torch.rand(batch, generator=dice) < 0.5
    mix = torch.logaddexp(first * _LN100, second * _LN100) / _LN100
    mels = torch.where(is_mixed[:, None, None], mix, first)
    moves = torch.randint(t, (batch,), generator=dice).tolist()
    mels = torch.stack([x.roll(move, 0) for x, move in zip(mels, moves, strict=True)])
    mels = mels + _BLUR * torch.randn(mels.shape, generator=dice)
    present = scenes.sounds[rows[0]]
    both = torch.maximum(present, scenes.sounds[rows[1]])
    return mels.clamp_min(-2.0), torch.where(is_mixed[:, None], both, present)


_LN100: Final = 4.605170185988092
"""Log-mel is log10 of amplitude, so powers add after multiplying by ln(10) * 2."""


def _share(hits: list[bool]) -> float:
    return sum(hits) / len(hits) if hits else float("nan")
