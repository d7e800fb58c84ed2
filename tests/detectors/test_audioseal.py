"""AudioSeal's door, with the package's architecture and small random weights."""

import hashlib
import json
from dataclasses import replace
from math import gcd
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from scipy.signal import resample_poly

from detectors.audioseal import (
    BLOCK,
    CARD_NAME,
    NULL_NAME,
    AudioSeal,
    Checkpoint,
    message,
    read_card,
    write_weights,
)
from detectors.base import Watermarker, Waveform
from detectors.errors import DetectorError
from detectors.presence import FRAME, SAMPLE_RATE, WINDOW, NullTable, Tally, agreement_p
from detectors.windows import at_16k
from tests.detectors.audioseal_models import tiny_network, tiny_tensors, tiny_weights

KEY = b"sixteen bytes or more"


def noise(seconds: float, *, rate: int = SAMPLE_RATE, channels: int = 1, seed: int = 0) -> Waveform:
    dice = np.random.default_rng(seed)
    return (0.1 * dice.standard_normal((channels, round(seconds * rate)))).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("audioseal")
    tiny_weights(made)
    return made


@pytest.fixture(scope="module")
def mark(folder: Path) -> AudioSeal:
    return AudioSeal.load(folder, card=read_card(folder))


@pytest.fixture
def eager(tmp_path: Path) -> AudioSeal:
    """A detector that hears a mark everywhere, so that messages are read."""
    card = tiny_weights(tmp_path / "eager", presence_bias=5.0)
    return AudioSeal.load(tmp_path / "eager", card=card)


# The message -------------------------------------------------------------------------


def test_the_message_follows_from_id_and_key_and_never_changes() -> None:
    # A changed derivation would orphan every mark that is out there.
    assert message(0, KEY) == 0x3C91
    assert message(0x0123456789ABCDEF, KEY) == message(0x0123456789ABCDEF, KEY)
    assert message(1, KEY) != message(1, KEY + b"!")


def test_messages_of_many_ids_spread_over_all_sixteen_bits() -> None:
    words = [message(payload, KEY) for payload in range(2000)]

    assert len(set(words)) > 1900
    ones = np.array([[word >> bit & 1 for bit in range(16)] for word in words]).mean(axis=0)
    assert np.all(np.abs(ones - 0.5) < 0.06)


@pytest.mark.parametrize(("payload", "key"), [(-1, KEY), (1 << 64, KEY), (1, b"short")])
def test_an_id_or_key_out_of_range_is_refused(payload: int, key: bytes) -> None:
    with pytest.raises(ValueError, match=r"payload|secret"):
        message(payload, key)


def test_agreement_is_an_exact_binomial_tail() -> None:
    assert agreement_p(0xFFFF, 0xFFFF) == 2**-16
    assert agreement_p(0xFFFE, 0xFFFF) == 17 / 2**16
    assert agreement_p(0x0000, 0xFFFF) == 1.0
    assert agreement_p(None, 0xFFFF) == 1.0


# Marking -----------------------------------------------------------------------------


def test_it_is_a_watermarker(mark: AudioSeal) -> None:
    watermarker: Watermarker = mark
    sound = noise(3.0)

    marked = watermarker.embed(sound, SAMPLE_RATE, payload=7, key=KEY)
    finding = watermarker.detect(marked, SAMPLE_RATE, keys={})

    assert marked.shape == sound.shape
    assert marked.dtype == np.float32
    assert finding.method == "audioseal"
    assert finding.payload is None


def test_marking_is_deterministic_and_depends_on_the_id(mark: AudioSeal) -> None:
    sound = noise(3.0)

    first = mark.embed(sound, SAMPLE_RATE, payload=7, key=KEY)
    torch.manual_seed(99)

    assert np.array_equal(first, mark.embed(sound, SAMPLE_RATE, payload=7, key=KEY))
    assert not np.array_equal(first, mark.embed(sound, SAMPLE_RATE, payload=8, key=KEY))
    assert not np.array_equal(first, mark.embed(sound, SAMPLE_RATE, payload=7, key=KEY + b"!"))


