"""Where do the instrument meter's weights come from?

A thousand scores, rendered with both soundfonts, each seen clean and as the codec leaves
it, for half of them quantized. The codec's view is taken from its log-mel frames, mark
included, without making sound: phase is all that is missing. Nothing a model generated
is used, and benchmarks use other seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from detectors import decoder_mark
from safegen.audio import sha256_file
from safegen.errors import InputError
from safegen.evaluation.generation_bench.anchors import OTHER_SOUNDFONT
from safegen.evaluation.instrument import NAMES, Ear, frames_of
from safegen.generation.codec import MELS, Codec
from safegen.generation.compose import compose
from safegen.generation.soundfont import SoundfontRenderer, find_soundfont
from safegen.generation.stages import one_thread

SEEDS: Final = range(8_000_000, 8_001_000)
SECONDS: Final = 10.0
STEPS: Final = 1000
_BATCH: Final = 32
_FRAMES: Final = 200
_RATE: Final = 3e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """What the meter learns from.

    Attributes:
        frames: Log-mel frames, shape (n, t, MELS), float16.
        instruments: Which instrument plays, shape (n,).
    """

    frames: Tensor
    instruments: Tensor


def views(soundfonts: Sequence[Path], codec: Codec, *, seeds: range = SEEDS) -> Views:
    """Render scores and look at them clean and through the codec.

    Cost: about 0.07 s of one core per score and soundfont.
    """
    frames, instruments = [], []
    for soundfont in soundfonts:
        renderer = SoundfontRenderer(soundfont)
        for seed in seeds:
            plan = compose(seed)
            audio = renderer.render(plan, seconds=SECONDS)
            with torch.inference_mode():
                z = codec.latents(audio)[0]
                if seed % 2:
                    z = codec.quantizer.decode(codec.quantizer.encode(z))
                coded = codec.decode_mel(z[None])[0]
                coded = coded + torch.from_numpy(decoder_mark.bias(coded.shape[0]))
            frames += [x.clamp_min(-2.0).half() for x in (frames_of(audio), coded)]
            instruments += 2 * [NAMES.index(plan.instrument)]
    return Views(frames=torch.stack(frames), instruments=torch.tensor(instruments))


def fit(seen: Views, *, steps: int = STEPS) -> Ear:
    """Train the meter on excerpts of 4 s, with level and tilt shaken.

    Cost: about 0.17 s of one core per step.
    """
    dice = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        ear = Ear()
    optimizer = torch.optim.AdamW(ear.parameters(), lr=_RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, _RATE, total_steps=steps, pct_start=0.15
    )
    slope = torch.linspace(-1.0, 1.0, MELS)
    n, t, _ = seen.frames.shape
    with one_thread():
        for _ in range(steps):
            which = torch.randint(n, (_BATCH,), generator=dice)
            start = torch.randint(t - _FRAMES, (_BATCH,), generator=dice)
            x = torch.stack(
                [
                    seen.frames[i, s : s + _FRAMES]
                    for i, s in zip(which.tolist(), start.tolist(), strict=True)
                ]
            ).float()
            tilt = torch.randn(_BATCH, 1, 1, generator=dice) * 0.1 * slope
            tilt = tilt + torch.randn(_BATCH, 1, 1, generator=dice) * 0.05
            x = (x + tilt + 0.05 * torch.randn(x.shape, generator=dice)).clamp_min(-2.0)
            loss = F.cross_entropy(ear(x), seen.instruments[which], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return ear.eval().requires_grad_(False)


def ship(ear: Ear, destination: Path) -> str:
    """Write the meter in half precision; gives the sha256 for ``instrument.WEIGHTS_SHA256``."""
    from safetensors.torch import save_file

    tensors = {
        name: value.half().contiguous() if value.is_floating_point() else value
        for name, value in sorted(ear.state_dict().items())
    }
    save_file(tensors, destination)
    return sha256_file(destination)


@click.command()
@click.option(
    "--assets",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with both soundfonts (safegen eval assets).",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The weights; a file that is there is not written over.",
)
def command(assets: Path, out: Path) -> None:
    """Fit the meter that names the melody's instrument; about six minutes of one core.

    \b
    Example:
      safegen eval instrument-fit --assets assets/ --out instrument.safetensors
    """
    from safegen.generation.systems import load_codec

    if out.exists():
        raise InputError(f"{out} is there already", remedy="Choose another --out.")
    found = (find_soundfont(assets), next(iter(sorted(assets.rglob(OTHER_SOUNDFONT))), None))
    soundfonts = [path for path in found if path is not None]
    if len(soundfonts) < len(found):
        raise InputError(
            f"{assets} does not hold both soundfonts",
            remedy=f"Run `safegen eval assets --out {assets} fluidr3mono-gm-soundfont "
            "musescore-general-soundfont-small`.",
        )
    click.echo(ship(fit(views(soundfonts, load_codec())), out))
