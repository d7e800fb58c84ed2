"""What is asked for? Prompts in people's words, and what each of them names.

Two kinds of files are read: our own lines of JSON, and the CSV form of MusicCaps
(Agostinelli et al. 2023: ytid, start_s, end_s, aspect_list, caption), of whose captions only
what is said in so many words is held against a model.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from safegen.errors import InputError
from safegen.evaluation.meters import canonical_key
from safegen.generation.compose import INSTRUMENTS

PROMPTS: Final = Path(__file__).parent.parent / "heldout_prompts.jsonl"
COLUMNS: Final = ("ytid", "start_s", "end_s", "aspect_list", "caption")
SLOWEST_BPM: Final = 20.0
FASTEST_BPM: Final = 400.0
_LONGEST_FILE_BYTES: Final = 64_000_000
_LONGEST_PROMPT: Final = 10_000
_NAMES: Final = frozenset(x.name for x in INSTRUMENTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a prompt asks for.

    Attributes:
        prompt: As typed.
        tempo_bpm: Named tempo, None if none is.
        key: Named key, None if none is.
        drums: Whether drums are wanted, None if the prompt does not say.
        instrument: Name of one of ``compose.INSTRUMENTS``, None if none is named.
    """

    prompt: str
    tempo_bpm: float | None
    key: str | None
    drums: bool | None
    instrument: str | None = None


def read_prompts(path: Path = PROMPTS) -> tuple[Wish, ...]:
    """Read prompts from a ``.csv`` in MusicCaps' form, or else one JSON object a line.

    Raises:
        InputError: If the file cannot be read or a line is not a prompt.
    """
    try:
        if path.stat().st_size > _LONGEST_FILE_BYTES:
            raise InputError(
                f"{path.name} has {path.stat().st_size} bytes, {_LONGEST_FILE_BYTES} are the most"
            )
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path.name}: this is not a file of prompts: {error}") from error
    wishes = _from_csv(text, path.name) if path.suffix == ".csv" else _from_json(text, path.name)
    if not wishes:
        raise InputError(
            f"{path.name} holds no prompts",
            remedy='Write one JSON object a line, such as {"prompt": "calm piano, 70 bpm"}.',
        )
    return wishes


def _from_json(text: str, name: str) -> tuple[Wish, ...]:
    wishes = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                wishes.append(_wish(json.loads(line)))
            except (ValueError, RecursionError) as error:
                raise InputError(
                    f"{name}, line {number}: not a prompt: {error}",
                    remedy='Write {"prompt": "...", "tempo_bpm": 90, "key": "A minor", '
                    '"drums": true, "instrument": "piano"}; null where nothing is named.',
                ) from error
    return tuple(wishes)


def _wish(row: Any) -> Wish:
    """Check one JSON object.

    Raises:
        ValueError: If it is not a prompt.
    """
    if not isinstance(row, dict):
        msg = f"a {type(row).__name__}, not an object"
        raise ValueError(msg)
    missing = [x for x in ("prompt", "tempo_bpm", "key", "drums") if x not in row]
    if missing:
        msg = f"{', '.join(missing)} missing"
        raise ValueError(msg)
    prompt, tempo, key, drums = row["prompt"], row["tempo_bpm"], row["key"], row["drums"]
    instrument = row.get("instrument")
    if not isinstance(prompt, str) or not prompt.strip() or len(prompt) > _LONGEST_PROMPT:
        msg = f"prompt must be text of 1 to {_LONGEST_PROMPT} letters"
        raise ValueError(msg)
    if tempo is not None:
        is_number = isinstance(tempo, int | float) and not isinstance(tempo, bool)
        if not is_number or not SLOWEST_BPM <= tempo <= FASTEST_BPM or math.isnan(tempo):
            msg = f"tempo_bpm {tempo!r} is not in {SLOWEST_BPM:g} to {FASTEST_BPM:g}"
            raise ValueError(msg)
    if key is not None:
        if not isinstance(key, str):
            msg = f"key {key!r} is not text"
            raise ValueError(msg)
        canonical_key(key)
    if drums is not None and not isinstance(drums, bool):
        msg = f"drums {drums!r} is not true, false or null"
        raise ValueError(msg)
    if instrument is not None and instrument not in _NAMES:
        msg = f"instrument {instrument!r} is none of {', '.join(sorted(_NAMES))}"
        raise ValueError(msg)
    return Wish(
        prompt=prompt,
        tempo_bpm=None if tempo is None else float(tempo),
        key=key,
        drums=drums,
        instrument=instrument,
    )


def _from_csv(text: str, name: str) -> tuple[Wish, ...]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    wishes = []
    line = 1
    try:
        missing = [x for x in COLUMNS if x not in (reader.fieldnames or ())]
        if missing:
            raise InputError(
                f"{name}, line 1: the columns {', '.join(missing)} are missing",
                remedy=f"MusicCaps has the columns {', '.join(COLUMNS)}.",
            )
        for row in reader:
            caption, aspects = row["caption"], row["aspect_list"]
            if caption is None or aspects is None or None in row:
                raise InputError(f"{name}, line {reader.line_num}: not as many cells as columns")
            if not caption.strip() or len(caption) > _LONGEST_PROMPT:
                raise InputError(
                    f"{name}, line {reader.line_num}: the caption has {len(caption)} letters, "
                    f"1 to {_LONGEST_PROMPT} are read"
                )
            line = reader.line_num
            wishes.append(described(caption, _aspects(aspects, f"{name}, line {line}")))
    except csv.Error as error:
        raise InputError(f"{name}, line {line + 1}: not CSV: {error}") from error
    return tuple(wishes)


