"""Whose recordings are real, and what may be learned from them?

Speakers and composers come from Debian's packages (``safegen eval assets``). Each package
has one role, so that no voice and no track is on two sides:

* *train*: learned from; the licenses of the speech allow weights that ship, those of the
  music only partly (``items.trains_weights`` tells);
* *calibrate*: copyleft, or set aside: thresholds are chosen on them;
* *held*: nobody tunes on them, the last figures are read there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from safegen.errors import InputError
from safegen.evaluation.matching_bench.music import tracks

Role = Literal["train", "calibrate", "held"]
ROLES: Final[tuple[Role, ...]] = ("train", "calibrate", "held")

LEFT_OUT: Final = frozenset(
    {
        # Under 60 s, or, where all are short, under 30 s of sound.
        "tuxpaint-lt",
        "tuxpaint-ml",
        "tuxpaint-nl",
        "ktuberling-sr",
        "ktuberling-sr@ijekavian",
        "ktuberling-sr@ijekavianlatin",
        "ktuberling-sr@latin",
        "klettres-nb",
        # Its files end without a last page, as if they were cut.
        "klettres-ar",
        # May be a machine's voice: then it would be no recording.
        "hedgewars-Robot",
    }
)
_TONES: Final = re.compile(r"beep|tone|^tt-|silence")
_LEAST_G722_BYTES: Final = 4_000
"""Half a second."""
_DESCRIBED: Final = re.compile(r"_desc_([A-Za-z_]+)\.ogg$")
_ASTERISK: Final = {
    "en": "CC-BY-SA-3.0",
    "es": "CC-BY-SA-3.0",
    "fr": "CC-BY-SA-3.0",
    "it": "CC-BY-3.0",
    "ru": "CC-BY-3.0",
}
_MUSIC: Final[dict[str, tuple[Role, str]]] = {
    "wesnoth-1.16-music": ("train", "GPL-2.0-or-later"),
    "warzone2100-music": ("train", "GPL-2.0-or-later"),
    "hyperrogue-music": ("calibrate", "CC-BY-SA-3.0"),
    "asc-music": ("calibrate", "GPL-2.0-or-later"),
    "ufoai-music": ("held", "GPL-2.0-or-later, CC-BY-3.0 or CC-BY-SA-3.0"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One speaker, or one track of music.

    Attributes:
        name: Package and speaker or track; nothing of one source is on two sides.
        role: What may be done with it.
        license: As SPDX where there is a name.
        codec: What its files went through: "g722", "vorbis", "opus" or "mp3".
        paths: The recordings, in a fixed order.
    """

    name: str
    role: Role
    license: str
    codec: str
    paths: tuple[Path, ...]


def speakers(assets: Path, role: Role) -> tuple[Source, ...]:
    """List the speakers of a role, in a fixed order.

    Raises:
        InputError: If the folder has none of their packages.
    """
    listed = {"train": _asterisk, "calibrate": _children, "held": _games}[role](assets)
    found = tuple(source for source in listed if source.paths and source.name not in LEFT_OUT)
    if not found:
        raise InputError(
            f"{assets}: no speech for the role {role}",
            remedy="Run `safegen eval assets --out FOLDER` first.",
        )
    return found


def music(assets: Path, role: Role, *, work: Path) -> tuple[Source, ...]:
    """List the tracks of a role, in a fixed order; zipped ones are unpacked into ``work``.

    Raises:
        InputError: If the folder has none of their packages.
    """
    found = []
    for path in tracks(assets, work):
        inside = path.is_relative_to(assets)
        package = path.relative_to(assets).parts[0] if inside else "ufoai-music"
        side, license_ = _MUSIC[package]
        if side == role:
            found.append(
                Source(
                    name=f"{package.removesuffix('-music')}-{path.parent.name}-{path.stem}",
                    role=role,
                    license=license_,
                    codec={".opus": "opus", ".mp3": "mp3"}.get(path.suffix, "vorbis"),
                    paths=(path,),
                )
            )
    if not found:
        raise InputError(
            f"{assets}: no music for the role {role}",
            remedy="Run `safegen eval assets --out FOLDER` first.",
        )
    return tuple(found)


def _asterisk(assets: Path) -> Iterator[Source]:
    """One speaker per language: the prompts of a telephone exchange, without its tones."""
    for language, license_ in _ASTERISK.items():
        folder = assets / f"asterisk-core-sounds-{language}-g722"
        paths = (
            path
            for path in folder.rglob("*.g722")
            if path.stat().st_size >= _LEAST_G722_BYTES
            and not any(_TONES.search(part) for part in path.relative_to(folder).parts)
        )
        yield Source(
            name=f"asterisk-{language}",
            role="train",
            license=license_,
            codec="g722",
            paths=tuple(sorted(paths)),
        )


def _children(assets: Path) -> Iterator[Source]:
    """What a child paints, named in its language: two programs, taken as one speaker each."""
    by_language: dict[str, list[Path]] = {}
    for path in sorted((assets / "tuxpaint-stamps-default").rglob("*_desc_*.ogg")):
        if match := _DESCRIBED.search(path.name):
            by_language.setdefault(match[1], []).append(path)
    for language, paths in sorted(by_language.items()):
        yield _spoken(f"tuxpaint-{language}", "calibrate", "GPL-2.0-only", paths)
    root = assets / "ktuberling-data/usr/share/ktuberling/sounds"
    yield from _folders(root, "ktuberling", "calibrate", "GPL-2.0-or-later")


def _games(assets: Path) -> Iterator[Source]:
    root = assets / "klettres-data/usr/share/klettres"
    yield from _folders(root, "klettres", "held", "GPL-2.0-or-later")
    root = assets / "hedgewars-data/usr/share/games/hedgewars/Data/Sounds/voices"
    yield from _folders(root, "hedgewars", "held", "GFDL-1.3-or-later")


def _folders(root: Path, package: str, role: Role, license_: str) -> Iterator[Source]:
    """One speaker per folder."""
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        if folder.is_dir():
            paths = sorted(folder.rglob("*.ogg"))
            yield _spoken(f"{package}-{folder.name}", role, license_, paths)


def _spoken(name: str, role: Role, license_: str, paths: list[Path]) -> Source:
    return Source(name=name, role=role, license=license_, codec="vorbis", paths=tuple(paths))
