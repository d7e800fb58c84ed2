"""What are the answers of a plugged-in classifier worth here, on sound of its operator?

Every file gives the scores of its middle; what sounds like speech measures speech, the rest
music. Files in one sub-folder are one source, a speaker or an album, and never on both sides
of a comparison: thresholds are tried on sources that they were not set on.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from detectors.errors import DetectorError
from detectors.synthetic import plugins as description
from detectors.synthetic.calibration import LEAST_REAL, LEAST_SYNTHETIC
from detectors.synthetic.judging import LIKELY_P, UnheardError, hear
from detectors.synthetic.plugin_scores import (
    LONGEST_SECONDS,
    Scores,
    Sound,
    lengths,
    scores_at,
    sources,
)
from detectors.synthetic.reference import Reference
from safegen.audio import load, sha256_file, walk
from safegen.errors import InputError, SafegenError
from safegen.evaluation.metrics import Rate, wilson
from safegen.evaluation.state import Row, State
from safegen.plugins import UNFINISHED, Plugin, keep_calibration
from safegen.training.heads import eer

Floats = npt.NDArray[np.float64]

LEAST_SOURCES: Final = 5
QUANTILES: Final = (0.5, 0.9, 0.95, 0.99)
P_VALUES: Final = (0.05, LIKELY_P)
_MOST_FOLDS: Final = 20
_DRAWS: Final = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file to listen to.

    Attributes:
        path: Of it.
        source: Sub-folder it lies in; its own name if it lies in none.
        synthetic: Whether it is.
        sha256: Of its bytes.
    """

    path: Path
    source: str
    synthetic: bool
    sha256: str

    @property
    def trial(self) -> str:
        """Name it among what was listened to."""
        return f"{'fake' if self.synthetic else 'real'} {self.sha256}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A file that was listened to.

    Attributes:
        file: Which.
        sound: None if it was left out.
        left_out: Why, "" if it was not.
    """

    file: File
    sound: Sound | None
    left_out: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Separation:
    """How well scores tell synthetic from real, each with its 95 % interval over sources.

    Attributes:
        auc: Chance that a synthetic sound scores above a real one.
        auc_low: Lower end.
        auc_high: Upper end.
        eer: Error at the threshold where both errors are equal.
        eer_low: Lower end.
        eer_high: Upper end.
    """

    auc: float
    auc_low: float
    auc_high: float
    eer: float
    eer_low: float
    eer_high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """What happens where a p-value is called a finding.

    Attributes:
        p_value: At most this much.
        alarms: Real sounds of sources that the threshold was not set on; None if the other
            sources are too few to set it.
        found: Synthetic sounds; None if there are none.
    """

    p_value: float
    alarms: Rate | None
    found: Rate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What was measured of one kind of sound.

    Attributes:
        kind: "speech" or "music".
        real: Number of real sounds.
        real_sources: Of how many sources.
        fake: Number of synthetic sounds; a few are not used.
        fake_sources: Of how many sources.
        least_p_value: The smallest p-value there can be.
        seconds: Lengths with a yardstick.
        quantiles: Of ``QUANTILES``, scores of real sound of four seconds.
        separation: None without enough synthetic sound.
        thresholds: One for each of ``P_VALUES`` that can be reached.
    """

    kind: str
    real: int
    real_sources: int
    fake: int
    fake_sources: int
    least_p_value: float
    seconds: tuple[float, ...]
    quantiles: tuple[float, ...]
    separation: Separation | None
    thresholds: tuple[Threshold, ...]


