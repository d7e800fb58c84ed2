"""What do many short windows say together about a mark that gives one number a sample?

AudioSeal answers for every sample: how likely a mark is there, and one number for each of
16 bits. It knows no chance of error. So two chances are kept apart here:

* presence: the empirical tail of unmarked sound (``NullTable``), 1 where nobody measured it;
* agreement: how many bits of a message that only the key's owner can compute were met by
  chance. The message is a pseudorandom function of the id, so for unmarked sound, or a mark
  of somebody else, each bit is a fair coin whatever the network says: this one is exact.
"""

import json
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import comb
from pathlib import Path
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from detectors.base import Interval, WatermarkFinding
from detectors.errors import DetectorError

SAMPLE_RATE: Final = 16_000
MESSAGE_BITS: Final = 16
WINDOW: Final = 2 * SAMPLE_RATE
STEP: Final = SAMPLE_RATE
FRAME: Final = SAMPLE_RATE // 10
"""Resolution of the intervals, in samples."""

MARKED_FRACTION: Final = 0.5
"""Share of a window's samples that must speak for a mark, AudioSeal's own convention."""

NULL_SCHEMA: Final = "safegen.audioseal-null/1"
_KEPT: Final = 20_000
_SHORTEST_FRAMES: Final = 3
_GAP_FRAMES: Final = 2

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioSealFinding:
    """What AudioSeal says about one sound.

    Attributes:
        finding: In the words all marks share. Its payload is None: 16 bits name nothing
            without the id they are compared with (``agreement_p``). Its p-value speaks of
            presence and is 1 without a null table.
        presence: Share of samples that speak for a mark, in [0, 1]; the detector's own number.
        bits: The 16-bit message, first bit highest; None if no window is marked.
        bit_logits: Mean evidence for each bit, > 0 for 1; empty if no window is marked.
        windows: How many windows were listened to, all channels together.
    """

    finding: WatermarkFinding
    presence: float
    bits: int | None
    bit_logits: tuple[float, ...]
    windows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NullTable:
    """How high windows of unmarked sound score.

    Attributes:
        weights_sha256: Of the weights it was measured with; it says nothing about others.
        windows: How many windows were measured.
        highest: Their highest scores, ascending; at most 20,000 of them.
    """

    weights_sha256: str
    windows: int
    highest: tuple[float, ...]

    @classmethod
    def measured(cls, scores: Iterable[float], *, weights_sha256: str) -> Self:
        """Keep the tail of the scores of unmarked windows.

        Raises:
            ValueError: If there is no score.
        """
        ranked = sorted(scores)
        if not ranked:
            msg = "a null table needs at least one window"
            raise ValueError(msg)
        return cls(
            weights_sha256=weights_sha256, windows=len(ranked), highest=tuple(ranked[-_KEPT:])
        )

    def p_value(self, score: float, *, tried: int) -> float:
        """Bound the chance that any of ``tried`` unmarked windows scores so high.

        The +1 rule: an exchangeable window ranks anywhere among all with equal chance.
        Below the kept tail the answer is 1.
        """
        above = len(self.highest) - bisect_left(self.highest, score)
        if above == len(self.highest) < self.windows:
            return 1.0
        return min(1.0, tried * (above + 1) / (self.windows + 1))

    def write(self, path: Path) -> None:
        """Write JSON."""
        row = {
            "schema": NULL_SCHEMA,
            "weights_sha256": self.weights_sha256,
            "windows": self.windows,
            "highest": [round(score, 4) for score in self.highest],
        }
        path.write_text(json.dumps(row) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path, *, weights_sha256: str) -> Self:
        """Read JSON.

        Raises:
            DetectorError: If it is no null table, or one of other weights.
        """
        try:
            row = json.loads(path.read_text(encoding="utf-8"))
            if row["schema"] != NULL_SCHEMA:
                msg = f"{path.name}: schema {row['schema']!r}, not {NULL_SCHEMA!r}"
                raise DetectorError(msg)
            highest = tuple(float(score) for score in row["highest"])
            windows, measured = int(row["windows"]), str(row["weights_sha256"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            msg = f"{path.name}: not a null table ({error})"
            raise DetectorError(msg) from error
        if measured != weights_sha256:
            msg = f"{path.name}: measured with weights {measured[:16]}, not {weights_sha256[:16]}"
            raise DetectorError(msg)
        if not highest or windows < len(highest) or list(highest) != sorted(highest):
            msg = f"{path.name}: {windows} windows and {len(highest)} scores are not a tail"
            raise DetectorError(msg)
        return cls(weights_sha256=measured, windows=windows, highest=highest)


def agreement_p(bits: int | None, message: int) -> float:
    """Give the exact chance that so many of 16 bits agree by luck; 1 if none were heard."""
    if bits is None:
        return 1.0
    agree = MESSAGE_BITS - (bits ^ message).bit_count()
    ways = sum(comb(MESSAGE_BITS, count) for count in range(agree, MESSAGE_BITS + 1))
    return float(ways / (1 << MESSAGE_BITS))


@dataclass(slots=True, kw_only=True)
class Tally:
    """Adds windows up; holds ten numbers a second and channel, however long the sound."""

    scores: list[float] = field(default_factory=list)
    _fractions: list[float] = field(default_factory=list)
    _bit_sum: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(MESSAGE_BITS))
    _bit_samples: int = 0
    _frame_sum: dict[int, list[float]] = field(default_factory=dict)
    _frame_count: dict[int, list[int]] = field(default_factory=dict)
    _end: int = 0

    def add(self, *, start: int, channel: int, log_odds: Floats, bit_logits: Floats) -> None:
        """Add one window.

        Args:
            start: First sample at 16 kHz, a multiple of ``FRAME``.
            channel: Number.
            log_odds: Mark against no mark, shape (samples,).
            bit_logits: Shape (16, samples).
        """
        present = log_odds > 0.0
        fraction = float(present.mean())
        self.scores.append(float(log_odds.mean()))
        self._fractions.append(fraction)
        self._end = max(self._end, start + len(log_odds))
        if fraction >= MARKED_FRACTION:
            # Only where a mark is heard: a window may reach over a splice.
            self._bit_sum += bit_logits[:, present].sum(axis=1, dtype=np.float64)
            self._bit_samples += int(present.sum())
        edges = np.arange(0, len(log_odds), FRAME)
        sizes = np.diff([*edges, len(log_odds)])
        shares = np.add.reduceat(present.astype(np.float64), edges) / sizes
        sums = self._frame_sum.setdefault(channel, [])
        counts = self._frame_count.setdefault(channel, [])
        first = start // FRAME
        missing = first + len(shares) - len(sums)
        sums.extend([0.0] * missing)
        counts.extend([0] * missing)
        for row, share in enumerate(shares, first):
            sums[row] += float(share)
            counts[row] += 1

    def finding(self, table: NullTable | None) -> AudioSealFinding:
        """Say what all windows say together."""
        best = max(self.scores, default=0.0)
        detected = self._bit_samples > 0
        logits = self._bit_sum / self._bit_samples if detected else np.zeros(0)
        bits = int("".join("1" if logit > 0 else "0" for logit in logits), 2) if detected else None
        tried = len(self.scores)
        return AudioSealFinding(
            finding=WatermarkFinding(
                detected=detected,
                payload=None,
                p_value=1.0 if table is None or not tried else table.p_value(best, tried=tried),
                z=best,
                key_id="",
                intervals=self._intervals(),
                method="audioseal",
            ),
            presence=float(np.mean(self._fractions)) if self._fractions else 0.0,
            bits=bits,
            bit_logits=tuple(float(logit) for logit in logits),
            windows=tried,
        )

    def _intervals(self) -> tuple[Interval, ...]:
        """Join frames in which most samples of any channel speak for a mark."""
        channels = [
            np.array(self._frame_sum[channel]) / np.maximum(self._frame_count[channel], 1)
            for channel in self._frame_sum
        ]
        if not channels:
            return ()
        share = np.max(channels, axis=0)
        runs: list[list[int]] = []
        for row in np.flatnonzero(share > MARKED_FRACTION):
            if runs and row - runs[-1][1] <= _GAP_FRAMES:
                runs[-1][1] = int(row) + 1
            else:
                runs.append([int(row), int(row) + 1])
        return tuple(
            Interval(
                start_seconds=first * FRAME / SAMPLE_RATE,
                end_seconds=min(stop * FRAME, self._end) / SAMPLE_RATE,
                score=float(share[first:stop].mean()),
            )
            for first, stop in runs
            if stop - first >= _SHORTEST_FRAMES
        )
