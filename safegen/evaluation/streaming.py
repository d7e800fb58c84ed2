"""How soon is a stream heard, does it ever run dry, and is it as good as the whole?

Every row makes the same requests whole and piece by piece. Times are those of one core,
loading left out, so that what else the machine does counts little. A stream that is
played from its first piece on runs dry when a piece comes after it is due.

*Seams*: where segments of a stream meet, the change of the log-mel spectrogram is ranked
among the changes everywhere in the clip. If joints are like any other place, the mean
rank is 0.5 and one in twenty is among the highest twentieth.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import numpy.typing as npt

from safegen.audio import Audio
from safegen.errors import InputError, ReleaseBlockedError
from safegen.evaluation.generation_bench.adherence import Judged, hear, rates
from safegen.evaluation.generation_bench.scenes_task import read_sound_prompts
from safegen.evaluation.generation_bench.wishes import Wish, read_prompts
from safegen.gate import Gate
from safegen.generation.base import Generation, Generator, Request, StreamingGenerator, joined
from safegen.generation.cards import CARDS
from safegen.generation.compose import compose
from safegen.generation.procedural import render

GATE_SECONDS: Final = 3.0
"""What the gate hears before it lets the first sound out."""
WORKS: Final = 6
"""In the catalog of the installation whose gate is timed."""
BEGINNING_SECONDS: Final = 5.0
HEARD_SECONDS: Final = 4.0
"""The meters need so much."""
_AROUND: Final = 2
"""Mel frames to either side of a joint whose changes are taken together: 100 ms in all."""
_ROWS: Final = tuple(found.name for found in CARDS if found.name != "codec")

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Streamed:
    """One item that was made piece by piece.

    Attributes:
        whole: All pieces joined.
        first_seconds: Until the first piece.
        heard_seconds: Until ``GATE_SECONDS`` of sound were out, or all of it.
        all_seconds: Until the last piece.
        late_seconds: How long a player that starts with the first piece would stop at most;
            0 if every piece comes before it is due.
    """

    whole: Generation
    first_seconds: float
    heard_seconds: float
    all_seconds: float
    late_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Seams:
    """How much more happens where segments meet than elsewhere.

    Attributes:
        joints: How many there were.
        mean_rank: Of the change at a joint among all changes, in [0, 1]; 0.5 for luck.
        loud_share: Share of joints among the highest twentieth; 0.05 for luck.
    """

    joints: int
    mean_rank: float
    loud_share: float


def taken(
    pieces: Iterable[Generation], *, clock: Callable[[], float] = time.process_time
) -> Streamed:
    """Take a stream to its end and note when its pieces came.

    Args:
        pieces: At least one.
        clock: Seconds; those of the processor by default.
    """
    begun = clock()
    got: list[Generation] = []
    came: list[float] = []
    for piece in pieces:
        came.append(clock() - begun)
        got.append(piece)
    lengths = np.cumsum([piece.audio.seconds for piece in got])
    due = came[0] + np.concatenate([[0.0], lengths[:-1]])
    heard = int(np.searchsorted(lengths, GATE_SECONDS - 1e-6))
    return Streamed(
        whole=joined(got),
        first_seconds=came[0],
        heard_seconds=came[min(heard, len(came) - 1)],
        all_seconds=clock() - begun,
        late_seconds=max(0.0, float(np.max(np.array(came) - due))),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """One item that was heard as it left the gate, under the policy ``strict``.

    Attributes:
        decision: Of the gate.
        first_seconds: Until the first chunk; until the end if none left before.
        late_seconds: How long a player that starts with the first chunk would stop at most.
        left_share: Share of the sound that left before the last decision.
    """

    decision: str
    first_seconds: float
    late_seconds: float
    left_share: float


def released(
    gate: Gate,
    generator: Generator,
    request: Request,
    *,
    out: Path,
    clock: Callable[[], float] = time.process_time,
) -> Released:
    """Stream one item through a gate and note when its chunks left.

    Args:
        gate: Open.
        generator: That makes the sound.
        request: What is wanted.
        out: Output folder.
        clock: Seconds; those of the processor, of all threads, by default.
    """
    begun = clock()
    came: list[float] = []
    lengths: list[float] = []
    with gate.stream(generator, request, out=out) as stream:
        try:
            for chunk in stream:
                came.append(clock() - begun)
                lengths.append(chunk.seconds)
        except ReleaseBlockedError:
            came.append(clock() - begun)
            lengths.append(0.0)
    found, ends = stream.release, np.cumsum(lengths)
    left = found.stream.emitted_seconds if found.stream else 0.0
    due = came[0] + np.concatenate([[0.0], ends[:-1]])
    return Released(
        decision=found.judgement.decision.action.value,
        first_seconds=came[0],
        late_seconds=max(0.0, float(np.max(np.array(came) - due))),
        left_share=left / request.seconds,
    )


def through_gate(name: str, *, count: int, seconds: float, home: Path) -> dict[str, Any]:
    """Measure what leaves the gate of a fresh installation: loading left out, one core.

    Args:
        name: Of a card.
        count: Items.
        seconds: Length of each.
        home: A folder for the installation, made.
    """
    from safegen.evaluation.gate import open_installation
    from safegen.generation.stages import one_thread
    from safegen.generation.systems import load

    generator = load(name)
    requests, _ = requests_of(name, count=count, seconds=seconds)
    with one_thread(), open_installation(home / "home", works=WORKS) as gate:
        released(gate, generator, requests[0], out=home / "out")  # The first one warms up.
        found = [released(gate, generator, each, out=home / "out") for each in requests]
    return {
        "gate_first_chunk_seconds": _mean([x.first_seconds for x in found]),
        "gate_first_chunk_seconds_worst": round(max(x.first_seconds for x in found), 3),
        "gate_late_seconds": round(max(x.late_seconds for x in found), 3),
        "gate_left_while_made": _mean([x.left_share for x in found]),
        "gate_released": sum(x.decision in ("release", "label") for x in found),
    }


def changes(audio: Audio) -> Floats:
    """How much the log-mel spectrogram changes around each frame of 20 ms; shape (t,)."""
    import torch

    from safegen.generation.codec import SAMPLE_RATE, LogMel

    if audio.sample_rate != SAMPLE_RATE:
        msg = f"{audio.sample_rate} Hz, {SAMPLE_RATE} are needed"
        raise ValueError(msg)
    with torch.inference_mode():
        mel = LogMel()(torch.from_numpy(audio.waveform))[0].double().numpy()
    step = np.abs(np.diff(mel, axis=0, prepend=mel[:1])).mean(axis=1)
    return np.convolve(step, np.full(2 * _AROUND + 1, 1 / (2 * _AROUND + 1)), mode="same")


def seams(sounds: Sequence[Audio], joints: Callable[[Audio], Sequence[float]]) -> Seams | None:
    """Rank the changes at joints among those of their clip; None if there are none.

    Args:
        sounds: Of streams.
        joints: Where segments of a sound meet, in seconds.
    """
    from safegen.generation.codec import HOP, SAMPLE_RATE

    ranks = []
    for audio in sounds:
        found = changes(audio)
        for at in joints(audio):
            ranks.append(float((found < found[round(at * SAMPLE_RATE / HOP)]).mean()))
    if not ranks:
        return None
    return Seams(
        joints=len(ranks),
        mean_rank=float(np.mean(ranks)),
        loud_share=float(np.mean(np.array(ranks) >= 0.95)),
    )


def segment_joints(audio: Audio, *, first_seconds: float = 0.0) -> list[float]:
    """Where the segments of a stream meet, in seconds; not where a given beginning ends."""
    from safegen.generation.codec import FRAME_RATE
    from safegen.generation.streams import frames_of, segments

    first = round(first_seconds * FRAME_RATE)
    parts = segments(frames_of(audio.seconds), first=first)
    return [part.first / FRAME_RATE for part in parts if part.first > first]


def requests_of(name: str, *, count: int, seconds: float) -> tuple[list[Request], list[Wish]]:
    """Ask a row for what it can make.

    Returns:
        Requests, and what each wishes of the meters; no wishes if the meters cannot say.
    """
    if name.startswith("sfx"):
        return [
            Request(prompt=wish.prompt, seconds=seconds, seed=i)
            for i, wish in enumerate(read_sound_prompts()[:count])
        ], []
    if name == "continue":
        beginnings = [render(compose(i), seconds=BEGINNING_SECONDS) for i in range(count)]
        return [
            Request(prompt="", seconds=seconds, seed=i, continue_from=beginning)
            for i, beginning in enumerate(beginnings)
        ], []
    wishes = list(read_prompts()[:count])
    return [
        Request(prompt=wish.prompt, seconds=seconds, seed=i) for i, wish in enumerate(wishes)
    ], wishes


def measured(name: str, *, count: int, seconds: float) -> dict[str, Any]:
    """Measure one row: times of one core, adherence and seams, streamed beside whole.

    Args:
        name: Of a card.
        count: Items.
        seconds: Length of each.

    Raises:
        InputError: If there is no such row, or it gives no streams.
    """
    from safegen.generation.stages import one_thread
    from safegen.generation.systems import load

    generator = load(name)
    if not isinstance(generator, StreamingGenerator):
        raise InputError(f"{name} gives no streams", remedy=f"Choose one of {', '.join(_ROWS)}.")
    requests, wishes = requests_of(name, count=count, seconds=seconds)
    with one_thread():
        joined(list(generator.stream(requests[0])))  # The first one pays for warming up.
        streams = [taken(generator.stream(request)) for request in requests]
        begun = time.process_time()
        wholes = [generator.generate(request) for request in requests]
        whole_seconds = time.process_time() - begun
    sounds = [stream.whole.audio for stream in streams]
    found: dict[str, Any] = {
        "model": name,
        "items": count,
        "seconds": seconds,
        "first_piece_seconds": _mean([x.first_seconds for x in streams]),
        "three_seconds_out_after": _mean([x.heard_seconds for x in streams]),
        "real_time_factor_streamed": _mean([x.all_seconds / seconds for x in streams]),
        "real_time_factor_whole": round(whole_seconds / (count * seconds), 3),
        "late_seconds": round(max(x.late_seconds for x in streams), 3),
        "plans_as_whole": sum(
            stream.whole.plan_json == whole.plan_json
            for stream, whole in zip(streams, wholes, strict=True)
        ),
        "tokens_as_whole": sum(
            np.array_equal(stream.whole.codes, whole.codes)
            for stream, whole in zip(streams, wholes, strict=True)
        ),
    }
    if wishes and seconds >= HEARD_SECONDS:
        found["adherence_streamed"] = _rates(wishes, sounds)
        found["adherence_whole"] = _rates(wishes, [whole.audio for whole in wholes])
    if name != "procedural":
        first = BEGINNING_SECONDS if name == "continue" else 0.0
        at_joints = seams(sounds, lambda audio: segment_joints(audio, first_seconds=first))
        found["seams"] = None if at_joints is None else _rounded(asdict(at_joints))
    return found


@click.command("streaming")
@click.option(
    "--model",
    "models",
    multiple=True,
    type=click.Choice(_ROWS),
    metavar="NAME",
    help="Row to measure, several times for several; all of them without it.",
)
@click.option("--count", type=click.IntRange(1, 100), default=2, show_default=True)
@click.option("--seconds", type=click.FloatRange(4.0, 60.0), default=16.0, show_default=True)
def command(models: tuple[str, ...], count: int, seconds: float) -> None:
    """Measure streams of the shipped rows beside the same items made whole.

    One line of JSON for each row: seconds of one core until the first piece, until 3 s of
    sound are out, and until the first chunk left the gate under the policy strict;
    real-time factors, how late a piece or chunk came at worst, adherence and seams.

    \b
    Exit status:
      0  measured
      2  bad arguments

    \b
    Example:
      safegen eval streaming --model music-flow --count 4
    """
    for name in models or _ROWS:
        with tempfile.TemporaryDirectory(prefix="safegen-streaming-") as folder:
            gated = through_gate(name, count=count, seconds=seconds, home=Path(folder))
        click.echo(json.dumps({**measured(name, count=count, seconds=seconds), **gated}))


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 3)


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 3) for name, value in row.items()}


def _rates(wishes: Sequence[Wish], sounds: Sequence[Audio]) -> dict[str, str]:
    """Attribute -> how many fulfil the wish, of how many that name it."""
    judged = [
        Judged(wish=wish, heard=hear(sound)) for wish, sound in zip(wishes, sounds, strict=True)
    ]
    counts = {name: found.rate for name, found in rates(judged).items()}
    return {name: f"{rate.hits}/{rate.n}" for name, rate in counts.items()}
