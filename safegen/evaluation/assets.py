"""Where does the audio of the benchmarks come from?

From Debian's music and speech packages: openly licensed, versioned, and mirrored
everywhere. They are fetched with ``apt-get download`` and unpacked with ``dpkg-deb``,
neither of which installs anything or needs root; nothing of them is committed.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click

from safegen.errors import InputError, SafegenError

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
}
"""Package -> what is in it."""

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
    """Fetch Debian's open music and speech for the benchmarks.

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
        SafegenError: If apt or dpkg is missing, or one of them fails.
    """
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
        # The program is apt-get or dpkg-deb, the package name has passed a pattern, and
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
        lines = [line for line in str(error.stderr).splitlines() if line.startswith("E:")]
        reason = lines[-1] if lines else f"exit status {error.returncode}"
        raise SafegenError(
            f"{Path(arguments[0]).name} failed for {package}: {reason}",
            remedy="Run `apt-get update`, check that the package exists in this release "
            "(`apt-cache policy PACKAGE`), and try again.",
        ) from error
