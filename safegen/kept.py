"""What is kept of a judged sound, so that it can be compared with works that come later?

Never the sound. Chromaprint's items from each of the query's shifts, because a work
may be cut anywhere between two of them, and the landmarks that a query is heard by, all
of them, because p-values were measured so: 0.7 kB a second together. The first row of
items is the output's own fingerprint, by which its content is verified, and has its own
place in the registry.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from detectors import constellations, evidence, fingerprint, landmarks
from detectors.base import Match
from detectors.chromaprint import (
    ENGINE,
    ITEM_SECONDS,
    QUERY_SHIFTS,
    SPAN_SECONDS,
    Items,
    from_blob,
    to_blob,
)
from detectors.constellations import Query
from detectors.landmarks import BINS, MAX_FRAMES, Landmarks
from registry.catalog import NewFingerprint
from safegen.errors import IntegrityError
from safegen.matching import ENGINES, LEAST_SECONDS, CatalogMatcher, Prints

POINTS: Final = f"{landmarks.ENGINE}-points"
"""Name under which the landmarks of an output are kept; they are points, not yet keys."""

_SHIFTED: Final = tuple(f"{ENGINE}+{shift}" for shift in QUERY_SHIFTS[1:])
_BIN_BITS: Final = 10
_MOST_STEP: Final = (1 << 16) - 1
"""25 minutes; what comes after a longer silence is compared by its items only."""
_HEAD_BYTES: Final = 4


def kept_of(prints: Prints) -> tuple[NewFingerprint, ...]:
    """Make what is kept of a sound; nothing of one that is too short to have an item."""
    kept = [
        NewFingerprint(engine=engine, items=to_blob(items))
        for items, engine in zip(prints.items, (ENGINE, *_SHIFTED), strict=True)
        if len(items)
    ]
    if kept:
        points = points_to_blob(prints.landmarks)
        kept.append(NewFingerprint(engine=POINTS, items=points))
    return tuple(kept)


def plain_of(kept: Sequence[NewFingerprint]) -> bytes:
    """Give the output's own fingerprint, b"" if nothing is kept."""
    return next((each.items for each in kept if each.engine == ENGINE), b"")


def others_of(kept: Sequence[NewFingerprint]) -> tuple[NewFingerprint, ...]:
    """Give what is kept beside it."""
    return tuple(each for each in kept if each.engine != ENGINE)


def match_again(
    matcher: CatalogMatcher, plain: bytes, others: Mapping[str, bytes]
) -> tuple[Match, ...]:
    """Find the works in force that a past sound quotes, as if it were heard today.

    Outputs from before shifts and landmarks were kept are searched by their one row of
    items, which finds less: nothing of music under speech.

    Args:
        matcher: Of the catalog.
        plain: The output's own fingerprint, b"" if none was kept.
        others: What was kept beside it, by name.
    """
    items = from_blob(plain)
    if (len(items) - 1) * ITEM_SECONDS + SPAN_SECONDS < LEAST_SECONDS - ITEM_SECONDS:
        return ()  # too short to be matched when it was judged, too
    shifted = [from_blob(others[name]) if name in others else items for name in _SHIFTED]
    queries: tuple[Items, ...] = (items, *shifted)
    found = list(matcher.search(ENGINE, lambda index: fingerprint.find_matches(queries, index)))
    if POINTS in others:
        query = points_from_blob(others[POINTS])
        found += matcher.search(
            landmarks.ENGINE,
            lambda index: constellations.find_matches(
                query, index, witness=matcher.witness(queries)
            ),
        )
    return evidence.merged(found, tried=len(ENGINES))


def points_to_blob(query: Query) -> bytes:
    """Write the length in frames, then each landmark's step in time, and its rank and bin."""
    points = query.landmarks
    steps = np.diff(points.frames, prepend=0)
    end = int(np.argmax(steps > _MOST_STEP)) if (steps > _MOST_STEP).any() else len(steps)
    places = points.ranks << _BIN_BITS | points.bins
    pairs = np.stack((steps[:end], places[:end]), axis=1).astype("<u2")
    return query.frames.to_bytes(_HEAD_BYTES, "little") + pairs.tobytes()


def points_from_blob(blob: bytes) -> Query:
    """Read what ``points_to_blob`` wrote.

    Raises:
        IntegrityError: If it did not write this.
    """
    if len(blob) < _HEAD_BYTES or len(blob) % 4:
        raise IntegrityError(f"{len(blob)} bytes are no kept landmarks")
    count = int.from_bytes(blob[:_HEAD_BYTES], "little")
    pairs = np.frombuffer(blob[_HEAD_BYTES:], dtype="<u2").astype(np.int64).reshape(-1, 2)
    frames, bins = np.cumsum(pairs[:, 0]), pairs[:, 1] % (1 << _BIN_BITS)
    in_order = not ((pairs[1:, 0] == 0) & (np.diff(bins) <= 0)).any()
    in_range = not len(bins) or (int(bins.max()) < BINS and int(frames[-1]) < count)
    if not in_order or not in_range or count > MAX_FRAMES:
        raise IntegrityError("kept landmarks are out of order or range")
    ranks = pairs[:, 1] >> _BIN_BITS
    return Query(landmarks=Landmarks(frames=frames, bins=bins, ranks=ranks), frames=count)
