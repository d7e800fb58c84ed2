"""Which clips does the classifier learn from? The same chain and codec history for both classes.

Three makers of items: ``speech`` (real clips and copies of them), ``spoken`` (clips that a
voice speaks) and ``music`` (excerpts and copies of them). An item is a plan; its sound is
made when it is asked for, from the seed and the item's own name, so that any item can be
made again alone. ``write`` keeps items as FLAC with a manifest, and skips what is there:

    folder/manifest.csv
    folder/ROLE/GENERATOR/SOURCE-NUMBER.flac      "real" stands for no generator

A clip and its copies have the same file name in different folders. The rest of the
work is in ``safegen.training.chain``, ``sources`` and ``synthesizers``.
"""

from __future__ import annotations

import csv
import logging
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Final, Literal

import numpy as np

from safegen.audio import Audio, load, save
from safegen.errors import InputError
from safegen.training import chain, sources
from safegen.training.chain import MUSIC_CODECS, SPEECH_CODECS
from safegen.training.outputs import excerpt
from safegen.training.sources import Role, Source
from safegen.training.synthesizers import Synthesizer

log = logging.getLogger(__name__)

MANIFEST: Final = "manifest.csv"
COLUMNS: Final = (
    "file",
    "label",
    "generator",
    "family",
    "source",
    "role",
    "license",
    "seconds",
    "history",
)
REAL: Final = "real"
HELD_SENTENCE: Final = 3
"""Every third sentence is held out."""
_SECONDS_PER_SENTENCE: Final = 2.5
_OPEN: Final = ("CC0", "CC-BY", "MIT", "Apache", "BSD")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A clip that can be made.

    Attributes:
        file: Where it is kept, below the folder of the corpus.
        generator: Name of the synthesizer; empty for real clips.
        family: Of the synthesizer; empty for real clips.
        source: Speaker or track; for text, the voice and its sentences.
        role: What may be done with it.
        license: All that apply, joined by " + ".
        seconds: Its length.
        history: Codecs since the sound was made, in their order, joined by " ".
        make: Makes the sound.
    """

    file: str
    generator: str
    family: str
    source: str
    role: Role
    license: str
    seconds: float
    history: str
    make: Callable[[], Audio]

    @property
    def label(self) -> Literal["real", "fake"]:
        """Its class."""
        return "fake" if self.generator else "real"


def trains_weights(license_: str) -> bool:
    """Say whether weights that ship may learn from a clip with this license."""
    return all(part.startswith(_OPEN) for part in license_.split(" + "))


def sentences(*, held_out: bool) -> tuple[str, ...]:
    """Read the English sentences of the project; every third one is held out."""
    text = files("safegen.training").joinpath("data/sentences.txt").read_text(encoding="utf-8")
    return tuple(
        line
        for number, line in enumerate(text.splitlines())
        if (number % HELD_SENTENCE == HELD_SENTENCE - 1) == held_out
    )


def speech(
    speaker: Source,
    *,
    seconds: float,
    count: int,
    synthesizers: Sequence[Synthesizer] = (),
    copies: int = 0,
    seed: int,
) -> Iterator[Item]:
    """Yield real clips of a speaker, then copies of the first of them.

    Args:
        speaker: Of ``safegen.training.sources.speakers``.
        seconds: Length of a clip.
        count: Most real clips; a speaker may have less.
        synthesizers: Each copies the same clips.
        copies: Most copies by each.
        seed: Of the order of phrases, gaps, levels and noise.

    Raises:
        InputError: If a synthesizer is not here.
    """
    for synthesizer in synthesizers:
        synthesizer.check()
    dry = list(_clips(speaker, seconds=seconds, count=count, seed=seed))
    before, after = chain.history(speaker.codec, SPEECH_CODECS)

    def made(number: int, synthesizer: Synthesizer | None) -> Audio:
        audio = dry[number] if synthesizer is None else synthesizer.copy(dry[number])
        return chain.finished_speech(
            audio,
            before=() if synthesizer is None else before,
            after=after,
            seconds=seconds,
            seed=(seed, zlib.crc32(speaker.name.encode()), number),
        )

    for maker in (None, *synthesizers):
        for number in range(len(dry) if maker is None else min(copies, len(dry))):
            yield _item(
                speaker,
                number,
                maker,
                seconds=seconds,
                history=(*before, *after),
                make=partial(made, number, maker),
            )


def spoken(
    synthesizer: Synthesizer, *, role: Role, seconds: float, count: int, seed: int
) -> Iterator[Item]:
    """Yield clips that a voice speaks.

    Their codecs come in the order of the recordings of the same role.

    Args:
        synthesizer: One of those that speak text.
        role: "train" speaks two thirds of the sentences, the others speak the last third.
        seconds: Length of a clip.
        count: How many.
        seed: Of the choice of sentences, gaps, levels and noise.

    Raises:
        InputError: If the synthesizer is not here.
    """
    synthesizer.check()
    texts = sentences(held_out=role != "train")
    voice = Source(
        name=f"{synthesizer.name}-{'english' if role == 'train' else 'english-held'}",
        role=role,
        license="",
        codec="g722" if role == "train" else "vorbis",
        paths=(),
    )
    before, after = chain.history(voice.codec, SPEECH_CODECS)
    stride = max(1, round(seconds / _SECONDS_PER_SENTENCE))
    say = lru_cache(maxsize=len(texts))(partial(_said, synthesizer))

    def deck(number: int) -> Iterator[Audio]:
        # An endless deck, shuffled anew each time it is through; clip by clip two cards on.
        place = number * stride
        while True:
            order = np.random.default_rng((seed, place // len(texts))).permutation(len(texts))
            if (part := say(texts[order[place % len(texts)]])) is not None:
                yield part
            place += 1

    def made(number: int) -> Audio:
        drawn = (seed, zlib.crc32(voice.name.encode()), number)
        whole = chain.joined(deck(number), seconds=seconds, dice=np.random.default_rng(drawn))
        return chain.finished_speech(
            next(whole), before=before, after=after, seconds=seconds, seed=drawn
        )

    for number in range(count):
        yield _item(
            voice,
            number,
            synthesizer,
            seconds=seconds,
            history=(*before, *after),
            make=partial(made, number),
        )


def music(
    track: Source,
    *,
    seconds: float,
    count: int,
    synthesizers: Sequence[Synthesizer] = (),
    seed: int,
) -> Iterator[Item]:
    """Yield excerpts of a track, mono at its own rate, and copies of each.

    A copy has nothing above half its synthesizer's rate; compare only below.

    Args:
        track: Of ``safegen.training.sources.music``.
        seconds: Length of an excerpt; a shorter track yields nothing.
        count: Excerpts, evenly spread.
        synthesizers: Each copies every excerpt.
        seed: Moves the excerpts.

    Raises:
        InputError: If the track is damaged or a synthesizer is not here.
    """
    for synthesizer in synthesizers:
        synthesizer.check()
    whole = load(track.paths[0])
    if whole.seconds < seconds:
        return
    dice = np.random.default_rng((seed, zlib.crc32(track.name.encode())))
    starts = [(number + float(dice.random())) / count for number in range(count)]
    before, after = chain.history(track.codec, MUSIC_CODECS)

    def made(number: int, synthesizer: Synthesizer | None) -> Audio:
        dry = excerpt(whole, seconds=seconds, start=starts[number])
        return chain.finished_music(
            dry if synthesizer is None else synthesizer.copy(dry),
            sample_rate=whole.sample_rate,
            before=() if synthesizer is None else before,
            after=after,
            seconds=seconds,
        )

    for maker in (None, *synthesizers):
        for number in range(count):
            yield _item(
                track,
                number,
                maker,
                seconds=seconds,
                history=(*before, *after),
                make=partial(made, number, maker),
            )


def write(folder: Path, items: Iterable[Item], *, note: Callable[[str], None]) -> int:
    """Keep items as FLAC of 16-bit values, one row each in the manifest.

    Items that are in the manifest and on disk are not made again, so a stopped run is
    continued by the same call.

    Args:
        folder: Of the corpus; made if it is not there.
        items: What to keep.
        note: Is told about every 20th clip that was made.

    Returns:
        How many clips were made.

    Raises:
        InputError: If the folder's manifest is not one of ours.
    """
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / MANIFEST
    done = {row["file"] for row in _rows(manifest)} if manifest.exists() else set()
    if manifest.exists():
        _mend(manifest)
    else:
        manifest.write_text(",".join(COLUMNS) + "\n", encoding="utf-8")
    made = 0
    for item in items:
        path = folder / item.file
        if item.file in done and path.is_file():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}")
        save(_in_16_bits(item.make()), part)
        part.replace(path)
        if item.file not in done:
            _append(manifest, item)
            done.add(item.file)
        made += 1
        if made % 20 == 0:
            note(f"{made} clips made, the last is {item.file}")
    return made


def read(folder: Path) -> Iterator[Item]:
    """Yield what ``write`` kept, in the order in which it was written.

    Raises:
        InputError: If there is no manifest, or it is not one of ours.
    """
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise InputError(
            f"{folder}: no {MANIFEST}", remedy="Give a folder that `corpora.write` has filled."
        )
    for row in _rows(manifest):
        yield Item(
            file=row["file"],
            generator=row["generator"],
            family=row["family"],
            source=row["source"],
            role=_role(manifest, row["role"]),
            license=row["license"],
            seconds=float(row["seconds"]),
            history=row["history"],
            make=partial(load, folder / row["file"]),
        )


def _clips(speaker: Source, *, seconds: float, count: int, seed: int) -> Iterator[Audio]:
    """Join the speaker's recordings, in a random order, into at most ``count`` clips."""
    dice = np.random.default_rng((seed, zlib.crc32(speaker.name.encode())))
    order = dice.permutation(len(speaker.paths))
    heard = (_heard(speaker.paths[place]) for place in order)
    phrases = (part for part in heard if part is not None)
    yield from islice(chain.joined(phrases, seconds=seconds, dice=dice), count)


