"""Is the mark of the codec's decoder heard after attacks, and never where it is not?

Clips of ten seconds from the shipped model, on prompts it never read; nothing is added
to them, the mark is what the decoder wrote. Every attack is a row: how often the mark
was heard, with the search over speed, tempo and pitch as in ``safegen screen``. Three
kinds of sound must stay silent: windows of recorded music, windows of speech, and the
clips themselves when they are asked for patterns of other labels.

Finished trials are kept line by line in a state file, so that a stopped run continues; a
change of the ear, the codec or the prompts starts over.
"""

import hashlib
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Final

import click
import numpy as np
import numpy.typing as npt

from detectors import decoder_mark
from detectors.decoder_mark import DecoderMarkFinding
from safegen import watermark
from safegen.audio import Audio, load, resample
from safegen.config import from_environment
from safegen.errors import InputError
from safegen.evaluation.assets import music_files, speech_files
from safegen.evaluation.attacks import ATTACKS
from safegen.evaluation.generation import read_prompts
from safegen.evaluation.metrics import wilson
from safegen.generation.base import Generator, Request

SECONDS: Final = 10.0
FIRST_SEED: Final = 1
ROWS: Final = (
    *("clean", "mp3-64k", "mp3-32k", "aac-64k", "aac-32k", "opus-32k", "opus-16k", "vorbis-q1"),
    *("resample-16k", "resample-8k", "noise-20db", "pink-20db", "babble-10db", "pcm-8"),
    *("lowpass-3500", "lowpass-2000", "highpass-1000", "echo", "reverb-0.8s", "rerecord-far"),
    *("compress", "denoise", "crop-5s", "crop-10pct", "mel-160", "mel-80"),
    *("speed-0.93", "speed-0.98", "speed-1.05", "speed-1.10", "tempo-0.95", "tempo-1.05"),
    *("tempo-1.05-vocoder", "tempo-1.10", "pitch-1", "pitch+1", "pitch+2"),
)
"""Attacks asked by default; speed 1.10, tempo 1.10 and pitch +2 are beyond the search."""

WINDOWS_OF_A_TRACK: Final = 5

