"""The codec's benchmark counts bits, ranks what is better above what is worse, and resumes."""

from pathlib import Path

import numpy as np
import pytest

from safegen.audio import Audio
from safegen.errors import InputError
from safegen.evaluation import codec_quality
from safegen.evaluation.attacks import ATTACKS
from safegen.evaluation.codec_quality import Clip, codings, log_mel_distance, measure, summary
from safegen.evaluation.state import State
from safegen.generation.compose import compose
from safegen.generation.procedural import render
from tests.safegen.generation.debug_models import debug_codec


@pytest.fixture(scope="module")
def sound() -> Audio:
    return render(compose(3), seconds=2.0)


def test_the_distance_is_nothing_for_one_sound_at_two_levels(sound: Audio) -> None:
    quiet = Audio(waveform=sound.waveform * np.float32(0.2), sample_rate=sound.sample_rate)

    assert log_mel_distance(sound, quiet) < 0.001


def test_more_noise_is_a_greater_distance(sound: Audio) -> None:
    near, far = (
        log_mel_distance(sound, ATTACKS[name](sound)) for name in ("noise-30db", "noise-10db")
    )

    assert 0.01 < near < far


def test_every_coding_keeps_the_length_and_says_what_it_stored(sound: Audio) -> None:
    rates = {}
    for name, way in codings(debug_codec()).items():
        carried = way(sound)
        rates[name] = carried.bitrate

        assert carried.audio.waveform.shape == sound.waveform.shape
        assert carried.audio.sample_rate == sound.sample_rate

    assert 250 < rates["codec, 1 codebook"] < rates["codec, 2 codebooks"] < 800
    # Opus does not go as low as the codec, whatever it is asked for.
    assert 3_000 < rates["opus, least"] < 8_000
    assert rates["opus, 12 kbit/s"] < rates["opus, 24 kbit/s"]
    assert rates["codec, not quantized"] == rates["mel spectrogram"] == 0.0


def test_the_true_spectrogram_comes_back_closer_than_a_random_codec(sound: Audio) -> None:
    ways = codings(debug_codec())
    floor, ours = (
        log_mel_distance(sound, ways[name](sound).audio)
        for name in ("mel spectrogram", "codec, not quantized")
    )

    assert floor < 0.15 < ours


def test_a_stopped_run_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sound: Audio
) -> None:
    judged = []

    def judge(clean: Audio, changed: Audio) -> float:
        judged.append(changed)
        return 4.0

    clip = Clip(kind="scores", name="1", audio=sound)
    monkeypatch.setattr(codec_quality, "clips", lambda *args, **kwargs: [clip])
    monkeypatch.setattr(codec_quality, "load_codec", debug_codec)
    monkeypatch.setattr(codec_quality, "visqol", judge)
    path = tmp_path / "state.jsonl"
    begun = measure(tmp_path, count=1, seconds=2.0, state=State(path, "1"))
    first = [next(begun) for _ in range(3)]
    rows = list(measure(tmp_path, count=1, seconds=2.0, state=State(path, "1")))

    assert [row["trial"] for row in rows[:3]] == [row["trial"] for row in first]
    assert len(judged) == len(rows) == len(codings(debug_codec()))


def test_the_summary_is_the_mean_and_names_the_worst() -> None:
    trials: list[dict[str, str | float | None]] = [
        {"kind": "a", "coding": "x", "bitrate": 300.0, "visqol": score, "log_mel": 0.2}
        for score in (4.0, 4.4)
    ]
    (row,) = summary(trials)

    assert (row.clips, row.visqol, row.visqol_least, row.bitrate) == (2, 4.2, 4.0, 300.0)


def test_missing_assets_are_said_with_the_command_that_fetches_them(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="missing") as found:
        next(codec_quality.clips(tmp_path, count=1, seconds=2.0))

    assert "safegen eval assets" in found.value.remedy