def _heard(path: Path) -> Audio | None:
    """Read one phrase; the packages hold a few damaged files, which are told and left out."""
    try:
        return chain.phrase(load(path))
    except InputError as error:
        log.warning("left out: %s", error.problem)
        return None


def _said(synthesizer: Synthesizer, text: str) -> Audio | None:
    return chain.phrase(synthesizer.speak(text))


def _item(
    source: Source,
    number: int,
    synthesizer: Synthesizer | None,
    *,
    seconds: float,
    history: Sequence[str],
    make: Callable[[], Audio],
) -> Item:
    name = "" if synthesizer is None else synthesizer.name
    licenses = [source.license]
    if synthesizer is not None:
        licenses += [synthesizer.tool_license, synthesizer.voice_license]
    return Item(
        file=f"{source.role}/{name or REAL}/{source.name}-{number:03d}.flac",
        generator=name,
        family="" if synthesizer is None else synthesizer.family,
        source=source.name,
        role=source.role,
        license=" + ".join(dict.fromkeys(license_ for license_ in licenses if license_)),
        seconds=seconds,
        history=" ".join(history),
        make=make,
    )


def _in_16_bits(audio: Audio) -> Audio:
    whole = np.clip(np.round(audio.waveform * 32_768.0), -32_768, 32_767)
    return Audio(waveform=(whole / 32_768.0).astype(np.float32), sample_rate=audio.sample_rate)


