"""How streams are measured."""

import json
from collections.abc import Iterator

import numpy as np
import pytest
from click.testing import CliRunner

from safegen.audio import Audio
from safegen.cli.eval import eval_command
from safegen.evaluation.streaming import changes, requests_of, seams, segment_joints, taken
from safegen.generation.base import Generation
from safegen.generation.cards import CARDS
from safegen.generation.requests import check

RATE = 32_000
NONE = np.zeros(0, dtype=np.int64)


def piece(seconds: float) -> Generation:
    waveform = np.zeros((1, round(seconds * RATE)), dtype=np.float32)
    audio = Audio(waveform=waveform, sample_rate=RATE)
    return Generation(audio=audio, plan_json="", plan_tokens=NONE, codes=NONE.reshape(0, 0))


def streamed(*arrivals: tuple[float, float]) -> tuple[Iterator[Generation], Iterator[float]]:
    """Pieces with the time at which each comes, and a clock that says these times."""
    times = [0.0, *(at for at, _ in arrivals), arrivals[-1][0]]
    return iter([piece(seconds) for _, seconds in arrivals]), iter(times)


def test_a_stream_in_time_is_never_late() -> None:
    pieces, times = streamed((0.5, 1.0), (1.0, 2.0), (3.0, 2.0))
    found = taken(pieces, clock=lambda: next(times))

    assert found.first_seconds == 0.5
    assert found.heard_seconds == 1.0
    assert found.all_seconds == 3.0
    assert found.late_seconds == 0.0
    assert found.whole.audio.seconds == 5.0


def test_a_piece_that_comes_after_it_is_due_is_late() -> None:
    pieces, times = streamed((0.5, 1.0), (2.25, 1.0))

    assert taken(pieces, clock=lambda: next(times)).late_seconds == pytest.approx(0.75)


def noise(seconds: float, seed: int) -> Audio:
    waveform = 0.1 * np.random.default_rng(seed).standard_normal((1, round(seconds * RATE)))
    return Audio(waveform=waveform.astype(np.float32), sample_rate=RATE)


def test_a_click_at_the_joint_is_a_seam_and_none_is_not() -> None:
    plain = [noise(10.0, seed) for seed in range(8)]
    clicked = [noise(10.0, seed) for seed in range(8)]
    for sound in clicked:
        at = round(3.84 * RATE)
        sound.waveform[0, at : at + 640] *= 20.0
    quiet, loud = seams(plain, segment_joints), seams(clicked, segment_joints)

    assert quiet is not None
    assert loud is not None
    assert quiet.joints == loud.joints == 16
    assert 0.3 < quiet.mean_rank < 0.7
    assert quiet.loud_share <= 0.2
    assert loud.loud_share >= 0.5


def test_a_short_clip_has_no_joints() -> None:
    assert segment_joints(noise(3.0, 0)) == []
    assert seams([noise(3.0, 0)], segment_joints) is None
    assert segment_joints(noise(10.0, 0)) == [3.84, 6.72]
    assert segment_joints(noise(10.0, 0), first_seconds=3.0) == [3.96, 6.84]


def test_changes_are_those_of_the_log_mel() -> None:
    found = changes(noise(1.0, 0))

    assert found.shape == (50,)
    with pytest.raises(ValueError, match="Hz"):
        changes(Audio(waveform=np.zeros((1, 100), np.float32), sample_rate=8000))


@pytest.mark.parametrize("found", [x for x in CARDS if x.name != "codec"], ids=lambda x: x.name)
def test_every_row_can_make_what_it_is_asked(found: object) -> None:
    name = getattr(found, "name", "")
    requests, wishes = requests_of(name, count=3, seconds=16.0)
    for request in requests:
        check(request, next(x for x in CARDS if x.name == name))

    assert len(requests) == 3
    assert len(wishes) in (0, 3)


def test_the_command_prints_a_line_for_a_row() -> None:
    args = ["streaming", "--model", "procedural", "--count", "2", "--seconds", "4"]
    result = CliRunner().invoke(eval_command, args)

    assert result.exit_code == 0, result.output
    row = json.loads(result.stdout)
    assert row["model"] == "procedural"
    assert row["plans_as_whole"] == 2
    assert row["late_seconds"] == 0.0
    assert row["three_seconds_out_after"] > 0.0
    assert set(row["adherence_streamed"]) == set(row["adherence_whole"])
