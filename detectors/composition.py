"""Does this recording play the notes of a work, in whatever recording, key and tempo?

Which of the twelve pitch classes come and go, twice a second, is much the same whoever
plays a piece. A query of twenty seconds is laid over every place of every work, in twelve
transpositions and at paces from 0.8 to 1.25, and the best correlation is compared with
what the same query reaches at all the other places: a drone, or four chords that go round,
agree with much, and their agreement counts for little.

What this is not: evidence of copying. Works share chord progressions, hymns and folk tunes,
and two pieces over the same four chords at the same beat can agree as well as two
recordings of one piece do. A finding is a place for a person to listen to.

What this module does not do: tell recordings apart (``detectors.fingerprint``,
``detectors.constellations``), store works (``registry.index``), or judge (the policy).

Source: Müller and Ewert, ISMIR 2011, chroma features; Ellis and Poliner, ICASSP 2007, cover
songs by cross-correlation of chroma in all transpositions, high-passed. Constants are ours.
"""

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from detectors.base import Keyed
from detectors.chromaprint import HOP, SAMPLE_RATE, Pcm
from detectors.errors import DetectorError

ENGINE: Final = "chroma"
"""Name under which works keep their chroma."""
SCHEME: Final = "chroma 1: 12 signed bytes each 0.495 s, no keys"
"""Another name makes older segments of the index worthless."""

BINS: Final = 12
FRAME_SECONDS: Final = HOP / SAMPLE_RATE
CELL_FRAMES: Final = 4
CELL_SECONDS: Final = CELL_FRAMES * FRAME_SECONDS
MOST_CELLS: Final = 100_000
"""Of one work: almost 14 hours, longer than any recording that can be loaded."""

WINDOW_SECONDS: Final = 20.0
LEAST_SECONDS: Final = 15.0
"""A shorter query agrees with too much."""
STEP_SECONDS: Final = 10.0
PACES: Final = (0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.16, 1.22)
"""Tempo of the query against the work. At a fortieth off, the ends of a window are half a
cell off, which costs little."""

_FRAME: Final = 4096
_LOWEST_HZ: Final = 80.0
_HIGHEST_HZ: Final = 2_200.0
_NEAR_SEMITONES: Final = 0.8
"""A tone counts for the pitch classes nearer than this; sound between them counts less."""
_FRAMES_AT_ONCE: Final = 512
_AROUND_FRAMES: Final = 9
"""What sounds on for a second or so is the key, not the melody, and is taken away."""
_SILENT: Final = 1e-7
"""Energy of a frame in which nothing sounds."""
_SCALE: Final = 254.0
_LEAST_MOTION: Final = 0.04
"""Root of the mean square of a cell's vector where notes come and go: 0.07 or more in 99 of 100
stretches of game music, 0.034 in a single tone with vibrato, 0.031 in white noise."""
_HALF_CELLS: Final = (0.0, 0.5)
_BLOCK: Final = 1024
_WINDOWS_AT_ONCE: Final = 32
"""Their spectra take 30 MB."""
_GROUP_CELLS: Final = 16_384
_MOST_AGREEMENT: Final = 0.999

NULL_K: Final = 0.2
NULL_LAMBDA: Final = 1.45
"""Fitted by ``constellations.tail`` on the best scores of 594 queries of 20 s of game music,
each against 75 works by others (28,000 cells): 55 reached 7.5, 26 reached 8, 5 reached 9,
2 reached 10, none 10.5. Six queries are left out: two pairs of pieces share a theme, and
score up to 19.5."""
LEAST_P: Final = 1e-6
"""Below the range of the fit the tail is a guess."""

Chroma = npt.NDArray[np.float32]
"""Shape (n, 12), C first: how much more each pitch class sounds than around that moment."""


class NotComparableError(DetectorError):
    """The sound has no notes to compare, or the search would be too large."""


