"""Present is read, absent is not, attacked is read at the rate we state."""

from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.base import Watermarker
from detectors.mark_search import aligned
from detectors.tiles import listen
from detectors.watermark import DETECTION_P
from safegen import watermark
from safegen.audio import Audio, load, resample
from safegen.evaluation.attacks import ATTACKS, adversarial

ASSETS = Path(__file__).parents[1] / "assets"
CLIPS = ("guitar.ogg", "safari-loop.ogg", "synth-loop.ogg", "tabla.ogg")
KEY = b"a secret of thirty-two bytes ..."
OTHER = b"another secret, 32 bytes long..."
KEYS = {"old": OTHER, "new": KEY}
PAYLOAD = 0x0123_4567_89AB_CDEF


@pytest.fixture(scope="module", params=CLIPS)
def clip(request: pytest.FixtureRequest) -> Audio:
    return load(ASSETS / str(request.param))


@pytest.fixture(scope="module")
def marked(clip: Audio) -> Audio:
    return watermark.embed(clip, payload=PAYLOAD, key=KEY)


@pytest.mark.parametrize(
    "attack",
    ["clean", "pcm-16", "mp3-64k", "aac-64k", "opus-32k", "resample-8k", "gain-12db", "invert"],
)
def test_the_id_comes_back_after(marked: Audio, attack: str) -> None:
    finding = watermark.detect(ATTACKS[attack](marked), keys=KEYS)

    assert finding.detected
    assert finding.payload == PAYLOAD
    assert finding.key_id == "new"
    assert finding.p_value < DETECTION_P


def test_unmarked_sound_has_no_mark(clip: Audio) -> None:
    finding = watermark.detect(clip, keys=KEYS)

    assert not finding.detected
    assert finding.payload is None
    assert finding.p_value > 1e-4


def test_the_wrong_key_hears_nothing(marked: Audio) -> None:
    finding = watermark.detect(marked, keys={"old": OTHER})

    assert not finding.detected
    assert finding.payload is None


def test_a_mark_changes_neither_shape_nor_band_nor_headroom(clip: Audio, marked: Audio) -> None:
    delta = marked.waveform - clip.waveform

    spectrum = np.abs(np.fft.rfft(delta, axis=1)) ** 2
    frequency = np.fft.rfftfreq(delta.shape[1], 1 / clip.sample_rate)
    above = spectrum[:, frequency > 7_000].sum() / spectrum.sum()
    signal_to_mark_db = 10 * np.log10(np.sum(clip.waveform**2) / np.sum(delta**2))
    assert marked.waveform.shape == clip.waveform.shape
    assert marked.waveform.dtype == np.float32
    assert marked.sample_rate == clip.sample_rate
    assert above < 1e-3
    assert signal_to_mark_db > 16
    assert np.abs(marked.waveform).max() <= max(1.0, float(np.abs(clip.waveform).max()))


def test_each_channel_carries_the_mark() -> None:
    clip = load(ASSETS / "synth-loop.ogg")
    marked = watermark.embed(clip, payload=PAYLOAD, key=KEY)

    heard = [
        watermark.detect(
            Audio(waveform=marked.waveform[[channel]], sample_rate=44_100), keys=KEYS
        ).payload
        for channel in (0, 1)
    ]

    assert heard == [PAYLOAD, PAYLOAD]


def test_channels_of_opposite_phase_do_not_cancel_the_mark() -> None:
    clip = load(ASSETS / "safari-loop.ogg")
    mono = clip.mono()
    wide = Audio(waveform=np.stack([mono, -mono]), sample_rate=clip.sample_rate)

    marked = watermark.embed(wide, payload=PAYLOAD, key=KEY)

    assert watermark.detect(marked, keys=KEYS).payload == PAYLOAD


@pytest.mark.parametrize("sample_rate", [11_025, 16_000, 22_050, 32_000, 48_000, 96_000])
def test_any_sample_rate_carries_the_mark(sample_rate: int) -> None:
    clip = resample(load(ASSETS / "safari-loop.ogg"), sample_rate)

    marked = watermark.embed(clip, payload=PAYLOAD, key=KEY)

    assert marked.waveform.shape == clip.waveform.shape
    assert watermark.detect(marked, keys=KEYS).payload == PAYLOAD


