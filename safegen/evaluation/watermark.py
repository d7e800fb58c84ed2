"""Does the watermark survive what files go through, at what price, and does it ever lie?

Clips of ten seconds, half speech (prompts of four languages, joined) and half music
(native rate and channels), each marked with an id of its own. Every attack is a row:
how often exactly that id came back. Beside it the price (PESQ on the speech, signal to
mark ratio, seconds of one core) and the other side: unmarked windows in which an id or
a mark was claimed.

Results are kept line by line in a state file, so an interrupted run goes on where it
stopped; a change of the watermark's code or strength starts over.
"""

import hashlib
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import click
import numpy as np

from safegen import watermark
from safegen.audio import Audio, load
from safegen.config import from_environment
from safegen.errors import InputError, SafegenError
from safegen.evaluation.assets import music_files, speech_files
from safegen.evaluation.attacks import ATTACKS
from safegen.evaluation.metrics import wilson

Kind = Literal["speech", "music"]

SECONDS: Final = 10.0
ASKED_RATE: Final = 0.95
ASKED_PESQ: Final = 4.1
MUST_REACH: Final = ("clean", "mp3-64k", "opus-32k", "aac-64k", "resample-8k")
ALSO_SHOWN: Final = (
    "mp3-32k",
    "opus-16k",
    "noise-30db",
    "noise-20db",
    "crop-half",
    "cut-1s",
    "lowpass-3500",
    "highpass-500",
    "echo",
    "compress",
    "speed-1.02",
)
"""Rows without a promise; the last is known to fail: speed is not searched."""
_PESQ_RATE: Final = 16_000
_KEYS: Final = {"bench": hashlib.sha256(b"safegen benchmark key, public").digest()}
_MUSIC_START: Final = 0.3
"""Music clips begin at this share of the track, past the fade-in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """One sound to be marked, or one unmarked window."""

    name: str
    kind: Kind
    audio: Audio


class State:
    """Finished trials, one JSON object a line; half-written last lines are dropped."""

    def __init__(self, path: Path, version: str) -> None:
        self._path = path
        self.rows: dict[str, dict[str, float | str]] = {}
        lines = path.read_text().splitlines() if path.exists() else []
        for line in lines:
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            if row.get("version") == version:
                self.rows[str(row["trial"])] = row
        self._version = version

    def add(self, trial: str, **measured: float | str) -> None:
        """Keep one result, on disk before the next trial starts."""
        row = {"version": self._version, "trial": trial, **measured}
        self.rows[trial] = row
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")


@click.command("watermark")
@click.option(
    "--assets",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="What `safegen eval assets` fetched.  [default: SAFEGEN_HOME/assets]",
)
@click.option("--clips", type=click.IntRange(2), default=40, show_default=True)
@click.option("--unmarked", type=click.IntRange(0), default=2000, show_default=True)
@click.option(
    "--strength",
    type=click.FloatRange(0.01, 1.0),
    default=watermark.DEFAULT_STRENGTH,
    show_default=True,
    help="Change of a tile, in nepers.",
)
@click.option(
    "--state",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Finished trials are kept here.  [default: SAFEGEN_HOME/eval/watermark.jsonl]",
)
def command(
    assets: Path | None, clips: int, unmarked: int, strength: float, state: Path | None
) -> None:
    """Measure the watermark: ids read after attacks, sound quality, false ids, cost.

    \b
    Exit status:
      0  everything that is asked was reached
      1  something failed, or a package of the benchmark is missing
      2  --assets does not hold the audio
      3  a promise was not reached; "failed" in the output names it

    \b
    Example:
      safegen eval watermark --assets ~/assets --clips 40 --unmarked 2000
    """
    home = from_environment(os.environ).home
    folder = assets or home / "assets"
    kept = State(state or home / "eval" / "watermark.jsonl", _version(strength))
    speech, music = speech_files(folder), music_files(folder)
    if not all(speech.values()) or not music:
        raise InputError(
            f"{folder}: {sum(map(len, speech.values()))} speech and {len(music)} music files",
            remedy=f"Fetch them with `safegen eval assets --out {folder}`.",
        )
    with click.progressbar(length=clips, label="Attacking marked clips", file=sys.stderr) as bar:
        for number, clip in enumerate(marked_clips(speech, music, clips)):
            _attack(clip, _payload(number), strength, kept)
            bar.update(1)
    label = "Listening to unmarked windows"
    with click.progressbar(length=unmarked, label=label, file=sys.stderr) as bar:
        for clip in unmarked_windows(speech, music, unmarked):
            if f"unmarked {clip.name}" not in kept.rows:
                finding = watermark.detect(clip.audio, keys=_KEYS)
                kept.add(
                    f"unmarked {clip.name}",
                    kind=clip.kind,
                    detected=int(finding.detected),
                    id=int(finding.payload is not None),
                    p=finding.p_value,
                )
            bar.update(1)
    figures = summarize(list(kept.rows.values()), strength=strength)
    click.echo(json.dumps(figures, indent=1))
    if figures["failed"]:
        raise SystemExit(3)


def marked_clips(
    speech: Mapping[str, tuple[Path, ...]], music: tuple[Path, ...], count: int
) -> Iterator[Clip]:
    """Yield half speech, the languages in turn, and half music, spread over the tracks."""
    spoken = {language: _joined(files) for language, files in speech.items()}
    languages = list(speech)
    for number in range(count // 2):
        language = languages[number % len(languages)]
        yield Clip(
            name=f"{language} {number // len(languages)}",
            kind="speech",
            audio=next(spoken[language]),
        )
    wanted = count - count // 2
    tracks = list(music)
    found = 0
    for position in _spread(len(tracks)):
        if found == wanted:
            return
        audio = load(tracks[position])
        start = _MUSIC_START * audio.seconds
        cut = audio.cut(start, start + SECONDS)
        if cut.seconds >= SECONDS - 0.01 and float(np.abs(cut.waveform).max()) > 0.01:
            found += 1
            yield Clip(name=tracks[position].name, kind="music", audio=cut)


def unmarked_windows(
    speech: Mapping[str, tuple[Path, ...]], music: tuple[Path, ...], count: int
) -> Iterator[Clip]:
    """Yield ten-second windows: all speech there is, at most half, then music."""
    found = 0
    for language, files in speech.items():
        for number, audio in enumerate(_joined(files)):
            if found >= count // 2:
                break
            found += 1
            yield Clip(name=f"{language} {number}", kind="speech", audio=audio)
    for position in _spread(len(music)):
        track = load(music[position])
        for number in range(int(track.seconds // SECONDS)):
            if found >= count:
                return
            found += 1
            audio = track.cut(number * SECONDS, (number + 1) * SECONDS)
            yield Clip(name=f"{music[position].name} {number}", kind="music", audio=audio)


def summarize(rows: list[dict[str, float | str]], *, strength: float) -> dict[str, object]:
    """Turn trials into the table that is published, with what was asked beside it."""
    trials = [row for row in rows if "attack" in row]
    table: list[dict[str, object]] = []
    failed: list[str] = []
    for attack in (*MUST_REACH, *ALSO_SHOWN):
        here = [row for row in trials if row["attack"] == attack]
        if not here:
            continue
        exact = wilson(sum(int(row["exact"]) for row in here), len(here))
        asked = ASKED_RATE if attack in MUST_REACH else None
        if asked is not None and exact.rate < asked:
            failed.append(f"{attack}: exact id {exact.rate:.3f}, asked {asked}")
        table.append(
            {
                "attack": attack,
                "asked": asked,
                "exact_id": exact.as_json(),
                "detected": round(sum(int(row["detected"]) for row in here) / len(here), 4),
                **{
                    f"exact_{kind}": round(
                        statistics.mean(float(row["exact"]) for row in here if row["kind"] == kind),
                        4,
                    )
                    for kind in ("speech", "music")
                    if any(row["kind"] == kind for row in here)
                },
                "wrong_ids": sum(int(row["wrong"]) for row in here),
            }
        )
    prices = [row for row in rows if "snr_db" in row]
    pesq = [float(row["pesq"]) for row in prices if "pesq" in row]
    quality = round(statistics.mean(pesq), 3) if pesq else math.nan
    if pesq and quality < ASKED_PESQ:
        failed.append(f"PESQ {quality}, asked {ASKED_PESQ}")
    silent = [row for row in rows if str(row["trial"]).startswith("unmarked ")]
    false_ids = sum(int(row["id"]) for row in silent)
    if false_ids:
        failed.append(f"{false_ids} false ids in {len(silent)} unmarked windows, asked 0")
    return {
        "benchmark": "watermark",
        "strength": strength,
        "seconds": SECONDS,
        "clips": {kind: sum(row["kind"] == kind for row in prices) for kind in ("speech", "music")},
        "rows": table,
        "pesq_wb": {
            "asked": ASKED_PESQ,
            "n": len(pesq),
            "mean": quality if pesq else None,
            "min": round(min(pesq), 3) if pesq else None,
        },
        "signal_to_mark_db": {
            kind: round(
                statistics.mean(float(row["snr_db"]) for row in prices if row["kind"] == kind), 2
            )
            for kind in ("speech", "music")
            if any(row["kind"] == kind for row in prices)
        },
        "unmarked": {
            "windows": len(silent),
            "false_ids": false_ids,
            "false_detections": sum(int(row["detected"]) for row in silent),
            "high95": round(wilson(false_ids, len(silent)).high, 5) if silent else None,
            "smallest_p": min((float(row["p"]) for row in silent), default=None),
        },
        "core_seconds_per_second": {
            name: round(statistics.mean(float(row[name]) for row in prices), 5)
            for name in ("embed", "detect")
            if prices
        },
        "failed": failed,
    }


def _attack(clip: Clip, payload: int, strength: float, kept: State) -> None:
    """Mark one clip, note the price, and listen after each attack that is not done yet."""
    wanted = [
        name
        for name in (*MUST_REACH, *ALSO_SHOWN)
        if f"{name} {clip.kind} {clip.name}" not in kept.rows
    ]
    price = f"price {clip.kind} {clip.name}"
    if not wanted and price in kept.rows:
        return
    begin = time.process_time()
    marked = watermark.embed(clip.audio, payload=payload, key=_KEYS["bench"], strength=strength)
    embedded = time.process_time()
    watermark.detect(marked, keys=_KEYS)
    heard = time.process_time()
    measured: dict[str, float | str] = {
        "kind": clip.kind,
        "snr_db": _snr_db(clip.audio, marked),
        "embed": (embedded - begin) / clip.audio.seconds,
        "detect": (heard - embedded) / clip.audio.seconds,
    }
    if clip.kind == "speech":
        measured["pesq"] = _pesq(clip.audio, marked)
    kept.add(price, **measured)
    for name in wanted:
        finding = watermark.detect(ATTACKS[name](marked), keys=_KEYS)
        kept.add(
            f"{name} {clip.kind} {clip.name}",
            attack=name,
            kind=clip.kind,
            detected=int(finding.detected),
            exact=int(finding.payload == payload),
            wrong=int(finding.payload not in (None, payload)),
            z=round(finding.z, 2),
        )


def _joined(files: tuple[Path, ...]) -> Iterator[Audio]:
    """Join prompts end to end, in an order mixed by their names, and cut into clips."""
    length = round(SECONDS * _PESQ_RATE)
    held: list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = []
    samples = 0
    for path in sorted(files, key=lambda path: hashlib.sha256(path.name.encode()).digest()):
        prompt = load(path)
        held.append(prompt.waveform)
        samples += prompt.waveform.shape[1]
        if samples >= length:
            joined = np.concatenate(held, axis=1)
            yield Audio(waveform=joined[:, :length].copy(), sample_rate=_PESQ_RATE)
            # The rest of the last prompt opens the next clip.
            held, samples = (
                [joined[:, length:][:, :length]],
                joined[:, length:][:, :length].shape[1],
            )


def _spread(count: int) -> list[int]:
    """Visit all positions, far ones first, always in the same order."""
    return sorted(range(count), key=lambda position: (position * 0.6180339887498949) % 1.0)


def _payload(number: int) -> int:
    """Give each clip an id with as many ones as zeros on average."""
    return int.from_bytes(hashlib.sha256(b"benchmark id %d" % number).digest()[:8], "big")


def _snr_db(clean: Audio, marked: Audio) -> float:
    """Measure how far the mark lies below the sound."""
    signal = float(np.sum(clean.waveform.astype(np.float64) ** 2))
    mark = float(np.sum((marked.waveform - clean.waveform).astype(np.float64) ** 2))
    return 10 * math.log10(max(signal, 1e-12) / max(mark, 1e-12))


def _pesq(clean: Audio, marked: Audio) -> float:
    """Score the marked speech against the clean, wide-band, in [1.04, 4.64]."""
    try:
        from pesq import pesq
    except ImportError as error:
        raise SafegenError(
            "the package pesq is not installed", remedy="Install it with `pip install pesq`."
        ) from error
    return float(pesq(_PESQ_RATE, clean.waveform[0], marked.waveform[0], "wb"))


def _version(strength: float) -> str:
    """Name the code and the strength that the trials belong to."""
    import detectors.watermark

    digest = hashlib.sha256(str(strength).encode())
    for module in (watermark, detectors.watermark, sys.modules[__name__]):
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()[:16]
