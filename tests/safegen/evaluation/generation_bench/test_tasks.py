from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from safegen.audio import Audio, save
from safegen.evaluation.generation_bench import anchors as anchors_module
from safegen.evaluation.generation_bench import readings as readings_module
from safegen.evaluation.generation_bench.adherence import Heard
from safegen.evaluation.generation_bench.anchors import Anchor, Anchors, wish_of
from safegen.evaluation.generation_bench.readings import Readings
from safegen.evaluation.generation_bench.tasks import (
    BEGINNING_SECONDS,
    ContinuationTask,
    MusicTask,
)
from safegen.evaluation.generation_bench.wishes import read_prompts
from safegen.generation.compose import compose, to_json
from tests.safegen.generation.debug_models import debug_codec

HEARD = Heard(tempo_bpm=90.0, key="C major", drums=True, instrument="flute")


def unwatched(steps: Iterable[Any], length: int, label: str) -> Iterator[Any]:
    return iter(steps)


@pytest.fixture
def anchors() -> Anchors:
    return Anchors(None, debug_codec(), seconds=5.0)


@pytest.fixture
def lengths(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the sounds were that somebody listened to."""
    found: list[float] = []

    def hear(audio: Audio) -> Heard:
        found.append(audio.seconds)
        return HEARD

    monkeypatch.setattr(readings_module, "hear", hear)
    return found


def test_a_score_that_says_what_was_asked_is_right_in_everything(anchors: Anchors) -> None:
    plans = [compose(seed) for seed in range(4)]
    task = MusicTask([wish_of(plan) for plan in plans], anchors, seconds=5.0)
    found = task.planned([to_json(plan) for plan in plans])

    assert all(x.rate.hits == 4 for x in found.values())
    assert task.planned(["", "", "", ""]) == {}


def test_a_continuation_is_asked_for_with_three_seconds_of_a_score_and_no_words(
    anchors: Anchors,
) -> None:
    requests = ContinuationTask(3, anchors, seconds=5.0).requests()

    assert [(x.prompt, x.seed, x.seconds) for x in requests] == [("", i, 5.0) for i in range(3)]
    for request in requests:
        assert request.continue_from is not None
        assert request.continue_from.seconds == pytest.approx(BEGINNING_SECONDS)
    waveforms = [x.continue_from.waveform for x in requests if x.continue_from is not None]
    assert not np.array_equal(waveforms[0], waveforms[1])


def test_of_a_continuation_only_what_was_added_is_heard(
    anchors: Anchors, lengths: list[float], tmp_path: Path
) -> None:
    readings = Readings(tmp_path, version="", musicnn=None)
    whole = Audio(waveform=np.zeros((1, 40_000), dtype=np.float32), sample_rate=8_000)
    made = [Anchor(f"{i}", wish_of(compose(i)), lambda: whole) for i in range(2)]
    found = ContinuationTask(2, anchors, seconds=5.0).judged(made, readings)

    assert lengths == pytest.approx([2.0, 2.0])
    assert found["tempo"].rate.n == 2


def test_ceilings_are_cut_as_the_models_sounds_are_and_kept(
    anchors: Anchors, lengths: list[float], tmp_path: Path
) -> None:
    wishes = read_prompts()[:2]
    for task, seconds in (
        (MusicTask(wishes, anchors, seconds=5.0), 5.0),
        (ContinuationTask(2, anchors, seconds=5.0), 2.0),
    ):
        lengths.clear()
        for heard in ([seconds] * 4, []):
            readings = Readings(tmp_path, version="", musicnn=None)
            found = list(task.ceilings(readings, unwatched))

            assert [(x.task, x.name) for x in found] == [
                (task.name, "procedural, clean"),
                (task.name, "procedural, through the codec"),
            ]
            assert lengths == pytest.approx(heard)
            lengths.clear()


def test_excerpts_of_recordings_are_spread_over_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = []
    for name in ("a", "b"):
        rising = np.linspace(0.0, 0.5, 8_000 * 12, dtype=np.float32)[None]
        paths.append(tmp_path / f"{name}.wav")
        save(Audio(waveform=rising, sample_rate=8_000), paths[-1])
    monkeypatch.setattr(anchors_module, "music_files", lambda assets: tuple(paths))
    found = list(Anchors(tmp_path, debug_codec(), seconds=2.0).recordings(3))

    assert [x.name for x in found] == [
        "recording-a.wav-1-of-2",
        "recording-a.wav-2-of-2",
        "recording-b.wav-1-of-2",
    ]
    assert all(x.audio().seconds == pytest.approx(2.0) for x in found)
    first, second = (float(x.audio().waveform.mean()) for x in found[:2])
    assert 0 < first < second
