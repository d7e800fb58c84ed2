"""Which works of the catalog does this sound quote?

The one place where the ears' matching meets the memory's index. Two engines hear every
sound: Chromaprint (``detectors.fingerprint``), and landmarks
(``detectors.constellations``), which find music that is filtered or spoken over; their
evidence becomes one match for each quotation. A work that was added without landmarks
is found by Chromaprint only. Apart from both, and never evidence of copying, chroma
(``detectors.composition``) names works whose notes somebody else plays. The index follows
the catalog: it is compared with the newest change number at every call and refreshed when
that moved.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from detectors import (
    chromaprint,
    composition,
    constellations,
    corroboration,
    evidence,
    fingerprint,
    landmarks,
    transposition,
)
from detectors.base import Keyed, Match
from detectors.chromaprint import ENGINE, QUERY_SHIFTS, SILENCE, Items, Pcm, items_of, pcm
from detectors.composition import CompositionMatch
from detectors.constellations import (
    NO_AGREEMENT,
    Agreement,
    LandmarkEvidence,
    LandmarkRule,
    Query,
    Witness,
)
from detectors.errors import DetectorError
from detectors.fingerprint import KEY_MASK, Rule
from detectors.transposition import VARIANTS
from registry.catalog import NewFingerprint
from registry.index import CatalogIndex, IndexKeeper
from registry.index_source import Engine
from registry.segments import IndexDamagedError
from registry.session import Database
from safegen.audio import Audio

LEAST_SECONDS: Final = 4.9
"""Excerpts of 5 s are found in .98 to 1.00 of cases through codecs, .77 under speech: finding
nothing in a shorter sound would be no answer."""
MAX_COMPOSITION_P: Final = 0.01
"""Chance above which the notes of a work are not told at all."""
MAX_COMPOSITIONS: Final = 128
"""Likeliest works that are told: more recordings of one hymn than most catalogs hold."""
_PLAIN_CELLS: Final = 400_000
"""A second's work on one core: a query of 20 s and 1,100 works of 3 minutes, or of 80 s and 150."""
_DEEP_CELLS: Final = 100 * _PLAIN_CELLS
_REPAIRS: Final = 2


class Scan(StrEnum):
    """How thoroughly a sound is compared with the catalog."""

    PLAIN = "plain"
    """As it is."""
    DEEP = "deep"
    """And as it would have been before somebody retuned it or changed its speed."""

    @property
    def variants(self) -> int:
        """Tell as how many versions the sound is searched for, itself included."""
        return 1 + len(VARIANTS) * (self is Scan.DEEP)

    def to_json(self) -> dict[str, Any]:
        """Give what a record says about how its matches were looked for."""
        return {"kind": self.value, "variants": self.variants}


Answer = TypeVar("Answer")
log = logging.getLogger(__name__)


def _chromaprint_postings(blob: bytes) -> Keyed:
    """Make keys of items; silence, which is everywhere, has none."""
    items = np.frombuffer(blob, dtype="<u4")
    heard = np.flatnonzero(items != SILENCE)
    return Keyed(keys=items[heard] & np.uint32(KEY_MASK), positions=heard.astype(np.uint32))


ENGINES: Final[Mapping[str, Engine]] = {
    ENGINE: Engine(
        name=ENGINE,
        scheme=f"{ENGINE}, keys {KEY_MASK:08x}, without silence",
        item_bytes=4,
        postings_of=_chromaprint_postings,
    ),
    landmarks.ENGINE: Engine(
        name=landmarks.ENGINE,
        scheme=landmarks.SCHEME,
        item_bytes=8,
        postings_of=landmarks.postings_of,
    ),
}
"""Every engine that finds recordings, by its name, and the rule by which it is searched."""

INDEXES: Final[Mapping[str, Engine]] = {
    **ENGINES,
    composition.ENGINE: Engine(
        name=composition.ENGINE,
        scheme=composition.SCHEME,
        item_bytes=composition.BINS,
        postings_of=composition.postings_of,
    ),
}
"""What is kept of the works so that it can be searched: the engines', and chroma."""


