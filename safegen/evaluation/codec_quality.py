"""How well does the codec carry sound, at which bitrate, and what does Opus do with that?

``safegen eval codec-quality`` sends the same clips through codec files of one to four
codebooks, through the codec without quantizing, through its front end alone (the true
mel spectrogram, and Griffin-Lim back from it: nothing behind that front end can be
better), and through Opus at its lowest rate and above. ViSQOL judges, and the distance of
log-mel spectrograms at equal level. Bitrates are counted from the bytes; for Opus those of
its packets, without the container.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Final

import click
import numpy as np
import torch

from safegen.audio import Audio, load, resample
from safegen.errors import InputError
from safegen.evaluation.assets import music_files
from safegen.evaluation.attacks import ffmpeg
from safegen.evaluation.attacks.base import fit
from safegen.evaluation.quality import visqol
from safegen.evaluation.state import State
from safegen.generation import codec_file
from safegen.generation.codec import LOUDNESS_RMS, SAMPLE_RATE, Codec, LogMel, griffin_lim
from safegen.generation.compose import compose
from safegen.generation.scenes import compose_scene, render_scene
from safegen.generation.soundfont import SoundfontRenderer, find_soundfont
from safegen.generation.stages import one_thread
from safegen.generation.systems import load_codec

SEEDS: Final = range(9_100_000, 9_101_000)
"""Scores and scenes; no training seed is among them."""
HELD_OUT_SOUNDFONT: Final = "MuseScore_General_Lite.sf3"
ASKED_VISQOL: Final = 4.3
KINDS: Final = 4
"""Of clips."""
OPUS_RATES: Final = (500, 6_000, 12_000, 24_000)
"""Bitrates that Opus is asked for; at 500 it takes the least it can."""
_MUSIC_START_SECONDS: Final = 30.0
_OPUS_RATE: Final = 48_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A sound to carry.

    Attributes:
        kind: What it is.
        name: Within its kind.
        audio: Mono, 32 kHz.
    """

    kind: str
    name: str
    audio: Audio


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """What became of a sound.

    Attributes:
        audio: At the clip's length and rate.
        bitrate: In bit/s, 0 if nothing was stored.
    """

    audio: Audio
    bitrate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The mean over the clips of a kind.

    Attributes:
        kind: Of clips.
        coding: What they went through.
        clips: How many.
        bitrate: In bit/s, 0 if nothing was stored.
        visqol: Mean, in [1, 4.74].
        visqol_least: Of the worst clip.
        log_mel: Mean absolute difference of log10 mel magnitudes at equal level.
    """

    kind: str
    coding: str
    clips: int
    bitrate: float
    visqol: float
    visqol_least: float
    log_mel: float


Coding = Callable[[Audio], Carried]


def clips(assets: Path, *, count: int, seconds: float) -> Iterator[Clip]:
    """Give the clips of every kind, in a fixed order.

    Args:
        assets: Folder of ``safegen eval assets``.
        count: Of each kind.
        seconds: Of each clip.

    Raises:
        InputError: If the soundfonts or the music are not there.
    """
    fonts = {
        "scores, training timbres": find_soundfont(assets),
        "scores, held-out timbres": next(iter(sorted(assets.rglob(HELD_OUT_SOUNDFONT))), None),
    }
    music = music_files(assets)
    if not music or None in fonts.values():
        raise InputError(
            f"{assets}: soundfonts or music are missing",
            remedy=f"Run `safegen eval assets --out {assets}`.",
        )
    renderers = {kind: SoundfontRenderer(font) for kind, font in fonts.items() if font is not None}
    samples = next((x.parent for x in sorted(assets.rglob("ambi_choir.flac"))), None)
    # Clip by clip through all kinds, so that a run that was stopped says something of each.
    for place, seed in enumerate(SEEDS[:count]):
        for kind, renderer in renderers.items():
            score = renderer.render(compose(seed), seconds=seconds)
            yield Clip(kind=kind, name=str(seed), audio=score)
        path = music[place * len(music) // count]
        start = _MUSIC_START_SECONDS
        played = resample(load(path).cut(start, start + seconds), SAMPLE_RATE)
        mono = Audio(waveform=played.mono()[None], sample_rate=SAMPLE_RATE)
        yield Clip(kind="game music", name=path.name, audio=mono)
        scene = render_scene(compose_scene(seed), seconds=seconds, samples=samples)
        yield Clip(kind="sound effects", name=str(seed), audio=scene)


def codings(codec: Codec) -> Mapping[str, Coding]:
    """Name every way that is compared."""
    ours = {
        f"codec, {n} codebook{'s' if n > 1 else ''}": partial(_through_file, codec, n)
        for n in range(1, codec.config.codebooks + 1)
    }
    opus = {
        f"opus, {'least' if rate == OPUS_RATES[0] else f'{rate // 1000} kbit/s'}": partial(
            _through_opus, rate
        )
        for rate in OPUS_RATES
    }
    return {
        **ours,
        "codec, not quantized": partial(_through_latents, codec),
        "mel spectrogram": partial(_through_mel, codec.log_mel),
        **opus,
    }


def measure(
    assets: Path, *, count: int, seconds: float, state: State | None = None
) -> Iterator[dict[str, str | float | None]]:
    """Send every clip through every coding; one row a trial, known ones from ``state``.

    Args:
        assets: Folder of ``safegen eval assets``.
        count: Clips of each kind.
        seconds: Of each clip; ViSQOL wants at least two.
        state: Where finished trials are kept; nowhere if None.

    Cost: 0.9 s of one core for a second of sound and coding, nearly all of it ViSQOL's.
    """
    ways = codings(load_codec())
    for clip in clips(assets, count=count, seconds=seconds):
        for coding, way in ways.items():
            trial = f"{clip.kind}/{clip.name}/{coding}"
            known = None if state is None else state.rows.get(trial)
            if known is not None:
                yield known
                continue
            with one_thread():
                carried = way(clip.audio)
            row: dict[str, str | float | None] = {
                "trial": trial,
                "kind": clip.kind,
                "coding": coding,
                "bitrate": carried.bitrate,
                "visqol": visqol(clip.audio, carried.audio),
                "log_mel": log_mel_distance(clip.audio, carried.audio),
            }
            if state is not None:
                state.add(row)
            yield row


def summary(trials: Sequence[Mapping[str, str | float | None]]) -> tuple[Row, ...]:
    """Average the trials of each kind and coding, in the order they came."""
    groups: dict[tuple[str, str], list[Mapping[str, str | float | None]]] = {}
    for trial in trials:
        groups.setdefault((str(trial["kind"]), str(trial["coding"])), []).append(trial)

    def column(rows: list[Mapping[str, str | float | None]], name: str) -> list[float]:
        return [float(row[name] or 0.0) for row in rows]

    return tuple(
        Row(
            kind=kind,
            coding=coding,
            clips=len(rows),
            bitrate=round(float(np.mean(column(rows, "bitrate"))), 1),
            visqol=round(float(np.mean(column(rows, "visqol"))), 3),
            visqol_least=round(min(column(rows, "visqol")), 3),
            log_mel=round(float(np.mean(column(rows, "log_mel"))), 4),
        )
        for (kind, coding), rows in groups.items()
    )


def log_mel_distance(one: Audio, other: Audio) -> float:
    """Compare the codec's spectrograms of two sounds of one length at equal level, in log10."""
    mels = []
    for audio in (one, other):
        mono = torch.from_numpy(resample(audio, SAMPLE_RATE).mono())
        rms = mono.square().mean().sqrt().clamp_min(1e-6)
        with torch.inference_mode():
            mels.append(LogMel()(mono[None] * (LOUDNESS_RMS / rms))[0])
    difference = mels[1] - mels[0]
    return float((difference - difference.median()).abs().mean())