def test_silence_stays_silent_and_is_not_marked() -> None:
    clip = load(ASSETS / "tabla.ogg")
    silent = np.zeros((2, 3 * 44_100), np.float32)
    padded = Audio(
        waveform=np.concatenate([silent, clip.waveform, silent], axis=1), sample_rate=44_100
    )

    marked = watermark.embed(padded, payload=PAYLOAD, key=KEY)

    calm = 3 * 44_100 - 4_410
    assert not marked.waveform[:, :calm].any()
    assert not marked.waveform[:, -calm:].any()
    assert watermark.detect(marked, keys=KEYS).payload == PAYLOAD


def test_a_loud_master_is_marked_without_clipping() -> None:
    clip = load(ASSETS / "safari-loop.ogg")
    loud = Audio(waveform=np.clip(3.0 * clip.waveform, -1, 1), sample_rate=clip.sample_rate)

    marked = watermark.embed(loud, payload=PAYLOAD, key=KEY)

    assert float(np.abs(marked.waveform).max()) <= 1.0
    assert watermark.detect(marked, keys=KEYS).payload == PAYLOAD


def test_marks_of_two_keys_are_both_read() -> None:
    clip = load(ASSETS / "guitar.ogg")
    once = watermark.embed(clip, payload=PAYLOAD, key=KEY)
    twice = watermark.embed(once, payload=77, key=OTHER)

    assert watermark.detect(twice, keys={"new": KEY}).payload == PAYLOAD
    assert watermark.detect(twice, keys={"old": OTHER}).payload == 77


@pytest.mark.parametrize(
    ("attack", "speed", "semitones"),
    [
        ("speed-0.93", 0.93, -1.256),
        ("speed-1.10", 1.10, 1.650),
        ("tempo-0.90", 0.90, 0.0),
        ("tempo-1.05", 1.05, 0.0),
        ("pitch-2", 1.0, -2.0),
        ("pitch+1", 1.0, 1.0),
    ],
)
def test_speed_tempo_and_pitch_are_found(attack: str, speed: float, semitones: float) -> None:
    clip = load(ASSETS / "safari-loop.ogg")
    marked = watermark.embed(clip, payload=PAYLOAD, key=KEY, epoch=321)

    finding = watermark.detect(ATTACKS[attack](marked), keys=KEYS)

    assert finding.payload == PAYLOAD
    assert finding.epoch == 321
    assert finding.speed == pytest.approx(speed, abs=0.004)
    assert finding.semitones == pytest.approx(semitones, abs=0.1)


def test_without_search_another_speed_is_not_heard() -> None:
    clip = load(ASSETS / "safari-loop.ogg")
    fast = ATTACKS["speed-1.05"](watermark.embed(clip, payload=PAYLOAD, key=KEY))

    assert not watermark.detect(fast, keys=KEYS, search=False).detected
    assert watermark.detect(fast, keys=KEYS).detected


def test_after_a_cut_the_mark_is_found_again_at_its_new_alignment() -> None:
    clip = load(ASSETS / "guitar.ogg")
    marked = watermark.embed(clip, payload=PAYLOAD, key=KEY)
    joined = Audio(
        waveform=np.concatenate(
            [marked.cut(0.0, 3.0).waveform, marked.cut(4.717, 9.0).waveform], axis=1
        ),
        sample_rate=marked.sample_rate,
    )

    finding = watermark.detect(joined, keys=KEYS)

    covered = sum(one.end_seconds - one.start_seconds for one in finding.intervals)
    assert finding.payload == PAYLOAD
    assert covered > 0.9 * joined.seconds


def test_the_day_of_marking_is_heard_where_it_was_told() -> None:
    clip = load(ASSETS / "synth-loop.ogg")
    today = watermark.epoch_of(datetime(2026, 11, 21, 23, 59, tzinfo=UTC))

    finding = watermark.detect(
        watermark.embed(clip, payload=PAYLOAD, key=KEY, epoch=today), keys=KEYS
    )

    assert finding.epoch == today
    assert watermark.day_of_epoch(today) == date(2026, 11, 21)
    assert watermark.day_of_epoch(0) is None
    assert watermark.epoch_of(datetime(1999, 1, 1, tzinfo=UTC)) == 0


