"""What is done to one clip, by which process, and what is kept of it?

Results are kept line by line in a state file, so an interrupted run goes on where it
stopped; a change of the watermark's or the attacks' code, or of the strength, starts over.
"""

import ast
import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from safegen.audio import Audio
from safegen.evaluation.attacks import ATTACKS, Attack, Companion, babble, encodec
from safegen.evaluation.quality import pesq_wideband, snr_db, visqol
from safegen.evaluation.state import Row as Row
from safegen.evaluation.state import State as State
from safegen.evaluation.watermarking.clips import ClipSpec, Kind, load_clip, others
from safegen.evaluation.watermarking.markers import Heard, Keyed, Marker, payload_of
from safegen.evaluation.watermarking.promises import LOCALIZED
from safegen.evaluation.watermarking.staged import OTHER_COPY, STAGED, Scene, Staged

PRICE: Final = "price"
VISQOL: Final = "visqol"
"""Trials that are no attacks."""

_ATTACKS_PER_TASK: Final = 12
_VOICES: Final = 6
_PACKAGE: Final = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Some trials of one clip.

    Attributes:
        specs: All clips of the run; companions come from among them.
        place: The clip, and the number of its id.
        wanted: For each mark the trials that are missing, as attack names, ``PRICE``, ``VISQOL``.
        encodec: Folder of a checkpoint, if its rows are wanted.
    """

    specs: tuple[ClipSpec, ...]
    place: int
    wanted: tuple[tuple[Marker, tuple[str, ...]], ...]
    encodec: Path | None = None

    @property
    def count(self) -> int:
        """How many trials it holds."""
        return sum(len(names) for _, names in self.wanted)


def trial_name(marker: Marker, what: str, spec: ClipSpec) -> str:
    """Name one trial in the state file."""
    return f"{marker.name} | {what} | {spec.kind} {spec.name}"


def tasks(
    specs: tuple[ClipSpec, ...],
    plans: Iterable[tuple[Marker, int, tuple[str, ...]]],
    done: Mapping[str, Row],
    *,
    visqol_clips: int,
    encodec_folder: Path | None,
) -> Iterator[Task]:
    """Cut what is missing into pieces of some seconds each.

    Args:
        specs: All clips.
        plans: Marks, each with how many of the clips it is heard on and its attacks.
        done: Finished trials.
        visqol_clips: On how many clips ViSQOL, which is slow, is run.
        encodec_folder: As in ``Task``.
    """
    marks = tuple(plans)
    names = list(dict.fromkeys(name for _, _, attacks in marks for name in attacks))
    groups = [names[at : at + _ATTACKS_PER_TASK] for at in range(0, len(names), _ATTACKS_PER_TASK)]
    for place, spec in enumerate(specs):
        for number, group in enumerate([[PRICE, VISQOL], *groups]):
            wanted: list[tuple[Marker, tuple[str, ...]]] = []
            for marker, clips, attacks in marks:
                missing = tuple(
                    name
                    for name in group
                    if place < clips
                    and (number == 0 or name in attacks)
                    and (name != VISQOL or place < visqol_clips)
                    and applies(name, marker)
                    and trial_name(marker, name, spec) not in done
                )
                if missing:
                    wanted.append((marker, missing))
            if wanted:
                yield Task(specs=specs, place=place, wanted=tuple(wanted), encodec=encodec_folder)


def applies(name: str, marker: Marker) -> bool:
    """Say whether an attack means something for a mark."""
    return name not in STAGED or marker.name in STAGED[name].markers


def run(wanted: list[Task], *, jobs: int) -> Iterator[list[Row]]:
    """Do the tasks, in this process or in ``jobs`` others; yield each task's rows as it ends."""
    if jobs == 1:
        yield from map(perform, wanted)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(perform, task) for task in wanted]
        try:
            for future in as_completed(waiting):
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def perform(task: Task) -> list[Row]:
    """Mark the clip, attack it and the unmarked clip alike, and listen to both."""
    spec = task.specs[task.place]
    clean = load_clip(spec)
    rows: list[Row] = []
    for marker, names in task.wanted:
        marked = _marked(marker, spec, task.place)
        scene = Scene(marker=marker, place=task.place, specs=task.specs, clean=clean, marked=marked)
        for name in names:
            facts: Row = {
                "trial": trial_name(marker, name, spec),
                "marker": marker.name,
                "what": name,
                "clip": spec.name,
                "kind": spec.kind,
                "source": spec.source,
            }
            if name == PRICE:
                facts |= _price(marker, clean, marked)
                if spec.kind == "speech":
                    facts["pesq"] = round(pesq_wideband(clean, marked), 4)
            elif name == VISQOL:
                facts["visqol"] = round(visqol(clean, marked), 4)
            elif name in STAGED:
                facts |= _staged(STAGED[name], scene)
            else:
                facts |= _attacked(_attack(name, task.encodec), scene)
            rows.append(facts)
    return rows


