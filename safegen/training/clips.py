"""Which sounds does the synthetic-audio classifier hear, and what happened to them before?

Both classes are music, and both go through the same mill, so that nothing but the
generator tells them apart:

* *own*: outputs of the shipped model, and recordings passed through its codec, so that
  the same piece stands on both sides;
* *other*: recordings from Debian's music packages, looped CC0 samples, and scores played
  by a soundfont, so that a composed score is no evidence of a codec.

Sound that was never encoded (outputs, samples and renders) gets a lossy history half of the time;
the recordings have one already. Then, with the same chances for all: a watermark or
none, and MP3, AAC, Opus or nothing. Recordings are split by package, outputs by prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from detectors import features
from safegen.audio import Audio, load, resample, save
from safegen.evaluation.assets import music_files, speech_files
from safegen.evaluation.attacks import through_codec, through_vorbis
from safegen.generation.codec import SAMPLE_RATE, Codec
from safegen.generation.compose import compose
from safegen.generation.soundfont import SoundfontRenderer
from safegen.training.outputs import excerpt
from safegen.watermark import embed

TRAINING_PACKAGES: Final = ("wesnoth-1.16-music", "warzone2100-music")
HELD_OUT_PACKAGES: Final = ("hyperrogue-music", "asc-music")
CLIP_SECONDS: Final = 4.6
LAST_CODECS: Final = ("mp3-64k", "mp3-128k", "aac-64k", "opus-32k")
LAST_SHARES: Final = (0.4, 0.2, 0.3, 0.1)
"""Chances of the last codec, the same for both classes; Opus is rare because it is slow."""
_LEAD_SECONDS: Final = 0.3
_LEAST_SAMPLE_SECONDS: Final = 1.5
_TEST_SAMPLES: Final = ("guit_em9", "guit_harmonics", "loop_garzul", "loop_safari", "loop_tabla")
_LEAST_RMS: Final = 5e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """One sound before its history.

    Attributes:
        audio: Mono, ``CLIP_SECONDS`` long.
        own: Whether it came out of the shipped codec.
        kind: "output", "copy", "recording", "sample" or "render"; "speech" is neither class.
        group: What must not be on both sides of a split: a prompt, a track, a seed.
        lossless: Whether it was never encoded.
    """

    audio: Audio
    own: bool
    kind: str
    group: str
    lossless: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Measured clips, one row per clip and history.

    Attributes:
        evidence: Shape (n, f).
        domain: Shape (n, d).
        trivial: Shape (n, 8).
        own: Shape (n,), True for outputs and copies.
        kind: Shape (n,).
        group: Shape (n,).
    """

    evidence: npt.NDArray[np.float64]
    domain: npt.NDArray[np.float64]
    trivial: npt.NDArray[np.float64]
    own: npt.NDArray[np.bool_]
    kind: npt.NDArray[np.str_]
    group: npt.NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.own)


