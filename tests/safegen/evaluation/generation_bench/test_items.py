from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from safegen.audio import Audio
from safegen.evaluation.generation_bench.adherence import Heard
from safegen.evaluation.generation_bench.items import made, name_of
from safegen.evaluation.generation_bench.readings import Readings
from safegen.generation.base import Generation, ModelFacts, Request
from safegen.generation.procedural import ProceduralGenerator

REQUESTS = [Request(prompt=f"{70 + i} bpm", seconds=1.0, seed=i) for i in range(3)]


class Counting:
    """Counts what it was asked for."""

    def __init__(self, *, weights: str = "") -> None:
        self.facts: ModelFacts = replace(ProceduralGenerator().facts, weights_sha256=weights)
        self.asked: list[int] = []

    def generate(
        self, request: Request, *, progress: Callable[[float], None] | None = None
    ) -> Generation:
        self.asked.append(request.seed)
        return ProceduralGenerator().generate(request)


def test_a_stopped_run_goes_on_where_it_was(tmp_path: Path) -> None:
    first = Counting()
    items = made(first, REQUESTS, folder=tmp_path)
    next(items)
    next(items)
    second = Counting()
    done = list(made(second, REQUESTS, folder=tmp_path))

    assert first.asked == [0, 1]
    assert second.asked == [2]
    assert [item.request.seed for item in done] == [0, 1, 2]
    assert all(item.cpu_seconds > 0 and item.seconds == 1.0 for item in done)


def test_a_sound_that_was_deleted_is_made_again(tmp_path: Path) -> None:
    (item, *_) = list(made(Counting(), REQUESTS, folder=tmp_path))
    item.path.unlink()
    again = Counting()
    list(made(again, REQUESTS, folder=tmp_path))

    assert again.asked == [0]


def test_new_weights_make_new_names() -> None:
    (request, other, _) = REQUESTS

    assert name_of(Counting(), request) != name_of(Counting(weights="ab"), request)
    assert name_of(Counting(), request) != name_of(Counting(), other)


def test_what_is_continued_is_part_of_the_name() -> None:
    beginnings = [
        Audio(waveform=np.full((1, 100), level, dtype=np.float32), sample_rate=8_000)
        for level in (0.1, 0.2)
    ]
    names = {
        name_of(Counting(), replace(REQUESTS[0], continue_from=audio))
        for audio in (None, *beginnings)
    }

    assert len(names) == 3


def test_a_sound_is_read_once_and_again_only_by_other_meters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Heard(tempo_bpm=90.0, key="C major", drums=True, instrument="flute")
    lengths = []

    def hear(audio: Audio) -> Heard:
        lengths.append(audio.seconds)
        return heard

    monkeypatch.setattr("safegen.evaluation.generation_bench.readings.hear", hear)
    (item, *_) = made(Counting(), REQUESTS[:1], folder=tmp_path)
    for version in ("a", "a", "b"):
        readings = Readings(tmp_path, version=version, musicnn=None)
        assert readings.heard(item.name, item.audio, start_seconds=0.0) == heard
        assert readings.heard(item.name, item.audio, start_seconds=0.4) == heard

    assert lengths == pytest.approx([1.0, 0.6, 1.0, 0.6])
