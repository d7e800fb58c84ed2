"""Attacks do what their names promise and leave the rest alone."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from safegen.audio import Audio, load
from safegen.errors import InputError
from safegen.evaluation.attacks import (
    ATTACKS,
    CODECS,
    Companion,
    Kind,
    babble,
    encodec,
    through_codec,
)
from safegen.evaluation.attacks.spectra import analyze

ASSETS = Path(__file__).parents[2] / "assets"
SMEARING = {
    *("allpass-8", "phase-90", "reverb-0.3s", "reverb-0.8s", "shuffle-500ms", "music-0db"),
    *("rerecord-near", "rerecord-far", "griffin-lim", "mel-160", "mel-80"),
    *(name for name in ATTACKS if name.startswith("pitch")),
}
"""As long as before, but the waveform is another: correlation does not place it."""


def clip(sample_rate: int, channels: int) -> Audio:
    """Two seconds of noise bursts below 3 kHz, different in each channel."""
    generator = np.random.default_rng(sample_rate + channels)
    seconds = np.arange(2 * sample_rate) / sample_rate
    bursts = np.sin(2 * np.pi * 1.3 * seconds) > 0
    noise = generator.standard_normal((channels, len(seconds)))
    spectrum = np.fft.rfft(noise)
    spectrum[:, np.fft.rfftfreq(len(seconds), 1 / sample_rate) > 3_000] = 0
    waveform = 0.2 * np.fft.irfft(spectrum, len(seconds)) * bursts
    return Audio(waveform=waveform.astype(np.float32), sample_rate=sample_rate)


def tone(hertz: float, *, seconds: float = 3.0, sample_rate: int = 16_000) -> Audio:
    """A steady sine at half of full scale."""
    turns = 2 * np.pi * hertz * np.arange(round(seconds * sample_rate)) / sample_rate
    return Audio(waveform=(0.5 * np.sin(turns)).astype(np.float32)[None], sample_rate=sample_rate)


def other() -> Audio:
    """A companion of another rate, length and number of channels than the clips."""
    generator = np.random.default_rng(5)
    waveform = 0.1 * generator.standard_normal((1, 11_025))
    return Audio(waveform=waveform.astype(np.float32), sample_rate=22_050)


def lag(before: Audio, after: Audio) -> int:
    """Find the shift in samples at which both agree best."""
    samples = before.waveform.shape[1]
    one = np.fft.rfft(before.waveform[0], 2 * samples)
    another = np.fft.rfft(after.waveform[0], 2 * samples)
    best = int(np.argmax(np.abs(np.fft.irfft(one.conj() * another))))
    return best if best < samples else best - 2 * samples


def loudest_hz(audio: Audio) -> float:
    """Find the frequency of a tone, away from the edges."""
    middle = audio.cut(0.25 * audio.seconds, 0.75 * audio.seconds).waveform[0]
    size = np.abs(np.fft.rfft(middle * np.hanning(len(middle)), 1 << 18))
    return float(np.argmax(size)) * audio.sample_rate / (1 << 18)


def level_db(audio: Audio) -> float:
    return float(10 * np.log10(np.mean(np.square(audio.waveform, dtype=np.float64)) + 1e-20))


@pytest.mark.parametrize(("sample_rate", "channels"), [(16_000, 1), (44_100, 2)])
@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_an_attack_keeps_rate_channels_and_where_it_says_so_the_alignment(
    name: str, sample_rate: int, channels: int
) -> None:
    before = clip(sample_rate, channels)

    after = ATTACKS[name](before, other())

    assert after.sample_rate == sample_rate
    assert after.waveform.shape[0] == channels
    assert np.isfinite(after.waveform).all()
    assert (after.waveform.shape == before.waveform.shape) == ATTACKS[name].keeps_length or (
        name == "crop-5s"
    )
    if ATTACKS[name].keeps_length and name not in SMEARING:
        assert abs(lag(before, after)) <= 2


@pytest.mark.parametrize("name", sorted(set(ATTACKS) - {"clean"}))
def test_an_attack_changes_the_sound_the_same_way_each_time(name: str) -> None:
    before = load(ASSETS / "guitar.ogg").cut(1, 3)
    before = Audio(waveform=before.waveform * np.float32(0.777), sample_rate=before.sample_rate)

    first, second = (ATTACKS[name](before, other()) for _ in range(2))

    assert np.array_equal(first.waveform, second.waveform)
    if name != "crop-5s":
        assert not np.array_equal(first.waveform, before.waveform)


def test_rows_are_named_once_and_rows_of_a_series_differ_in_strength() -> None:
    series: dict[tuple[str, Kind], list[float]] = {}
    for name, attack in ATTACKS.items():
        assert name == attack.name
        series.setdefault((attack.series, attack.kind), []).append(attack.strength)

    assert all(len(set(found)) == len(found) for found in series.values())


@pytest.mark.parametrize(
    "name",
    # A phone shapes what it records: nothing can be subtracted from a re-recording. What lies
    # under speech is turned down with it; its level has a test of its own.
    [
        name
        for name in ATTACKS
        if ATTACKS[name].unit == "dB SNR" and not name.startswith(("rerecord", "under-speech"))
    ],
)
def test_what_is_added_has_the_level_of_its_name(name: str) -> None:
    sound = clip(16_000, 1)

    added = ATTACKS[name](sound, other()).waveform - sound.waveform

    measured = 10 * np.log10(np.sum(sound.waveform**2) / np.sum(added**2))
    assert measured == pytest.approx(ATTACKS[name].strength, abs=0.1)


@pytest.mark.parametrize("name", [name for name in ATTACKS if ATTACKS[name].series == "speed"])
def test_speed_changes_length_and_pitch_together(name: str) -> None:
    factor = ATTACKS[name].strength

    after = ATTACKS[name](tone(1_000))

    assert after.seconds == pytest.approx(3 / factor, abs=0.001)
    assert loudest_hz(after) == pytest.approx(1_000 * factor, rel=0.001)


@pytest.mark.parametrize("name", [name for name in ATTACKS if name.startswith("tempo")])
def test_tempo_changes_the_length_and_not_the_pitch(name: str) -> None:
    after = ATTACKS[name](tone(1_000))

    assert after.seconds == pytest.approx(3 / ATTACKS[name].strength, abs=0.001)
    assert loudest_hz(after) == pytest.approx(1_000, rel=0.002)
    assert level_db(after) == pytest.approx(level_db(tone(1_000)), abs=1.0)


@pytest.mark.parametrize("name", [name for name in ATTACKS if name.startswith("pitch")])
def test_pitch_changes_the_pitch_and_not_the_length(name: str) -> None:
    after = ATTACKS[name](tone(1_000))

    assert after.seconds == 3.0
    assert loudest_hz(after) == pytest.approx(1_000 * 2 ** (ATTACKS[name].strength / 12), rel=0.002)


@pytest.mark.parametrize(
    ("name", "lost_hz", "kept_hz"),
    [
        ("lowpass-3500", 5_000, 2_000),
        ("lowpass-5000", 7_000, 3_000),
        ("highpass-500", 250, 1_000),
        ("highpass-250", 120, 1_000),
        ("bandpass-300-3400", 150, 1_000),
        ("bandpass-300-3400", 6_000, 1_000),
        ("smooth-310us", 3_200, 200),
        ("resample-8k", 5_000, 3_000),
    ],
)
def test_a_filter_takes_its_band_and_leaves_the_rest(
    name: str, lost_hz: float, kept_hz: float
) -> None:
    lost, kept = tone(lost_hz), tone(kept_hz)

    assert level_db(ATTACKS[name](lost)) < level_db(lost) - 20
    assert level_db(ATTACKS[name](kept)) == pytest.approx(level_db(kept), abs=0.5)


@pytest.mark.parametrize("slope", [-3, 3])
def test_a_tilt_has_the_slope_of_its_name(slope: int) -> None:
    attack = ATTACKS[f"tilt{slope:+d}"]

    one, two = (level_db(attack(tone(hertz))) for hertz in (1_000, 4_000))

    assert two - one == pytest.approx(2 * slope, abs=0.2)


def test_a_phase_shift_and_an_all_pass_leave_the_level_of_every_tone() -> None:
    for hertz in (150.0, 700.0, 3_000.0):
        before = tone(hertz)
        for name in ("phase-90", "allpass-8"):
            assert level_db(ATTACKS[name](before)) == pytest.approx(level_db(before), abs=0.1)


def test_a_room_decays_by_60_db_in_the_time_of_its_name() -> None:
    click = np.zeros((1, 32_000), np.float32)
    click[0, 0] = 0.5
    tail = ATTACKS["reverb-0.8s"](Audio(waveform=click, sample_rate=16_000)).waveform[0]

    early, late = (float(np.mean(tail[at : at + 1_600] ** 2)) for at in (1_600, 8_000))

    # 0.4 s of 0.8 s: 30 dB.
    assert 10 * np.log10(early / late) == pytest.approx(30, abs=1.5)


@pytest.mark.parametrize(
    ("name", "direction"), [("compressor-4", -1), ("compress", -1), ("expander-2", 1)]
)
def test_dynamics_narrow_or_widen_the_distance_of_loud_and_soft(name: str, direction: int) -> None:
    steps = np.repeat([1.0, 0.1], 24_000)
    sound = Audio(waveform=(tone(440).waveform * steps).astype(np.float32), sample_rate=16_000)

    after = ATTACKS[name](sound)

    distance = level_db(after.cut(0, 1.4)) - level_db(after.cut(1.6, 3))
    assert (distance - 20) * direction > 3


def test_a_limiter_is_loud_and_never_over_full_scale() -> None:
    after = ATTACKS["limiter-9db"](clip(16_000, 1))

    assert float(np.abs(after.waveform).max()) <= 1.0
    assert level_db(after) > level_db(clip(16_000, 1)) + 6


@pytest.mark.parametrize(("name", "bits"), [("pcm-8", 8), ("pcm-12", 12), ("pcm-16", 16)])
def test_quantization_leaves_as_many_steps_as_it_says(name: str, bits: int) -> None:
    after = ATTACKS[name](clip(16_000, 1)).waveform.astype(np.float64) * 2 ** (bits - 1)

    assert np.array_equal(after, np.round(after))


def test_crops_and_cuts_have_the_length_of_their_names() -> None:
    sound = Audio(waveform=np.tile(clip(16_000, 1).waveform, 5), sample_rate=16_000)
    names = ("crop-5s", "crop-half", "crop-10pct", "cut-1s", "cut-middle-1s", "splice-4s")

    lengths = [round(ATTACKS[name](sound, other()).seconds, 3) for name in names]

    assert lengths == [5.0, 5.0, 1.0, 8.997, 8.997, 12.0]


def test_a_splice_holds_its_stretch_in_the_middle_and_only_there() -> None:
    sound = Audio(waveform=np.tile(clip(16_000, 1).waveform, 5), sample_rate=16_000)

    after = ATTACKS["splice-4s"](sound, other()).waveform

    assert np.array_equal(after[:, 64_000:128_000], sound.cut(3, 7).waveform)
    assert not np.array_equal(after[:, :16_000], sound.waveform[:, :16_000])


def test_a_shuffle_keeps_every_piece() -> None:
    sound = clip(16_000, 1)

    after = ATTACKS["shuffle-500ms"](sound).waveform

    assert np.array_equal(np.sort(after), np.sort(sound.waveform))


def test_a_silenced_start_is_silent_and_the_rest_untouched() -> None:
    sound = clip(16_000, 1)

    after = ATTACKS["shush-30"](sound).waveform

    assert not after[:, :9_600].any()
    assert np.array_equal(after[:, 9_600:], sound.waveform[:, 9_600:])


def test_griffin_lim_keeps_the_magnitudes_better_than_a_mel_vocoder() -> None:
    sound = load(ASSETS / "guitar.ogg").cut(0, 2)

    def off(name: str) -> float:
        after = ATTACKS[name](sound)
        sizes = [np.abs(analyze(each.waveform[0], window=1024, hop=256)) for each in (sound, after)]
        return float(np.linalg.norm(sizes[0] - sizes[1]) / np.linalg.norm(sizes[0]))

    assert off("griffin-lim") < off("mel-160") < off("mel-80")


def test_a_companion_that_is_missing_is_asked_for() -> None:
    with pytest.raises(ValueError, match="babble-20db needs another sound"):
        ATTACKS["babble-20db"](clip(16_000, 1))


def test_attacks_with_a_companion_are_marked_as_such() -> None:
    named = {name for name, attack in ATTACKS.items() if attack.companion is not Companion.NONE}

    assert named == {
        *("babble-20db", "babble-10db", "music-10db", "music-0db", "splice-4s"),
        *("under-speech-0db", "under-speech-6db", "under-speech-12db"),
    }


def test_speech_is_as_much_louder_as_the_name_says_and_nothing_clips() -> None:
    music, speech = tone(440), tone(1_700)

    mixed = ATTACKS["under-speech-12db"](music, speech)

    size = np.abs(np.fft.rfft(mixed.waveform[0]))
    assert 20 * np.log10(size[1_700 * 3] / size[440 * 3]) == pytest.approx(12, abs=0.1)
    assert np.abs(mixed.waveform).max() < 1.0


def test_shelves_turn_the_bass_up_and_the_treble_down_and_leave_the_middle() -> None:
    change = {
        hertz: level_db(ATTACKS["shelves-8db"](tone(hertz, sample_rate=44_100)))
        - level_db(tone(hertz, sample_rate=44_100))
        for hertz in (60, 1_000, 12_000)
    }

    assert change == pytest.approx({60: 8.0, 1_000: 0.0, 12_000: -8.0}, abs=0.2)


def test_a_mono_codec_leaves_no_difference_between_the_channels() -> None:
    after = ATTACKS["opus-12k-mono"](clip(48_000, 2)).waveform

    assert np.array_equal(after[0], after[1])
    assert np.abs(after).max() > 0.05


def test_babble_holds_every_voice_equally_loud() -> None:
    voices = [tone(300, seconds=1.0), tone(700), tone(1_900, sample_rate=8_000)]

    crowd = babble(voices).waveform[0]

    size = np.abs(np.fft.rfft(crowd))
    heights = [size[round(hertz * 3)] for hertz in (300, 700, 1_900)]
    assert max(heights) / min(heights) < 1.1
    assert len(crowd) == 48_000


def test_fewer_bits_per_second_are_further_from_the_original() -> None:
    sound = load(ASSETS / "guitar.ogg").cut(0, 3)

    errors = [
        float(np.mean((through_codec(sound, "mp3", bitrate=rate).waveform - sound.waveform) ** 2))
        for rate in (128_000, 64_000, 32_000)
    ]

    assert errors == sorted(errors)


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_codecs_take_odd_rates_and_short_silent_sounds(codec: str) -> None:
    sound = Audio(waveform=np.zeros((2, 700), np.float32), sample_rate=37_800)

    after = through_codec(sound, codec, bitrate=64_000)

    assert after.waveform.shape == (2, 700)
    assert float(np.abs(after.waveform).max()) < 1e-3


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_silence_stays_finite(name: str) -> None:
    silence = Audio(waveform=np.zeros((1, 16_000), np.float32), sample_rate=16_000)

    after = ATTACKS[name](silence, other())

    assert np.isfinite(after.waveform).all()


def refuse_three_channels() -> Audio:
    sound = Audio(waveform=np.zeros((3, 1000), np.float32), sample_rate=16_000)
    return through_codec(sound, "mp3", bitrate=64_000)


def refuse_no_voices() -> Audio:
    return babble([])


@pytest.mark.parametrize(
    ("call", "words"),
    [(refuse_three_channels, "not 3"), (refuse_no_voices, "at least one voice")],
    ids=["three channels", "no voices"],
)
def test_what_cannot_be_attacked_is_refused(call: Callable[[], Audio], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


def test_a_folder_without_an_encodec_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no EnCodec checkpoint"):
        encodec.rows(tmp_path)


def test_encodec_of_any_weights_keeps_rate_channels_and_length(tmp_path: Path) -> None:
    from transformers import EncodecConfig, EncodecModel

    small = EncodecConfig(
        num_filters=2, hidden_size=8, codebook_size=16, codebook_dim=8, num_lstm_layers=1
    )
    EncodecModel(small).save_pretrained(tmp_path, safe_serialization=True)
    sound = clip(44_100, 2)

    rows = encodec.rows(tmp_path)
    after = rows["encodec-6k"](sound)

    assert after.waveform.shape == sound.waveform.shape
    assert after.sample_rate == 44_100
