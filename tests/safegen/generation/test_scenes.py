import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from safegen.errors import InputError
from safegen.generation import scenes as s
from safegen.generation.scene_captions import CLAUSES, NOUNS, RATED, caption, stranger
from safegen.generation.sounds import EVENT_NAMES, NAMES


def layer(sound: str, **changes: int | str) -> s.SoundLayer:
    first = s.SoundLayer(
        sound=sound, level_db=0, rate="medium", start_step=0, end_step=0, variant=3
    )
    return replace(first, **changes)  # type: ignore[arg-type]


def test_a_seed_means_the_same_scene_for_ever() -> None:
    # A training item is nothing but its seed.
    assert s.digest(s.compose_scene(0))[:16] == "da174fddb5c6d0c9"
    assert s.digest(s.compose_scene(2**64 + 5))[:16] == "5e18e5d7aa558226"


def test_most_scenes_have_one_sound_some_two_few_three() -> None:
    counts = Counter(len(s.compose_scene(seed).layers) for seed in range(2000))

    assert counts[1] == pytest.approx(1200, abs=80)
    assert counts[2] == pytest.approx(700, abs=80)
    assert counts[3] == pytest.approx(100, abs=40)


def test_every_sound_is_composed_about_equally_often() -> None:
    counts = Counter(name for seed in range(3000) for name in s.compose_scene(seed).sounds)

    assert set(counts) == set(NAMES)
    assert max(counts.values()) < 1.6 * min(counts.values())


def test_tokens_and_json_give_the_scene_back() -> None:
    for seed in range(300):
        scene = s.compose_scene(seed)
        tokens = s.to_tokens(scene)

        assert s.from_tokens(tokens) == scene
        assert s.from_json(s.to_json(scene)) == scene
        assert all(1 <= token < s.SCENE_VOCABULARY for token in tokens)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"layers":[]}', '{"layers":[{"sound":"rain"}]}', '{"layers":3}',
     s.to_json(s.compose_scene(1)).replace('"rate":"', '"rate":"x'),
     '{"layers":[{"sound":["rain"],"level_db":0,"rate":"slow","start_step":0,"end_step":0,"variant":0}]}'],
)  # fmt: skip
def test_a_text_that_is_no_scene_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        s.from_json(text)


@pytest.mark.parametrize("tokens", [(), (1,), (0,) * 7, (1,) * 7, (5000,) * 7])
def test_tokens_that_are_no_scene_are_refused(tokens: tuple[int, ...]) -> None:
    with pytest.raises(InputError):
        s.from_tokens(tokens)


@pytest.mark.parametrize(
    "changes",
    [{"sound": "piano"}, {"level_db": -1}, {"rate": "huge"}, {"start_step": -1},
     {"start_step": 9, "end_step": 9}, {"variant": 1 << 16}, {"variant": True}],
)  # fmt: skip
def test_a_layer_outside_the_vocabulary_is_refused(changes: dict[str, int]) -> None:
    with pytest.raises(InputError, match="not a layer"):
        replace(layer("rain"), **changes)  # type: ignore[arg-type]


def test_a_scene_has_each_sound_once() -> None:
    with pytest.raises(InputError, match="twice"):
        s.Scene(layers=(layer("rain"), layer("rain", variant=4)))


def test_a_longer_roll_starts_with_the_shorter_one() -> None:
    for seed in range(60):
        scene = s.compose_scene(seed)
        short, long = s.scene_roll(scene, frames=90), s.scene_roll(scene, frames=301)

        assert long.shape == (301, s.SCENE_CHANNELS)
        assert long.dtype == np.float32
        assert np.array_equal(short, long[:90])


@pytest.mark.parametrize("name", EVENT_NAMES)
def test_the_roll_has_an_onset_in_the_frame_of_every_event(name: str) -> None:
    one = layer(name, start_step=5, end_step=40, rate="fast")
    rows = s.scene_roll(s.Scene(layers=(one,)), frames=250)
    times = s.events(one, 10.0)
    channel = 2 * len(NAMES) + 2 * EVENT_NAMES.index(name)

    assert np.flatnonzero(rows[:, channel]).tolist() == sorted({int(t * 25) for t in times})
    assert all(1.0 <= t < 8.0 for t in times)
    assert np.flatnonzero(rows[:, NAMES.index(name)]).tolist() == list(range(25, 200))


def test_the_roll_tells_level_and_rate() -> None:
    scene = s.Scene(layers=(layer("rain", rate="fast"), layer("wind", level_db=-12, rate="slow")))
    row = s.scene_roll(scene, frames=3)[1]

    assert row[0] == 1.0
    assert row[1] == pytest.approx(0.4)
    assert row[len(NAMES)] == 1.0
    assert row[len(NAMES) + 1] == -1.0
    assert np.count_nonzero(row) == 4


def test_a_scene_renders_at_one_loudness_and_twice_the_same() -> None:
    scene = s.Scene(layers=(layer("siren"), layer("rain", level_db=-9)))
    one, two = (s.render_scene(scene, seconds=2.0) for _ in range(2))

    assert one.waveform.shape == (1, 64_000)
    assert np.array_equal(one.waveform, two.waveform)
    assert np.sqrt(np.mean(np.square(one.waveform))) == pytest.approx(0.1, rel=0.01)


def test_a_layer_is_silent_before_it_begins_and_after_it_ends() -> None:
    scene = s.Scene(layers=(layer("wind", start_step=5, end_step=10),))
    sound = s.render_scene(scene, seconds=3.0).waveform[0]

    inside = np.abs(sound[36_000:60_000]).mean()

    # What is left is the noise of the room.
    assert np.abs(sound[:32_000]).mean() < 0.1 * inside
    assert np.abs(sound[64_000:]).mean() < 0.1 * inside


def test_a_layer_that_begins_after_the_end_is_not_rendered() -> None:
    scene = s.Scene(layers=(layer("wind"), layer("crow", start_step=20)))

    assert s.render_scene(scene, seconds=2.0).seconds == 2.0


def test_a_far_sound_loses_its_treble() -> None:
    near, far = (
        s.render_scene(s.Scene(layers=(layer("rain", level_db=db),)), seconds=1.0).mono()
        for db in (0, -12)
    )
    bright = [
        np.abs(np.fft.rfft(x))[8000:].sum() / np.abs(np.fft.rfft(x)).sum() for x in (near, far)
    ]

    assert bright[1] < 0.5 * bright[0]


def test_every_sound_has_a_dozen_wordings_and_more() -> None:
    for name in NAMES:
        rated = [words for rates in RATED[name].values() for words in rates]

        assert len({*NOUNS[name], *CLAUSES[name], *rated}) >= 20


def test_no_wording_means_two_sounds() -> None:
    counts = Counter(words for name in NAMES for words in {*NOUNS[name], *CLAUSES[name]})

    assert [words for words, count in counts.items() if count > 1] == []


def test_a_caption_is_the_same_for_the_same_dice() -> None:
    for seed in range(50):
        scene = s.compose_scene(seed)
        one, two = (caption(scene, random.Random(seed)) for _ in range(2))  # noqa: S311

        assert one == two
        assert one.strip()


def test_captions_vary() -> None:
    dice = random.Random(0)  # noqa: S311
    scene = s.Scene(layers=(layer("siren"), layer("rain", level_db=-9)))

    assert len({caption(scene, dice) for _ in range(300)}) > 290
    assert len({stranger(dice) for _ in range(300)}) > 200
