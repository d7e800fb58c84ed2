"""``safegen doctor``: is this installation fit to release anything?"""

import importlib.metadata
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from safegen.cli.options import config, emit, format_option
from safegen.config import Config
from safegen.errors import SafegenError

MIN_FREE_BYTES = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """One thing that was looked at.

    Attributes:
        name: What.
        is_well: Whether a release can rely on it.
        found: What was found.
        remedy: What to do about it; "" if nothing.
    """

    name: str
    is_well: bool
    found: str
    remedy: str = ""


@click.command()
@format_option
def doctor(format_: str) -> None:
    """Look at keys, database, models, codecs and disk, and say what to mend.

    \b
    Exit status:
      0  everything is well
      1  something must be mended before a release

    \b
    Example:
      safegen doctor
    """
    settings = config()
    looks: tuple[Callable[[Config], Diagnosis], ...] = (
        _home, _disk, _keys, _database, _index, _log, _rescans, _models, _audioseal,
        _engine, _links,
    )  # fmt: skip
    well = True
    for look in looks:
        try:
            found = look(settings)
        except SafegenError as error:
            found = Diagnosis(
                name=look.__name__.strip("_"),
                is_well=False,
                found=error.problem,
                remedy=error.remedy,
            )
        well &= found.is_well
        row = {
            "name": found.name,
            "ok": found.is_well,
            "found": found.found,
            "remedy": found.remedy,
        }
        mark = "ok  " if found.is_well else "MEND"
        text = f"{mark}  {found.name:10} {found.found}"
        emit(row, text + (f"\n      {'':10} {found.remedy}" if found.remedy else ""), format_)
    raise SystemExit(0 if well else 1)


def _home(settings: Config) -> Diagnosis:
    version = importlib.metadata.version("safegen")
    return Diagnosis(name="home", is_well=True, found=f"{settings.home} (safegen {version})")


def _disk(settings: Config) -> Diagnosis:
    folder = settings.home
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    enough = free >= MIN_FREE_BYTES
    return Diagnosis(
        name="disk",
        is_well=enough,
        found=f"{free / 2**30:.1f} GiB free",
        remedy="" if enough else "Free some space: releases are refused when the disk fills up.",
    )


def _keys(settings: Config) -> Diagnosis:
    from safegen.provenance.keys import KeyStore

    keys = KeyStore(settings.keys).list()
    current = ", ".join(f"{key.kind} {key.key_id}" for key in keys if key.is_current)
    return Diagnosis(name="keys", is_well=True, found=current)


def _database(settings: Config) -> Diagnosis:
    from registry import schema
    from registry.errors import RegistryError

    try:
        database = schema.open_database(settings.database_url)
        try:
            return Diagnosis(name="database", is_well=True, found=f"{database.name}, up to date")
        finally:
            database.close()
    except RegistryError as error:
        problem, _, remedy = str(error).partition("\n")
        return Diagnosis(name="database", is_well=False, found=problem, remedy=remedy)


def _index(settings: Config) -> Diagnosis:
    """A missing or old index costs time only; a damaged one is found and made again when used."""
    from registry import schema
    from registry.errors import RegistryError
    from registry.reindexing import inspect
    from safegen.matching import INDEXES

    states = []
    try:
        with schema.open_database(settings.database_url) as database, database.read() as session:
            for name, engine in INDEXES.items():
                state = inspect(session, engine, settings.index / name)
                if state is None:
                    states.append(f"{name} none on disk")
                elif not state.is_usable:
                    states.append(f"{name} of another database or version")
                else:
                    late = f", {state.behind} changed since" if state.behind else ""
                    size = f"{state.size_bytes / 1e6:.1f} MB"
                    states.append(f"{name} {state.works} works, {size}{late}")
    except RegistryError as error:
        return Diagnosis(
            name="index",
            is_well=False,
            found=str(error).partition("\n")[0],
            remedy="Run `safegen catalog reindex`; nothing is lost, it is made from the database.",
        )
    return Diagnosis(name="index", is_well=True, found="; ".join(states))


