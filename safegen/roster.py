"""Whom does this installation ask? The shipped models, and what was added here.

``detectors/generators/NAME.safetensors`` of the state folder are entries of the generator
registry, ``detectors/plugins/NAME/`` plug-ins that are calibrated. A plug-in goes before the
shipped model that says whether and not who: it was chosen and measured by whoever runs it.
"""

import functools
import os
from dataclasses import replace
from pathlib import Path

from detectors.errors import DetectorError
from detectors.synthetic import entries
from detectors.synthetic.entries import Entry
from detectors.synthetic.judging import Roster
from detectors.synthetic.plugin_scores import model_of
from detectors.synthetic.shipping import shipped
from safegen import plugins
from safegen.config import Config
from safegen.errors import InputError, IntegrityError

SUFFIX = ".safetensors"


def roster_of(config: Config) -> Roster:
    """Put together everything that is asked; read again only when a file has changed.

    Raises:
        IntegrityError: If a file cannot be read; the message names it.
    """
    return _roster(config, _state(config.home / "detectors"))


def shipped_roster() -> Roster:
    """Give the models that ship.

    Raises:
        IntegrityError: If one is not the one that was measured.
    """
    try:
        return shipped()
    except DetectorError as error:
        raise IntegrityError(str(error), remedy="Install safegen again.") from error


def generator_file(config: Config, name: str) -> Path:
    """Name the file of an entry that was added here, there or not."""
    return config.home / "detectors" / "generators" / f"{name}{SUFFIX}"


def write_generator(config: Config, entry: Entry) -> Path:
    """Put an entry in place, complete or not at all; it replaces an older one of its name."""
    path = generator_file(config, entry.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_bytes(entries.to_bytes(entry))
    fresh.replace(path)
    return path


def added_generators(config: Config, roster: Roster) -> tuple[Entry, ...]:
    """Read the entries that were added here, by name.

    Args:
        config: Of the installation.
        roster: The shipped one, to which they must belong.

    Raises:
        IntegrityError: If one cannot be read; the message names the file.
    """
    folder = generator_file(config, "any").parent
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return tuple(_entry(path, roster) for path in found if not path.name.startswith("."))


def remove(config: Config, name: str) -> None:
    """Remove the plug-in or the added entry of this name.

    Raises:
        InputError: If there is none.
    """
    path = generator_file(config, name)
    if entries.NAME.fullmatch(name) and path.is_file():
        path.unlink()
        return
    plugins.remove(config, name)


def refuse_taken(config: Config, name: str) -> None:
    """Refuse the name of a plug-in that is that of an entry.

    Raises:
        InputError: If it is.
    """
    roster = shipped_roster()
    taken = {entry.name for entry in (*roster.entries, *added_generators(config, roster))}
    taken |= {model.name for model in roster.generic}
    if name in taken:
        raise InputError(f"{name} is the name of something else", remedy="Choose another.")


@functools.lru_cache(maxsize=2)
def _roster(config: Config, state: tuple[tuple[str, int, int], ...]) -> Roster:
    roster = shipped_roster()
    if not state and config.spectral_evidence:
        # The same object for everybody: it keeps what it has computed.
        return roster
    models = []
    for plugin in plugins.installed(config):
        if plugin.calibration is None:
            continue
        try:
            models.append(model_of(plugin.description, plugin.model, plugin.calibration))
        except DetectorError as error:
            raise plugins.damaged(plugin.folder, plugin.folder.name, error) from error
    entries_ = (*roster.entries, *added_generators(config, roster))
    return replace(
        roster,
        entries=entries_ if config.spectral_evidence else (),
        generic=(*models, *roster.generic),
        combs=config.spectral_evidence,
    )


def _entry(path: Path, roster: Roster) -> Entry:
    fault: object
    try:
        entry = entries.parse(path.read_bytes())
    except (OSError, DetectorError) as error:
        raise _broken(path, error) from error
    if path.name != f"{entry.name}{SUFFIX}":
        fault = f"it is the entry {entry.name}"
    elif entry.own:
        fault = "it says that it ships with this project"
    elif any(entry.name == known.name for known in roster.entries):
        fault = "a shipped entry has its name"
    elif len(entry.coefficients) != len(roster.reference.mean):
        fault = "its head is for other numbers than are measured now"
    elif entry.reference != roster.reference.digest:
        fault = "it was made against other real windows than those that ship now"
    else:
        return entry
    raise _broken(path, fault)


def _broken(path: Path, fault: object) -> IntegrityError:
    name = path.name.removesuffix(SUFFIX)
    return IntegrityError(
        f"{path}: {fault}",
        remedy="Register the generator again (`safegen detectors register "
        f"{name} --from FOLDER --overwrite`), or remove the file.",
    )


def _state(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Give name, time and size of every file that was added."""
    found = []
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and name != plugins.UNFINISHED:
                path = Path(where, name)
                # Of the link, where it is one: what it points at may not be there.
                facts = path.lstat()
                found.append((str(path), facts.st_mtime_ns, facts.st_size))
    return tuple(sorted(found))
