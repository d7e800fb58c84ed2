"""Is the shipped generator told from recordings, and does the classifier know its limits?

Nothing measured here took part in training: other prompts, other music packages, other
scores. Files are judged as ``safegen`` judges them, whole and with abstentions; an
abstention counts as 0.5 in every area under the curve, so it is never free.

* own outputs against recordings: clean, MP3 64k, AAC 64k, marked;
* what should not be called ours: recordings that are marked or were rebuilt from their
  magnitudes by Griffin-Lim, and scores played by soundfonts;
* what it should refuse to judge: speech, sound effects, too short, too quiet;
* music of another generator (``--ai-music``), which it was never taught to find.

The trivial probe, eight features that prove nothing, is fitted on the training clips and
judged on the same held-out clips: read every figure beside it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
import numpy as np
import numpy.typing as npt

from detectors import features
from detectors.synthetic import SyntheticFinding, Weights, judge, parse, shipped
from safegen.audio import Audio, load, resample, walk
from safegen.errors import InputError
from safegen.evaluation.assets import speech_files
from safegen.evaluation.attacks import through_codec
from safegen.evaluation.generation import read_prompts
from safegen.evaluation.metrics import wilson
from safegen.generation.codec import SAMPLE_RATE, LogMel, griffin_lim
from safegen.generation.soundfont import SoundfontRenderer
from safegen.training import clips, synthetic
from safegen.training.outputs import excerpt, generated, requests_for
from safegen.watermark import embed

THRESHOLD: Final = 0.5
SECONDS: Final = 8.0
FIRST_SEED: Final = 1
"""As ``safegen eval memorization``, so that both share their outputs."""
RENDER_SEEDS: Final = range(8_300_000, 8_400_000)
HARD: Final = 24
OUTSIDE: Final = 40
_QUIET: Final = 10 ** (-70 / 20)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Files of one kind.

    Attributes:
        findings: What the classifier says of each.
        trivial: Trivial features of the first segment of each file long enough, shape (n, 8).
    """

    findings: tuple[SyntheticFinding, ...]
    trivial: Floats

    @property
    def probabilities(self) -> Floats:
        """One per file, 0.5 where the classifier abstained."""
        return np.array([finding.probability for finding in self.findings])

    def as_json(self) -> dict[str, object]:
        """Give rates of both answers and the spread of the score."""
        n = len(self.findings)
        answers = [x.probability for x in self.findings if not x.abstained]
        out: dict[str, object] = {
            "abstained": wilson(n - len(answers), n).as_json(),
            "called_own": wilson(sum(p >= THRESHOLD for p in answers), n).as_json(),
        }
        if answers:
            low, middle, high = np.quantile(answers, [0.05, 0.5, 0.95])
            out["probability"] = [round(float(p), 4) for p in (low, middle, high)]
        reasons = [x.reason.split(":")[0] for x in self.findings if x.abstained]
        out["reasons"] = {reason: reasons.count(reason) for reason in sorted(set(reasons))}
        return out


@click.command("synthetic")
@click.option(
    "--assets",
    required=True,
    metavar="FOLDER",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder filled by `safegen eval assets`.",
)
@click.option(
    "--work",
    required=True,
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where outputs and excerpts are kept, so that a stopped run continues.",
)
@click.option(
    "--ai-music",
    metavar="FOLDER",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Music of another generator.",
)
@click.option("--count", type=click.IntRange(10), default=100, show_default=True, help="Outputs.")
@click.option("--model", default="music-flow", show_default=True)
@click.option(
    "--weights",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Classifier to judge with, instead of the shipped one.",
)
def command(
    assets: Path,
    work: Path,
    ai_music: Path | None,
    count: int,
    model: str,
    weights: Path | None,
) -> None:
    """Tell own outputs from recordings, on prompts and packages outside training.

    \b
    Exit status:
      0  the figures were measured
      2  the assets are missing

    \b
    Example:
      safegen eval synthetic --assets ~/assets --work ~/work --ai-music ~/ai-music
    """
    from safegen.generation.systems import load as load_model

    classifier = shipped() if weights is None else parse(weights.read_bytes())
    generator = load_model(model)
    prompts = tuple(wish.prompt for wish in read_prompts())[:count]
    requests = requests_for(prompts, seconds=SECONDS, first_seed=FIRST_SEED)
    own = [x.audio for x in generated(generator, requests, folder=work / "outputs")]
    real = held_out_recordings(assets, work=work)
    if not real:
        raise InputError(
            f"{assets}: no held-out music", remedy="Run `safegen eval assets --out FOLDER` first."
        )
    row = compare(own, real, weights=classifier, probe=_probe(work))
    row["hard"] = hard_negatives(real[:HARD], assets, weights=classifier)
    row["outside"] = outside(assets, real, weights=classifier)
    if ai_music is not None:
        others = [_excerpt_of(path) for path in walk((ai_music,))]
        row["other_generator"] = judged(others, weights=classifier).as_json()
    row["model_id"] = classifier.model_id
    click.echo(json.dumps(row))


