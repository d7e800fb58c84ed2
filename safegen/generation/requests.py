"""Can this model do what is asked of it? Answered before anything is made.

Every system calls ``check`` first, and the doors call it before they load a model, so
that nobody waits for a refusal.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator
from typing import Final

import numpy as np

from safegen.audio import Audio
from safegen.errors import InputError
from safegen.generation.base import Request, Span
from safegen.generation.cards import CARDS, INPUTS, ModelCard

MAX_PROMPT_CHARACTERS: Final = 4000
MAX_CHAPTERS: Final = 64
MAX_SPANS: Final = 64
MAX_SEED: Final = 2**63
SILENCE_DBFS: Final = -60.0
"""Mean level below which there is nothing to follow, to continue or to vary."""
SHORTEST_SOUND_SECONDS: Final = 1.0
"""A beat at 60 bpm: less tells a model neither a melody nor how to go on."""
SOUNDS: Final = ("melody", "continue_from", "source")
"""Those of ``cards.INPUTS`` that are sounds."""

_WORDS: Final = {
    "negative_prompt": "negative prompt",
    "melody": "melody",
    "continue_from": "sound to continue",
    "source": "source",
    "inpaint": "stretches to make anew",
    "story": "story",
}
"""Input -> what messages call it."""


def check(request: Request, card: ModelCard) -> None:
    """Refuse what a model cannot do.

    Args:
        request: What is wanted.
        card: Of the model that shall do it.

    Raises:
        InputError: If a text is empty, too long or holds control characters; if the
            length or the seed is out of range; if the model does not take one of the
            inputs; if a sound is silent, too short, too long or not finite; if inputs
            contradict each other. The message tells the value and the limit.
    """
    _check_accepted(request, card)
    check_seconds(request, card)
    if not 0 <= request.seed < MAX_SEED:
        raise InputError(
            f"seed {request.seed} is outside 0 to {MAX_SEED - 1}", remedy="Choose another seed."
        )
    _check_prompt(request)
    _check_story(request)
    for name, audio in sounds(request):
        _check_sound(name, audio, card)
    _check_continuation(request)
    _check_source(request)


def check_seconds(request: Request, card: ModelCard) -> None:
    """Refuse a length that the model does not make.

    Raises:
        InputError: If it is outside what the card allows, or no number.
    """
    shortest, longest = card.shortest_seconds, card.longest_seconds
    if not shortest <= request.seconds <= longest:  # NaN is not within any limits
        raise InputError(
            f"{request.seconds:g} s is outside the limits, "
            f"{card.name} makes {shortest:g} to {longest:g} s",
            remedy="Choose a length within these limits.",
        )


def check_text(name: str, text: str) -> None:
    """Refuse a text that no model reads: too long, or with characters that are no text.

    Raises:
        InputError: If it has more than ``MAX_PROMPT_CHARACTERS``, a control character
            other than a tab or a line's end, or half a surrogate pair.
    """
    if len(text) > MAX_PROMPT_CHARACTERS:
        raise InputError(
            f"the {name} has {len(text)} characters, at most {MAX_PROMPT_CHARACTERS}",
            remedy=f"Shorten the {name}.",
        )
    for place, character in enumerate(text):
        if unicodedata.category(character) in ("Cc", "Cs") and character not in "\t\n\r":
            raise InputError(
                f"the {name} holds the control character U+{ord(character):04X} at "
                f"position {place}",
                remedy="Write it as plain text in UTF-8.",
            )


def sounds(request: Request) -> Iterator[tuple[str, Audio]]:
    """Name the sounds of a request by their fields, in a fixed order."""
    for name in SOUNDS:
        audio = getattr(request, name)
        if audio is not None:
            yield name, audio


def texts(request: Request) -> Iterator[tuple[str, str]]:
    """Name every text of a request that a model reads: prompt, negative prompt, chapters."""
    if request.prompt:
        yield "prompt", request.prompt
    if request.negative_prompt:
        yield "negative prompt", request.negative_prompt
    for number, chapter in enumerate(request.story, 1):
        yield f"prompt of chapter {number}", chapter.prompt


def _check_accepted(request: Request, card: ModelCard) -> None:
    for name in INPUTS:
        if name in card.accepts or not _is_given(request, name):
            continue
        others = [found.name for found in CARDS if name in found.accepts]
        raise InputError(
            f"{card.name} takes no {_WORDS[name]}",
            remedy=f"Choose a model that does: {', '.join(others)}, or an installed one whose "
            "`safegen models show NAME` says so."
            if others
            else "Leave it out; no shipped model takes one.",
        )


def _is_given(request: Request, name: str) -> bool:
    value = getattr(request, name)
    return value is not None if name in SOUNDS else bool(value)


def _check_prompt(request: Request) -> None:
    is_told = any(True for _ in sounds(request)) or bool(request.story)
    if not request.prompt.strip() and not is_told:
        raise InputError(
            "the prompt is empty, and nothing else says what is wanted",
            remedy="Describe the sound, or give a sound to follow, to continue or to vary.",
        )
    for name, text in texts(request):
        check_text(name, text)


def _check_story(request: Request) -> None:
    if not request.story:
        return
    if request.prompt:
        raise InputError(
            "a prompt and a story exclude each other",
            remedy="Make the prompt the first chapter, or leave it out.",
        )
    if len(request.story) > MAX_CHAPTERS:
        raise InputError(
            f"the story has {len(request.story)} chapters, at most {MAX_CHAPTERS}",
            remedy="Tell it in fewer chapters.",
        )
    starts = [chapter.start_seconds for chapter in request.story]
    if starts[0] != 0:
        raise InputError(
            f"the first chapter starts at {starts[0]:g} s, not at 0 s",
            remedy="Let the first chapter start at 0.",
        )
    for number, (chapter, start) in enumerate(zip(request.story, starts, strict=True), 1):
        if not chapter.prompt.strip():
            raise InputError(
                f"chapter {number} of the story has an empty prompt",
                remedy="Describe its sound, or leave the chapter out.",
            )
        before = starts[number - 2] if number > 1 else -1.0
        if not before < start < request.seconds:
            raise InputError(
                f"chapter {number} starts at {start:g} s, "
                + (
                    f"not after the one before it at {before:g} s"
                    if start <= before
                    else f"the sound ends at {request.seconds:g} s"
                ),
                remedy="Let chapters start one after the other, before the end of the sound.",
            )


def _check_sound(name: str, audio: Audio, card: ModelCard) -> None:
    called = f"the {_WORDS[name]}"
    bad = int(audio.waveform.size - np.isfinite(audio.waveform).sum())
    if bad:
        raise InputError(
            f"{called} holds {bad} samples that are NaN or infinite",
            remedy="Export the audio again.",
        )
    if not SHORTEST_SOUND_SECONDS <= audio.seconds <= card.longest_seconds:
        raise InputError(
            f"{called} has {audio.seconds:.3g} s, {card.name} takes "
            f"{SHORTEST_SOUND_SECONDS:g} to {card.longest_seconds:g} s of it",
            remedy="Give a longer file."
            if audio.seconds < SHORTEST_SOUND_SECONDS
            else "Cut the file into shorter pieces.",
        )
    level = level_dbfs(audio)
    if level < SILENCE_DBFS:
        raise InputError(
            f"{called} is silent: {level:.0f} dBFS on the mean, at least {SILENCE_DBFS:g}",
            remedy="Give a file in which something is heard.",
        )


def level_dbfs(audio: Audio) -> float:
    """Measure the mean level of all channels; -inf for digital silence."""
    power = float(np.mean(np.square(audio.waveform, dtype=np.float64)))
    return 10.0 * math.log10(power) if power > 0 else -math.inf


def _check_continuation(request: Request) -> None:
    beginning = request.continue_from
    if beginning is None:
        return
    if request.source is not None:
        raise InputError(
            "a sound to continue and a source exclude each other",
            remedy="Continue the one or vary the other; two runs can follow each other.",
        )
    if request.seconds <= beginning.seconds:
        raise InputError(
            f"{request.seconds:g} s are wanted, the sound to continue has "
            f"{beginning.seconds:g} s already",
            remedy="Ask for more seconds: the beginning is part of the length.",
        )


def _check_source(request: Request) -> None:
    if not 0 < request.strength <= 1:
        raise InputError(
            f"strength {request.strength:g} is outside 0 to 1",
            remedy="Choose a strength above 0, which changes little, and at most 1.",
        )
    if request.source is None:
        if request.inpaint or request.strength != 1:
            raise InputError(
                "a strength or stretches to make anew are given without a source",
                remedy="Give the source that shall be varied or repaired.",
            )
        return
    if not request.inpaint and request.strength < 1 and request.seconds > request.source.seconds:
        raise InputError(
            f"{request.seconds:g} s are wanted, the source to vary has "
            f"{request.source.seconds:g} s",
            remedy="Ask for at most its length, or leave the strength at 1 to let it go on.",
        )
    if len(request.inpaint) > MAX_SPANS:
        raise InputError(
            f"{len(request.inpaint)} stretches shall be made anew, at most {MAX_SPANS}",
            remedy="Join neighbors to longer stretches.",
        )
    end = min(request.source.seconds, request.seconds)
    for span in request.inpaint:
        if not 0 <= span.start_seconds < span.end_seconds <= end:
            raise InputError(
                f"the stretch {span.start_seconds:g}-{span.end_seconds:g} s is not one within "
                f"the source's 0-{end:g} s",
                remedy="Let each stretch start before it ends, inside the source and the result.",
            )
    if request.inpaint and _covers_all(request.inpaint, end):
        raise InputError(
            f"the stretches to make anew cover all {end:g} s of the source",
            remedy="Leave something of it, or generate without a source.",
        )


def _covers_all(spans: tuple[Span, ...], end: float) -> bool:
    reached = 0.0
    for span in sorted(spans, key=lambda span: span.start_seconds):
        if span.start_seconds > reached:
            return False
        reached = max(reached, span.end_seconds)
    return reached >= end
