"""What does another engine find in the same sounds? The door to audfprint2, if it is there.

audfprint2 (PyPI, MIT) is the maintained port of Dan Ellis's landmark matcher. It runs here
as its command line does without options: 20 hashes a second in works, four shifts of a
query, at least five aligned hashes. PyDejavu on PyPI (0.1.3) needs PyAudio and pydub and is
not measured.
"""

import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from detectors.chromaprint import SAMPLE_RATE, pcm
from safegen.audio import Audio, load
from safegen.evaluation.matching_bench.music import Track, halves, places
from safegen.evaluation.matching_bench.trials import EXCERPT_SECONDS, Excerpts, Trial, excerpt
from safegen.evaluation.matching_bench.works import Catalog
from safegen.evaluation.state import Row

AUDFPRINT: Final = "audfprint2"
RIVAL: Final = "rival"
RIVAL_STRANGERS: Final = "rival strangers"
_QUERY_SHIFTS: Final = 4

Hashes = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class RivalTask:
    """What is asked of the rival about one track.

    Attributes:
        tracks: All works, each in one of two halves.
        track: Which of them is cut.
        distortions: Under which it is searched among all works, in the first excerpt.
        strangers: How many queries are searched in the half that it is not in.
        folder: Keeps the works' hashes.
        assets: Holds the speech.
        seed: Of the run.
    """

    tracks: tuple[Track, ...]
    track: Track
    distortions: tuple[str, ...]
    strangers: int
    folder: Path
    assets: Path
    seed: int

    @property
    def count(self) -> int:
        """How many queries it holds."""
        return len(self.distortions) + self.strangers

    def name(self, distortion: str) -> str:
        """Name one trial in the state file."""
        return f"{RIVAL} | {AUDFPRINT} | {len(self.tracks)} | {self.track.name} | {distortion}"

    @property
    def strangers_name(self) -> str:
        """Name the trial of its strangers."""
        return f"{RIVAL_STRANGERS} | {AUDFPRINT} | {self.track.name} | {self.strangers}"

    @property
    def names(self) -> list[str]:
        """Name all its trials."""
        found = [self.name(distortion) for distortion in self.distortions]
        return [*found, self.strangers_name] if self.strangers else found


def missing() -> str:
    """Say why there is no rival; empty if there is one."""
    if importlib.util.find_spec(AUDFPRINT) is None or importlib.util.find_spec("h5py") is None:
        return f"{AUDFPRINT}: not installed (pip install {AUDFPRINT})"
    return ""


def rival_tasks(
    tracks: Sequence[Track],
    distortions: Sequence[str],
    *,
    strangers: int,
    folder: Path,
    assets: Path,
    seed: int,
) -> list[RivalTask]:
    """Plan what is asked of the rival, a task a track."""
    each, more = divmod(strangers, max(1, len(tracks)))
    return [
        RivalTask(
            tracks=tuple(tracks),
            track=track,
            distortions=tuple(distortions),
            strangers=each + (place < more),
            folder=folder,
            assets=assets,
            seed=seed,
        )
        for place, track in enumerate(tracks)
    ]


def learn(task: RivalTask) -> list[Row]:
    """Keep the hashes of one work."""
    path = _kept(task.folder, task.track)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        audio = load(task.track.path)
        partly = path.with_suffix(".part.npy")
        np.save(partly, _hashes(audio, shifts=1))
        partly.rename(path)
    return []


def ask(task: RivalTask) -> list[Row]:
    """Search for the excerpts that our own engines were asked for, and for strangers."""
    audio = load(task.track.path)
    rows: list[Row] = []
    everything = _table(task.folder, task.tracks)
    where = Excerpts(
        catalog=Catalog(folder=task.folder, name=AUDFPRINT),
        track=task.track,
        wanted=(),
        assets=task.assets,
        seed=task.seed,
    )
    for distortion in task.distortions:
        trial = Trial(number=0, distortion=distortion, seconds=EXCERPT_SECONDS, is_deep=False)
        query, _ = excerpt(audio, trial, where)
        rows.append(
            {
                "trial": task.name(distortion),
                "what": RIVAL,
                "track": task.track.name,
                "distortion": distortion,
                "found": int(_best(everything, query) == task.track.work_id),
            }
        )
    if task.strangers:
        rows.append(_strangers(task, audio))
    return rows


def _strangers(task: RivalTask, audio: Audio) -> Row:
    side = halves([track.name for track in task.tracks])
    others = tuple(t for t in task.tracks if side[t.name] != side[task.track.name])
    table = _table(task.folder, others)
    starts = places(
        audio,
        task.strangers,
        seconds=EXCERPT_SECONDS,
        seed=task.seed,
        words=("stranger", task.track.name),
    )
    false = sum(bool(_best(table, audio.cut(at, at + EXCERPT_SECONDS))) for at in starts)
    return {
        "trial": task.strangers_name,
        "what": RIVAL_STRANGERS,
        "track": task.track.name,
        "n": len(starts),
        "false": false,
    }


def _kept(folder: Path, track: Track) -> Path:
    return folder / f"{track.work_id}.npy"


@lru_cache(maxsize=3)
def _table(folder: Path, tracks: tuple[Track, ...]) -> Any:
    """Fill a table with works; 400 MB each, whatever is in it."""
    table = _part("hash_table").HashTable()
    for track in tracks:
        hashes = np.load(_kept(folder, track), allow_pickle=False)
        table.store(track.work_id, [(int(time), int(key)) for time, key in hashes.tolist()])
    return table


def _best(table: Any, query: Audio) -> str:
    """Name the work with the most aligned hashes; empty if none has enough."""
    matcher = _part("matcher").Matcher()
    matcher.window = 2
    hashes = _hashes(query, shifts=_QUERY_SHIFTS)
    if not len(hashes):
        return ""
    found = matcher.match_hashes(table, hashes)
    return str(table.names[int(found[0][0])]) if len(found) else ""


def _hashes(audio: Audio, *, shifts: int) -> Hashes:
    """Give the hashes of a sound as rows of frame and key, each once."""
    module = _part("analyzer")
    analyzer = module.Analyzer()
    samples = pcm(audio.waveform, audio.sample_rate).astype(np.float64) / 32_768
    found: list[Hashes] = [np.zeros((0, 2), np.int32)]
    for shift in range(shifts):
        peaks = analyzer.find_peaks(samples[shift * analyzer.n_hop // shifts :], SAMPLE_RATE)
        if peaks:
            rows = module.landmarks2hashes(analyzer.peaks2landmarks(peaks))
            found.append(np.asarray(rows, np.int32).reshape(-1, 2))
    return np.unique(np.concatenate(found), axis=0)


def _part(name: str) -> Any:
    """Import a part of the rival, which most systems do not have and which has no stubs."""
    return importlib.import_module(f"{AUDFPRINT}.core.{name}")