def test_a_first_block_gets_exactly_what_the_packages_generator_gives(mark: AudioSeal) -> None:
    sound = noise(1.5)
    network = tiny_network("generator", seed=1)
    network.load_state_dict(tiny_tensors("generator"))
    word = message(7, KEY)
    bits = torch.tensor([[int(bit) for bit in f"{word:016b}"]])

    with torch.inference_mode():
        expected = network.get_watermark(torch.from_numpy(sound)[None], message=bits)[0].numpy()  # type: ignore[operator]

    marked = mark.embed(sound, SAMPLE_RATE, payload=7, key=KEY)
    assert np.allclose(marked - sound, expected, atol=1e-6)


def test_every_block_starts_anew_and_the_one_before_fades_out_under_it(mark: AudioSeal) -> None:
    # A cut then loses at most one message, which sits at the start of what was marked.
    sound = noise(3.5)
    network = tiny_network("generator", seed=1)
    network.load_state_dict(tiny_tensors("generator"))
    bits = torch.tensor([[int(bit) for bit in f"{message(7, KEY):016b}"]])
    first, second = sound[:, : BLOCK + 80], sound[:, BLOCK:]

    with torch.inference_mode():
        old, new = (
            network.get_watermark(torch.from_numpy(part)[None], message=bits)[0].numpy()  # type: ignore[operator]
            for part in (first, second)
        )

    delta = mark.embed(sound, SAMPLE_RATE, payload=7, key=KEY) - sound
    assert np.allclose(delta[:, :BLOCK], old[:, :BLOCK], atol=1e-6)
    fading = old[:, BLOCK:] * np.linspace(1, 0, 80, endpoint=False)
    assert np.allclose(delta[:, BLOCK : BLOCK + 80], new[:, :80] + fading, atol=1e-6)
    assert np.allclose(delta[:, BLOCK + 80 :], new[:, 80:], atol=1e-6)


def test_a_stereo_programme_keeps_its_rate_and_everything_above_eight_kilohertz(
    mark: AudioSeal,
) -> None:
    sound = noise(3.0, rate=44_100, channels=2)

    delta = mark.embed(sound, 44_100, payload=7, key=KEY) - sound

    assert delta.shape == sound.shape
    assert not np.array_equal(delta[0], delta[1])
    power = np.abs(np.fft.rfft(delta, axis=1)) ** 2
    hertz = np.fft.rfftfreq(delta.shape[1], 1 / 44_100)
    above, below = power[:, hertz > 8_500].sum(), power[:, hertz < 8_000].sum()
    assert 10 * np.log10(above / below) < -50


def test_digital_silence_stays_bit_identical(mark: AudioSeal) -> None:
    sound = noise(6.0, rate=44_100, channels=2)
    sound[:, 44_100 : 4 * 44_100] = 0.0

    marked = mark.embed(sound, 44_100, payload=7, key=KEY)

    inside = slice(int(1.1 * 44_100), int(3.9 * 44_100))
    assert not marked[:, inside].any()
    assert np.abs(marked - sound)[:, :44_000].max() > 1e-4
    assert np.abs(marked - sound)[:, -44_000:].max() > 1e-4


def test_no_sample_is_pushed_over_full_scale(mark: AudioSeal) -> None:
    sound = np.clip(4 * noise(2.0), -1.0, 1.0)

    marked = mark.embed(sound, SAMPLE_RATE, payload=7, key=KEY)

    assert np.abs(marked).max() <= 1.0
    assert np.mean(marked != sound) > 0.7


@pytest.mark.parametrize("samples", [0, 1, 700, 32_000, 32_001, 47_999, 48_000, 64_080])
def test_any_length_can_be_marked_and_heard(mark: AudioSeal, samples: int) -> None:
    sound = noise(5.0)[:, :samples]

    marked = mark.embed(sound, SAMPLE_RATE, payload=7, key=KEY)
    found = mark.heard(marked, SAMPLE_RATE)

    assert marked.shape == sound.shape
    assert (found.windows > 0) == (samples > 0)


# Listening ---------------------------------------------------------------------------


