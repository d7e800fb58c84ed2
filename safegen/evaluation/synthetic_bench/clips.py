"""Which clips are judged? From a corpus, from recordings, and from outputs of shipped models."""

from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from itertools import zip_longest
from pathlib import Path
from typing import Final, Literal

import numpy as np

from safegen.audio import Audio, load
from safegen.errors import InputError
from safegen.evaluation.synthetic_bench.heard import Clip
from safegen.training import corpora
from safegen.training.chain import MUSIC_CODECS
from safegen.training.items import Item, read
from safegen.training.outputs import excerpt
from safegen.training.sources import Source
from safegen.training.synthesizers import Synthesizer

BLOCK: Final = 5
"""Clips of one source that are taken together, so that they can make a longer sound."""
REAL: Final = ""


def of_corpus(folder: Path, *, role: str, kind: str) -> list[Clip]:
    """List the clips of a role, as ``safegen.training.corpora`` has written them.

    Raises:
        InputError: If the folder is no corpus.
    """
    return [
        _of_item(folder, item)
        for item in read(folder)
        if item.role == role and _kind(item) == kind and (folder / item.file).is_file()
    ]


def chosen(clips: Sequence[Clip], *, each: int, real: int) -> list[Clip]:
    """Take so many clips of every generator, and so many real ones, from all sources evenly.

    Args:
        clips: Those of a source in their order.
        each: Of a generator.
        real: Of nobody.
    """
    out = []
    for generator in dict.fromkeys(clip.generator for clip in clips):
        theirs = [clip for clip in clips if clip.generator == generator]
        out += _spread(theirs)[: each if generator else real]
    return out


def _spread(clips: Sequence[Clip]) -> list[Clip]:
    """Take a block of the first source, one of the second, and so on, then the next blocks."""
    by_source: dict[str, list[Clip]] = {}
    for clip in clips:
        by_source.setdefault(clip.source, []).append(clip)
    blocks = [
        [here[at : at + BLOCK] for at in range(0, len(here), BLOCK)] for here in by_source.values()
    ]
    return [
        clip for row in zip_longest(*blocks) for block in row if block is not None for clip in block
    ]


def joined_clips(clips: Sequence[Clip], count: int) -> Iterator[Clip]:
    """Play clips of one source one after the other; what fills no sound is left out."""
    groups: dict[tuple[str, str], list[Clip]] = {}
    for clip in clips:
        here = groups.setdefault((clip.generator, clip.source), [])
        here.append(clip)
        if len(here) == count:
            parts = tuple(groups.pop((clip.generator, clip.source)))
            yield Clip(
                key=" + ".join(part.key for part in parts),
                kind=clip.kind,
                generator=clip.generator,
                family=clip.family,
                source=clip.source,
                make=partial(_played, parts),
            )


def excerpts(tracks: Sequence[Source], *, seconds: float, count: int) -> Iterator[Clip]:
    """Cut ``count`` excerpts of each track, evenly spread; a shorter track gives all it has."""
    for track in tracks:
        path = track.paths[0]
        for number in range(count):
            start = (number + 0.5) / count
            yield Clip(
                key=f"{track.name} {path.stat().st_size} {seconds:g} {start:.4f}",
                kind="music",
                generator=REAL,
                family="",
                source=track.name,
                make=partial(_excerpt, path, seconds, start),
            )


def copies(
    tracks: Sequence[Source], synthesizers: Sequence[Synthesizer], *, seconds: float, seed: int
) -> Iterator[Clip]:
    """Cut one excerpt of each track, and pass it through each synthesizer; one chain for all.

    Tracks that are shorter give none.
    """
    for track in tracks:
        path = track.paths[0]
        if _loaded(path).seconds < seconds:
            continue
        for maker in (None, *synthesizers):
            name = REAL if maker is None else maker.name
            yield Clip(
                key=f"{track.name} {path.stat().st_size} {seconds:g} copy {seed} {name}",
                kind="music",
                generator=name,
                family="" if maker is None else maker.family,
                source=track.name,
                make=partial(_copied, track, maker, seconds, seed),
            )


def files_of(
    paths: Sequence[Path], *, generator: str, family: str, seconds: float
) -> Iterator[Clip]:
    """Cut whole files of one generator into sounds of ``seconds``; the rest is left out."""
    for path in paths:
        whole = _loaded(path)
        for number in range(int(whole.seconds // seconds)):
            yield Clip(
                key=f"{path.name} {path.stat().st_size} {seconds:g} {number}",
                kind="music",
                generator=generator,
                family=family,
                source=path.stem,
                make=partial(_cut, path, number * seconds, (number + 1) * seconds),
            )


def _of_item(folder: Path, item: Item) -> Clip:
    return Clip(
        key=f"{item.file} {(folder / item.file).stat().st_size}",
        kind=_kind(item),
        generator=item.generator,
        family=item.family,
        source=item.source,
        make=item.make,
    )


def _kind(item: Item) -> Literal["speech", "music"]:
    """Tell from the codecs, which differ between speech and music (``training.chain``)."""
    return "music" if set(item.history.split()) == set(MUSIC_CODECS) else "speech"


def _played(parts: tuple[Clip, ...]) -> Audio:
    sounds = [part.make() for part in parts]
    rates = {sound.sample_rate for sound in sounds}
    if len(rates) != 1:
        raise InputError(
            f"clips of {parts[0].source} have the sample rates {sorted(rates)}",
            remedy="Make the corpus again.",
        )
    waveform = np.concatenate([sound.mono() for sound in sounds])[None]
    return Audio(waveform=waveform, sample_rate=sounds[0].sample_rate)


@lru_cache(maxsize=2)
def _loaded(path: Path) -> Audio:
    return load(path)


def _copied(track: Source, maker: Synthesizer | None, seconds: float, seed: int) -> Audio:
    makers = () if maker is None else (maker,)
    items = corpora.music(track, seconds=seconds, count=1, synthesizers=makers, seed=seed)
    # The real excerpt comes first, then its copy.
    return list(items)[-1].make()


def _excerpt(path: Path, seconds: float, start: float) -> Audio:
    return excerpt(_loaded(path), seconds=seconds, start=start)


def _cut(path: Path, begin: float, end: float) -> Audio:
    return _loaded(path).cut(begin, end)