def recordings(
    assets: Path,
    packages: Sequence[str],
    *,
    per_track: int,
    seconds: float,
    folder: Path,
    seed: int,
) -> Iterator[tuple[str, Audio]]:
    """Cut excerpts from the tracks of some packages; each is decoded once and kept.

    Silent excerpts and tracks shorter than two excerpts are skipped.

    Yields:
        Name of the track and a mono excerpt at the codec's rate.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in music_files(assets):
        package = path.relative_to(assets).parts[0]
        if package not in packages:
            continue
        name = f"{package}-{path.stem}"
        kept = [folder / f"{name}-{seconds:g}s-{i}.flac" for i in range(per_track)]
        if not all(k.exists() for k in kept):
            track = load(path)
            dice = np.random.default_rng([seed, len(track.waveform[0])])
            for target in kept:
                cut = excerpt(track, seconds=seconds, start=float(dice.random()))
                save(resample(cut, SAMPLE_RATE), target)
        for target in kept:
            audio = load(target)
            loud = float(np.sqrt(np.mean(audio.waveform**2))) > _LEAST_RMS
            if loud and audio.seconds > seconds - 0.1:
                yield name, audio


def samples(assets: Path, *, held_out: bool, seconds: float) -> Iterator[tuple[str, Audio]]:
    """Loop short CC0 recordings: drums, plucked strings, machines; never encoded before.

    Every third of them, and those that the tests use, are held out.

    Yields:
        Name of the sample and a mono sound at the codec's rate.
    """
    for number, path in enumerate(sorted((assets / "sonic-pi-samples").rglob("*.flac"))):
        aside = number % 3 == 0 or path.stem in _TEST_SAMPLES
        if aside != held_out:
            continue
        sample = load(path)
        if sample.seconds < _LEAST_SAMPLE_SECONDS:
            continue
        mono = resample(sample, SAMPLE_RATE).mono()
        times = -(-round(seconds * SAMPLE_RATE) // len(mono))
        looped = np.tile(mono, times)[: round(seconds * SAMPLE_RATE)]
        if float(np.sqrt(np.mean(looped**2))) > _LEAST_RMS:
            yield path.stem, Audio(waveform=looped[None], sample_rate=SAMPLE_RATE)


def speech(assets: Path, languages: Sequence[str], *, count: int) -> Iterator[Clip]:
    """Join spoken prompts: sound the classifier must learn to leave alone.

    Args:
        assets: Folder of the packages.
        languages: Of ``safegen.evaluation.assets.speech_files``.
        count: Clips per language.
    """
    for language in languages:
        parts: list[Audio] = []
        made = 0
        for path in speech_files(assets)[language][:: 1 + 400 // (6 * count)]:
            parts.append(resample(load(path), SAMPLE_RATE))
            if sum(part.seconds for part in parts) < CLIP_SECONDS:
                continue
            joined = np.concatenate([part.mono() for part in parts])
            joined = joined[: round(CLIP_SECONDS * SAMPLE_RATE)][None]
            yield Clip(
                audio=Audio(waveform=joined, sample_rate=SAMPLE_RATE),
                own=False,
                kind="speech",
                group=f"{language} {made}",
                lossless=False,
            )
            parts, made = [], made + 1
            if made == count:
                break


def copy(audio: Audio, codec: Codec, *, quantized: bool) -> Audio:
    """Pass a recording through the shipped codec."""
    if quantized:
        return codec.decode_codes(codec.encode(audio))
    return codec.decode(codec.latents(audio)[0])


def renders(renderer: SoundfontRenderer, seeds: range, *, seconds: float) -> Iterator[Clip]:
    """Play composed scores by soundfont: the same kind of music, no codec."""
    for seed in seeds:
        audio = renderer.render(compose(seed), seconds=seconds + 2.0)
        cut = excerpt(audio, seconds=seconds, start=(seed % 7) / 7)
        yield Clip(audio=cut, own=False, kind="render", group=f"seed:{seed}", lossless=True)


def measure(clips: Iterator[Clip], *, seed: int) -> Iterator[Table]:
    """Give each clip two histories, one that ends uncompressed and one that does not.

    Yields:
        A table of two rows per clip.
    """
    for number, clip in enumerate(clips):
        dice = np.random.default_rng([seed, number])
        rows = []
        for last in ("", str(dice.choice(LAST_CODECS, p=LAST_SHARES))):
            audio = _history(clip, dice, last=last)
            mono = features.prepare(audio.waveform, audio.sample_rate)
            begin = round(_LEAD_SECONDS * features.SAMPLE_RATE)
            rows.append(mono[begin : begin + features.SEGMENT_SAMPLES])
        yield Table(
            evidence=np.stack([features.evidence(row) for row in rows]),
            domain=np.stack([features.domain(row) for row in rows]),
            trivial=np.stack([features.trivial(row) for row in rows]),
            own=np.full(len(rows), clip.own),
            kind=np.full(len(rows), clip.kind),
            group=np.full(len(rows), clip.group),
        )


def join(tables: Sequence[Table]) -> Table:
    """Put tables below each other."""
    columns = {
        field.name: np.concatenate([getattr(table, field.name) for table in tables])
        for field in fields(Table)
    }
    return Table(**columns)


def select(table: Table, rows: npt.NDArray[np.bool_]) -> Table:
    """Keep some rows."""
    columns = {field.name: getattr(table, field.name)[rows] for field in fields(Table)}
    return Table(**columns)


def keep(table: Table, path: Path) -> None:
    """Write a table; it is complete if it is there."""
    temporary = path.with_suffix(".part")
    with temporary.open("wb") as file:
        np.savez(file, **{field.name: getattr(table, field.name) for field in fields(Table)})
    temporary.replace(path)


def kept(path: Path) -> Table:
    """Read a table back."""
    with np.load(path, allow_pickle=False) as data:
        return Table(**{field.name: data[field.name] for field in fields(Table)})


def _history(clip: Clip, dice: np.random.Generator, *, last: str) -> Audio:
    audio = clip.audio
    if clip.lossless and dice.random() < 0.5:
        audio = (
            through_vorbis(audio, quality=0.4)
            if dice.random() < 0.5
            else through_codec(audio, "mp3", bitrate=128_000)
        )
    if dice.random() < 0.5:
        audio = embed(audio, payload=int(dice.integers(0, 2**63)), key=dice.bytes(32))
    match last:
        case "mp3-64k":
            return through_codec(audio, "mp3", bitrate=64_000)
        case "mp3-128k":
            return through_codec(audio, "mp3", bitrate=128_000)
        case "aac-64k":
            return through_codec(audio, "aac", bitrate=64_000)
        case "opus-32k":
            return through_codec(audio, "opus", bitrate=32_000)
        case _:
            return audio