def described(caption: str, aspects: tuple[str, ...]) -> Wish:
    """Find what a caption and its aspects name; what is named twice in two ways is not held.

    Args:
        caption: Free text; tempo and key are read from it.
        aspects: Short phrases; drums and the instrument are read from them, too.
    """
    text = f"{caption}\n{' ; '.join(aspects)}"
    tempi = {float(a or b) for a, b in _TEMPO.findall(text)}
    tempi = {x for x in tempi if SLOWEST_BPM <= x <= FASTEST_BPM}
    keys = {_key(*found) for found in _KEY.findall(text)}
    without = any(_NO_DRUMS.search(x) for x in aspects)
    played = any(_DRUMS.search(x) and not _NO_DRUMS.search(x) for x in aspects)
    named = {
        instrument
        for aspect in aspects
        for pattern, instrument in _INSTRUMENTS
        if pattern.search(aspect)
    }
    return Wish(
        prompt=caption,
        tempo_bpm=tempi.pop() if len(tempi) == 1 else None,
        key=keys.pop() if len(keys) == 1 else None,
        drums=played if played != without else None,
        instrument=named.pop() if len(named) == 1 else None,
    )


_TEMPO: Final = re.compile(
    r"(?<![\d.])(\d{2,3}(?:\.\d{1,3})?)[ -]?(?:bpm|beats (?:per|a) minute)\b"
    r"|\btempo(?: of|:| is)? (\d{2,3}(?:\.\d{1,3})?)(?![\d.])",
    re.IGNORECASE,
)
_KEY: Final = re.compile(
    # A capital letter, and not the article of "A minor key".
    r"\b([A-G])(#|♯|b|♭|[ -]sharp|[ -]flat)?[ -]?([Mm]ajor|[Mm]inor|maj|min)\b(?! (?:key|scale)\b)"
)
_DRUMS: Final = re.compile(r"\b(?:drum|percussion|percussive|snare|kick|hi-?hat)", re.IGNORECASE)
_NO_DRUMS: Final = re.compile(r"\b(?:no|without|non)[ -](?:\w+ )?(?:drum|percussi)", re.IGNORECASE)
_WORDS: Final = {
    r"(?<!electric )(?<!e-)(?<!toy )\bpiano": "piano",
    r"\b(?:electric piano|e-piano|rhodes|wurlitzer)": "electric piano",
    r"\bmusic box": "music box",
    r"\b(?:vibraphone|vibes)\b": "vibraphone",
    r"\bmarimba": "marimba",
    r"(?<!mouth )\borgan\b": "organ",
    r"\baccordion": "accordion",
    r"\b(?:acoustic|nylon|classical|fingerpicked)\b.{0,12}\bguitar": "acoustic guitar",
    r"\b(?:distorted|overdriven|heavy)\b.{0,12}\bguitar|\bguitar distortion": "distorted guitar",
    r"(?<!distorted )(?<!overdriven )\belectric guitar|\bclean guitar": "electric guitar",
    r"\b(?:violin|fiddle)\b": "violin",
    r"\bcello": "cello",
    r"\bharp\b": "harp",
    r"\b(?:strings|string section|string orchestra)\b": "strings",
    r"\bchoir": "choir",
    r"\btrumpet": "trumpet",
    r"\b(?:saxophone|sax)\b": "saxophone",
    r"\bclarinet": "clarinet",
    r"\bflute": "flute",
    r"\bsynth lead|\blead synth": "synth lead",
}
_INSTRUMENTS: Final = tuple((re.compile(x, re.IGNORECASE), name) for x, name in _WORDS.items())
_ITEM: Final = re.compile(r"\s*(?:'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\")\s*(,|$)")


def _aspects(cell: str, place: str) -> tuple[str, ...]:
    """Read a list as Python writes it, without running it."""
    text = cell.strip()
    if not text.startswith("[") or not text.endswith("]"):
        raise InputError(
            f"{place}: aspect_list is not a list", remedy="It looks like ['sad', 'piano']."
        )
    inside, found, at = text[1:-1].strip(), [], 0
    while at < len(inside):
        item = _ITEM.match(inside, at)
        if item is None:
            raise InputError(f"{place}: aspect_list is not a list of words in quotes")
        found.append(item[1] if item[1] is not None else item[2])
        at = item.end()
    return tuple(found)


def _key(root: str, sign: str, mode: str) -> str:
    accidental = {"#": "#", "♯": "#", "sharp": "#", "": ""}.get(sign.strip(" -"), "b")
    return canonical_key(
        f"{root}{accidental} {'major' if mode.lower().startswith('maj') else 'minor'}"
    )