def test_a_window_is_heard_as_the_packages_detector_hears_it(eager: AudioSeal) -> None:
    sound = noise(2.0)
    network = tiny_network("detector", seed=1)
    network.load_state_dict(tiny_tensors("detector", presence_bias=5.0))

    with torch.inference_mode():
        prob, bits = network.detect_watermark(torch.from_numpy(sound)[None])  # type: ignore[operator]

    found = eager.heard(sound, SAMPLE_RATE)
    assert found.presence == pytest.approx(float(prob[0]))
    assert found.bits is not None
    assert f"{found.bits:016b}" == "".join(str(int(bit)) for bit in bits[0])


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_listening_in_pieces_hears_what_listening_to_the_whole_hears(
    eager: AudioSeal, rate: int
) -> None:
    sound = noise(5.3, rate=rate, channels=2)
    whole = eager.heard(sound, rate)

    for seconds in (0.37, 5.0):
        size = int(seconds * rate)
        pieces = (sound[:, i : i + size] for i in range(0, sound.shape[1], size))
        found = eager.heard_in(pieces, rate)

        assert found.windows == whole.windows
        assert found.bits == whole.bits
        assert found.presence == pytest.approx(whole.presence, abs=1e-3)
        assert found.finding.z == pytest.approx(whole.finding.z, abs=1e-3)
        assert found.bit_logits == pytest.approx(whole.bit_logits, abs=1e-3)


def test_a_batch_writes_and_hears_what_one_at_a_time_does(folder: Path) -> None:
    one, many = (_with_batch(folder, size) for size in (1, 7))
    sound = noise(5.0, channels=2)

    marked = one.embed(sound, SAMPLE_RATE, payload=7, key=KEY)
    assert np.allclose(many.embed(sound, SAMPLE_RATE, payload=7, key=KEY), marked, atol=1e-6)
    first, second = one.heard(marked, SAMPLE_RATE), many.heard(marked, SAMPLE_RATE)
    assert first.presence == pytest.approx(second.presence, abs=1e-3)
    assert first.finding.z == pytest.approx(second.finding.z, abs=1e-4)