def logged_scan(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Tell from a record how its matches were looked for; None if they were not.

    Records from before this was written speak of plain scans.
    """
    found: Mapping[str, Any] | None = body.get("scan", Scan.PLAIN.to_json())
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Prints:
    """What the engines hear of a sound, made once for all that is done with it.

    Attributes:
        seconds: Of the sound.
        samples: 16-bit mono at the engines' rate; a deep scan retunes it.
        items: Chromaprint's, from each of ``QUERY_SHIFTS``; empty of a sound too short.
        landmarks: All that a query is heard by.
    """

    seconds: float
    samples: Pcm
    items: tuple[Items, ...]
    landmarks: Query


def prints_of(audio: Audio) -> Prints:
    """Let both engines hear a sound.

    Cost: about 2 ms a second of sound.
    """
    samples = pcm(audio.waveform, audio.sample_rate)
    return Prints(
        seconds=audio.seconds,
        samples=samples,
        items=tuple(items_of(samples[shift:]) for shift in QUERY_SHIFTS),
        landmarks=constellations.query_of(samples),
    )


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
            for name, engine in INDEXES.items()
        }

    def match(self, audio: Audio, *, deep: bool = False) -> tuple[Match, ...]:
        """Find the stretches that quote a work in force, strongest first.

        Args:
            audio: The sound.
            deep: Also look for copies that were retuned by up to six semitones or sped up
                or slowed down by up to a tenth, ``Scan.DEEP``; takes some 40 times as long.

        Raises:
            DetectorError: If the sound is shorter than ``LEAST_SECONDS``, which is too
                short to compare. Callers must treat that as "not cleared".
        """
        return self.match_prints(prints_of(audio), deep=deep)

    def match_prints(self, prints: Prints, *, deep: bool = False) -> tuple[Match, ...]:
        """Do what ``match`` does with a sound that was heard already.

        Raises:
            DetectorError: As ``match``.
        """
        if prints.seconds < LEAST_SECONDS:
            msg = (
                f"{prints.seconds:.2f} s of sound are too short to compare with the catalog, "
                f"limit {LEAST_SECONDS:g} s"
            )
            raise DetectorError(msg)
        variants = VARIANTS if deep else ()
        tried = 1 + len(variants)
        found = list(self.compared(prints.items, prints.landmarks, tried))
        for variant in variants:
            retuned = transposition.retuned(prints.samples, variant)
            queries = transposition.items(retuned, variant)
            matches = self.compared(queries, transposition.constellation(retuned, variant), tried)
            found += [transposition.told(match, variant) for match in matches]
        return evidence.merged(found, tried=tried * len(ENGINES))

    def compositions(self, audio: Audio, *, deep: bool = False) -> tuple[CompositionMatch, ...]:
        """Find the works in force whose notes a sound plays, in whatever recording, best first.

        A hint for people and no evidence of copying; works that were added before there was
        chroma are not compared.

        Args:
            audio: The sound.
            deep: Spend some hundred times as long, for catalogs of more than a thousand works.

        Raises:
            NotComparableError: If the sound is shorter than 15 s, no notes come and go in it,
                or the catalog is larger than this scan compares.
        """
        return self.compositions_prints(prints_of(audio), deep=deep)

    def compositions_prints(
        self, prints: Prints, *, deep: bool = False
    ) -> tuple[CompositionMatch, ...]:
        """Do what ``compositions`` does with a sound that was heard already.

        Raises:
            NotComparableError: As ``compositions``.
        """
        found = self.search(
            composition.ENGINE,
            lambda index: composition.find_compositions(
                prints.samples,
                index,
                max_p_value=MAX_COMPOSITION_P,
                most_cells=_DEEP_CELLS if deep else _PLAIN_CELLS,
            ),
        )
        return found[:MAX_COMPOSITIONS]

    def compared(
        self, queries: tuple[Items, ...], query: Query, tried: int = 1
    ) -> tuple[Match, ...]:
        """Ask both engines, each with limits that allow for ``tried`` variants.

        Returns:
            What each found, not yet merged.
        """
        items_rule, landmarks_rule = self._rule or Rule(), LandmarkRule()
        items_rule = replace(items_rule, max_p_value=items_rule.max_p_value / tried)
        landmarks_rule = replace(landmarks_rule, max_p_value=landmarks_rule.max_p_value / tried)
        by_items = self.search(
            ENGINE, lambda index: fingerprint.find_matches(queries, index, rule=items_rule)
        )
        by_landmarks = self.search(
            landmarks.ENGINE,
            lambda index: constellations.find_matches(
                query, index, rule=landmarks_rule, witness=self.witness(queries)
            ),
        )
        return by_items + by_landmarks

    def witness(self, queries: tuple[Items, ...]) -> Witness:
        """Make Chromaprint the second witness of places that landmarks name.

        Args:
            queries: The query's items from each of ``QUERY_SHIFTS``.
        """
        index = self.index(ENGINE)

        def agreement(work_id: str, found: LandmarkEvidence) -> Agreement:
            nonlocal index
            try:
                items = _items(index, work_id)
            except IndexDamagedError as error:
                log.warning("%s; it is made again from the registry", error)
                index = self._keepers[ENGINE].repair(index)
                items = self.search(ENGINE, lambda mended: _items(mended, work_id))
            if items is None:
                return NO_AGREEMENT
            return corroboration.agreement(queries, items, found)

        return agreement

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


def _items(index: CatalogIndex, work_id: str) -> Items | None:
    """Give the items of one work, None if it is not in force by now."""
    number = index.number(work_id)
    return None if number is None else index.items(number)


def catalog_fingerprints(audio: Audio) -> tuple[NewFingerprint, ...]:
    """Make what the catalog stores of a work: one fingerprint of each engine that heard it.

    Returns:
        Nothing if the sound is shorter than 2.73 s or silent; without landmarks if no
        peak stands out of it.
    """
    samples = pcm(audio.waveform, audio.sample_rate)
    items = items_of(samples)
    if not len(items):
        return ()
    found = [NewFingerprint(engine=ENGINE, items=chromaprint.to_blob(items))]
    keyed = landmarks.fingerprint_of(samples)
    if len(keyed.keys):
        found.append(NewFingerprint(engine=landmarks.ENGINE, items=landmarks.to_blob(keyed)))
    notes = composition.to_blob(composition.chroma_of(samples))
    found.append(NewFingerprint(engine=composition.ENGINE, items=notes))
    return tuple(found)