def code_version(*settings: object) -> str:
    """Name the code and the settings that trials belong to: the mark, the attacks, the trials."""
    digest = hashlib.sha256(repr(settings).encode())
    folder = Path(__file__).parent
    starts = [
        _PACKAGE / "safegen" / "watermark.py",
        *sorted((folder.parent / "attacks").glob("*.py")),
        *(folder / f"{name}.py" for name in ("clips", "markers", "staged", "trials")),
    ]
    for path in starts:
        digest.update(path.read_bytes())
    for path in _detector_files(_PACKAGE / "safegen" / "watermark.py"):
        digest.update(path.read_bytes())
    # What unmarked sound measures decides from where on a mark counts as heard.
    for path in sorted((_PACKAGE / "detectors" / "weights").glob("watermark*")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _detector_files(start: Path) -> list[Path]:
    """Follow imports among the detectors from one file on, in a fixed order."""
    found: set[Path] = set()
    waiting = [start]
    while waiting:
        for node in ast.walk(ast.parse(waiting.pop().read_text("utf-8"))):
            if not isinstance(node, ast.ImportFrom) or not node.module:
                continue
            if node.module.partition(".")[0] != "detectors":
                continue
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            for name in names:
                path = _PACKAGE.joinpath(*name.split(".")).with_suffix(".py")
                if path.is_file() and path not in found:
                    found.add(path)
                    waiting.append(path)
    return sorted(found)


def _attacked(attack: Attack, scene: Scene) -> Row:
    """Attack both sounds and listen to both."""
    other = _companion(attack.companion, scene)
    heard = scene.marker.hear(attack(scene.marked, other))
    silent = scene.marker.hear(attack(scene.clean, other))
    row = _heard(heard, accepted=(payload_of(scene.place),)) | _false(silent)
    if attack.name == LOCALIZED:
        row["iou"] = round(overlap(heard, start_seconds=4.0, end_seconds=8.0), 4)
    return row


def _staged(staged: Staged, scene: Scene) -> Row:
    accepted: tuple[int, ...] = (payload_of(scene.place),)
    if staged.series == "collusion":
        accepted = (*accepted, payload_of(scene.place + OTHER_COPY))
    row = _heard(scene.marker.hear(staged.function(scene, scene.marked)), accepted=accepted)
    if staged.has_negative:
        row |= _false(scene.marker.hear(staged.function(scene, scene.clean)))
    return row


def overlap(heard: Heard, *, start_seconds: float, end_seconds: float) -> float:
    """Intersection over union of what was heard with the stretch that is marked."""
    both = found = last = 0.0
    for part in sorted(heard.intervals, key=lambda part: part.start_seconds):
        begin = max(part.start_seconds, last)
        last = max(last, part.end_seconds)
        found += max(0.0, part.end_seconds - begin)
        both += max(0.0, min(part.end_seconds, end_seconds) - max(begin, start_seconds))
    return both / (found + (end_seconds - start_seconds) - both)


def _heard(heard: Heard, *, accepted: tuple[int, ...]) -> Row:
    return {
        "detected": int(heard.detected),
        "exact": int(heard.payload in accepted),
        "wrong": int(heard.payload is not None and heard.payload not in accepted),
        "p": heard.p_value,
        "score": round(heard.score, 4),
    }


def _false(heard: Heard) -> Row:
    return {
        "false": int(heard.detected),
        "false_id": int(heard.payload is not None),
        "false_p": heard.p_value,
        "false_score": round(heard.score, 4),
    }


def _price(marker: Marker, clean: Audio, marked: Audio) -> Row:
    """Measure the loudness of the mark, PESQ on speech, and seconds of one core."""
    seconds = clean.seconds
    row: Row = {"snr_db": round(snr_db(clean, marked), 3)}
    row["embed"] = _cost(lambda: marker.foreign(clean)) / seconds
    if isinstance(marker, Keyed):
        row["plain"] = _cost(lambda: marker.hear(clean, search=False)) / seconds
        # Without a mark nothing is found early, so everything is searched.
        row["search"] = _cost(lambda: marker.hear(clean)) / seconds
        row["plain_marked"] = _cost(lambda: marker.hear(marked, search=False)) / seconds
    else:
        row["plain"] = _cost(lambda: marker.hear(clean)) / seconds
    return row


def _cost(call: Callable[[], object]) -> float:
    begun = time.process_time()
    call()
    return time.process_time() - begun


def _companion(companion: Companion, scene: Scene) -> Audio | None:
    """Make the other sound from the other clips of the run."""
    if companion is Companion.NONE:
        return None
    kind = scene.specs[scene.place].kind
    if companion is Companion.BABBLE:
        voices = others(scene.specs, scene.place, "speech", _VOICES)
        return babble([load_clip(spec) for spec in voices]) if voices else scene.clean
    # An overlay of music or speech is named; the neighbor of a splice is of the same kind.
    wanted: Kind = (
        "music"
        if companion is Companion.MUSIC
        else "speech"
        if companion is Companion.SPEECH
        else kind
    )
    found = others(scene.specs, scene.place, wanted, 1)
    return load_clip(found[0]) if found else babble([_reversed(scene.clean)])


def _reversed(audio: Audio) -> Audio:
    """Stand in for another sound in a run of very few clips."""
    return Audio(waveform=audio.waveform[:, ::-1].copy(), sample_rate=audio.sample_rate)


@lru_cache(maxsize=6)
def _marked(marker: Marker, spec: ClipSpec, place: int) -> Audio:
    return marker.mark(load_clip(spec), place)


def _attack(name: str, encodec_folder: Path | None) -> Attack:
    if name in ATTACKS or encodec_folder is None:
        return ATTACKS[name]
    return encodec.rows(encodec_folder)[name]
