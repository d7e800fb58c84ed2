"""Run a training recipe, or train a row on one's own files: bar, checkpoints, loss curve."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from safegen.cli import train_tokens
from safegen.cli.options import emit, format_option, quiet_option
from safegen.cli.train_own import ROWS, OwnOptions, own_options, train_own
from safegen.errors import InputError

if TYPE_CHECKING:
    from safegen.training.loop import Progress

RECIPES = ("codec", "text-plan", "flow", "manifest", "synthetic", "generic",
           "cascade-generator", "cascade-unet", "transcriber", "joint", "scene-text",
           "sfx-manifest", *train_tokens.RECIPES)  # fmt: skip

_STEPS = {"codec": 2000, "text-plan": 1500, "flow": 2900, "cascade-generator": 2800,
          "cascade-unet": 3800, "transcriber": 2500, "joint": 800, "scene-text": 700,
          "tokens": 2200, "sounds-decoder": 700}  # fmt: skip


@click.command()
@click.argument("recipe", metavar="RECIPE|ROW", type=click.Choice((*RECIPES, *ROWS)))
@own_options
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Runs, checkpoints and rendered training items; a run found there is continued.",
)
@click.option(
    "--assets",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with the training soundfont (safegen eval assets).",
)
@click.option(
    "--corpus",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of real and synthetic speech the generic classifier learns from.",
)
@click.option("--steps", type=click.IntRange(min=1), help="Optimizer steps of the whole run.")
@click.option(
    "--items",
    type=click.IntRange(min=1, max=5000),
    default=5000,
    show_default=True,
    help="Train on the first training items only.",
)
@click.option(
    "--ai-music",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of music by ACE-Step, for its entry in the registry of generators.",
)
@click.option("--batch", type=click.IntRange(min=1), help="Excerpts or captions per step.")
@click.option("--threads", type=click.IntRange(min=1), help="Of torch; its own choice if absent.")
@quiet_option
@format_option
def train(
    recipe: str,
    data: Path | None,
    captions: Path | None,
    license_: str,
    name: str,
    allow_unlicensed: bool,
    from_scratch: bool,
    minutes: float | None,
    overwrite: bool,
    folder: Path,
    assets: Path | None,
    corpus: Path | None,
    steps: int | None,
    items: int,
    ai_music: Path | None,
    batch: int | None,
    threads: int | None,
    quiet: bool,
    format_: str,
) -> None:
    """Run RECIPE: codec, then text-plan, then flow, then manifest, then synthetic.

    cascade-generator follows text-plan; cascade-unet, transcriber, sounds-decoder and
    sfx-manifest follow codec; joint follows transcriber and text-plan, tokens follows codec
    and text-plan. scene-text and generic need none of the others.
    synthetic needs the optional synthesizers and an hour of two cores; it names what is
    missing.

    ROW is a model that ships (codec, music-flow, music-ar, sfx-ar, sfx-masked,
    music-cascade, continue, music-joint). With --data it is trained on your own files and
    becomes a model of this installation: `safegen models show NAME`, `safegen generate
    --model NAME`. Files that cannot be used are named; a file without a license is refused.

    Stop it at any time; the next call continues from the last checkpoint and computes
    the same losses as a run that was never stopped. Each finished run leaves float16
    weights and a loss curve in its folder, and prints the sha256 for the model card.

    \b
    Exit status:
      0  the recipe is finished
      1  it could not be run
      2  bad arguments, or a recipe it builds on is not finished

    \b
    Example:
      safegen train codec --assets assets/ --folder runs
      safegen train music-flow --data loops/ --captions loops.csv --license CC0-1.0 --name mine
    """
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    hidden = quiet or not sys.stderr.isatty()
    own = OwnOptions(
        data=data,
        captions=captions,
        license_=license_,
        name=name,
        allow_unlicensed=allow_unlicensed,
        from_scratch=from_scratch,
        minutes=minutes,
        overwrite=overwrite,
    )
    if recipe in ROWS or (recipe == "codec" and data is not None):
        if assets or corpus or ai_music:
            raise InputError(
                "--assets, --corpus and --ai-music are for the project's recipes",
                remedy=f"Leave them out: {recipe} is trained on --data alone.",
            )
        train_own(
            recipe, own, folder=folder, steps=steps, batch=batch, format_=format_, hidden=hidden
        )
        return
    if own.is_given:
        raise InputError(
            f"{recipe} is a recipe of the project and takes no files of one's own",
            remedy=f"Choose a row: {', '.join(('codec', *ROWS[:-1]))}.",
        )
    run = folder / recipe
    run.mkdir(parents=True, exist_ok=True)
    if recipe == "manifest":
        written = _manifest(folder, assets, items, hidden=hidden)
        emit(written, f"{written['file']}\nsha256 {written['sha256']}", format_)
        return
    if recipe == "sfx-manifest":
        written = train_tokens.write_manifest(folder, assets, items, hidden=hidden)
        emit(written, f"{written['file']}\nsha256 {written['sha256']}", format_)
        return
    if recipe == "synthetic":
        trained = _synthetic(run, assets, ai_music, hidden=hidden)
        emit(trained, f"{trained['file']}\nsha256 {trained['sha256']}", format_)
        return
    if recipe == "generic":
        learned = _generic(run, corpus, steps, batch, hidden=hidden)
        emit(learned, f"{learned['file']}\nsha256 {learned['sha256']}", format_)
        return
    if recipe in ("codec", "flow", "cascade-generator", "cascade-unet", "transcriber", "joint"):
        _render(folder, assets, items, hidden=hidden)
    total = steps or _STEPS[recipe]
    started = (
        train_tokens.start(
            recipe,
            folder,
            assets=assets,
            soundfont=_soundfont(assets) if recipe == "tokens" else None,
            steps=total,
            items=items,
            batch=batch,
            hidden=hidden,
        )
        if recipe in train_tokens.RECIPES
        else _recipe(recipe, folder, total, items, batch)
    )
    with click.progressbar(
        length=total, label=f"Training {recipe}", file=sys.stderr, hidden=hidden
    ) as bar:
        for progress in started:
            bar.update(progress.step - bar.pos)
    from safegen.training.loop import draw_losses, read_losses
    from safegen.training.shipping import ship

    names = {"text-plan": "planner", "flow": "renderer", "scene-text": "scene-reader"}
    weights = names.get(recipe, recipe)
    losses = read_losses(run)
    draw_losses(losses, run / "losses.png", title=recipe)
    shipped = run / f"{weights}.fp16.safetensors"
    digest = ship(run / f"{weights}.safetensors", shipped)
    row: dict[str, str | int | float | None] = {
        "recipe": recipe,
        "steps": total,
        "loss": losses[-1] if losses else None,
        "file": str(shipped),
        "sha256": digest,
    }
    emit(row, f"{shipped}\nsha256 {digest}", format_)


def _recipe(
    recipe: str, folder: Path, steps: int, items: int, batch: int | None
) -> "Iterator[Progress]":
    """Start or continue a run."""
    from safegen.training import cascade, codec, flow, scene_text, text_plan
    from safegen.training.manifests import TRAINING_SEEDS
    from safegen.training.mels import read_mels
    from safegen.training.shipping import load_codec, load_text

    seeds = TRAINING_SEEDS[:items]
    run = folder / recipe
    if recipe == "text-plan":
        return text_plan.train(folder=run, steps=steps, batch=batch or 96)
    if recipe == "scene-text":
        return scene_text.train(folder=run, steps=steps, batch=batch or 96)
    mels = read_mels(folder, seeds)
    if recipe == "codec":
        return codec.train(mels, folder=run, steps=steps, batch=batch or 32)
    weights = folder / "codec" / "codec.fp16.safetensors"
    words = folder / "text-plan" / "planner.fp16.safetensors"
    if recipe in ("transcriber", "joint"):
        return _listening(recipe, folder, steps, seeds, batch)
    if recipe == "cascade-generator":
        return cascade.train_generator(
            mels, seeds, text=load_text(words), folder=run, steps=steps, batch=batch or 40
        )
    if recipe == "cascade-unet":
        return cascade.train_unet(
            mels, seeds, codec=load_codec(weights), folder=run, steps=steps, batch=batch or 24
        )
    return flow.train(
        mels,
        seeds,
        codec=load_codec(weights),
        text=load_text(words),
        folder=run,
        steps=steps,
        batch=batch or 24,
    )


def _listening(
    recipe: str, folder: Path, steps: int, seeds: range, batch: int | None
) -> "Iterator[Progress]":
    """Start or continue a run that listens to the training items."""
    from safegen.training import joint, transcriber
    from safegen.training.latents import read_latents
    from safegen.training.mels import read_mels
    from safegen.training.shipping import load_codec, load_listener, load_planner

    codec = load_codec(folder / "codec" / "codec.fp16.safetensors")
    latents = read_latents(folder, seeds, mels=read_mels(folder, seeds), codec=codec)
    run = folder / recipe
    if recipe == "transcriber":
        return transcriber.train(
            latents, seeds, codec=codec, folder=run, steps=steps, batch=batch or 48
        )
    return joint.train(
        latents,
        seeds,
        transcriber=load_listener(folder / "transcriber" / "transcriber.fp16.safetensors"),
        planner=load_planner(folder / "text-plan" / "planner.fp16.safetensors"),
        folder=run,
        steps=steps,
        batch=batch or 64,
    )


def _render(folder: Path, assets: Path | None, items: int, *, hidden: bool) -> None:
    """Render the training items unless that was done before."""
    from safegen.training.manifests import TRAINING_SEEDS
    from safegen.training.mels import cache_path, render_mels

    seeds = TRAINING_SEEDS[:items]
    if cache_path(folder, seeds).exists():
        return
    with click.progressbar(
        length=len(seeds), label="Rendering training items", file=sys.stderr, hidden=hidden
    ) as bar:
        for done in render_mels(_soundfont(assets), seeds, folder=folder):
            bar.update(done - bar.pos)


def _manifest(
    folder: Path, assets: Path | None, items: int, *, hidden: bool
) -> dict[str, str | int]:
    """Write the manifest of what codec, planner and renderer learned from."""
    from safegen.audio import sha256_file
    from safegen.training.manifests import TRAINING_SEEDS, write_manifest
    from safegen.training.shipping import load_codec

    weights = folder / "codec" / "codec.fp16.safetensors"
    path = folder / "manifest" / "music-flow.manifest.safetensors"
    codec = load_codec(weights)
    with click.progressbar(
        length=items, label="Writing the manifest", file=sys.stderr, hidden=hidden
    ) as bar:
        for done in write_manifest(
            path,
            codec,
            codec_sha256=sha256_file(weights),
            soundfont=_soundfont(assets),
            heard=TRAINING_SEEDS[:items],
        ):
            bar.update(done - bar.pos)
    return {"recipe": "manifest", "file": str(path), "sha256": sha256_file(path)}


def _synthetic(
    run: Path, assets: Path | None, ai_music: Path | None, *, hidden: bool
) -> dict[str, str | int]:
    """Build the registry entries that ship, from a corpus to the index of their files."""
    from detectors.synthetic.shipping import INDEX
    from safegen.training import roster

    if assets is None:
        raise InputError(
            "the classifier learns from recordings and there are none",
            remedy="Run `safegen eval assets`, then name its folder with --assets.",
        )

    def note(text: str) -> None:
        if not hidden:
            click.echo(text, err=True)

    corpus = run / "corpus"
    roster.corpus(assets, corpus, note=note)
    others = {} if ai_music is None else {"ace-step": ai_music}
    table = roster.tables(assets, corpus, others, work=run / "windows", note=note)
    real, made, missing = roster.build(table, note=note)
    measured = roster.calibrate_generic(corpus, note=note)
    digest = roster.write(run / "weights", real, made, measured)
    return {
        "recipe": "synthetic",
        "file": str(run / "weights" / INDEX),
        "sha256": digest,
        "windows": len(table),
        "entries": " ".join(made),
        "left_out": " ".join(missing),
    }


def _generic(
    run: Path, corpus: Path | None, steps: int | None, batch: int | None, *, hidden: bool
) -> dict[str, str | float]:
    """Train the networks that say "synthetic" whoever the generator."""
    from safegen.audio import sha256_file
    from safegen.training import generic

    if corpus is None:
        raise InputError(
            "the generic classifier learns from a corpus and there is none",
            remedy="Name a folder that `safegen.training.corpora.write` has filled with --corpus.",
        )

    def note(text: str) -> None:
        if not hidden:
            click.echo(text, err=True)

    path = run / "generic.safetensors"
    made = generic.make(
        corpus,
        folder=run,
        steps=steps or generic.STEPS,
        batch=batch or generic.BATCH,
        note=note,
    )
    path.write_bytes(made.weights)
    return {
        "recipe": "generic",
        "file": str(path),
        "sha256": sha256_file(path),
        "auc_left_out": made.auc,
        "auc_trivial_probe": made.auc_trivial,
    }


def _soundfont(assets: Path | None) -> Path:
    from safegen.generation.soundfont import find_soundfont

    found = None if assets is None else find_soundfont(assets)
    if found is None:
        raise InputError(
            "the training soundfont FluidR3Mono_GM.sf3 was not found",
            remedy="Run `safegen eval assets`, then name its folder with --assets.",
        )
    return found