def _with_batch(folder: Path, size: int) -> AudioSeal:
    networks = {}
    for role in ("generator", "detector"):
        networks[role] = tiny_network(role, seed=1)
        networks[role].load_state_dict(load_file(folder / f"audioseal-{role}.safetensors"))
    return AudioSeal(
        generator=networks["generator"],
        detector=networks["detector"],
        weights_sha256="",
        batch=size,
    )


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000, 96_000])
def test_resampling_in_pieces_gives_what_resampling_the_whole_gives(rate: int) -> None:
    sound = noise(4.3, rate=rate, channels=2)
    common = gcd(SAMPLE_RATE, rate)
    whole = resample_poly(sound, SAMPLE_RATE // common, rate // common, axis=1)

    for size in (rate // 7, 3 * rate // 2):
        pieces = [sound[:, i : i + size] for i in range(0, sound.shape[1], size)]
        joined = np.concatenate(list(at_16k(pieces, rate)), axis=1)

        assert joined.shape == whole.shape
        assert np.allclose(joined, whole, atol=1e-6)


def test_the_windows_cover_every_sample_of_any_length(mark: AudioSeal) -> None:
    for samples in (31_999, 32_000, 32_001, 48_000, 50_000, 64_000, 100_001):
        found = mark.heard(noise(7.0)[:, :samples], SAMPLE_RATE)

        hops = -(-max(0, samples - WINDOW) // (WINDOW // 2))
        assert found.windows == 1 + hops


def test_a_repeated_channel_is_heard_once(mark: AudioSeal) -> None:
    sound = noise(5.0)

    one, two = mark.heard(sound, SAMPLE_RATE), mark.heard(np.repeat(sound, 2, axis=0), SAMPLE_RATE)

    assert one == two


def test_only_windows_in_which_a_mark_is_heard_speak_about_the_message() -> None:
    ones = np.full((16, WINDOW), 3.0, np.float32)
    present, absent = np.full(WINDOW, 2.0, np.float32), np.full(WINDOW, -2.0, np.float32)
    tally = Tally()
    tally.add(start=0, channel=0, log_odds=absent, bit_logits=-5 * ones)
    tally.add(start=2 * WINDOW, channel=0, log_odds=present, bit_logits=ones)

    found = tally.finding(None)

    assert found.bits == 0xFFFF
    assert found.presence == 0.5
    assert found.finding.detected
    (interval,) = found.finding.intervals
    assert (interval.start_seconds, interval.end_seconds) == (4.0, 6.0)


def test_a_mark_that_ends_inside_a_window_is_read_up_to_there() -> None:
    # Half of the window is marked; what follows the splice says the opposite, louder.
    log_odds = np.full(WINDOW, 4.0, np.float32)
    bits = np.full((16, WINDOW), 1.0, np.float32)
    log_odds[20_000:] = -4.0
    bits[:, 20_000:] = -50.0
    tally = Tally()
    tally.add(start=0, channel=0, log_odds=log_odds, bit_logits=bits)

    found = tally.finding(None)

    assert found.bits == 0xFFFF
    (interval,) = found.finding.intervals
    assert interval.end_seconds == pytest.approx(20_000 / SAMPLE_RATE, abs=FRAME / SAMPLE_RATE)


def test_without_a_mark_there_are_no_bits_and_no_claim(mark: AudioSeal) -> None:
    found = Tally().finding(None)

    assert found.bits is None
    assert not found.finding.detected
    assert found.finding.p_value == 1.0


# The null table ----------------------------------------------------------------------


def test_without_a_table_the_p_value_says_nothing(eager: AudioSeal) -> None:
    assert eager.heard(noise(3.0), SAMPLE_RATE).finding.p_value == 1.0


def test_a_calibrated_detector_gives_a_p_value_for_presence(folder: Path, tmp_path: Path) -> None:
    mark = AudioSeal.load(folder, card=read_card(folder))
    table = mark.calibrate((noise(4.0, seed=seed), SAMPLE_RATE) for seed in range(7))
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    table.write(tmp_path / NULL_NAME)

    again = AudioSeal.load(tmp_path, card=read_card(tmp_path))

    assert table.windows == 21
    found = again.heard(noise(2.0, seed=1), SAMPLE_RATE)
    assert 1 / 22 <= found.finding.p_value <= 1.0


@given(
    scores=st.lists(st.floats(-5, 5), min_size=1, max_size=50),
    low=st.floats(-6, 6),
    high=st.floats(-6, 6),
)
def test_a_higher_score_is_never_likelier_and_no_chance_is_zero(
    scores: list[float], low: float, high: float
) -> None:
    table = NullTable.measured(scores, weights_sha256="x")
    low, high = sorted((low, high))

    assert 0 < table.p_value(high, tried=1) <= table.p_value(low, tried=1) <= 1
    assert table.p_value(high, tried=3) >= table.p_value(high, tried=1)


def test_the_table_counts_windows_that_score_at_least_as_high() -> None:
    table = NullTable.measured([1.0, 2.0, 3.0, 4.0], weights_sha256="x")

    assert table.p_value(5.0, tried=1) == 1 / 5
    assert table.p_value(4.0, tried=1) == 2 / 5
    assert table.p_value(4.0, tried=2) == 4 / 5
    assert table.p_value(0.0, tried=1) == 1.0


def test_a_table_of_other_weights_is_refused(tmp_path: Path) -> None:
    NullTable.measured([1.0], weights_sha256="a" * 64).write(tmp_path / NULL_NAME)

    with pytest.raises(DetectorError, match="measured with weights"):
        NullTable.read(tmp_path / NULL_NAME, weights_sha256="b" * 64)


# Weights -----------------------------------------------------------------------------


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_another_hash_is_refused_before_a_tensor_is_read(copy: Path) -> None:
    card = read_card(copy)
    other = replace(card, detector=replace(card.detector, sha256="0" * 64))

    with pytest.raises(DetectorError, match="the card says 0000"):
        AudioSeal.load(copy, card=other)


def test_a_truncated_file_is_refused(copy: Path) -> None:
    path = copy / "audioseal-generator.safetensors"
    path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(DetectorError, match="sha256"):
        AudioSeal.load(copy, card=read_card(copy))


def test_a_missing_file_is_named(copy: Path) -> None:
    (copy / "audioseal-detector.safetensors").unlink()

    with pytest.raises(DetectorError, match="audioseal-detector"):
        AudioSeal.load(copy, card=read_card(copy))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": "other"}'])
def test_a_card_that_is_none_is_refused(copy: Path, text: str) -> None:
    (copy / CARD_NAME).write_text(text, encoding="utf-8")

    with pytest.raises(DetectorError, match=CARD_NAME):
        read_card(copy)


def test_tensors_of_another_network_are_refused(tmp_path: Path) -> None:
    good = Checkpoint(tensors=tiny_tensors("generator"), sha256="")
    with pytest.raises(DetectorError, match="not an AudioSeal detector"):
        write_weights(tmp_path, generator=good, detector=good, license="MIT", origin="")


def test_a_tensor_too_few_is_refused(tmp_path: Path) -> None:
    tensors = tiny_tensors("generator")
    del tensors["decoder.model.0.conv.conv.inner_conv.bias"]
    with pytest.raises(DetectorError, match=r"decoder\.model\.0"):
        write_weights(
            tmp_path,
            generator=Checkpoint(tensors=tensors, sha256=""),
            detector=Checkpoint(tensors=tiny_tensors("detector"), sha256=""),
            license="MIT",
            origin="",
        )


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_weights_saved_by_the_first_release_make_the_same_network(
    folder: Path, tmp_path: Path
) -> None:
    # Names without "inner_conv", convolutions split by weight norm: facebook/audioseal's files.
    from audioseal.loader import convert_state_dict_for_scriptable_model, load_state_dict

    old = {}
    for name, tensor in tiny_tensors("generator").items():
        short = name.replace(".inner_conv", "")
        if short != name and name.endswith("weight"):
            norm = tensor.flatten(1).norm(dim=1).reshape(-1, 1, 1)
            old[f"{short}_g"], old[f"{short}_v"] = norm, 3.0 * tensor
        else:
            old[short] = tensor

    write_weights(
        tmp_path,
        generator=Checkpoint(tensors=old, sha256=""),
        detector=Checkpoint(tensors=tiny_tensors("detector"), sha256=""),
        license="MIT",
        origin="",
    )

    ours = load_file(tmp_path / "audioseal-generator.safetensors")
    network = tiny_network("generator", seed=5)
    load_state_dict(network, convert_state_dict_for_scriptable_model(old))
    theirs = network.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-6) for name in ours)


def test_the_size_is_read_off_the_tensors(tmp_path: Path) -> None:
    card = write_weights(
        tmp_path,
        generator=Checkpoint(
            tensors=dict(tiny_network("generator", seed=1, lstm=2).state_dict()), sha256=""
        ),
        detector=Checkpoint(tensors=tiny_tensors("detector"), sha256=""),
        license="MIT",
        origin="",
    )

    assert (card.generator.n_filters, card.generator.dimension, card.generator.lstm) == (8, 32, 2)
    assert (card.detector.n_filters, card.detector.dimension, card.detector.lstm) == (8, 32, 0)
    assert json.loads((tmp_path / CARD_NAME).read_text())["license"] == "MIT"
    assert read_card(tmp_path) == card


def test_a_file_that_is_no_safetensors_is_refused(copy: Path) -> None:
    path = copy / "audioseal-detector.safetensors"
    torch.save({"a": torch.ones(1)}, path)
    card = read_card(copy)

    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    named = replace(card, detector=replace(card.detector, sha256=sha256))
    with pytest.raises(DetectorError, match="not a safetensors file"):
        AudioSeal.load(copy, card=named)

    save_file({"a": torch.ones(1)}, path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    named = replace(card, detector=replace(card.detector, sha256=sha256))
    with pytest.raises(DetectorError, match="not those of an AudioSeal detector"):
        AudioSeal.load(copy, card=named)
