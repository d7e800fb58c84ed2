"""Which works of the catalog does this sound quote?

The one place where the ears' matching meets the memory's index: items are made by
``detectors.chromaprint``, looked up in ``registry.index``, decided by
``detectors.fingerprint``. The index follows the catalog: it is compared with the
newest change number at every call and refreshed when that moved.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from detectors.base import Match
from detectors.chromaprint import ENGINE, SILENCE, fingerprint, query_fingerprints, to_blob
from detectors.errors import DetectorError
from detectors.fingerprint import KEY_MASK, Rule, find_matches
from registry.catalog import NewFingerprint
from registry.index import CatalogIndex, IndexKeeper
from registry.index_source import Engine
from registry.segments import IndexDamagedError
from registry.session import Database
from safegen.audio import Audio

LEAST_SECONDS: Final = 4.9
"""Excerpts of 5 s are found in .90 to .97 of cases, those of 4 s in none: finding nothing
in a shorter sound would be no answer."""
_REPAIRS: Final = 2

Answer = TypeVar("Answer")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Postings:
    """Where the keys of one work occur."""

    keys: npt.NDArray[np.uint32]
    positions: npt.NDArray[np.uint32]


def _chromaprint_postings(blob: bytes) -> _Postings:
    """Make keys of items; silence, which is everywhere, has none."""
    items = np.frombuffer(blob, dtype="<u4")
    heard = np.flatnonzero(items != SILENCE)
    return _Postings(keys=items[heard] & np.uint32(KEY_MASK), positions=heard.astype(np.uint32))


ENGINES: Final[Mapping[str, Engine]] = {
    ENGINE: Engine(
        name=ENGINE,
        scheme=f"{ENGINE}, keys {KEY_MASK:08x}, without silence",
        item_bytes=4,
        postings_of=_chromaprint_postings,
    )
}
"""Every engine by its name, and the rule by which it is searched."""


class CatalogMatcher:
    """Compares sounds with the works in force; safe to share between threads.

    Args:
        database: The registry.
        index_folder: Where segments of the index are shared with other processes; None
            keeps it in memory, which is good for some thousand works.
        rule: What counts as a match; None is the rule the published figures were
            measured with.
    """

    def __init__(
        self, database: Database, *, index_folder: Path | None = None, rule: Rule | None = None
    ) -> None:
        self._rule = rule
        self._keepers = {
            name: IndexKeeper(database, engine, folder=index_folder and index_folder / name)
            for name, engine in ENGINES.items()
        }

    def match(self, audio: Audio) -> tuple[Match, ...]:
        """Find the stretches that quote a work in force, strongest first.

        Raises:
            DetectorError: If the sound is shorter than ``LEAST_SECONDS``, which is too
                short to compare. Callers must treat that as "not cleared".
        """
        if audio.seconds < LEAST_SECONDS:
            msg = (
                f"{audio.seconds:.2f} s of sound are too short to compare with the catalog, "
                f"limit {LEAST_SECONDS:g} s"
            )
            raise DetectorError(msg)
        queries = query_fingerprints(audio.waveform, audio.sample_rate)
        return self.search(ENGINE, lambda index: find_matches(queries, index, rule=self._rule))

    def search(self, engine: str, question: Callable[[CatalogIndex], Answer]) -> Answer:
        """Ask the index of the works in force now; damage is mended and the question repeated.

        Raises:
            IndexDamagedError: If it is damaged again and again.
        """
        index = self.index(engine)
        for _ in range(_REPAIRS):
            try:
                return question(index)
            except IndexDamagedError as error:
                log.warning("%s; it is made again from the registry", error)
                index = self._keepers[engine].repair(index)
        return question(index)

    def index(self, engine: str = ENGINE) -> CatalogIndex:
        """Give the index of the works in force now."""
        return self._keepers[engine].current()


def catalog_fingerprint(audio: Audio) -> NewFingerprint:
    """Make what the catalog stores of a work.

    Items are empty if the sound is shorter than 2.73 s; the registry refuses those.
    """
    items = fingerprint(audio.waveform, audio.sample_rate)
    return NewFingerprint(engine=ENGINE, items=to_blob(items))
