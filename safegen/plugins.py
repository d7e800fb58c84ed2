"""Where do plugged-in classifiers live, and how do they get there?

``detectors/plugins/NAME/`` of the state folder holds ``plugin.json`` (what it is, with the
hash of every file), ``model/`` (a copy of its files: nothing is fetched when it is asked)
and, once it is calibrated, ``calibration.json``. A plug-in that is not calibrated is not
asked. A folder that is damaged is an error, never a reason to go without.
"""

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from detectors.errors import DetectorError
from detectors.synthetic import plugins
from detectors.synthetic.plugin_scores import Scores
from detectors.synthetic.plugins import Description
from safegen.config import Config
from safegen.errors import InputError, IntegrityError, SafegenError

DESCRIPTION: Final = "plugin.json"
CALIBRATION: Final = "calibration.json"
MODEL: Final = "model"
UNFINISHED: Final = "heard.jsonl"
"""What was listened to of a calibration that is not finished."""

FREE_LICENSES: Final = frozenset(
    {
        *("apache-2.0", "mit", "isc", "bsd-2-clause", "bsd-3-clause", "0bsd", "unlicense"),
        *("cc0-1.0", "cc-by-3.0", "cc-by-4.0"),
    }
)
"""Licenses that allow any use; every other one has to be accepted."""
_HUB_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """A plug-in that is installed here.

    Attributes:
        description: What it is.
        folder: Its own.
        calibration: Bytes of its calibration file; None if there is none.
    """

    description: Description
    folder: Path
    calibration: bytes | None

    @property
    def model(self) -> Path:
        """Folder of the model's files."""
        return self.folder / MODEL


def folder_of(config: Config) -> Path:
    """Name the folder of all plug-ins, there or not."""
    return config.home / "detectors" / "plugins"


def installed(config: Config) -> tuple[Plugin, ...]:
    """Read all plug-ins, by name.

    Raises:
        IntegrityError: If one cannot be read; the message names the file.
    """
    return tuple(_read(path) for path in _folders(config))


def find(config: Config, name: str) -> Plugin:
    """Read one plug-in.

    Raises:
        InputError: If there is none of this name.
        IntegrityError: If it cannot be read.
    """
    found = {path.name: path for path in _folders(config)}
    if name not in found:
        raise InputError(
            f"there is no plug-in {name!r:.60}",
            remedy="Run `safegen detectors list`, or add it with `safegen detectors add`.",
        )
    return _read(found[name])


def add(
    config: Config,
    described: Description,
    *,
    source: str,
    revision: str = "",
    accept_license: bool = False,
    overwrite: bool = False,
) -> Description:
    """Copy or fetch a model, try it once, and put it in place, all or nothing.

    Args:
        config: Of the installation.
        described: What it is, without ``files`` and ``origin``.
        source: A folder, a .safetensors file, or the name of a model on the hub.
        revision: Commit there, 40 hex digits; only for the hub.
        accept_license: Whether whoever asks has accepted a license that is not free.
        overwrite: Whether a plug-in of this name, with its calibration, may be replaced.

    Raises:
        InputError: If the description or the files cannot be used.
        SafegenError: If the hub does not answer.
    """
    where = folder_of(config) / described.name
    if where in _folders(config) and not overwrite:
        raise InputError(
            f"plug-in {described.name} is there", remedy="Say --overwrite to replace it."
        )
    if described.license.strip().lower() not in FREE_LICENSES and not accept_license:
        raise InputError(
            f"license {described.license.strip() or 'not stated'} may forbid your use of the model",
            remedy="Read it; if your use is within it, add --accept-license.",
        )
    with _refused():
        if not (described.synthetic or described.real) and Path(source, plugins.CONFIG).is_file():
            listed = ", ".join(map(repr, plugins.labels(Path(source))))
            msg = f"no label map; the model's labels are {listed:.300}"
            raise DetectorError(msg)
        plugins.check(described)
    where.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=where.parent, prefix=".new-") as work:
        fresh = Path(work) / "new"
        model = fresh / MODEL
        model.mkdir(parents=True)
        origin = _bring(source, revision, model, is_torch=described.kind == plugins.TORCH)
        with _refused():
            files = plugins.hashes(model, described.code)
            complete = replace(described, origin=origin, files=files)
            plugins.open_model(complete, model)
        text = json.dumps(complete.to_json(), indent=1, ensure_ascii=False) + "\n"
        (fresh / DESCRIPTION).write_text(text, encoding="utf-8")
        if where.exists():
            where.rename(Path(work) / "old")
        fresh.rename(where)
    return complete