def compare(
    own: Sequence[Audio],
    real: Sequence[Audio],
    *,
    weights: Weights,
    probe: Callable[[Floats], Floats] | None,
) -> dict[str, object]:
    """Judge both classes after the same treatment and compare them."""
    treatments: dict[str, Callable[[Audio], Audio]] = {
        "clean": lambda audio: audio,
        "mp3-64k": lambda audio: through_codec(audio, "mp3", bitrate=64_000),
        "aac-64k": lambda audio: through_codec(audio, "aac", bitrate=64_000),
        "marked": _mark,
    }
    out: dict[str, object] = {}
    for name, treat in treatments.items():
        ours = judged(_watched([*own], f"own, {name}", treat), weights=weights)
        theirs = judged(_watched([*real], f"recordings, {name}", treat), weights=weights)
        figures: dict[str, object] = {
            "auc": round(area(ours.probabilities, theirs.probabilities), 5),
            "own": ours.as_json(),
            "recordings": theirs.as_json(),
        }
        if probe is not None:
            figures["auc_trivial_probe"] = round(
                area(probe(ours.trivial), probe(theirs.trivial)), 5
            )
        out[name] = figures
    return out


def hard_negatives(
    real: Sequence[Audio], assets: Path, *, weights: Weights
) -> dict[str, dict[str, object]]:
    """Judge sound that is not ours but shares something with it."""
    kinds: dict[str, Iterable[Audio]] = {
        "rebuilt_from_magnitudes": _watched(real, "Griffin-Lim", rebuilt),
        "rebuilt_from_mel": _watched(real, "mel and Griffin-Lim", rebuilt_from_mel),
    }
    samples = clips.samples(assets, held_out=True, seconds=SECONDS)
    kinds["samples"] = [audio for _, audio in samples]
    for path in sorted(assets.rglob("*.sf3")):
        renderer = SoundfontRenderer(path)
        kinds[f"soundfont {path.stem}"] = [
            clip.audio for clip in clips.renders(renderer, RENDER_SEEDS[:HARD], seconds=SECONDS)
        ]
    return {name: judged(sounds, weights=weights).as_json() for name, sounds in kinds.items()}


def outside(
    assets: Path, real: Sequence[Audio], *, weights: Weights
) -> dict[str, dict[str, object]]:
    """Judge sound the classifier has no business judging."""
    speech = speech_files(assets)
    kinds = {
        **{f"speech {name}": _phrases(paths) for name, paths in speech.items() if paths},
        "effects": _effects(assets),
        "too_short": [audio.cut(0.0, 3.0) for audio in real[:10]],
        "too_quiet": [
            Audio(waveform=audio.waveform * np.float32(_QUIET), sample_rate=audio.sample_rate)
            for audio in real[:10]
        ],
    }
    return {
        name: judged(sounds, weights=weights).as_json() for name, sounds in kinds.items() if sounds
    }


def judged(sounds: Iterable[Audio], *, weights: Weights) -> Judged:
    """Judge whole files."""
    findings, trivial = [], []
    for audio in sounds:
        findings.append(judge(audio.waveform, audio.sample_rate, weights=weights))
        mono = features.prepare(audio.waveform, audio.sample_rate)[: features.SEGMENT_SAMPLES]
        if len(mono) == features.SEGMENT_SAMPLES:
            trivial.append(features.trivial(mono))
    return Judged(
        findings=tuple(findings),
        trivial=np.array(trivial).reshape(-1, len(features.trivial_names())),
    )