def plan(real: Path, fake: Path | None) -> tuple[File, ...]:
    """List what there is to hear; a file that is there twice is heard once.

    Raises:
        InputError: If a folder holds too few audio files, or one is called both.
    """
    found: dict[str, File] = {}
    for folder, synthetic, least in ((real, False, LEAST_REAL), (fake, True, LEAST_SYNTHETIC)):
        if folder is None:
            continue
        paths = list(walk((folder,)))
        if len(paths) < least:
            raise InputError(
                f"{folder}: {len(paths)} audio files, at least {least} are needed",
                remedy="Add files of many speakers or albums, a sub-folder for each.",
            )
        for path in paths:
            inside = path.relative_to(folder)
            source = inside.parts[0] if len(inside.parts) > 1 else path.name
            file = File(path=path, source=source, synthetic=synthetic, sha256=sha256_file(path))
            other = found.setdefault(file.sha256, file)
            if other.synthetic != synthetic:
                raise InputError(
                    f"{path} is the same file as {other.path}, which is called real",
                    remedy="Take it out of one of the folders.",
                )
    return tuple(found.values())


def listen(
    plugin: Plugin, files: Sequence[File], *, reference: Reference, jobs: int
) -> Iterator[Heard]:
    """Listen to what was not listened to yet, and keep it; a stopped run goes on.

    Args:
        plugin: Whom to ask.
        files: From ``plan``.
        reference: Tells speech from music.
        jobs: Processes.

    Yields:
        Each file; those that were done come first.

    Raises:
        SafegenError: If the plug-in cannot be opened, or fails.
    """
    described = json.dumps(plugin.description.to_json(), sort_keys=True)
    done = State(plugin.folder / UNFINISHED, plugin.description.digest)
    missing = []
    for file in files:
        if file.trial in done.rows:
            yield _heard(file, done.rows[file.trial])
        else:
            missing.append(file)
    ask = functools.partial(_ask, str(plugin.model), described)
    try:
        if jobs == 1 or len(missing) <= 1:
            for file in missing:
                yield _kept(done, file, ask(file.path), reference)
            return
        pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_one_thread)
        try:
            answers = pool.map(ask, [file.path for file in missing])
            for file, answer in zip(missing, answers, strict=True):
                yield _kept(done, file, answer, reference)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    except DetectorError as error:
        raise SafegenError(
            str(error), remedy=f"Look at it with `safegen detectors show {plugin.folder.name}`."
        ) from error


def finish(
    plugin: Plugin, heard: Sequence[Heard], *, how: str, at: datetime
) -> tuple[Figures, ...]:
    """Judge what was heard, and calibrate the plug-in with it.

    Args:
        plugin: That was asked.
        heard: From ``listen``.
        how: Where the sounds are from, in words.
        at: Now.

    Returns:
        One for speech and one for music, where there is enough of it.

    Raises:
        InputError: If there is too little, or the plug-in does not tell what is synthetic.
            What was listened to is kept.
    """
    sounds = tuple(each.sound for each in heard if each.sound is not None)
    scores = Scores(plugin=plugin.description.digest, made=at.isoformat(), how=how, sounds=sounds)
    found = figures(scores, plugin.description.sounds)
    if not found:
        raise InputError(_too_few(plugin, heard), remedy="Add files; what was heard is kept.")
    for each in found:
        _refuse_useless(plugin.description.name, each)
    keep_calibration(plugin, scores)
    return found


def figures(scores: Scores, kinds: Sequence[str]) -> tuple[Figures, ...]:
    """Say what scores are worth, for each of the kinds of sound that has enough of it."""
    found = []
    for kind in kinds:
        calibration = scores.calibration(speech=kind == "speech")
        sounds = [s for s in scores.sounds if s.speech == (kind == "speech")]
        if calibration is None or sources(sounds, synthetic=False) < LEAST_SOURCES:
            continue
        shortest = min(lengths())
        real = scores_at(sounds, shortest, synthetic=False)
        fake = scores_at(sounds, shortest, synthetic=True)
        found.append(
            Figures(
                kind=kind,
                real=len(real),
                real_sources=sources(sounds, synthetic=False),
                fake=len(fake),
                fake_sources=sources(sounds, synthetic=True),
                least_p_value=1.0 / (len(real) + 1),
                seconds=tuple(y.seconds for y in calibration.yardsticks),
                quantiles=tuple(float(q) for q in np.quantile(real, QUANTILES)),
                separation=_separation(sounds) if len(fake) >= LEAST_SYNTHETIC else None,
                thresholds=tuple(
                    _threshold(sounds, p) for p in P_VALUES if p * (len(real) + 1) >= 1.0
                ),
            )
        )
    return tuple(found)


