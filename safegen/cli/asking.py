"""Options that say what is wanted of a generator, shared by the commands that ask one."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from safegen.errors import InputError

if TYPE_CHECKING:
    from safegen.audio import Audio
    from safegen.generation.base import Chapter, Request, Span

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULT_SECONDS: Final = 10.0
DEFAULT_STRENGTH: Final = 0.6

_MOMENT = r"(?:(\d{1,3}):)?(\d{1,5}(?:\.\d{1,6})?)"
_SPAN = re.compile(rf"{_MOMENT}-{_MOMENT}")
_CHAPTER = re.compile(rf"{_MOMENT}\s+(\S.*)", re.DOTALL)
_FILE = click.Path(dir_okay=False, path_type=Path)


def sound_options(command: Command) -> Command:
    """Add the sounds that a model may take: melody, beginning, source."""
    for option in (
        click.option(
            "--source",
            "source_file",
            type=_FILE,
            metavar="FILE",
            help="Sound that is varied (--strength) or repaired (--inpaint).",
        ),
        click.option(
            "--continue-from",
            "continue_file",
            type=_FILE,
            metavar="FILE",
            help="Sound that the result begins with and goes on from.",
        ),
        click.option(
            "--melody",
            "melody_file",
            type=_FILE,
            metavar="FILE",
            help="Sound whose melody is followed.",
        ),
    ):
        command = option(command)
    return command


def chapter_option(command: Command) -> Command:
    """Add ``--chapter``, one part of a story."""
    return click.option(
        "--chapter",
        "chapter_texts",
        multiple=True,
        metavar='"START PROMPT"',
        help="A story instead of PROMPT, repeated for each part: START in seconds or "
        'minutes:seconds, then what is heard until the next, as in "0:45 a wild dance".',
    )(command)


def request_of(
    *,
    prompt: str,
    negative_prompt: str,
    seconds: float | None,
    seed: int,
    sounds: "Mapping[str, Audio]",
    strength: float | None,
    inpaint_texts: tuple[str, ...],
    chapter_texts: tuple[str, ...],
) -> "Request":
    """Build a request from options; what was not said follows from what was.

    Raises:
        InputError: If a stretch or a chapter cannot be read.
    """
    from safegen.generation.base import Request

    spans, chapters = spans_of(inpaint_texts), chapters_of(chapter_texts)
    source, beginning = sounds.get("source"), sounds.get("continue_from")
    if seconds is None and source is not None:
        seconds = source.seconds
    elif seconds is None:
        start = chapters[-1].start_seconds if chapters else 0.0
        seconds = DEFAULT_SECONDS + max(start, beginning.seconds if beginning else 0.0)
    is_varied = source is not None and not spans and seconds <= source.seconds
    return Request(
        prompt=prompt,
        seconds=seconds,
        seed=seed,
        negative_prompt=negative_prompt,
        strength=(DEFAULT_STRENGTH if is_varied else 1.0) if strength is None else strength,
        inpaint=spans,
        story=chapters,
        **sounds,
    )


def load_sounds(
    *, melody: Path | None, continue_from: Path | None, source: Path | None, max_seconds: float
) -> "dict[str, Audio]":
    """Read the sounds that were named, by the fields of a request.

    Raises:
        InputError: If one cannot be read or is longer than ``max_seconds``.
    """
    from safegen.audio import load
    from safegen.generation.requests import SHORTEST_SOUND_SECONDS

    named = {"melody": melody, "continue_from": continue_from, "source": source}
    sounds = {kind: load(path) for kind, path in named.items() if path is not None}
    for kind, audio in sounds.items():
        if audio.seconds > max_seconds:
            called = kind.replace("continue_from", "sound to continue")
            raise InputError(
                f"the {called} has {audio.seconds:.3g} s, the model takes "
                f"{SHORTEST_SOUND_SECONDS:g} to {max_seconds:g} s of it",
                remedy="Cut the file into shorter pieces.",
            )
    return sounds


def spans_of(texts: tuple[str, ...]) -> "tuple[Span, ...]":
    """Read stretches like ``2.5-4`` or ``0:58-1:02``.

    Raises:
        InputError: If one is not like that.
    """
    from safegen.generation.base import Span

    spans = []
    for text in texts:
        found = _SPAN.fullmatch(text.strip())
        if found is None:
            raise InputError(
                f"--inpaint {text!r} is no stretch of time", remedy="Write 2.5-4 or 0:58-1:02."
            )
        a, b, c, d = found.groups()
        spans.append(Span(start_seconds=_seconds(a, b), end_seconds=_seconds(c, d)))
    return tuple(spans)


def chapters_of(texts: tuple[str, ...]) -> "tuple[Chapter, ...]":
    """Read chapters like ``0:45 a wild dance``.

    Raises:
        InputError: If one does not begin with its start.
    """
    from safegen.generation.base import Chapter

    chapters = []
    for text in texts:
        found = _CHAPTER.fullmatch(text.strip())
        if found is None:
            raise InputError(
                f"--chapter {text[:60]!r} is no start with a prompt behind it",
                remedy='Write "0 a calm piano" or "0:45 a wild dance".',
            )
        minutes, seconds, prompt = found.groups()
        chapters.append(Chapter(prompt=prompt, start_seconds=_seconds(minutes, seconds)))
    return tuple(chapters)


def _seconds(minutes: str | None, seconds: str) -> float:
    return 60.0 * int(minutes or 0) + float(seconds)