class ChromaIndex(Protocol):
    """What the search asks of whoever holds the works."""

    @property
    def item_count(self) -> int:
        """Cells of all works together."""

    def works(self) -> Iterator[int]:
        """Give the numbers of the works."""

    def blob(self, work: int) -> bytes | memoryview:
        """Give what is stored of one work."""

    def work_id(self, work: int) -> str:
        """Name a work by its id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompositionMatch:
    """A work whose notes a stretch of the query plays, perhaps.

    Attributes:
        work_id: Of the catalog.
        query_start_seconds: Of the window that agrees best.
        query_end_seconds: Its end.
        work_start_seconds: What lies under it in the work, to about half a second.
        work_end_seconds: The end.
        semitones: How much higher the query is than the work, -5 to 6; octaves are not told.
        speed: Tempo of the query against the work, to about a fortieth.
        agreement: Correlation of the two, in [-1, 1].
        score: The same against what this query reaches elsewhere, in standard deviations.
        p_value: Chance of such a score in a search of this size among unrelated works.
    """

    work_id: str
    query_start_seconds: float
    query_end_seconds: float
    work_start_seconds: float
    work_end_seconds: float
    semitones: int
    speed: float
    agreement: float
    score: float
    p_value: float


def chroma_of(samples: Pcm) -> Chroma:
    """Follow the notes of 16-bit mono sound at 11,025 Hz, one row each ``FRAME_SECONDS``.

    Returns:
        Empty if the sound is shorter than a frame.

    Cost: about a thousandth of the sound's length on one core.
    """
    from scipy.ndimage import uniform_filter1d

    if len(samples) < _FRAME:
        return np.zeros((0, BINS), np.float32)
    energy = _energy(samples)
    total = energy.sum(axis=1, keepdims=True)
    shares = np.sqrt(np.where(total < _SILENT, 0.0, energy / np.maximum(total, _SILENT)))
    around = uniform_filter1d(shares, _AROUND_FRAMES, axis=0, mode="nearest")
    return np.asarray(shares - around, dtype=np.float32)


def cells_of(chroma: Chroma, *, pace: float = 1.0, start_frames: float = 0.0) -> Chroma:
    """Average over cells, of ``CELL_SECONDS`` each at the work's own tempo.

    Args:
        chroma: Shape (n, 12), a row each ``FRAME_SECONDS``.
        pace: Tempo against the work.
        start_frames: Where the first cell begins.
    """
    width = CELL_FRAMES / pace
    count = max(0, math.floor((len(chroma) - start_frames) / width + 1e-9))
    edges = np.minimum(start_frames + np.arange(count + 1) * width, len(chroma))
    sums = np.concatenate([np.zeros((1, BINS)), np.cumsum(chroma, axis=0, dtype=np.float64)])
    below = np.minimum(edges.astype(np.int64), max(0, len(chroma) - 1))
    share = (edges - below)[:, np.newaxis]
    at_edges = sums[below] + share * (sums[np.minimum(below + 1, len(chroma))] - sums[below])
    return np.asarray(np.diff(at_edges, axis=0) / width, dtype=np.float32)


def to_blob(chroma: Chroma) -> bytes:
    """Write a work's chroma as the registry stores it: a signed byte per pitch class and cell."""
    scaled = np.rint(cells_of(chroma)[:MOST_CELLS] * _SCALE)
    return bytes(np.clip(scaled, -127, 127).astype(np.int8).tobytes())


def from_blob(blob: bytes | memoryview) -> Chroma:
    """Read what ``to_blob`` wrote.

    Raises:
        ValueError: If the length is not that of 1 to ``MOST_CELLS`` cells.
    """
    cells, rest = divmod(len(blob), BINS)
    if rest or not 1 <= cells <= MOST_CELLS:
        msg = f"{len(blob)} bytes of chroma, not 12 for each of 1 to {MOST_CELLS} cells"
        raise ValueError(msg)
    rows = np.frombuffer(blob, dtype=np.int8).reshape(cells, BINS)
    return rows.astype(np.float32) / np.float32(_SCALE)


def postings_of(blob: bytes) -> Keyed:
    """Give no keys: transposed and at another pace, nothing exact is left to look up."""
    del blob
    return Keyed(keys=np.zeros(0, np.uint32), positions=np.zeros(0, np.uint32))