_KEY: Final = hashlib.sha256(b"safegen benchmark key, public").digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One sound that was listened to.

    Attributes:
        row: What was asked: an attack, or a kind of sound that has no mark.
        number: Which of them, from 0.
        detected: Whether the mark was heard.
        score: The correlation at the best alignment.
        p_value: Corrected.
        cpu_share: Processor seconds of listening per second of sound.
    """

    row: str
    number: int
    detected: bool
    score: float
    p_value: float
    cpu_share: float

    def to_json(self) -> dict[str, float | int | str | bool]:
        """Give the line of the state file."""
        return {
            "row": self.row,
            "number": self.number,
            "detected": self.detected,
            "score": self.score,
            "p_value": self.p_value,
            "cpu_share": self.cpu_share,
        }


class Kept:
    """Finished trials on disk; lines of another version and half lines are dropped."""

    def __init__(self, path: Path, version: str) -> None:
        self._path, self._version = path, version
        self._trials: dict[tuple[str, int], Trial] = {}
        for line in path.read_text().splitlines() if path.exists() else []:
            try:
                values = json.loads(line)
                if values.pop("version") == version:
                    trial = Trial(**values)
                    self._trials[trial.row, trial.number] = trial
            except (ValueError, KeyError, TypeError, AttributeError):
                continue

    def get(self, row: str, number: int, measure: Callable[[], Trial]) -> Trial:
        """Give a finished trial, or measure it and keep it."""
        known = self._trials.get((row, number))
        if known is None:
            known = measure()
            self._trials[row, number] = known
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a") as file:
                file.write(json.dumps({"version": self._version, **known.to_json()}) + "\n")
        return known


@click.command("rooted")
@click.option(
    "--assets",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="What `safegen eval assets` fetched.  [default: SAFEGEN_HOME/assets]",
)
@click.option("--clips", type=click.IntRange(2), default=20, show_default=True)
@click.option(
    "--unmarked",
    type=click.IntRange(2),
    default=200,
    show_default=True,
    help="Windows of recorded music, and as many of speech.",
)
@click.option(
    "--attack",
    "attacks",
    multiple=True,
    type=click.Choice(list(ATTACKS)),
    metavar="NAME",
    help="Only this row; may be repeated.",
)
@click.option("--model", default="music-flow", show_default=True)
@click.option(
    "--state",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Finished trials are kept here.  [default: SAFEGEN_HOME/eval/rooted.jsonl]",
)
def command(
    assets: Path | None,
    clips: int,
    unmarked: int,
    attacks: tuple[str, ...],
    model: str,
    state: Path | None,
) -> None:
    """Measure the decoder's own mark: heard after attacks, silent elsewhere, cost.

    \b
    Exit status:
      0  the figures were measured
      2  --assets does not hold the audio, or there are too few prompts

    \b
    Example:
      safegen eval rooted --assets ~/assets --clips 20
    """
    from safegen.generation.systems import load as load_model

    home = from_environment(os.environ).home
    folder = assets or home / "assets"
    speech = tuple(path for paths in speech_files(folder).values() for path in paths)
    music = music_files(folder)
    if not speech or not music:
        raise InputError(
            f"{folder}: {len(speech)} speech and {len(music)} music files",
            remedy="Run `safegen eval assets --out FOLDER` first.",
        )
    prompts = [wish.prompt for wish in read_prompts()]
    if clips > len(prompts):
        raise InputError(
            f"{clips} clips, there are {len(prompts)} prompts", remedy="Ask for fewer clips."
        )
    generator = load_model(model)
    kept = Kept(state or home / "eval" / "rooted.jsonl", _version(generator))
    rows = attacks or ROWS
    trials: dict[str, list[Trial]] = {}
    marked = made(generator, prompts[:clips])
    with click.progressbar(marked, length=clips, label="Clips", file=sys.stderr) as sounds:
        for number, sound in enumerate(sounds):
            companion = _companion(speech if number % 2 else music, number)
            for trial in _of_clip(kept, sound, number, rows=rows, companion=companion):
                trials.setdefault(trial.row, []).append(trial)
    for name, cut in (
        ("music", partial(music_window, music)),
        ("speech", partial(speech_window, speech)),
    ):
        with click.progressbar(range(unmarked), label=name, file=sys.stderr) as numbers:
            trials[name] = [
                kept.get(name, number, lambda: listen(name, number, cut(number)))  # noqa: B023
                for number in numbers
            ]
    silent = ("other-label", "music", "speech")
    click.echo(
        json.dumps(
            {
                "benchmark": "rooted",
                "model": f"{generator.facts.name} {generator.facts.version}",
                "clips": clips,
                "seconds": SECONDS,
                "threshold_p": decoder_mark.DETECTION_P,
                "strength_db": round(20 * decoder_mark.STRENGTH, 2),
                "heard": {name: _figures(trials[name]) for name in (*rows, "released")},
                "false_alarms": {
                    name: {
                        **_figures(trials[name]),
                        "p_least": min(trial.p_value for trial in trials[name]),
                    }
                    for name in silent
                },
                "cpu_seconds_per_second": {
                    "found_at_once": _cost(trials.get("clean", [])),
                    "searched": _cost([*trials["music"], *trials["speech"]]),
                },
            }
        )
    )


def made(generator: Generator, prompts: Sequence[str]) -> Iterator[Callable[[], Audio]]:
    """Name the sound of every prompt; it is made when it is first asked for."""
    for number, prompt in enumerate(prompts):
        request = Request(prompt=prompt, seconds=SECONDS, seed=FIRST_SEED + number)
        sound: list[Audio] = []

        def once(request: Request = request, sound: list[Audio] = sound) -> Audio:
            if not sound:
                sound.append(generator.generate(request).audio)
            return sound[0]

        yield once


def listen(row: str, number: int, audio: Audio, *, label: bytes = decoder_mark.LABEL) -> Trial:
    """Listen once, with the search, and time it."""
    begun = time.process_time()
    finding: DecoderMarkFinding = decoder_mark.hear(audio.waveform, audio.sample_rate, label=label)
    spent = time.process_time() - begun
    return Trial(
        row=row,
        number=number,
        detected=finding.detected,
        score=round(finding.score, 2),
        p_value=finding.p_value,
        cpu_share=round(spent / max(audio.seconds, 1e-3), 5),
    )


def music_window(paths: Sequence[Path], number: int) -> Audio:
    """Cut a window out of a recording, ``WINDOWS_OF_A_TRACK`` of one after another."""
    track, turn = divmod(number, WINDOWS_OF_A_TRACK)
    rounds, index = divmod(track, len(paths))
    audio = _track(paths[index])
    room = max(0.0, audio.seconds - SECONDS)
    # The golden ratio spreads any number of starts evenly.
    start = room * math.fmod(0.3 + 0.618034 * (rounds * WINDOWS_OF_A_TRACK + turn), 1.0)
    return audio.cut(start, start + SECONDS)


def speech_window(paths: Sequence[Path], number: int) -> Audio:
    """Join spoken prompts to a window; which ones depends on its number alone."""
    order = np.random.default_rng(number).permutation(len(paths))
    parts: list[npt.NDArray[np.float32]] = []
    rate, seconds = 0, 0.0
    for index in np.resize(order, 100 * len(order)).tolist():
        audio = load(paths[index])
        rate = audio.sample_rate
        parts.append(audio.mono())
        seconds += audio.seconds
        if seconds >= SECONDS:
            break
    joined = np.concatenate(parts)[None, : round(SECONDS * rate)]
    return Audio(waveform=joined, sample_rate=rate)


@lru_cache(maxsize=1)
def _track(path: Path) -> Audio:
    return load(path)


def _of_clip(
    kept: Kept,
    sound: Callable[[], Audio],
    number: int,
    *,
    rows: Sequence[str],
    companion: Callable[[], Audio],
) -> Iterator[Trial]:
    """Attack one clip in every way, release it, and ask it for another pattern."""

    def attacked(name: str) -> Audio:
        return ATTACKS[name](sound(), companion())

    def released() -> Audio:
        payload = int.from_bytes(hashlib.sha256(str(number).encode()).digest()[:8], "big")
        return ATTACKS["mp3-64k"](watermark.embed(sound(), payload=payload, key=_KEY))

    for name in rows:
        yield kept.get(name, number, lambda: listen(name, number, attacked(name)))  # noqa: B023
    yield kept.get("released", number, lambda: listen("released", number, released()))
    label = f"other label {number}".encode()
    yield kept.get(
        "other-label", number, lambda: listen("other-label", number, sound(), label=label)
    )


def _companion(paths: Sequence[Path], number: int) -> Callable[[], Audio]:
    def give() -> Audio:
        audio = load(paths[number % len(paths)])
        return resample(audio.cut(0.0, SECONDS), 32_000)

    return give


def _figures(trials: Sequence[Trial]) -> dict[str, object]:
    scores = sorted(trial.score for trial in trials)
    return {
        **wilson(sum(trial.detected for trial in trials), len(trials)).as_json(),
        "score_least": scores[0],
        "score_median": round(statistics.median(scores), 2),
        "score_most": scores[-1],
    }


def _cost(trials: Sequence[Trial]) -> float | None:
    return round(statistics.median(t.cpu_share for t in trials), 5) if trials else None


def _version(generator: Generator) -> str:
    """Name what the figures depend on: the ear, the model and its version."""
    facts = generator.facts
    ear = Path(decoder_mark.__file__).read_bytes()
    parts = (ear, facts.weights_sha256.encode(), facts.version.encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
