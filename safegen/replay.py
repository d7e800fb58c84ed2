"""Can an output be made again, bit for bit, from its record?

 1. find the record, and compare it with the log
 2. see that there is something to make again: generated here, with a sound
 3. hold the request against the record's commitments: another prompt is no replay
 4. generate once more, with the model that is installed now
 5. compare the samples with the hash in the record, and the released file, where it
    still lies at its path, with its own

Nothing is written: a sound leaves the house through the gate only. Where the answer is
no, all is named that can be the reason: model, weights, safegen, torch, numpy, machine.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from registry import releases
from registry.errors import NotFoundError
from registry.session import Database
from safegen.audio import Audio, load, pcm_sha256, sha256_file
from safegen.errors import InputError, IntegrityError, SafegenError
from safegen.generation.base import Chapter, Generator, Request, Span, joined, pieces_of
from safegen.provenance import record
from safegen.provenance.log import Log
from safegen.readback import agreement
from safegen.recording import model_json
from safegen.requested import Build, differing

_ROUNDING_SECONDS: Final = 1e-6
"""Less than a sample, more than the sum of many lengths is off."""


class FileState(StrEnum):
    """What became of the released file."""

    SAME = "same"
    CHANGED = "changed"
    GONE = "gone"
    NONE = "none"
    """It never was: the output was refused after it had been made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """An output as its record tells it.

    Attributes:
        record_id: Of the record.
        entry: The record, as it stands in the log.
        path: Where the file was released; None if it was refused.
    """

    record_id: str
    entry: Mapping[str, Any]
    path: Path | None

    @property
    def model_name(self) -> str:
        """Name of the model that made it."""
        return str(self.entry["model"]["name"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a replay without a kept request is told; all else is in the record.

    Attributes:
        prompt: Text.
        negative_prompt: Text.
        chapters: The story's prompts, in order.
        sounds: By the fields of a request: melody, continue_from, source.
    """

    prompt: str = ""
    negative_prompt: str = ""
    chapters: tuple[str, ...] = ()
    sounds: Mapping[str, Audio] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Something that is not as it was.

    Attributes:
        name: "weights_sha256", "torch", ...
        then: According to the record.
        now: Here.
    """

    name: str
    then: str
    now: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """The answer.

    Attributes:
        original: What was made again.
        pcm_sha256: Of what was made now.
        is_same_sound: Whether every sample is the same.
        file: What became of the released file.
        differences: Between then and now, whether or not they matter; most telling first.
        agreement: Correlation of the band energies of the file and what was made now, in
            [-1, 1]; None if the samples are the same or there is no file.
    """

    original: Original
    pcm_sha256: str
    is_same_sound: bool
    file: FileState
    differences: tuple[Difference, ...]
    agreement: float | None

    @property
    def is_same(self) -> bool:
        """Whether the samples are the same, and the file, if it is there, is unchanged."""
        return self.is_same_sound and self.file is not FileState.CHANGED

    def to_json(self) -> dict[str, Any]:
        """Give the object that ``replay`` prints."""
        return {
            "record_id": self.original.record_id,
            "model": self.original.model_name,
            "same": self.is_same,
            "same_sound": self.is_same_sound,
            "pcm_sha256": self.pcm_sha256,
            "recorded_pcm_sha256": self.original.entry["request"]["pcm_sha256"],
            "file": self.file.value,
            "path": str(self.original.path) if self.original.path else None,
            "agreement": None if self.agreement is None else round(self.agreement, 4),
            "differences": [dataclasses.asdict(each) for each in self.differences],
        }


def find(database: Database, log: Log, record_id: str) -> Original:
    """Find an output that can be made again.

    Raises:
        InputError: If there is no record of this id.
        SafegenError: If the sound was not generated here, or refused before it was made.
        IntegrityError: If the record is not what was logged.
    """
    # 1 The registry's row is only as good as the log's entry.
    with database.read() as session:
        try:
            row = releases.get_output(session, record_id)
        except NotFoundError as error:
            raise InputError(
                f"{record_id}: no output under that id",
                remedy="Use the record id that `safegen generate` printed.",
            ) from error
        if log.entry(session, row.log_index) != row.record:
            raise IntegrityError(
                f"{record_id}: the record is not what was logged at {row.log_index}",
                remedy="Run `safegen log verify`.",
            )
    entry: Mapping[str, Any] = record.parse(row.record)

    # 2 Foreign sound has no seed; what was refused by its prompt has no samples.
    request = entry.get("request", {})
    if request.get("seed") is None:
        raise SafegenError(
            f"{record_id}: the sound was not generated here, its record names no seed",
            remedy="Ask whoever made it; `safegen verify` tells whether a file is the one.",
        )
    if not request.get("pcm_sha256"):
        raise SafegenError(
            f"{record_id}: refused before a sound was made, there is none to compare with",
            remedy=f"Run `safegen audit record {record_id}` for the reason.",
        )
    path = Path(row.path) if row.path else None
    return Original(record_id=record_id, entry=entry, path=path)


def request_from(original: Original, given: Given) -> Request:
    """Put a request together from the record and what the caller tells.

    Raises:
        InputError: If the record tells of a sound or a story that was not given.
    """
    logged = original.entry["request"]
    inputs = {row["kind"]: row for row in logged.get("inputs", [])}
    for kind in ("melody", "continue_from", "source"):
        if kind in inputs and kind not in given.sounds:
            raise InputError(
                f"the request had a sound as its {kind.replace('_', ' ')}, none was given",
                remedy=f"Add --{kind.replace('_', '-')} FILE.",
            )
    told = inputs.get("story", {"chapters": []})["chapters"]
    if len(told) != len(given.chapters):
        raise InputError(
            f"{len(given.chapters)} chapters, the request had {len(told)}",
            remedy="Add --chapter for each, in order.",
        )
    source = inputs.get("source", {"strength": 1.0, "spans": []})
    return Request(
        prompt=given.prompt,
        seconds=float(logged.get("wanted_seconds", logged["seconds"])),
        seed=int(logged["seed"]),
        negative_prompt=given.negative_prompt,
        strength=float(source["strength"]),
        inpaint=tuple(Span(start_seconds=a, end_seconds=b) for a, b in source["spans"]),
        story=tuple(
            Chapter(prompt=prompt, start_seconds=row["start_seconds"])
            for row, prompt in zip(told, given.chapters, strict=True)
        ),
        **given.sounds,
    )


def replay(
    original: Original,
    request: Request,
    generator: Generator,
    *,
    salt: Callable[[str], bytes],
    code: str,
    build: Build,
    progress: Callable[[float], None] | None = None,
) -> Replay:
    """Make an output again and compare.

    Args:
        original: What is made again.
        request: What was asked then.
        generator: The model, as it is installed now.
        salt: Of this record's private values, by name.
        code: Version of safegen that runs.
        build: That runs.
        progress: Called with the share done, in [0, 1].

    Raises:
        InputError: If the record is of another request, or the model refuses it.
    """
    # 3 What the record commits to cannot be read, only recognized.
    check_request(original, request, salt=salt)

    # 4 The samples before the mark: marks are drawn anew for every release.
    audio = _made_again(original, request, generator, progress=progress)

    # 5 A hash says only yes or no; how far off it is, the released file tells.
    made = pcm_sha256(audio)
    is_same_sound = made == original.entry["request"]["pcm_sha256"]
    state = _file_state(original)
    distance: float | None = None
    if not is_same_sound and original.path is not None and state is FileState.SAME:
        distance = agreement(load(original.path), audio)
    return Replay(
        original=original,
        pcm_sha256=made,
        is_same_sound=is_same_sound,
        file=state,
        differences=_differences(original, generator, audio, code=code, build=build),
        agreement=distance,
    )


def _made_again(
    original: Original,
    request: Request,
    generator: Generator,
    *,
    progress: Callable[[float], None] | None,
) -> Audio:
    """Make the sound as it was made then: whole, or piece by piece as far as it came."""
    if "stream" not in original.entry:
        return generator.generate(request, progress=progress).audio
    pieces, seconds = [], 0.0
    with closing(pieces_of(generator, request, progress=progress)) as stream:
        for piece in stream:
            pieces.append(piece)
            seconds += piece.audio.seconds
            if seconds >= float(original.entry["request"]["seconds"]) - _ROUNDING_SECONDS:
                break
    return joined(pieces).audio


def check_request(original: Original, request: Request, *, salt: Callable[[str], bytes]) -> None:
    """Refuse a request that is not the one of the record.

    Raises:
        InputError: If it differs; the message names what, and quotes nothing.
    """
    wrong = differing(original.entry["request"], request, salt=salt)
    if wrong:
        raise InputError(
            f"{original.record_id}: the record is of another {', '.join(wrong)}",
            remedy="Give exactly what was asked then: every character and every sample counts.",
        )


def _file_state(original: Original) -> FileState:
    if original.path is None or original.entry["output"] is None:
        return FileState.NONE
    if not original.path.is_file():
        return FileState.GONE
    is_same = sha256_file(original.path) == original.entry["output"]["sha256"]
    return FileState.SAME if is_same else FileState.CHANGED


def _differences(
    original: Original, generator: Generator, audio: Audio, *, code: str, build: Build
) -> tuple[Difference, ...]:
    entry = original.entry
    then, now = dict(entry["model"]), dict(model_json(generator.facts))
    then["safegen"], now["safegen"] = entry["code"]["version"], code
    if "build" in entry:  # records of earlier versions tell nothing of it
        then |= {"precision": "float32", **entry["build"]}
        now |= {name: str(value) for name, value in build.to_json().items()}
    then["seconds"], now["seconds"] = f"{entry['request']['seconds']:g}", f"{audio.seconds:g}"
    first = ("name", "weights_sha256", "version", "seconds")
    # The day of a consent changes no sample.
    names = [*first, *(name for name in now if name not in (*first, "license_accepted"))]
    return tuple(
        Difference(name=name, then=str(then.get(name, "")), now=str(now[name]))
        for name in names
        if str(then.get(name, "")) != str(now[name])
    )
