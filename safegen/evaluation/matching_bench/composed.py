"""Where in a long recording are the quotations, and are they found where they are?

A query of one to two minutes: music from outside the catalog and speech, and between them
stretches of works, each treated in one way. What was put where is known to the sample.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from safegen.audio import Audio, Waveform, load, resample
from safegen.evaluation.attacks import ATTACKS, Companion
from safegen.evaluation.matching_bench.music import Track, lots, places, speech
from safegen.evaluation.matching_bench.segments import Segment, pack
from safegen.evaluation.matching_bench.trials import search
from safegen.evaluation.matching_bench.works import Catalog
from safegen.evaluation.state import Row

COMPOSED: Final = "composed"
TREATMENTS: Final = (
    "clean",
    "mp3-64k",
    "under-speech-0db",
    "noise-10db",
    "rerecord-near",
    "tempo-1.02",
    "under-speech-6db",
    "opus-32k",
)
FACTS: Final[Mapping[str, Mapping[str, str]]] = {
    "under-speech-0db": {"noise_type": "sample", "noise_snr": "0"},
    "under-speech-6db": {"noise_type": "sample", "noise_snr": "-6"},
    "noise-10db": {"noise_type": "continuous", "noise_color": "white", "noise_snr": "10"},
    "rerecord-near": {"reverb": "1", "high_pass": "180", "low_pass": "7000"},
}
"""Treatment -> columns of the annotation; codecs have none."""
QUOTES: Final = 4
_RATE: Final = 44_100
_LEVEL: Final = 0.08
_QUOTE_SECONDS: Final = (10.0, 25.0)
_HOST_SECONDS: Final = (6.0, 15.0)
_TEMPO: Final = "tempo-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """How one long query is put together.

    Attributes:
        number: Names it, and decides what is drawn.
        catalog: What it is searched in.
        quoted: The works it quotes, all in the catalog.
        hosts: Music around them, none of it in the catalog.
        assets: Holds the speech.
        seed: Of the run.
    """

    number: int
    catalog: Catalog
    quoted: tuple[Track, ...]
    hosts: tuple[Track, ...]
    assets: Path
    seed: int

    @property
    def name(self) -> str:
        """Name it in the state file."""
        return f"{COMPOSED} | {self.catalog.name} | {self.label}"

    @property
    def label(self) -> str:
        """Name it in the CSV files."""
        return f"query{self.number:04d}"

    @property
    def count(self) -> int:
        """How many queries it holds."""
        return 1


def plan(
    catalogs: Mapping[int, Catalog],
    sides: Mapping[int, Sequence[Track]],
    count: int,
    *,
    assets: Path,
    seed: int,
) -> Iterator[Query]:
    """Describe ``count`` queries: each quotes one half of the works and is hosted by the other."""
    least = _QUOTE_SECONDS[1] * 1.1
    long = {side: [t for t in tracks if t.seconds >= least] for side, tracks in sides.items()}
    if not all(long.values()):
        return
    for number in range(count):
        side = number % 2
        random = lots(seed, COMPOSED, str(number))
        yield Query(
            number=number,
            catalog=catalogs[side],
            quoted=_drawn(long[side], QUOTES, random),
            hosts=_drawn(long[1 - side], QUOTES + 1, random),
            assets=assets,
            seed=seed,
        )


def search_composed(query: Query) -> list[Row]:
    """Compose, search, and write down what was put where and what was said to be where."""
    audio, annotated = compose(query)
    found = search(query.catalog, audio)
    row: Row = {
        "trial": query.name,
        "what": COMPOSED,
        "seconds": round(audio.seconds, 3),
        "ms": round(found.milliseconds, 1),
        "annotated": pack(annotated),
        "matched": pack(
            Segment(
                query=query.label,
                reference=match.work_id,
                query_begin=match.query_start_seconds,
                query_end=match.query_end_seconds,
                reference_begin=match.reference_start_seconds,
                reference_end=match.reference_end_seconds,
                tempo=match.speed,
            )
            for match in found.matches
        ),
    }
    return [row]


def compose(query: Query) -> tuple[Audio, list[Segment]]:
    """Put a query together; every part is equally loud."""
    random = lots(query.seed, COMPOSED, str(query.number), "parts")
    parts: list[Waveform] = []
    annotated: list[Segment] = []
    at = 0
    first = int(random.integers(len(TREATMENTS)))
    for place, host in enumerate(query.hosts):
        parts.append(_host(query, host, place, float(random.uniform(*_HOST_SECONDS))))
        at += parts[-1].shape[1]
        if place == len(query.quoted):
            break
        treatment = TREATMENTS[(first + place + query.number) % len(TREATMENTS)]
        seconds = float(random.uniform(*_QUOTE_SECONDS))
        waveform, start, tempo = _quote(query, place, treatment, seconds)
        begin, end = at / _RATE, (at + waveform.shape[1]) / _RATE
        annotated.append(
            Segment(
                query=query.label,
                reference=query.quoted[place].work_id,
                query_begin=begin,
                query_end=end,
                reference_begin=start,
                reference_end=start + (end - begin) * tempo,
                tempo=tempo,
                treatment=treatment,
            )
        )
        parts.append(waveform)
        at += waveform.shape[1]
    whole = np.concatenate(parts, axis=1)
    peak = max(1.0, float(np.abs(whole).max()) / 0.99)
    return Audio(waveform=np.asarray(whole / peak, dtype=np.float32), sample_rate=_RATE), annotated


def _host(query: Query, host: Track, place: int, seconds: float) -> Waveform:
    """Music from outside the catalog, or every second time speech."""
    if place % 2:
        words = (query.label, f"host {place}")
        return _even(speech(query.assets, seconds=seconds, seed=query.seed, words=words))
    audio = load(host.path)
    (start,) = places(audio, 1, seconds=seconds, seed=query.seed, words=(query.label, host.name))
    return _even(audio.cut(start, start + seconds))


def _quote(
    query: Query, place: int, treatment: str, seconds: float
) -> tuple[Waveform, float, float]:
    """A treated stretch of a work, where it begins there, and at which tempo it is played."""
    attack = ATTACKS[treatment]
    track = query.quoted[place]
    audio = load(track.path)
    words = (query.label, f"quote {place}", track.name)
    (start,) = places(audio, 1, seconds=seconds, seed=query.seed, words=words)
    other = None
    if attack.companion is not Companion.NONE:
        other = speech(query.assets, seconds=seconds, seed=query.seed, words=words)
    tempo = attack.strength if treatment.startswith(_TEMPO) else 1.0
    return _even(attack(audio.cut(start, start + seconds), other)), start, tempo


def _even(audio: Audio) -> Waveform:
    """Bring a part to the rate, one channel and the loudness of all parts."""
    mono = Audio(waveform=audio.mono()[None], sample_rate=audio.sample_rate)
    waveform = resample(mono, _RATE).waveform
    level = float(np.sqrt(np.mean(np.square(waveform))))
    return np.asarray(waveform * (_LEVEL / max(level, 1e-6)), dtype=np.float32)


def _drawn(tracks: Sequence[Track], count: int, random: np.random.Generator) -> tuple[Track, ...]:
    """Draw tracks, none twice unless there are too few."""
    order = [
        place for _ in range(-(-count // len(tracks))) for place in random.permutation(len(tracks))
    ]
    return tuple(tracks[int(place)] for place in order[:count])
