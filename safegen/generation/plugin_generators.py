"""Which generators do other installed packages add?

A package names a function under the entry-point group ``safegen.generators``:

    [project.entry-points."safegen.generators"]
    my-model = "my_package:load"

with ``load(*, device: str) -> Generator``. The names are read from the packages' metadata;
nothing of a package is imported until one of its generators is asked for. A name that
ships, or that an own model has, is never given to a package.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from safegen.audio import MAX_SECONDS
from safegen.errors import InputError, SafegenError
from safegen.generation import own
from safegen.generation.base import (
    BatchGenerator,
    Generation,
    Generator,
    ModelFacts,
    Request,
    StreamingGenerator,
)
from safegen.generation.model_card import INPUTS, ModelCard

GROUP: Final = "safegen.generators"
UNTOLD: Final = frozenset({"", "unknown"})
"""Versions that a generator gives when it knows none."""
_FAULT_CHARACTERS: Final = 300

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginGenerator:
    """A generator that an installed package offers.

    Attributes:
        name: As typed after ``--model``.
        package: That offers it.
        version: Of the package.
        entry: What is loaded, "my_package:load".
        fault: Why it cannot be used, "" if it can as far as names tell.
    """

    name: str
    package: str
    version: str
    entry: importlib.metadata.EntryPoint
    fault: str = ""

    @property
    def origin(self) -> str:
        """Package and version, as records and messages name them."""
        return f"{self.package} {self.version}"


def installed(*, models: Path | None = None) -> tuple[PluginGenerator, ...]:
    """Read what the installed packages offer, by name; nothing is imported.

    Args:
        models: Folder of own models (``Config.models``), whose names are taken.
    """
    found: dict[str, list[PluginGenerator]] = {}
    for entry in importlib.metadata.entry_points(group=GROUP):
        # An entry point that is not part of a package has nobody to name in the record.
        if entry.dist is not None:
            plugin = PluginGenerator(
                name=entry.name, package=entry.dist.name, version=entry.dist.version, entry=entry
            )
            found.setdefault(entry.name, []).append(plugin)
    return tuple(_judged(found[name], models) for name in sorted(found))


def names(*, models: Path | None = None) -> tuple[str, ...]:
    """Name the generators of packages that can be asked for, in order."""
    return tuple(each.name for each in installed(models=models) if not each.fault)


def card_of(name: str, *, models: Path | None = None) -> ModelCard | None:
    """Give an open card for the generator of this name; None if no package offers it.

    What it takes and how long it may get, only the generator itself knows, and it refuses
    the rest when it is asked.

    Raises:
        InputError: If the name is not one that a package may give.
    """
    plugin = _offer(name, models)
    if plugin is None:
        return None
    return ModelCard(
        name=plugin.name,
        version=plugin.version,
        summary=f"Added by the package {plugin.origin}.",
        license="told when it is loaded",
        sample_rate=0,
        shortest_seconds=0.0,
        longest_seconds=MAX_SECONDS,
        parameters=0,
        files=(),
        recipes=(),
        training_data="Not known here.",
        limits="Told by the package.",
        mark="Not known here. The gate marks what it makes.",
        accepts=INPUTS,
    )


def find(name: str, *, device: str, models: Path | None = None) -> Generator | None:
    """Load the generator of this name from the package that offers it; None if none does.

    Args:
        name: As typed after ``--model``.
        device: Handed to the package, "cpu" or "cuda".
        models: Folder of own models, whose names are taken.

    Returns:
        A generator whose facts name the package, and its version if they know no other. It
        makes batches and streams if the package's generator does.

    Raises:
        InputError: If the name is not one that a package may give.
        SafegenError: If loading fails, or gives something that is no generator.
    """
    plugin = _offer(name, models)
    if plugin is None:
        return None
    try:
        given = plugin.entry.load()(device=device)
    except SafegenError:
        raise  # it says what is wrong, and what helps
    # Foreign code fails as it likes; whoever typed its name needs to know whose code it is.
    except Exception as error:
        log.info("loading %s failed", plugin.origin, exc_info=True)
        fault = " ".join(f"{type(error).__name__}: {error}".split())[:_FAULT_CHARACTERS]
        raise SafegenError(
            f"{name} of {plugin.origin} ({plugin.entry.value}) could not be loaded: {fault}",
            remedy=f"Update {plugin.package}, or ask its authors.",
        ) from error
    return _as_generator(given, plugin)


def _offer(name: str, models: Path | None) -> PluginGenerator | None:
    plugin = next((each for each in installed(models=models) if each.name == name), None)
    if plugin is not None and plugin.fault:
        raise InputError(
            f"{_shown(name)} of {plugin.origin} cannot be used: {plugin.fault}",
            remedy=f"Ask the authors of {plugin.package} for another name, or uninstall it.",
        )
    return plugin


def _judged(offers: Sequence[PluginGenerator], models: Path | None) -> PluginGenerator:
    """Say of all offers under one name whether the name can be used."""
    plugin, others = offers[0], offers[1:]
    fault = ""
    try:
        own.check_name(plugin.name)
    except InputError as error:
        fault = error.problem
    if not fault and own.find(plugin.name, models=models) is not None:
        fault = f"{plugin.name} is the name of an own model"
    if not fault and others:
        fault = f"{', '.join(each.origin for each in others)} gives the same name"
    return dataclasses.replace(plugin, fault=fault)


def _as_generator(given: Any, plugin: PluginGenerator) -> Generator:
    """Check what a package gave, and say in its facts where it comes from."""
    facts = getattr(given, "facts", None)
    missing = ""
    if not isinstance(facts, ModelFacts):
        missing = f"its facts are a {type(facts).__name__}, not ModelFacts"
    elif not callable(getattr(given, "generate", None)):
        missing = "it has no method generate"
    elif facts.name != plugin.name:
        missing = f"its facts name it {_shown(facts.name)}"
    if missing or not isinstance(facts, ModelFacts):
        raise SafegenError(
            f"{plugin.name} of {plugin.origin}: {plugin.entry.value} gave a "
            f"{type(given).__name__} that is no generator of this name: {missing}",
            remedy="docs/wrapping.md says what a generator is.",
        )
    version = plugin.version if facts.version.strip().lower() in UNTOLD else facts.version
    told = dataclasses.replace(facts, version=version, package=plugin.origin)
    can = isinstance(given, BatchGenerator), isinstance(given, StreamingGenerator)
    return _KINDS[can](given, told)


class _Plugged:
    """A package's generator under facts that name the package."""

    def __init__(self, given: Generator, facts: ModelFacts) -> None:
        self._given = given
        self.facts = facts

    def generate(
        self, request: Request, *, progress: Callable[[float], None] | None = None
    ) -> Generation:
        return self._given.generate(request, progress=progress)


class _Batching(_Plugged):
    """One that makes batches."""

    def generate_batch(
        self, requests: Sequence[Request], *, progress: Callable[[float], None] | None = None
    ) -> list[Generation]:
        given: BatchGenerator = self._given  # type: ignore[assignment]  # _KINDS chose by it
        return given.generate_batch(requests, progress=progress)


class _Streaming(_Plugged):
    """One that streams."""

    def stream(
        self, request: Request, *, progress: Callable[[float], None] | None = None
    ) -> Iterator[Generation]:
        given: StreamingGenerator = self._given  # type: ignore[assignment]  # likewise
        return given.stream(request, progress=progress)


class _BatchingStreaming(_Batching, _Streaming):
    """One that does both."""


_KINDS: Final[dict[tuple[bool, bool], type[_Plugged]]] = {
    (False, False): _Plugged,
    (True, False): _Batching,
    (False, True): _Streaming,
    (True, True): _BatchingStreaming,
}
"""(makes batches, streams) -> class that offers the same."""


def _shown(name: str) -> str:
    return repr(name[:80])
