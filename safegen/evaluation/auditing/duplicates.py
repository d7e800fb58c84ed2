"""Which files of a data set are one and the same recording?

Exact copies have one SHA-256. Near-duplicates are long enough to have Chromaprint items
and agree as two copies of one recording do; only files that share an item are compared.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final, Literal

import numpy as np

from detectors.chromaprint import SILENCE
from detectors.comparison import KEY_MASK, same_recording
from safegen.evaluation.auditing.facts import Facts

_LEAST_SHARED: Final = 2
_COMMON: Final = 50
"""An item in more files than this is a hum or a pause, and proposes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    """Two files that hold one recording.

    Attributes:
        first: Index of one file.
        second: Index of the other, larger.
        kind: "exact" for the same bytes, "near" for the same sound.
        bit_error_rate: Of the fingerprints, 0 for the same bytes.
    """

    first: int
    second: int
    kind: Literal["exact", "near"]
    bit_error_rate: float


def duplicates(facts: Sequence[Facts]) -> tuple[Duplicate, ...]:
    """Find all pairs, exact ones first; copies of a copy are compared with the first only.

    Cost: the number of pairs that share two items, not of all pairs.
    """
    firsts: dict[str, int] = {}
    found: list[Duplicate] = []
    for at, each in enumerate(facts):
        first = firsts.setdefault(each.sha256, at)
        if first != at:
            found.append(Duplicate(first=first, second=at, kind="exact", bit_error_rate=0.0))
    owners: dict[int, list[int]] = {}
    for at in firsts.values():
        heard = facts[at].prints
        for key in np.unique(heard[heard != SILENCE] & np.uint32(KEY_MASK)).tolist():
            owners.setdefault(key, []).append(at)
    shared: Counter[tuple[int, int]] = Counter()
    for files in owners.values():
        if 1 < len(files) <= _COMMON:
            shared.update(combinations(sorted(files), 2))
    for (first, second), count in sorted(shared.items()):
        if count >= _LEAST_SHARED:
            same = same_recording(facts[first].prints, facts[second].prints)
            if same.same:
                found.append(
                    Duplicate(
                        first=first,
                        second=second,
                        kind="near",
                        bit_error_rate=same.bit_error_rate,
                    )
                )
    return tuple(found)