def figures_json(found: Figures) -> dict[str, Any]:
    """Give the object that the commands print."""
    separation = found.separation
    return {
        "kind": found.kind,
        "real": found.real,
        "real_sources": found.real_sources,
        "fake": found.fake,
        "fake_sources": found.fake_sources,
        "least_p_value": round(found.least_p_value, 5),
        "seconds": list(found.seconds),
        "real_quantiles": {
            f"{q:g}": round(value, 4) for q, value in zip(QUANTILES, found.quantiles, strict=True)
        },
        "auc": None if separation is None else round(separation.auc, 4),
        "auc_low95": None if separation is None else round(separation.auc_low, 4),
        "auc_high95": None if separation is None else round(separation.auc_high, 4),
        "eer": None if separation is None else round(separation.eer, 4),
        "eer_low95": None if separation is None else round(separation.eer_low, 4),
        "eer_high95": None if separation is None else round(separation.eer_high, 4),
        "thresholds": [
            {
                "p_value": each.p_value,
                "false_alarms": None if each.alarms is None else each.alarms.as_json(),
                "found": None if each.found is None else each.found.as_json(),
            }
            for each in found.thresholds
        ],
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What a process says about a file: why it is left out, or its windows in their order."""

    left_out: str = ""
    seconds: float = 0.0
    scores: tuple[float, ...] = ()
    domain: npt.NDArray[np.float32] | None = None


def _ask(model: str, described: str, path: Path) -> _Answer:
    """Listen to the middle of a file."""
    logits = _opened(model, described)
    try:
        audio = load(path)
    except InputError as error:
        return _Answer(left_out=error.problem.removeprefix(f"{path}: "))
    middle = audio.seconds / 2
    cut = audio.cut(middle - LONGEST_SECONDS / 2, middle + LONGEST_SECONDS / 2)
    try:
        heard = hear(cut.waveform, cut.sample_rate)
    except UnheardError as error:
        return _Answer(left_out=str(error))
    return _Answer(
        seconds=round(audio.seconds, 3),
        scores=tuple(logits(heard.sound).tolist()),
        domain=heard.windows.domain,
    )


@functools.lru_cache(maxsize=1)
def _opened(model: str, described: str) -> description.Logits:
    return description.open_model(description.parse(json.loads(described)), Path(model))


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _kept(done: State, file: File, answer: _Answer, reference: Reference) -> Heard:
    row: Row = {"trial": file.trial, "left_out": answer.left_out}
    if answer.domain is not None:
        is_speech = float(np.median(reference.speech_log_odds(answer.domain))) > 0.0
        row |= {
            "kind": "speech" if is_speech else "music",
            "seconds": answer.seconds,
            "scores": " ".join(f"{score:.6g}" for score in answer.scores),
        }
    done.add(row)
    return _heard(file, row)


def _heard(file: File, row: Row) -> Heard:
    if row["left_out"]:
        return Heard(file=file, sound=None, left_out=str(row["left_out"]))
    sound = Sound(
        sha256=file.sha256,
        source=file.source,
        synthetic=file.synthetic,
        speech=row["kind"] == "speech",
        seconds=float(str(row["seconds"])),
        scores=tuple(float(score) for score in str(row["scores"]).split()),
    )
    return Heard(file=file, sound=sound)


def _too_few(plugin: Plugin, heard: Sequence[Heard]) -> str:
    real = [h.sound for h in heard if h.sound is not None and not h.sound.synthetic]
    parts = []
    for kind in description.SOUNDS:
        of_kind = [sound for sound in real if sound.speech == (kind == "speech")]
        count = len({sound.source for sound in of_kind})
        parts.append(f"{len(of_kind)} of {kind} from {count} sources")
    has = " and ".join(parts)
    fakes = sum(h.sound is not None and h.sound.synthetic for h in heard)
    return (
        f"{plugin.description.name} is for {' and '.join(plugin.description.sounds)}; of the real "
        f"files {has} could be heard, and {fakes} synthetic ones; at least {LEAST_REAL} real files "
        f"from {LEAST_SOURCES} sources, and {LEAST_SYNTHETIC} synthetic ones or none, are needed "
        "of a kind"
    )


def _refuse_useless(name: str, found: Figures) -> None:
    separation = found.separation
    if separation is None or separation.auc_low > 0.5:
        return
    at = (
        f"AUC {separation.auc:.2f}, 95 % interval "
        f"{separation.auc_low:.2f} to {separation.auc_high:.2f}"
    )
    if separation.auc_high < 0.5:
        raise InputError(
            f"{name} calls real {found.kind} more synthetic than synthetic {found.kind} ({at})",
            remedy="The label map may be the wrong way round: compare the model's card.",
        )
    raise InputError(
        f"{name} does not tell synthetic {found.kind} from real ({at})",
        remedy="Take a model that was made for such sound, or more synthetic sound to show it.",
    )


def _separation(sounds: Sequence[Sound]) -> Separation:
    """Measure, and draw sources anew for the intervals."""
    shortest = min(lengths())
    sides = [
        [
            scores_at([s for s in sounds if s.source == source], shortest, synthetic=synthetic)
            for source in sorted({s.source for s in sounds if s.synthetic == synthetic})
        ]
        for synthetic in (True, False)
    ]
    # One voice is one source: then its files are drawn.
    sides = [side if len(side) > 1 else [np.array([x]) for x in side[0]] for side in sides]
    dice = np.random.default_rng(0)
    drawn = []
    for _ in range(_DRAWS):
        fake, real = (
            np.concatenate([side[i] for i in dice.integers(0, len(side), len(side))])
            for side in sides
        )
        drawn.append((_auc(fake, real), eer(fake, real)))
    fake, real = (np.concatenate(side) for side in sides)
    low, high = np.quantile(np.array(drawn), (0.025, 0.975), axis=0)
    return Separation(
        auc=_auc(fake, real),
        auc_low=float(low[0]),
        auc_high=float(high[0]),
        eer=eer(fake, real),
        eer_low=float(low[1]),
        eer_high=float(high[1]),
    )


def _threshold(sounds: Sequence[Sound], p_value: float) -> Threshold:
    """Set a threshold on some sources and count alarms on the others, in turns."""
    shortest = min(lengths())
    real = [s for s in sounds if not s.synthetic]
    names = sorted({s.source for s in real})
    folds = {name: number % _MOST_FOLDS for number, name in enumerate(names)}
    alarms, is_set = 0, True
    for fold in range(min(_MOST_FOLDS, len(names))):
        known = scores_at([s for s in real if folds[s.source] != fold], shortest, synthetic=False)
        asked = scores_at([s for s in real if folds[s.source] == fold], shortest, synthetic=False)
        alarms += _count(asked, known, p_value)
        is_set = is_set and p_value * (len(known) + 1) >= 1.0
    everything = scores_at(real, shortest, synthetic=False)
    fake = scores_at(sounds, shortest, synthetic=True)
    return Threshold(
        p_value=p_value,
        alarms=wilson(alarms, len(everything)) if is_set else None,
        found=wilson(_count(fake, everything, p_value), len(fake)) if len(fake) else None,
    )


def _count(scores: Floats, real: Floats, p_value: float) -> int:
    """Count scores whose p-value against real sound is small enough."""
    above = len(real) - np.searchsorted(np.sort(real), scores, side="left")
    return int(((above + 1) / (len(real) + 1) <= p_value).sum())


def _auc(fake: Floats, real: Floats) -> float:
    """Chance that a fake scores above a real one, ties half."""
    ordered = np.sort(real)
    below = np.searchsorted(ordered, fake, side="left")
    upto = np.searchsorted(ordered, fake, side="right")
    return float((below + upto).mean() / (2 * len(real)))