def _log(settings: Config) -> Diagnosis:
    from registry.errors import RegistryError
    from registry.session import connect
    from safegen.provenance.keys import KeyStore
    from safegen.provenance.log import open_log

    keys = KeyStore(settings.keys)
    try:
        database = connect(settings.database_url)
        try:
            log = open_log(database, keys)
            with database.read() as session:
                size = log.size(session)
                if size:
                    log.checkpoint(session)
        finally:
            database.close()
    except RegistryError as error:
        return Diagnosis(name="log", is_well=False, found=str(error).partition("\n")[0])
    return Diagnosis(
        name="log",
        is_well=True,
        found=f"{size} entries, the last checkpoint's signature holds",
        remedy="`safegen log verify` hashes every entry again." if size else "",
    )


def _rescans(settings: Config) -> Diagnosis:
    """Past outputs that wait to be compared hold no release up."""
    from registry import schema
    from registry.errors import RegistryError
    from safegen.background import is_running
    from safegen.rescan import standing

    try:
        with schema.open_database(settings.database_url) as database, database.read() as session:
            now = standing(session)
    except RegistryError as error:
        problem, _, remedy = str(error).partition("\n")
        return Diagnosis(name="rescans", is_well=False, found=problem, remedy=remedy)
    remedy = ""
    if is_running(settings):
        state = "running"
    elif now.is_behind:
        state = "interrupted" if now.unfinished else "pending"
        remedy = "Run `safegen catalog rescan` to compare past outputs with newer works."
    else:
        state = "past outputs are compared with every work"
    if now.unfinished:
        state += f" after {now.unfinished.compared} outputs"
    elif now.finished and not now.is_behind:
        state += f", {now.finished.finished_at:%Y-%m-%d %H:%M} UTC"
    found = f"{state}; {now.findings} quotations found later in all"
    return Diagnosis(name="rescans", is_well=True, found=found, remedy=remedy)


def _models(settings: Config) -> Diagnosis:
    from safegen.generation.cards import DEFAULT_MODEL
    from safegen.generation.systems import load

    facts = load(DEFAULT_MODEL, device="cpu").facts
    return Diagnosis(
        name="models",
        is_well=True,
        found=f"{facts.name} {facts.version}, {facts.license}, weights {facts.weights_sha256[:12]}",
    )


def _audioseal(settings: Config) -> Diagnosis:
    """The second mark is a choice; one that is installed and damaged stops every release."""
    from safegen import second_mark

    mark = second_mark.from_home(settings)
    if mark is None:
        return Diagnosis(
            name="audioseal",
            is_well=True,
            found="not installed: releases carry the keyed mark alone",
            remedy="`safegen models pull audioseal` adds a second mark.",
        )
    table = "with" if mark.table else "without"
    return Diagnosis(
        name="audioseal",
        is_well=True,
        found=f"weights {mark.weights_sha256[:12]}, {table} a null table",
    )


def _engine(settings: Config) -> Diagnosis:
    from detectors import chromaprint

    return Diagnosis(name="chromaprint", is_well=True, found=chromaprint.backend())


def _links(settings: Config) -> Diagnosis:
    """Releases need hard links; some network file systems have none."""
    folder = settings.home if settings.home.exists() else Path.cwd()
    first, second = folder / f".doctor-{os.getpid()}", folder / f".doctor-{os.getpid()}-link"
    try:
        first.write_bytes(b"")
        os.link(first, second)
    except OSError as error:
        return Diagnosis(
            name="links",
            is_well=False,
            found=f"{folder}: {error}",
            remedy="Use a local file system for the state and output folders.",
        )
    finally:
        first.unlink(missing_ok=True)
        second.unlink(missing_ok=True)
    return Diagnosis(name="links", is_well=True, found="the file system supports hard links")
