"""What does the classifier hear of a clip? Kept, so that other heads are asked quickly.

Making a sound, treating it and measuring its windows takes nearly all the time; heads take
none. A file for each clip and treatment holds the windows, the trivial features, and the
scores of the models that need the sound itself.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from detectors.synthetic import traces, trivial
from detectors.synthetic.finding import SyntheticFinding
from detectors.synthetic.judging import (
    LEAST_RMS,
    STEP_SECONDS,
    GenericModel,
    Heard,
    Roster,
    UnheardError,
    hear,
    judge,
    judge_windows,
)
from detectors.synthetic.reference import Windows, joined, windows_of
from safegen.audio import Audio
from safegen.training.measured import Treatment, windows_in

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A sound that can be made.

    Attributes:
        key: Names it among all clips; another sound has another key.
        kind: "speech" or "music".
        generator: Who made it, "" if it is real.
        family: Of the generator, "" if it is real.
        source: Speaker, track or prompt.
        make: Makes the sound.
    """

    key: str
    kind: str
    generator: str
    family: str
    source: str
    make: Callable[[], Audio]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A clip after a treatment, measured.

    Attributes:
        clip: Which.
        treatment: What it went through.
        seconds: Its length then.
        starts: Of its windows, shape (n,); none if it is too short or silent.
        windows: Measured, n rows.
        logits: Of the models that need the sound, shape (n, models).
        trivial: Features that prove nothing, shape (t,).
    """

    clip: Clip
    treatment: str
    seconds: float
    starts: Floats
    windows: Windows
    logits: Floats
    trivial: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What is said of a sound whose maker is known.

    Attributes:
        pieces: The clips it consists of, at least one.
        seconds: Its length.
        finding: The answer.
    """

    pieces: tuple[Piece, ...]
    seconds: float
    finding: SyntheticFinding

    @property
    def clip(self) -> Clip:
        """The first clip; all have the same maker and source."""
        return self.pieces[0].clip