def find_compositions(
    samples: Pcm, index: ChromaIndex, *, max_p_value: float, most_cells: int
) -> tuple[CompositionMatch, ...]:
    """Find the works whose notes a recording plays, best first, each once.

    Args:
        samples: 16-bit mono sound at 11,025 Hz.
        index: The works.
        max_p_value: Highest chance, corrected for the size of the search.
        most_cells: How large the search may be: cells of all works times windows of the
            query. Of a longer query as many windows are heard as fit, from all over it; if
            only one fits, the first.

    Raises:
        NotComparableError: If the sound is shorter than ``LEAST_SECONDS``, no notes come and
            go in it, or the works are too many for one window.

    Cost: see ``docs/catalog.md``; proportional to cells times windows.
    """
    seconds = len(samples) / SAMPLE_RATE
    if seconds < LEAST_SECONDS:
        raise NotComparableError(
            f"{seconds:.1f} s are too short to compare compositions, limit {LEAST_SECONDS:g} s"
        )
    if not index.item_count:
        raise NotComparableError("no work has notes to compare with")
    affordable = most_cells // index.item_count
    if not affordable:
        raise NotComparableError(
            f"{index.item_count} cells of works to compare compositions with, limit {most_cells}"
        )
    windows = _windows(chroma_of(samples))
    if not windows:
        raise NotComparableError("no notes come and go in it that could be compared")
    chosen = np.unique(np.linspace(0, len(windows) - 1, min(affordable, len(windows))).round())
    heard = [windows[int(place)] for place in chosen]
    found: dict[str, CompositionMatch] = {}
    for first in range(0, len(heard), _WINDOWS_AT_ONCE):
        some = heard[first : first + _WINDOWS_AT_ONCE]
        for match in _search(some, index, asked=len(heard), max_p_value=max_p_value):
            before = found.get(match.work_id)
            if before is None or match.score > before.score:
                found[match.work_id] = match
    return tuple(sorted(found.values(), key=lambda match: (-match.score, match.work_id)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Window:
    """A stretch of the query, with room behind it for half a cell.

    Attributes:
        first_frame: In the query.
        frames: Its length.
        chroma: From there on.
    """

    first_frame: int
    frames: int
    chroma: Chroma


@dataclass(frozen=True, slots=True, kw_only=True)
class _Variant:
    """A window as it would lie over a work at one pace and half-cell shift.

    Attributes:
        spectrum: Shape (frequencies, 12), ready to be multiplied with a block's.
    """

    window: int
    pace: float
    shift: float
    cells: int
    spectrum: npt.NDArray[np.complex64]


@dataclass(slots=True, eq=False)
class _Tally:
    """What each window (row) has reached in each work (column) so far."""

    best: npt.NDArray[np.float64]
    squares: npt.NDArray[np.float64]
    trials: npt.NDArray[np.float64]
    variant: npt.NDArray[np.int64]
    cell: npt.NDArray[np.int64]
    transposition: npt.NDArray[np.int64]


def _windows(chroma: Chroma) -> list[_Window]:
    """Cut windows of ``WINDOW_SECONDS`` from first to last, overlapping by half or more.

    Still ones are left out.
    """
    frames = min(len(chroma), round(WINDOW_SECONDS / FRAME_SECONDS))
    room = len(chroma) - frames
    count = 1 + math.ceil(room * FRAME_SECONDS / STEP_SECONDS)
    found = []
    for first in np.linspace(0, room, count).round().astype(int).tolist():
        rows = chroma[first : first + frames + 2 * CELL_FRAMES]
        motion = math.sqrt(float(np.mean(np.square(cells_of(rows[:frames])).sum(axis=1))))
        if motion >= _LEAST_MOTION:
            found.append(_Window(first_frame=first, frames=frames, chroma=rows))
    return found


def _variants(windows: Sequence[_Window]) -> list[_Variant]:
    from scipy import fft

    found = []
    for number, window in enumerate(windows):
        for pace in PACES:
            for share in _HALF_CELLS:
                shift = share * CELL_FRAMES / pace
                cells = cells_of(window.chroma, pace=pace, start_frames=shift)
                cells = cells[: round(window.frames / CELL_FRAMES * pace)]
                unit = cells / max(1e-9, float(np.linalg.norm(cells)))
                # Conjugate in time, mirrored in pitch: a product of spectra is a correlation.
                spectrum = fft.fft(np.conj(fft.rfft(unit, _BLOCK, axis=0)), axis=1)
                found.append(
                    _Variant(
                        window=number,
                        pace=pace,
                        shift=shift,
                        cells=len(cells),
                        spectrum=spectrum[:, -np.arange(BINS) % BINS],
                    )
                )
    return found


def _search(
    windows: Sequence[_Window], index: ChromaIndex, *, asked: int, max_p_value: float
) -> tuple[CompositionMatch, ...]:
    """Search for some of ``asked`` windows; their spectra are in memory together."""
    variants = _variants(windows)
    works = list(index.works())
    if not works:
        return ()
    shape = (len(windows), len(works))
    tally = _Tally(
        best=np.full(shape, -1.0),
        squares=np.zeros(shape),
        trials=np.zeros(shape),
        variant=np.zeros(shape, np.int64),
        cell=np.zeros(shape, np.int64),
        transposition=np.zeros(shape, np.int64),
    )
    first, group, held = 0, [], 0
    for number, work in enumerate(works):
        group.append(from_blob(index.blob(work)))
        held += len(group[-1])
        if held >= _GROUP_CELLS or number == len(works) - 1:
            _lay_over(group, variants, tally, first)
            first, group, held = number + 1, [], 0
    names = [index.work_id(work) for work in works]
    search = asked * max(1, index.item_count)
    return _told(windows, variants, tally, names, search=search, max_p_value=max_p_value)


def _lay_over(
    works: Sequence[Chroma], variants: Sequence[_Variant], tally: _Tally, first: int
) -> None:
    """Correlate every variant with some works at once and tally the best of each."""
    from scipy import fft

    room = max(variant.cells for variant in variants)
    hop = _BLOCK - room
    # A gap behind each work: no place straddles two.
    rows = np.concatenate([part for work in works for part in (work, np.zeros((room, BINS)))])
    lengths = np.array([len(work) for work in works])
    starts = np.concatenate(([0], np.cumsum(lengths[:-1] + room)))
    blocks = -(-len(rows) // hop)
    padded = np.zeros((blocks * hop + room, BINS), np.float32)
    padded[: len(rows)] = rows
    places = np.arange(blocks)[:, np.newaxis] * hop + np.arange(_BLOCK)
    spectra = fft.fft(fft.rfft(padded[places], axis=1), axis=2)
    energy = np.concatenate(([0.0], np.cumsum(np.square(padded, dtype=np.float64).sum(axis=1))))
    inside = np.arange(blocks * hop)
    left = (starts + lengths)[np.searchsorted(starts, inside, side="right") - 1] - inside

    here = slice(first, first + len(works))
    for number, variant in enumerate(variants):
        product = fft.ifft(spectra * variant.spectrum, axis=2, overwrite_x=True)
        found = fft.irfft(product, _BLOCK, axis=1)[:, :hop].reshape(-1, BINS)
        own = energy[variant.cells : variant.cells + len(found)] - energy[: len(found)]
        is_heard = (left >= variant.cells) & (own > variant.cells * _LEAST_MOTION**2)
        scale = np.where(is_heard, 1.0 / np.sqrt(np.maximum(own, 1e-12)), 0.0)
        found *= scale[:, np.newaxis].astype(np.float32)
        highest = found.max(axis=1)
        peaks = np.maximum.reduceat(highest, starts)
        window = variant.window
        squares = np.einsum("ij,ij->i", found, found)
        tally.squares[window, here] += np.add.reduceat(squares, starts)
        tally.trials[window, here] += BINS * np.add.reduceat(is_heard.astype(np.float64), starts)
        for place in np.flatnonzero(peaks > tally.best[window, here]).tolist():
            start = int(starts[place])
            cell = int(np.argmax(highest[start : start + int(lengths[place])]))
            column = first + place
            tally.best[window, column] = peaks[place]
            tally.variant[window, column] = number
            tally.cell[window, column] = cell
            tally.transposition[window, column] = int(np.argmax(found[start + cell]))


def _told(
    windows: Sequence[_Window],
    variants: Sequence[_Variant],
    tally: _Tally,
    names: Sequence[str],
    *,
    search: int,
    max_p_value: float,
) -> tuple[CompositionMatch, ...]:
    """Tell for each work the window with the highest score, if it is unlikely enough."""
    scores = _scores(tally)
    found = []
    for work, name in enumerate(names):
        row = int(np.argmax(scores[:, work]))
        score = float(scores[row, work])
        p_value = chance(score, search)
        if p_value > max_p_value:
            continue
        window, variant = windows[row], variants[tally.variant[row, work]]
        begin = window.first_frame + variant.shift
        end = begin + variant.cells * CELL_FRAMES / variant.pace
        cell = int(tally.cell[row, work])
        found.append(
            CompositionMatch(
                work_id=name,
                query_start_seconds=begin * FRAME_SECONDS,
                query_end_seconds=end * FRAME_SECONDS,
                work_start_seconds=cell * CELL_SECONDS,
                work_end_seconds=(cell + variant.cells) * CELL_SECONDS,
                semitones=(5 - int(tally.transposition[row, work])) % BINS - 5,
                speed=variant.pace,
                agreement=float(tally.best[row, work]),
                score=score,
                p_value=p_value,
            )
        )
    return tuple(sorted(found, key=lambda match: (-match.score, match.work_id)))


def _scores(tally: _Tally) -> npt.NDArray[np.float64]:
    """Weigh each best agreement by how much the window agrees with everything, or this work."""
    trials = np.maximum(tally.trials, 1.0)
    in_work = np.sqrt(tally.squares / trials)
    everywhere = np.sqrt(tally.squares.sum(axis=1) / trials.sum(axis=1))
    spread = np.maximum(in_work, everywhere[:, np.newaxis])
    agreement = np.clip(tally.best, -_MOST_AGREEMENT, _MOST_AGREEMENT)
    return np.asarray(
        np.where(tally.trials > 0, np.arctanh(agreement) / np.maximum(spread, 1e-3), -1.0)
    )


def chance(score: float, search: int) -> float:
    """Give the chance that unrelated music reaches a score somewhere in a search.

    Args:
        score: As in ``CompositionMatch``.
        search: Cells of all works times windows of the query.

    Returns:
        A probability in [1e-6, 1].
    """
    expected = NULL_K * search * math.exp(-NULL_LAMBDA * score)
    return min(1.0, max(LEAST_P, -math.expm1(-expected)))


def _energy(samples: Pcm) -> npt.NDArray[np.float64]:
    """Energy of the twelve pitch classes per frame, shape (frames, 12), C first."""
    from scipy.fft import rfft

    window, notes, first, last = _front_end()
    frames = np.lib.stride_tricks.sliding_window_view(samples, _FRAME)[::HOP]
    out = np.empty((len(frames), BINS))
    for start in range(0, len(frames), _FRAMES_AT_ONCE):
        spectrum = rfft(frames[start : start + _FRAMES_AT_ONCE] * window, axis=1)[:, first:last]
        power = np.square(spectrum.real, dtype=np.float64) + np.square(spectrum.imag)
        out[start : start + len(power)] = power @ notes
    return out


@functools.cache
def _front_end() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64], int, int]:
    """Window, (bins, 12) map from bins to pitch classes, and the range of bins that count."""
    hertz = np.arange(_FRAME // 2 + 1) * SAMPLE_RATE / _FRAME
    first, last = np.searchsorted(hertz, (_LOWEST_HZ, _HIGHEST_HZ)).tolist()
    window = (np.hanning(_FRAME) / 32_768).astype(np.float32)
    semitones = 12 * np.log2(hertz[first:last] / 440) + 9
    distance = np.abs((semitones[:, np.newaxis] - np.arange(BINS) + 6) % BINS - 6)
    near = np.cos(np.pi / 2 * np.clip(distance / _NEAR_SEMITONES, 0.0, 1.0)) ** 2
    return window, near, int(first), int(last)
