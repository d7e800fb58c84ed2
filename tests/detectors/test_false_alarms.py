"""A tail under the bound changes nothing, one above it makes every p-value larger."""

import math

import numpy as np
import pytest

from detectors import watermark as ear
from detectors.errors import DetectorError
from detectors.false_alarms import LEVELS, Calibration, Tail, counted, parse, shipped

UNIFORM = np.log(np.random.default_rng(1).uniform(size=200_000))


def test_p_values_as_rare_as_they_say_need_no_inflation() -> None:
    assert counted("noise", UNIFORM).inflation == 1.0


def test_p_values_that_come_too_often_are_inflated_until_they_do_not() -> None:
    # The logarithms of a broken detector are twice as far down as they should be.
    raw = 2.0 * UNIFORM
    broken = counted("noise", raw)

    scale = broken.inflation**2
    tried = math.log(512)
    repaired = tried - (tried - raw) / scale
    assert broken.inflation > 1.1
    # Repaired p-values of 1e-4 were 1e-7 before, beyond what is counted.
    for level in LEVELS[:3]:
        assert np.mean(raw <= math.log(level)) > 3 * level
        assert np.mean(repaired <= math.log(level)) <= 1.2 * level


def test_one_unlucky_window_is_not_beyond_doubt() -> None:
    assert Tail(content="x", windows=100_000, at_most=(0, 0, 0, 0, 1, 0)).inflation == 1.0
    assert Tail(content="x", windows=100_000, at_most=(9, 9, 9, 9, 9, 9)).inflation > 1.0


def test_the_worst_kind_of_sound_decides() -> None:
    good = Tail(content="good", windows=1000, at_most=(0,) * len(LEVELS))
    bad = Tail(content="bad", windows=1000, at_most=(500, 300, 200, 100, 50, 20))

    both = Calibration(version="v", tails=(good, bad))

    assert both.inflation == bad.inflation > 1.0
    assert both.windows == 2000
    assert parse(both.to_json()) == both


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"version": "1", "tails": [{"content": "x", "windows": 5, "p_at_most": 7}]}',
        '{"version": "1", "tails": [{"content": "x", "windows": 5, "p_at_most": {"0.1": 6}}]}',
    ],
)
def test_a_damaged_table_is_refused(text: str) -> None:
    with pytest.raises(DetectorError, match="damaged"):
        parse(text)


def test_the_shipped_table_was_counted_on_enough_windows_and_keeps_the_promise() -> None:
    table = shipped()

    assert table.windows >= 100_000
    assert {tail.content for tail in table.tails} == {"speech", "music", "effects"}
    assert all(tail.at_most[LEVELS.index(1e-6)] == 0 for tail in table.tails)
    assert table.inflation == 1.0


def test_each_key_is_judged_as_if_it_were_alone() -> None:
    sound = 0.1 * np.random.default_rng(2).standard_normal((1, 16_000 * 6)).astype(np.float32)
    keys = {"a": b"a" * 32, "b": b"b" * 32}

    together = ear.log_p_by_key(sound, 16_000, keys=keys)

    for name, key in keys.items():
        alone = ear.log_p_by_key(sound, 16_000, keys={name: key})[name]
        assert together[name] == pytest.approx(alone, abs=1e-6)
    assert ear.log_p_by_key(0 * sound, 16_000, keys=keys) == {}