def area(positive: Floats, negative: Floats) -> float:
    """Chance that a positive scores above a negative, ties half; the area under the curve."""
    above = (positive[:, None] > negative).mean()
    level = (positive[:, None] == negative).mean()
    return float(above + level / 2)


def held_out_recordings(assets: Path, *, work: Path) -> list[Audio]:
    """Cut excerpts of the music packages that are not in training."""
    found = clips.recordings(
        assets,
        clips.HELD_OUT_PACKAGES,
        per_track=3,
        seconds=SECONDS,
        folder=work / "held-out",
        seed=2,
    )
    return [audio for _, audio in found]


def rebuilt(audio: Audio) -> Audio:
    """Throw the phase of a recording away and guess it again."""
    import torch

    mono = torch.from_numpy(resample(audio, SAMPLE_RATE).mono())
    window = torch.hann_window(2048)
    with torch.inference_mode():
        spectrum = torch.stft(
            mono, 2048, 640, window=window, return_complex=True, pad_mode="constant"
        )
        waveform = griffin_lim(spectrum.abs()[:, :-1], (spectrum.shape[1] - 1) * 640)
    return Audio(waveform=waveform[None].numpy(), sample_rate=SAMPLE_RATE)


def rebuilt_from_mel(audio: Audio) -> Audio:
    """Rebuild a recording from its mel spectrogram: our codec without the learned part."""
    import torch

    mel = LogMel()
    mono = torch.from_numpy(resample(audio, SAMPLE_RATE).mono())
    mono = mono[: len(mono) // 640 * 640]
    mono = mono * (0.1 / mono.square().mean().sqrt().clamp_min(1e-6))
    with torch.inference_mode():
        waveform = griffin_lim(mel.magnitudes(mel(mono[None]))[0], len(mono))
    return Audio(waveform=waveform[None].numpy(), sample_rate=SAMPLE_RATE)


def _mark(audio: Audio) -> Audio:
    dice = np.random.default_rng(audio.waveform.shape[1] + int(1e6 * float(audio.waveform.std())))
    return embed(audio, payload=int(dice.integers(0, 2**63)), key=dice.bytes(32))


def _probe(work: Path) -> Callable[[Floats], Floats] | None:
    """Fit the trivial probe on the clips the classifier was trained on, if they are kept."""
    tables = sorted(work.glob("table-*.npz"))
    if not tables:
        return None
    table = clips.join([clips.kept(path) for path in tables])
    return synthetic.trivial_line(table).score


def _phrases(paths: Sequence[Path]) -> list[Audio]:
    """Join spoken prompts to files of eight seconds."""
    out: list[Audio] = []
    parts: list[Audio] = []
    for path in paths:
        parts.append(load(path))
        if sum(part.seconds for part in parts) >= SECONDS:
            waveform = np.concatenate([part.mono() for part in parts])[None]
            # At the rate of music, so that the sound decides and not the sample rate.
            joined = Audio(waveform=waveform, sample_rate=parts[0].sample_rate)
            out.append(resample(joined, SAMPLE_RATE))
            parts = []
            if len(out) == OUTSIDE // 4:
                break
    return out


def _effects(assets: Path) -> list[Audio]:
    """Take the short sound effects of a game, joined to files of eight seconds."""
    root = assets / "hyperrogue-music"
    paths = [path for path in sorted(root.rglob("*.ogg")) if path.parent.name == "sounds"]
    return _phrases(paths)


def _excerpt_of(path: Path) -> Audio:
    return excerpt(load(path), seconds=10.0, start=0.3)


def _watched(
    sounds: Sequence[Audio], label: str, treat: Callable[[Audio], Audio]
) -> Iterator[Audio]:
    """Treat sounds one by one and draw a bar on stderr."""
    with click.progressbar(sounds, label=label, file=sys.stderr) as bar:
        for audio in bar:
            yield treat(audio)