def _through_file(codec: Codec, codebooks: int, audio: Audio) -> Carried:
    codec_id = codec_file.shipped_codec_id()
    data = codec_file.encode(audio, codec, codec_id=codec_id, codebooks=codebooks)
    decoded = codec_file.decode(data, codec, codec_id=codec_id)
    return Carried(audio=decoded, bitrate=8 * len(data) / audio.seconds)


def _through_latents(codec: Codec, audio: Audio) -> Carried:
    decoded = codec.decode(codec.latents(audio)[0])
    return Carried(audio=fit(decoded.waveform, audio), bitrate=0.0)


def _through_mel(log_mel: LogMel, audio: Audio) -> Carried:
    mono = torch.from_numpy(audio.mono())
    rms = mono.square().mean().sqrt().clamp_min(1e-6)
    with torch.inference_mode():
        magnitudes = log_mel.magnitudes(log_mel(mono[None] * (LOUDNESS_RMS / rms)))[0]
        rebuilt = griffin_lim(magnitudes, audio.waveform.shape[1])
    return Carried(audio=fit(rebuilt[None].numpy(), audio), bitrate=0.0)


def _through_opus(rate: int, audio: Audio) -> Carried:
    data = ffmpeg.encode(resample(audio, _OPUS_RATE), ffmpeg.CODECS["opus"], bitrate=rate)
    decoded = resample(ffmpeg.decode(data, 1), audio.sample_rate)
    bits = 8 * ffmpeg.payload_bytes(data)
    return Carried(audio=fit(decoded.waveform, audio), bitrate=bits / audio.seconds)


@click.command("codec-quality")
@click.option("--assets", required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--clips", "count", type=click.IntRange(1, 50), default=2, show_default=True, help="Of a kind."
)
@click.option("--seconds", type=click.FloatRange(2.0, 10.0), default=3.0, show_default=True)
@click.option(
    "--state",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep finished trials in this file, and go on from it.",
)
def command(assets: Path, count: int, seconds: float, path: Path | None) -> None:
    """Measure the codec beside Opus by ViSQOL and log-mel, at every bitrate of both.

    Two clips of three seconds of each kind take four minutes of one core.

    \b
    Example:
      safegen eval codec-quality --assets assets/ --state codec.jsonl
    """
    version = f"{codec_file.shipped_codec_id().hex()} {seconds:g} s"
    state = None if path is None else State(path, version)
    total = KINDS * count * len(codings(load_codec()))
    trials: list[Mapping[str, str | float | None]] = []
    with click.progressbar(
        measure(assets, count=count, seconds=seconds, state=state),
        length=total,
        label="Carrying sound",
        file=sys.stderr,
        hidden=not sys.stderr.isatty(),
    ) as bar:
        trials.extend(bar)
    for row in summary(trials):
        reached = row.visqol >= ASKED_VISQOL
        click.echo(json.dumps({"benchmark": "codec-quality", **asdict(row), "reached": reached}))
