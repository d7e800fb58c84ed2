"""Which works of the catalog does this sound quote?

The one place where the ears' matching meets the memory's index: items are made by
``detectors.chromaprint``, looked up in ``registry.index``, decided by
``detectors.fingerprint``. The index follows the catalog: it is compared with the
newest change number at every call and refreshed when that moved.
"""

import threading
from typing import Final

from detectors.base import Match
from detectors.chromaprint import ENGINE, fingerprint, query_fingerprints, to_blob
from detectors.errors import DetectorError
from detectors.fingerprint import KEY_MASK, Rule, find_matches
from registry import index as catalog_index
from registry.catalog import NewFingerprint
from registry.index import CatalogIndex
from registry.session import Database
from safegen.audio import Audio

LEAST_SECONDS: Final = 4.9
"""Excerpts of 5 s are found in .90 to .97 of cases, those of 4 s in none: finding nothing
in a shorter sound would be no answer."""


class CatalogMatcher:
    """Compares sounds with the works in force; safe to share between threads.

    Args:
        database: The registry.
        rule: What counts as a match; None is the rule the published figures were
            measured with.
    """

    def __init__(self, database: Database, *, rule: Rule | None = None) -> None:
        self._database = database
        self._rule = rule
        self._index: CatalogIndex | None = None
        self._lock = threading.Lock()

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
        return find_matches(queries, self.index(), rule=self._rule)

    def index(self) -> CatalogIndex:
        """Give the index of the works in force now; built on the first call."""
        with self._lock, self._database.read() as session:
            if self._index is None:
                self._index = catalog_index.build(session, engine=ENGINE, key_mask=KEY_MASK)
            else:
                self._index = catalog_index.refresh(
                    self._index, session, engine=ENGINE, key_mask=KEY_MASK
                )
            return self._index


def catalog_fingerprint(audio: Audio) -> NewFingerprint:
    """Make what the catalog stores of a work.

    Items are empty if the sound is shorter than 2.73 s; the registry refuses those.
    """
    items = fingerprint(audio.waveform, audio.sample_rate)
    return NewFingerprint(engine=ENGINE, items=to_blob(items))
