"""Which clips does the classifier learn from? The same chain and codec history for both classes.

Three makers of items: ``speech`` (real clips and copies of them), ``spoken`` (clips that a
voice speaks) and ``music`` (excerpts and copies of them). An item is a plan; its sound is
made when it is asked for, from the seed and the item's own name, so that any item can be
made again alone. ``write`` keeps items, and skips what is there (``safegen.training.items``):

    folder/manifest.csv
    folder/ROLE/GENERATOR/SOURCE-NUMBER.flac      "real" stands for no generator

A clip and its copies have the same file name in different folders. The rest of the
work is in ``safegen.training.chain``, ``sources`` and ``synthesizers``.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from safegen.audio import Audio, load
from safegen.errors import InputError
from safegen.training import chain
from safegen.training.chain import MUSIC_CODECS, SPEECH_CODECS
from safegen.training.items import Item, read, trains_weights, write
from safegen.training.outputs import excerpt
from safegen.training.sources import Role, Source
from safegen.training.synthesizers import Synthesizer

__all__ = ["Item", "music", "read", "sentences", "speech", "spoken", "trains_weights", "write"]

log = logging.getLogger(__name__)

REAL: Final = "real"
HELD_SENTENCE: Final = 3
"""Every third sentence is held out."""
_SECONDS_PER_SENTENCE: Final = 2.5


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