def keep_calibration(plugin: Plugin, scores: Scores) -> None:
    """Put a calibration in place; it replaces an older one."""
    path = plugin.folder / CALIBRATION
    fresh = path.with_suffix(".new")
    fresh.write_bytes(scores.to_bytes())
    fresh.replace(path)
    (plugin.folder / UNFINISHED).unlink(missing_ok=True)


def remove(config: Config, name: str) -> None:
    """Remove a plug-in with its model and calibration.

    Raises:
        InputError: If there is none of this name.
    """
    found = {path.name: path for path in _folders(config)}
    if name not in found:
        raise InputError(
            f"there is no plug-in {name!r:.60}", remedy="Run `safegen detectors list`."
        )
    with tempfile.TemporaryDirectory(dir=found[name].parent, prefix=".old-") as work:
        # Renamed at once, so that nobody reads half of it.
        found[name].rename(Path(work) / "old")


def _folders(config: Config) -> list[Path]:
    folder = folder_of(config)
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in found if not path.name.startswith(".")]


def _read(folder: Path) -> Plugin:
    path = folder / DESCRIPTION
    try:
        described = plugins.parse(json.loads(path.read_text("utf-8")))
        calibration = folder / CALIBRATION
        data = calibration.read_bytes() if calibration.exists() else None
    except (OSError, ValueError, RecursionError, DetectorError) as error:
        raise damaged(path, folder.name, error) from error
    if described.name != folder.name:
        raise damaged(path, folder.name, f"it calls itself {described.name}")
    return Plugin(description=described, folder=folder, calibration=data)


def damaged(path: Path, name: str, fault: object) -> IntegrityError:
    """Say that a file of a plug-in is not what was put there."""
    return IntegrityError(
        f"{path}: {fault}",
        remedy=f"Run `safegen detectors calibrate {name} ...` if the calibration is at fault; "
        f"else `safegen detectors remove {name}`, and add it again.",
    )


@contextmanager
def _refused() -> Iterator[None]:
    """Turn a detector's refusal of what the caller gave into the caller's error."""
    try:
        yield
    except DetectorError as error:
        raise InputError(
            str(error), remedy="docs/detectors-plugins.md says what a plug-in needs."
        ) from error


def _bring(source: str, revision: str, model: Path, *, is_torch: bool) -> str:
    """Copy or fetch the files of a model into a folder; give its origin."""
    here = Path(source).expanduser()
    wanted = ["*.safetensors"] if is_torch else ["*.safetensors", *plugins.READ]
    if here.is_dir():
        found = [path for pattern in wanted for path in sorted(here.glob(pattern))]
        if not any(path.suffix == ".safetensors" for path in found):
            with _refused():
                plugins.hashes(here)
        for path in found:
            shutil.copyfile(path, model / path.name)
        origin = f"folder {here.resolve().name}"
    elif here.is_file() and here.suffix == ".safetensors" and is_torch:
        shutil.copyfile(here, model / here.name)
        origin = f"file {here.name}"
    elif _HUB_NAME.fullmatch(source) and not here.exists():
        if not _COMMIT.fullmatch(revision):
            raise InputError(
                f"revision {revision!r:.50} of {source} is not a commit",
                remedy="Give --revision with the 40 digits that the hub shows under Files, "
                "History; or a folder that is there for --model.",
            )
        _fetch(source, revision, model, wanted)
        origin = f"{source}@{revision}"
    else:
        raise InputError(
            f"{source!r:.200} is neither a folder, nor a model on the hub, nor, "
            "with --code, a .safetensors file",
            remedy="Pickles (.bin, .pt, .pth, .ckpt) are never read: docs/detectors-plugins.md "
            "says how to convert them.",
        )
    weights = [path.name for path in model.glob("*.safetensors")]
    if is_torch and len(weights) != 1:
        raise InputError(
            f"{source}: {len(weights)} files of weights, a torch plug-in has one",
            remedy="Name the .safetensors file itself.",
        )
    return origin


def _fetch(name: str, revision: str, model: Path, wanted: list[str]) -> None:
    from huggingface_hub import snapshot_download

    try:
        snapshot_download(name, revision=revision, local_dir=model, allow_patterns=wanted)
    # Of all that a network can do, none is worth a traceback.
    except Exception as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise SafegenError(
            f"{name}@{revision[:12]} was not fetched: {said:.300}",
            remedy="Where there is no way to the hub, fetch the folder elsewhere and give its "
            "path for --model.",
        ) from error
    shutil.rmtree(model / ".cache", ignore_errors=True)
