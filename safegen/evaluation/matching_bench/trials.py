"""Which excerpts are searched for, by which process, and what is kept of each?

Two kinds of trials. An excerpt of a work in the catalog, distorted: is that work named,
and where? Ten seconds of a track outside the catalog: is nothing named, and if something
is, do both hold the same sound (``matching_bench.shared``)? A task is all
missing trials of one track, so that a track is decoded once. Results are kept in a state
file; a change of the engines' or the attacks' code starts over.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Final, TypeVar

from detectors import constellations, landmarks
from detectors.base import Match
from detectors.errors import DetectorError
from registry.index import CatalogIndex
from safegen.audio import Audio, load
from safegen.evaluation.attacks import ATTACKS, Attack, Companion
from safegen.evaluation.matching_bench import shared, works
from safegen.evaluation.matching_bench.engines import ALONE, ENGINES, hear
from safegen.evaluation.matching_bench.music import Track, places, speech
from safegen.evaluation.matching_bench.works import Catalog
from safegen.evaluation.state import Row
from safegen.matching import LEAST_SECONDS, prints_of

EXCERPT_SECONDS: Final = 10.0
RECALL: Final = "recall"
STRANGERS: Final = "strangers"

SUSPECT: Final = 0.02
"""Chance below which the waveforms are compared."""

_MARGIN: Final = 1.12
"""What moves in time is cut this much longer, so that the query has its length afterwards."""
_PACKAGE: Final = Path(__file__).resolve().parents[3]

_Task = TypeVar("_Task")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """An excerpt of a track and what is done to it.

    Attributes:
        number: Which excerpt of the track.
        distortion: A name in ``ATTACKS``.
        seconds: Length of the query.
        is_deep: Whether the deep scan is asked too.
    """

    number: int
    distortion: str
    seconds: float
    is_deep: bool

    def name(self, track: Track) -> str:
        """Name it in the state file."""
        return f"{RECALL} | {track.name} | {self.number} | {self.distortion} | {self.seconds:g} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A cell of the table, before it is measured.

    Attributes:
        distortion: A name in ``ATTACKS``.
        seconds: Length of the query.
        count: How many excerpts of each track.
        is_deep: Whether the deep scan is asked too, in the first excerpt of each track.
    """

    distortion: str
    seconds: float
    count: int
    is_deep: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Excerpts:
    """All missing trials of one track.

    Attributes:
        catalog: What is searched.
        track: What is cut.
        wanted: The trials.
        assets: Holds the speech.
        seed: Of the run.
    """

    catalog: Catalog
    track: Track
    wanted: tuple[Trial, ...]
    assets: Path
    seed: int

    @property
    def count(self) -> int:
        """How many queries it holds."""
        return len(self.wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Strangers:
    """Ten-second queries of one track, searched in a catalog that it is not in.

    Attributes:
        catalog: What is searched.
        works: How many works are in it.
        inside: Its recordings, to compare the waveform where one is named.
        track: What is cut.
        count: How many queries.
        seed: Of the run.
    """

    catalog: Catalog
    works: int
    inside: tuple[Track, ...]
    track: Track
    count: int
    seed: int

    @property
    def name(self) -> str:
        """Name it in the state file."""
        return f"{STRANGERS} | {self.catalog.name} | {self.track.name} | {self.count}"


def planned(track: Track, plan: Iterable[Asked]) -> list[Trial]:
    """List the trials of one track; excerpts that it is too short for are left out."""
    return [
        Trial(
            number=number,
            distortion=asked.distortion,
            seconds=asked.seconds,
            # Fifty times as slow: one excerpt a work must do.
            is_deep=asked.is_deep and number == 0,
        )
        for asked in plan
        for number in range(asked.count)
        if track.seconds >= asked.seconds * _MARGIN
    ]


def recall_tasks(
    catalog: Catalog,
    tracks: Iterable[Track],
    plan: Sequence[Asked],
    done: Mapping[str, Row],
    *,
    assets: Path,
    seed: int,
) -> Iterator[Excerpts]:
    """Find what is missing.

    Args:
        catalog: Holds all tracks.
        tracks: What is cut.
        plan: What is measured.
        done: Finished trials.
        assets: Holds the speech.
        seed: Of the run.
    """
    for track in tracks:
        wanted = tuple(
            trial
            for trial in planned(track, plan)
            if _is_missing(trial, done.get(trial.name(track)))
        )
        if wanted:
            yield Excerpts(catalog=catalog, track=track, wanted=wanted, assets=assets, seed=seed)


def _is_missing(trial: Trial, row: Row | None) -> bool:
    return row is None or (trial.is_deep and row.get("deep") is None)


def run(
    wanted: Sequence[_Task], perform: Callable[[_Task], list[Row]], *, jobs: int
) -> Iterator[tuple[_Task, list[Row]]]:
    """Do the tasks, in this process or in ``jobs`` others; yield each with its rows as it ends."""
    if jobs == 1:
        for task in wanted:
            yield task, perform(task)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(perform, task): task for task in wanted}
        try:
            for future in as_completed(waiting):
                yield waiting[future], future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def search_excerpts(task: Excerpts) -> list[Row]:
    """Cut, distort and search for every trial of a track."""
    audio = load(task.track.path)
    rows: list[Row] = []
    for trial in task.wanted:
        query, start = excerpt(audio, trial, task)
        facts: Row = {
            "trial": trial.name(task.track),
            "what": RECALL,
            "track": task.track.name,
            "distortion": trial.distortion,
            "seconds": trial.seconds,
            "start": start,
        }
        facts |= _judged("plain", search(task.catalog, query), task.track, start)
        if trial.is_deep:
            found = search(task.catalog, query, deep=True)
            facts |= _judged("deep", found, task.track, start)
        if trial.number == 0:
            facts |= _alone(task.catalog, query, task.track)
        rows.append(facts)
    return rows


