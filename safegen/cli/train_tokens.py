"""Start the recipes of the rows that draw tokens: what they learn from, then the run."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from safegen.errors import InputError

if TYPE_CHECKING:
    from safegen.audio import Audio
    from safegen.generation.codec import Codec
    from safegen.training.loop import Progress

RECIPES: Final = ("tokens", "sounds-decoder")
DECODED_SCENES: Final = 1000
"""As many scenes teach the decoder of sound effects."""


def start(
    recipe: str,
    folder: Path,
    *,
    assets: Path | None,
    soundfont: Path | None,
    steps: int,
    items: int,
    batch: int | None,
    hidden: bool,
) -> "Iterator[Progress]":
    """Start or continue a run of one of ``RECIPES``.

    Raises:
        InputError: If a recipe it builds on is not finished, or there are no samples.
    """
    from safegen.training.shipping import load_codec

    codec = load_codec(folder / "codec" / "codec.fp16.safetensors")
    samples = samples_of(assets)
    if recipe == "sounds-decoder":
        return _sounds_decoder(codec, folder, samples, steps, batch, hidden=hidden)
    if soundfont is None:
        raise InputError(
            "the training soundfont FluidR3Mono_GM.sf3 was not found",
            remedy="Run `safegen eval assets`, then name its folder with --assets.",
        )
    return _tokens(codec, folder, samples, soundfont, steps, items, batch, hidden=hidden)


def write_manifest(
    folder: Path, assets: Path | None, items: int, *, hidden: bool
) -> dict[str, str | int]:
    """Write the manifest of the scenes that the rows of sound effects learned from."""
    from safegen.audio import sha256_file
    from safegen.training.scene_manifest import SCENE_SEEDS, write_scene_manifest
    from safegen.training.shipping import load_codec

    weights = folder / "codec" / "codec.fp16.safetensors"
    path = folder / "sfx-manifest" / "sfx.manifest.safetensors"
    heard = SCENE_SEEDS[:items]
    _watch(
        write_scene_manifest(
            path,
            load_codec(weights),
            codec_sha256=sha256_file(weights),
            samples=samples_of(assets),
            heard=heard,
        ),
        total=len(heard),
        label="Writing the manifest",
        hidden=hidden,
    )
    return {"recipe": "sfx-manifest", "file": str(path), "sha256": sha256_file(path)}


def samples_of(assets: Path | None) -> Path:
    """Name the folder of samples that some sounds are made of.

    Raises:
        InputError: If no assets were named.
    """
    if assets is None:
        raise InputError(
            "some sound effects are made of the samples of sonic-pi, and no folder was named",
            remedy="Run `safegen eval assets sonic-pi-samples`, then name its folder with "
            "--assets.",
        )
    return assets


def _scene_sound(samples: Path, seed: int) -> "Audio":
    from safegen.generation.scenes import SCENE_SECONDS, compose_scene, render_scene

    return render_scene(compose_scene(seed), seconds=SCENE_SECONDS, samples=samples)


def _sounds_decoder(
    codec: "Codec", folder: Path, samples: Path, steps: int, batch: int | None, *, hidden: bool
) -> "Iterator[Progress]":
    import numpy as np

    from safegen.generation.scenes import SCENE_SECONDS
    from safegen.training import sounds_decoder
    from safegen.training.scene_manifest import SCENE_SEEDS

    seeds = SCENE_SEEDS[:DECODED_SCENES]
    path = folder / f"scene-mels-{seeds.start}-{seeds.stop}.npy"
    _watch(
        sounds_decoder.render_mels(
            lambda seed: _scene_sound(samples, seed), seeds, seconds=SCENE_SECONDS, path=path
        ),
        total=len(seeds),
        label="Rendering scenes",
        hidden=hidden,
    )
    return sounds_decoder.train(
        np.load(path, mmap_mode="r"),
        codec=codec,
        folder=folder / "sounds-decoder",
        steps=steps,
        batch=batch or 24,
    )


def _tokens(
    codec: "Codec",
    folder: Path,
    samples: Path,
    soundfont: Path,
    steps: int,
    items: int,
    batch: int | None,
    *,
    hidden: bool,
) -> "Iterator[Progress]":
    from safegen.generation.compose import compose
    from safegen.generation.soundfont import SoundfontRenderer
    from safegen.training import tokens
    from safegen.training.manifests import ITEM_SECONDS, TRAINING_SEEDS
    from safegen.training.scene_manifest import SCENE_SEEDS
    from safegen.training.shipping import load_text
    from safegen.training.token_items import record, recorded

    text = load_text(folder / "text-plan" / "planner.fp16.safetensors")
    renderer = SoundfontRenderer(soundfont)
    music, scenes = TRAINING_SEEDS[:items], SCENE_SEEDS[:items]
    _watch(
        record(
            lambda seed: renderer.render(compose(seed), seconds=ITEM_SECONDS),
            codec,
            music,
            folder=folder / "token-items" / "music",
        ),
        total=len(music),
        label="Encoding music",
        hidden=hidden,
    )
    _watch(
        record(
            lambda seed: _scene_sound(samples, seed),
            codec,
            scenes,
            folder=folder / "token-items" / "scenes",
        ),
        total=len(scenes),
        label="Encoding scenes",
        hidden=hidden,
    )
    source = tokens.Source(
        recorded(music, folder=folder / "token-items" / "music"),
        recorded(scenes, folder=folder / "token-items" / "scenes"),
        frames=tokens.FRAMES,
    )
    return tokens.train(
        source,
        codebook=codec.quantizer.codebook,
        text=text,
        folder=folder / "tokens",
        steps=steps,
        batch=batch or 24,
    )


def _watch(done: Iterable[int], *, total: int, label: str, hidden: bool) -> None:
    """Draw a bar over the numbers of items that are done."""
    with click.progressbar(length=total, label=label, file=sys.stderr, hidden=hidden) as bar:
        for count in done:
            bar.update(count - bar.pos)