def listen(
    clips: Iterable[Clip],
    treatments: Mapping[str, Treatment],
    *,
    models: Sequence[GenericModel],
    folder: Path,
) -> Iterator[Piece]:
    """Measure clips after each treatment, from the folder what is there.

    Args:
        clips: What to listen to.
        treatments: By name.
        models: Those that need the sound itself.
        folder: Where measurements are kept; made if it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for clip in clips:
        dry: Audio | None = None
        for name, treat in treatments.items():
            path = folder / f"{_digest(clip.key, name)}.npz"
            piece = _kept(path, clip, name, models)
            if piece is None:
                dry = clip.make() if dry is None else dry
                piece = _measured(treat(dry), clip, name, models)
                _keep(piece, path, models)
            yield piece


def with_kept_scores(roster: Roster) -> Roster:
    """Give a roster whose generic models read their scores from the place of the sound.

    It looks for no combs: they are shown to people and decide nothing.
    """
    generic = tuple(
        replace(model, logits=partial(_column, number))
        for number, model in enumerate(roster.generic)
    )
    return replace(roster, generic=generic, combs=False)


def without(roster: Roster, *, generator: str, family: str = "") -> Roster:
    """Leave an entry out, and those of a family if one is named."""
    entries = tuple(
        e for e in roster.entries if e.name != generator and (not family or e.family != family)
    )
    return replace(roster, entries=entries)


def judged(pieces: Iterable[Piece], *, seconds: float, roster: Roster) -> Iterator[Judgement]:
    """Judge sounds of one length; short clips of one source are put together to a long one.

    What is put together are windows: as many as the long sound has side by side.

    Args:
        pieces: Clips; those of a source in their order.
        seconds: Length of the sounds.
        roster: As ``with_kept_scores`` gives it.
    """
    groups: dict[tuple[str, ...], list[Piece]] = {}
    for piece in pieces:
        clip = piece.clip
        key = (clip.kind, clip.generator, clip.source, piece.treatment)
        here = groups.setdefault(key, [])
        here.append(piece)
        if len(here) * windows_in(piece.seconds) >= windows_in(seconds):
            yield _judged(tuple(groups.pop(key)), seconds, roster)


def _judged(pieces: tuple[Piece, ...], seconds: float, roster: Roster) -> Judgement:
    heard = [piece for piece in pieces if len(piece.starts)]
    if not heard:
        finding = judge(np.zeros((1, 1), np.float32), traces.SAMPLE_RATE, roster=roster)
    else:
        begins = np.cumsum([0.0, *(piece.seconds for piece in heard[:-1])])
        finding = judge_windows(
            Heard(
                starts=np.concatenate(
                    [p.starts + begin for p, begin in zip(heard, begins, strict=True)]
                ),
                sound=np.concatenate([piece.logits for piece in heard]).astype(np.float32),
                windows=joined([piece.windows for piece in heard]),
            ),
            seconds,
            roster=roster,
        )
    return Judgement(pieces=pieces, seconds=seconds, finding=finding)


def _column(number: int, scores: npt.NDArray[np.float32]) -> Floats:
    return scores[:, number].astype(np.float64)


def _measured(audio: Audio, clip: Clip, treatment: str, models: Sequence[GenericModel]) -> Piece:
    try:
        heard = hear(audio.waveform, audio.sample_rate)
    except UnheardError:
        # For the shapes alone.
        noise = traces.trace(np.random.default_rng(0).standard_normal(16_000).astype(np.float32))
        none = np.zeros(0, dtype=np.int64)
        return Piece(
            clip=clip,
            treatment=treatment,
            seconds=audio.seconds,
            starts=np.zeros(0),
            windows=windows_of([noise]).rows(none),
            logits=np.zeros((0, len(models))),
            trivial=np.zeros(len(trivial.trivial_names())),
        )
    mono = trivial.prepare(audio.waveform, audio.sample_rate)
    columns = [np.asarray(model.logits(heard.sound), dtype=np.float64) for model in models]
    return Piece(
        clip=clip,
        treatment=treatment,
        seconds=audio.seconds,
        starts=heard.starts,
        windows=heard.windows,
        logits=np.stack(columns, axis=1) if columns else np.zeros((len(heard.starts), 0)),
        trivial=np.asarray(trivial.trivial(mono), dtype=np.float64),
    )


def _keep(piece: Piece, path: Path, models: Sequence[GenericModel]) -> None:
    """Write a measurement; it is complete if it is there."""
    numbers: dict[str, Any] = {
        "starts": piece.starts,
        "seconds": np.array(piece.seconds),
        "trivial": piece.trivial,
        **{f.name: getattr(piece.windows, f.name) for f in fields(Windows)},
        **{f"model {m.model_id}": piece.logits[:, i] for i, m in enumerate(models)},
    }
    temporary = path.with_suffix(".part")
    with temporary.open("wb") as file:
        np.savez(file, **numbers)
    temporary.replace(path)


def _kept(path: Path, clip: Clip, treatment: str, models: Sequence[GenericModel]) -> Piece | None:
    """Read a measurement back; None if there is none, or a model has not heard it."""
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as data:
        names = [f"model {model.model_id}" for model in models]
        if any(name not in data for name in names):
            return None
        starts = data["starts"]
        return Piece(
            clip=clip,
            treatment=treatment,
            seconds=float(data["seconds"]),
            starts=starts,
            windows=Windows(**{f.name: data[f.name] for f in fields(Windows)}),
            logits=np.stack([data[name] for name in names], axis=1)
            if names
            else np.zeros((len(starts), 0)),
            trivial=data["trivial"],
        )


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join([_VERSION, *parts]).encode()).hexdigest()[:24]


_VERSION: Final = hashlib.sha256(
    repr((STEP_SECONDS, LEAST_RMS)).encode() + Path(traces.__file__).read_bytes()
).hexdigest()
"""Of what the measurements depend on beside the sound."""