def search_strangers(task: Strangers) -> list[Row]:
    """Search for music that is not in the catalog; say whether what is named is shared sound."""
    audio = load(task.track.path)
    starts = places(
        audio,
        task.count,
        seconds=EXCERPT_SECONDS,
        seed=task.seed,
        words=("stranger", task.track.name),
    )
    inside = {track.work_id: track for track in task.inside}
    named: list[Named] = []
    chances: list[Named] = []
    search_size = 0
    for start in starts:
        query = audio.cut(start, start + EXCERPT_SECONDS)
        found = search(task.catalog, query).matches
        # Strongest first; a work that is named twice was named.
        first = {match.work_id: match for match in reversed(found)}
        named += [_named(match, query, start, inside) for match in first.values()]
        if not task.catalog.is_mapped:
            likeliest, search_size = _likeliest(task.catalog, query)
            chances += [_named(match, query, start, inside) for match in likeliest]
    return [
        {
            "trial": task.name,
            "what": STRANGERS,
            "works": task.works,
            "track": task.track.name,
            "n": len(starts),
            "named": pack(named),
            "chances": pack(chances),
            "search": search_size,
        }
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A work that was named, or came nearest to it, though the query is not from it.

    Attributes:
        work_id: The work.
        start: Of the query, in its track, in seconds.
        engine: Which engine.
        p_value: As it was told.
        score: As it was told.
        seconds: Of the waveforms that were compared, 0 if none were.
        alike: Of these, seconds at which both hold the same sound.
        is_shared: Whether that is more than luck.
    """

    work_id: str
    start: float
    engine: str
    p_value: float
    score: float
    seconds: int
    alike: int
    is_shared: bool


def pack(named: Sequence[Named]) -> str:
    """Write them into one cell of a state file."""
    return json.dumps([asdict(each) for each in named])


def unpack(text: str) -> list[Named]:
    """Read what ``pack`` wrote."""
    return [Named(**each) for each in json.loads(text)]


def _named(match: Match, query: Audio, start: float, inside: Mapping[str, Track]) -> Named:
    work = inside.get(match.work_id)
    is_likely = match.p_value <= SUSPECT
    found = shared.likeness(query, work.path, match) if work and is_likely else shared.NOTHING
    return Named(
        work_id=match.work_id,
        start=round(start, 1),
        engine=match.engine,
        p_value=float(f"{match.p_value:.3g}"),
        score=round(match.score, 4),
        seconds=found.seconds,
        alike=found.alike,
        is_shared=found.is_shared,
    )


def _likeliest(catalog: Catalog, query: Audio) -> tuple[tuple[Match, ...], int]:
    """Give what landmarks find likeliest, be it enough for a match or not, and of how much."""
    asked, heard = works.matcher(catalog), prints_of(query)

    def question(index: CatalogIndex) -> tuple[tuple[Match, ...], int]:
        found = constellations.find_evidence(
            heard.landmarks, index, witness=asked.witness(heard.items)
        )
        best = tuple(constellations.to_match(each, index) for each in found[:1])
        return best, heard.landmarks.frames * index.item_count

    return asked.search(landmarks.ENGINE, question)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the matcher said.

    Attributes:
        matches: As it gave them; empty if it refused.
        refusal: Why it gave no answer; empty if it did.
        milliseconds: Fingerprinting and search together.
    """

    matches: tuple[Match, ...]
    refusal: str
    milliseconds: float


def search(catalog: Catalog, query: Audio, *, deep: bool = False) -> Found:
    """Ask the matcher as the gate does."""
    asked = works.matcher(catalog)
    for engine in ENGINES:
        asked.index(engine)
    begun = time.perf_counter()
    try:
        matches = asked.match(query, deep=deep)
    except DetectorError as error:
        return Found(matches=(), refusal=str(error), milliseconds=0.0)
    return Found(matches=matches, refusal="", milliseconds=1e3 * (time.perf_counter() - begun))


def _alone(catalog: Catalog, query: Audio, track: Track) -> Row:
    """Say which engines would have named the right work without the others."""
    if query.seconds < LEAST_SECONDS:
        return {f"alone_{name}": 0 for name in ENGINES}
    asked, heard = works.matcher(catalog), hear(query)
    return {
        f"alone_{name}": int(any(m.work_id == track.work_id for m in ask(asked, heard)))
        for name, ask in ALONE.items()
    }


def excerpt(audio: Audio, trial: Trial, task: Excerpts) -> tuple[Audio, float]:
    """Cut and distort one excerpt; also give where it begins in the track."""
    attack = ATTACKS[trial.distortion]
    longest = trial.seconds * _MARGIN
    # The same places for all distortions of a length: they are compared on the same music.
    starts = places(
        audio,
        trial.number + 1,
        seconds=longest,
        seed=task.seed,
        words=(RECALL, task.track.name, f"{trial.seconds:g}"),
    )
    start = starts[trial.number]
    length = trial.seconds if attack.keeps_length else longest
    cut = audio.cut(start, start + length)
    heard = attack(cut, _companion(attack, trial, task))
    return heard.cut(0.0, trial.seconds), start


def _companion(attack: Attack, trial: Trial, task: Excerpts) -> Audio | None:
    if attack.companion is Companion.NONE:
        return None
    words = (task.track.name, str(trial.number))
    return speech(task.assets, seconds=trial.seconds, seed=task.seed, words=words)


def _judged(column: str, found: Found, track: Track, start: float) -> Row:
    """Say whether the right work was named, how far off, and what else was."""
    right = [match for match in found.matches if match.work_id == track.work_id]
    others = sorted({match.work_id for match in found.matches} - {track.work_id})
    # A work may repeat itself: of several stretches the nearest counts.
    off = min(
        (abs(m.reference_start_seconds - m.query_start_seconds - start) for m in right),
        default=None,
    )
    return {
        column: int(bool(right)),
        f"{column}_off": None if off is None else round(off, 4),
        f"{column}_others": " ".join(others),
        f"{column}_ms": round(found.milliseconds, 2),
        f"{column}_refused": found.refusal,
    }


def code_version(*settings: object) -> str:
    """Name the code and the settings that trials belong to: engines, attacks, trials."""
    digest = hashlib.sha256(repr(settings).encode())
    folder = Path(__file__).parent
    detectors = _PACKAGE / "detectors"
    for path in (
        *sorted((folder.parent / "attacks").glob("*.py")),
        *(
            folder / f"{name}.py"
            for name in (
                *("composed", "engines", "music", "rivals", "scale", "shared", "trials"),
                "works",
            )
        ),
        *(
            detectors / f"{name}.py"
            for name in (
                *("chromaprint", "comparison", "constellations", "corroboration", "evidence"),
                *("fingerprint", "landmarks", "transposition", "votes"),
            )
        ),
        _PACKAGE / "safegen" / "matching.py",
    ):
        if path.exists():
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
