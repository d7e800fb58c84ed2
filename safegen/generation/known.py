"""Which model does a name stand for here?

In this order: a model that the users of the installation trained, one that ships, an
installed public checkpoint, a folder with one, and a generator that an installed package
adds. A folder is meant only where the name is a path: it starts with "." or "/", or has a
"/" and is there; so a folder that happens to be called like a model is never taken for it.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from safegen.errors import InputError
from safegen.generation import own, plugin_generators, public_card, public_licenses, public_store
from safegen.generation.cards import CARDS, WEIGHTS, ModelCard, card
from safegen.generation.own import OwnModel
from safegen.generation.public_card import Checkpoint
from safegen.generation.public_families import FAMILIES

Kind = Literal["own", "shipped", "public", "plugin"]
_MOST_NAMED: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A model that a name stands for.

    Attributes:
        kind: Where it comes from.
        card: What it is; of a package's generator only what its metadata tell.
        folder: Where its files are, None for a package's generator.
        own: What it learned from, if it was trained here.
        checkpoint: What is known of it, if it is a public one.
    """

    kind: Kind
    card: ModelCard
    folder: Path | None
    own: OwnModel | None = None
    checkpoint: Checkpoint | None = None


def find(name: str, *, models: Path | None) -> Known:
    """Look a model up, to show it.

    Args:
        name: As typed after ``--model``: a name, or the path of a folder.
        models: Folder of models (``Config.models``); None knows what ships, folders and packages.

    Raises:
        InputError: If nothing has this name, or a folder is no whole checkpoint.
        IntegrityError: If what is installed under it says nothing readable of itself.
    """
    mine = own.find(name, models=models)
    if mine is not None:
        return Known(kind="own", card=mine.card, folder=mine.folder, own=mine)
    if any(name == shipped.name for shipped in CARDS):
        return Known(kind="shipped", card=card(name), folder=WEIGHTS)
    public = public_store.find(name, models=models)
    if public is None and _is_path(name):
        public = public_store.in_folder(_folder(name), models=models)
    if public is not None:
        return Known(kind="public", card=public.card, folder=public.folder, checkpoint=public)
    added = plugin_generators.card_of(name, models=models)
    if added is not None:
        return Known(kind="plugin", card=added, folder=None)
    raise _unknown(name, models)


def any_card(name: str, *, models: Path | None) -> ModelCard:
    """Look a model's card up, to show it.

    Raises:
        InputError: If nothing has this name, or a folder is no whole checkpoint.
        IntegrityError: If what is installed under it says nothing readable of itself.
    """
    return find(name, models=models).card


def usable(name: str, *, models: Path | None, accepted: str = "") -> Known:
    """Look a model up, to use it.

    Args:
        name: As typed after ``--model``.
        models: Folder of models.
        accepted: Day on which the operator accepts the license of a folder that is not
            installed, "2026-11-22"; "" if they did not. What is installed has its own day.

    Raises:
        InputError: As ``find``, if the license asks for a consent that is missing, or if
            nobody tells the license of a generator in a folder.
        IntegrityError: As ``find``.
    """
    found = find(name, models=models)
    public, told = found.checkpoint, found.card
    if public is not None and not public.is_installed and public.family.role == "generator":
        _check_told(name, told)
    if public is None or not public_licenses.asks_for_consent(told.license):
        return found
    if not public.is_installed:
        told = replace(told, license_accepted=accepted)
    if not told.license_accepted:
        again = f"safegen models pull {name} --overwrite"
        use = f"safegen generate ... --model {shlex.quote(name)}"
        raise public_licenses.refuse(
            name,
            told.license,
            repository=told.name if public_card.is_repository(told.name) else "",
            command=again if public.is_installed else use,
        )
    return replace(found, card=told)


def _check_told(name: str, told: ModelCard) -> None:
    """Refuse what R3 would refuse in every output, before anybody waits for one."""
    if told.license == public_licenses.UNKNOWN:
        folder = shlex.quote(name)
        raise InputError(
            f"{name}: nobody tells the license of this model",
            remedy=f"Write `license: ...` between two lines `---` at the head of {name}/README.md, "
            f"or run `safegen models add NAME {folder} --license LICENSE` and name that model.",
        )


def _is_path(name: str) -> bool:
    return name.startswith((".", "/", "~/")) or ("/" in name and Path(name).is_dir())


def _folder(name: str) -> Path:
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise InputError(f"{name}: no such folder", remedy="Name a folder with a checkpoint.")
    return folder


def _unknown(name: str, models: Path | None) -> InputError:
    """Write the refusal of a name nobody has, with the command that would help."""
    shown = name[:200]
    family = next((x for x in FAMILIES if name in x.repositories), None)
    if family is not None or public_card.is_repository(name):
        kind = f", {family.called}," if family else ""
        consent = public_licenses.consent_to(name)
        return InputError(
            f"{shown}{kind} is not installed",
            remedy=f"Run `safegen models pull {shown}{consent}`, or with a copy of its files "
            f"`safegen models add {shown} FOLDER{consent}`.",
        )
    names = [x.name for x in CARDS]
    if models is not None:
        names += [x.own.name for x in own.installed(models)]
        names += [x.public.name for x in public_store.installed(models)]
    names += plugin_generators.names(models=models)
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return InputError(
        f"{shown}: no such model",
        remedy=f"Choose one of: {', '.join(names[:_MOST_NAMED])}{more}; or see "
        "`safegen models list --all`.",
    )
