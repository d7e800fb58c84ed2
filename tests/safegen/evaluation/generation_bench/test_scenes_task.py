from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from safegen.audio import Audio
from safegen.errors import InputError
from safegen.evaluation.generation_bench import readings as readings_module
from safegen.evaluation.generation_bench.readings import Readings
from safegen.evaluation.generation_bench.scenes_task import (
    ScenesTask,
    SoundWish,
    find_samples,
    read_sound_prompts,
)
from safegen.generation.sounds import NAMES
from tests.safegen.generation.debug_models import debug_codec


class Made:
    def __init__(self, name: str) -> None:
        self.name = name

    def audio(self) -> Audio:
        raise AssertionError


class Told(Readings):
    """Readings that are told instead of heard: what comes first in a name is surest."""

    def sounds(self, name: str, audio: object) -> dict[str, float]:
        order = name.split("+")
        return {x: 1.0 / (1 + order.index(x)) if x in order else 0.01 for x in NAMES}


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path, version="", musicnn=None)


def task(*wishes: tuple[str, ...]) -> ScenesTask:
    asked = [SoundWish(prompt="x", sounds=sounds) for sounds in wishes]
    return ScenesTask(asked, debug_codec(), samples=None, seconds=4.0)


def test_a_sound_counts_when_it_was_asked_for_and_all_when_no_other_is_surer(told: Told) -> None:
    asked = task(("rain", "thunder"), ("siren",), ("wind",))
    found = asked.judged([Made("thunder+wind"), Made("siren"), Made("rain+wind")], told)

    assert (found["surest"].rate.hits, found["surest"].rate.n) == (2, 3)
    assert found["all"].rate.hits == 1


def test_requests_are_the_prompts_with_seeds_in_order() -> None:
    found = task(("rain",), ("wind",)).requests()

    assert [(x.prompt, x.seed, x.seconds) for x in found] == [("x", 0, 4.0), ("x", 1, 4.0)]


def test_ceilings_are_rendered_scenes_clean_and_through_the_codec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = []

    def heard(audio: Audio) -> dict[str, float]:
        lengths.append(audio.seconds)
        return dict.fromkeys(NAMES, 0.5)

    def watch(steps: Iterable[Any], length: int, label: str) -> Iterator[Any]:
        assert length == 2
        return iter(steps)

    monkeypatch.setattr(readings_module, "probabilities", heard)
    found = list(
        task(("rain",), ("wind",)).ceilings(Readings(tmp_path, version="", musicnn=None), watch)
    )

    assert [(x.name, x.rates["surest"].rate.n) for x in found] == [
        ("scenes, clean", 2),
        ("scenes, through the codec", 2),
    ]
    assert lengths == pytest.approx([4.0] * 4)


def test_the_held_out_prompts_name_known_sounds() -> None:
    wishes = read_sound_prompts()

    assert len(wishes) >= 100
    assert all(set(wish.sounds) <= set(NAMES) for wish in wishes)


@pytest.mark.parametrize("line", ["{", "[]", '{"prompt": "x", "sounds": ["kazoo"]}', "3"])
def test_a_bad_line_is_refused_by_its_number(line: str, tmp_path: Path) -> None:
    path = tmp_path / "sounds.jsonl"
    path.write_text(f'{{"prompt": "x", "sounds": ["rain"]}}\n{line}\n')

    with pytest.raises(InputError, match="line 2"):
        read_sound_prompts(path)


def test_recordings_are_found_where_they_were_fetched(tmp_path: Path) -> None:
    assert find_samples(None) is find_samples(tmp_path) is None
    (tmp_path / "sonic-pi-samples").mkdir()

    assert find_samples(tmp_path) == tmp_path / "sonic-pi-samples"