def test_averaging_ten_blocks_of_one_file_does_not_bring_the_mark_below_the_limit() -> None:
    # The attacker knows everything but the key: grid, alignment, strength. He averages
    # 41 s under one key, one file, and subtracts what he saw from another file of that key.
    hiss = 0.1 * np.random.default_rng(1).standard_normal((1, 41 * 16_000)).astype(np.float32)
    long = Audio(waveform=hiss, sample_rate=16_000)
    marked = [watermark.embed(long, payload=number, key=KEY, epoch=5) for number in (1, 2)]
    target = watermark.embed(load(ASSETS / "guitar.ogg"), payload=PAYLOAD, key=KEY, epoch=5)

    grid = adversarial.KEYED_GRID
    attacked = adversarial.remove_signs(
        target, adversarial.estimate_signs(marked, grid), grid, strength=watermark.DEFAULT_STRENGTH
    )

    def presence(audio: Audio) -> float:
        grid = listen(audio.waveform, audio.sample_rate).grid()
        return aligned(grid, {"new": KEY}).found[0].z

    assert presence(target) > 10
    assert presence(attacked) < 6  # the attack works, against the layer that repeats
    assert watermark.detect(attacked, keys=KEYS).payload == PAYLOAD


def test_the_interface_of_all_marks_is_kept() -> None:
    clip = load(ASSETS / "guitar.ogg")
    marker: Watermarker = watermark.KeyedMark(epoch=7)

    marked = marker.embed(clip.waveform, clip.sample_rate, payload=PAYLOAD, key=KEY)
    finding = marker.detect(marked, clip.sample_rate, keys=KEYS)

    assert (finding.payload, finding.epoch, finding.method) == (PAYLOAD, 7, marker.method)


@given(payload=st.integers(0, 2**64 - 1), start=st.floats(0.0, 3.0))
@settings(max_examples=8, deadline=None)
def test_any_id_is_read_from_any_cut(payload: int, start: float) -> None:
    clip = load(ASSETS / "guitar.ogg")

    marked = watermark.embed(clip, payload=payload, key=KEY)

    assert watermark.detect(marked.cut(start, 10.0), keys=KEYS).payload == payload


def test_the_marked_stretch_of_a_long_sound_is_located() -> None:
    # A released clip of 8 s inside 40 s of other music: only the stretch is claimed.
    other = load(ASSETS / "guitar.ogg").waveform
    clip = watermark.embed(load(ASSETS / "synth-loop.ogg"), payload=PAYLOAD, key=KEY).waveform
    sound = Audio(
        waveform=np.concatenate([other, other, clip, other, other], axis=1), sample_rate=44_100
    )
    begin = 2 * other.shape[1] / 44_100

    finding = watermark.detect(sound, keys=KEYS)

    assert finding.payload == PAYLOAD
    assert len(finding.intervals) == 1
    assert finding.intervals[0].start_seconds == pytest.approx(begin, abs=1.0)
    assert finding.intervals[0].end_seconds == pytest.approx(begin + 8.0, abs=1.0)


@pytest.mark.parametrize("seconds", [0.0001, 0.05, 0.3, 0.9])
def test_a_sound_too_short_for_an_id_is_marked_without_error(seconds: float) -> None:
    clip = load(ASSETS / "tabla.ogg").cut(0, seconds)

    marked = watermark.embed(clip, payload=PAYLOAD, key=KEY)

    assert marked.waveform.shape == clip.waveform.shape
    assert watermark.detect(marked, keys=KEYS).payload in (None, PAYLOAD)


def test_the_same_call_gives_the_same_bits() -> None:
    clip = load(ASSETS / "harmonics.flac")

    first = watermark.embed(clip, payload=PAYLOAD, key=KEY)
    second = watermark.embed(clip, payload=PAYLOAD, key=KEY)

    assert np.array_equal(first.waveform, second.waveform)


@pytest.mark.parametrize("payload", [-1, 2**64])
def test_an_id_out_of_range_is_refused(payload: int) -> None:
    with pytest.raises(ValueError, match="payload"):
        watermark.embed(load(ASSETS / "harmonics.flac"), payload=payload, key=KEY)