def _append(manifest: Path, item: Item) -> None:
    row = {column: getattr(item, column) for column in COLUMNS}
    with manifest.open("a", encoding="utf-8", newline="") as file:
        csv.DictWriter(file, COLUMNS, lineterminator="\n").writerow(row)


def _mend(manifest: Path) -> None:
    """Drop a last line that a stopped run left half written."""
    text = manifest.read_text(encoding="utf-8")
    if not text.endswith("\n"):
        manifest.write_text(text[: text.rfind("\n") + 1], encoding="utf-8")


def _rows(manifest: Path) -> list[dict[str, str]]:
    """Read whole rows.

    Raises:
        InputError: If the columns are others, or a row has too few.
    """
    text = manifest.read_text(encoding="utf-8")
    reader = csv.DictReader(text[: text.rfind("\n") + 1].splitlines())
    rows = list(reader)
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise InputError(
            f"{manifest}: columns {', '.join(reader.fieldnames or ())} instead of "
            f"{', '.join(COLUMNS)}",
            remedy="Give another folder, or move this manifest away.",
        )
    for number, row in enumerate(rows, start=2):
        if None in row.values() or None in row:
            raise InputError(
                f"{manifest}: line {number} has not {len(COLUMNS)} columns",
                remedy="Delete the line; its clip is made again.",
            )
    return rows


def _role(manifest: Path, text: str) -> Role:
    for role in sources.ROLES:
        if role == text:
            return role
    raise InputError(
        f"{manifest}: role {text!r} is none of {', '.join(sources.ROLES)}",
        remedy="Delete the line; its clip is made again.",
    )
