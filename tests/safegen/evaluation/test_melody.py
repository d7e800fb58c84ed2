"""How following a melody is measured."""

import numpy as np
import pytest
from click.testing import CliRunner

from safegen.audio import Audio
from safegen.errors import InputError
from safegen.evaluation.melody import agreement, command, followed, request
from safegen.generation.melody import NONE

RATE = 32_000


def line(*midi: int) -> Audio:
    t = np.arange(RATE) / RATE
    notes = [0.3 * np.sin(2 * np.pi * 440 * 2 ** ((m - 69) / 12) * t) for m in midi]
    return Audio(waveform=np.concatenate(notes).astype(np.float32)[None], sample_rate=RATE)


def test_only_frames_with_a_pitch_in_both_count() -> None:
    one = np.array([0, 4, NONE, 7, 7], dtype=np.uint8)
    other = np.array([0, 5, 3, NONE, 7, 9], dtype=np.uint8)

    assert agreement(one, other) == pytest.approx(2 / 3)
    assert agreement(one[:0], other) == 0.0


def test_an_output_that_repeats_its_melody_agrees_and_others_do_not() -> None:
    melodies = (line(60, 62), line(65, 67), line(69, 71))

    found = followed(melodies, (line(72, 74), line(65, 67), line(57, 59)))

    assert min(found.agreement) > 0.85
    assert found.luck < 0.1


def test_every_instrument_has_its_turn() -> None:
    melody = line(60)

    assert request(0, melody).prompt.startswith("piano")
    assert request(20, melody).prompt == request(0, melody).prompt
    assert request(1, melody).prompt != request(0, melody).prompt


def test_without_a_soundfont_the_command_says_how_to_get_one(tmp_path: object) -> None:
    with pytest.raises(InputError, match="FluidR3Mono"):
        CliRunner().invoke(command, ["--assets", str(tmp_path)], catch_exceptions=False)
