import json
from importlib import resources

import numpy as np
import numpy.typing as npt
import pytest
import torch

from detectors.errors import DetectorError
from detectors.synthetic import generic
from detectors.synthetic.generic import (
    ALL_BANDS,
    MAPS,
    SAMPLE_RATE,
    WINDOW_SAMPLES,
    Generic,
    Network,
    maps,
    pack,
    parse,
)


def debug_model() -> Generic:
    torch.manual_seed(1)
    return parse(pack([Network(), Network()], {"purpose": "debug"}))


def noises(count: int) -> npt.NDArray[np.float32]:
    dice = np.random.default_rng(0)
    return dice.normal(scale=0.1, size=(count, WINDOW_SAMPLES)).astype(np.float32)


def test_every_window_gets_a_finite_score() -> None:
    scores = debug_model().logits(noises(3))

    assert scores.shape == (3,)
    assert scores.dtype == np.float64
    assert np.isfinite(scores).all()


def test_a_window_scores_the_same_alone_and_in_company() -> None:
    model, windows = debug_model(), noises(3)

    assert model.logits(windows[1:2])[0] == pytest.approx(model.logits(windows)[1], abs=1e-4)


@pytest.mark.parametrize("gain", [0.001, -1.0, 8.0])
def test_level_and_polarity_do_not_matter(gain: float) -> None:
    model, windows = debug_model(), noises(2)
    louder = windows * np.float32(gain)

    before, after = (maps(torch.from_numpy(sound)) for sound in (windows, louder))

    assert float((before - after).abs().mean()) < 1e-3
    assert model.logits(louder) == pytest.approx(model.logits(windows), abs=1e-2)


def test_silence_and_no_window_at_all_are_no_trouble() -> None:
    model = debug_model()

    assert np.isfinite(model.logits(np.zeros((1, WINDOW_SAMPLES), np.float32))).all()
    assert model.logits(np.zeros((0, WINDOW_SAMPLES), np.float32)).shape == (0,)


@pytest.mark.parametrize(
    "windows",
    [np.zeros(WINDOW_SAMPLES, np.float32), np.zeros((1, 1000), np.float32)],
    ids=["one dimension", "too short"],
)
def test_windows_of_another_shape_are_refused(windows: npt.NDArray[np.float32]) -> None:
    with pytest.raises(ValueError, match="expected"):
        debug_model().logits(windows)


def test_a_window_that_is_not_finite_is_refused() -> None:
    windows = noises(1)
    windows[0, 5] = np.nan

    with pytest.raises(ValueError, match="not finite"):
        debug_model().logits(windows)


def test_a_steady_tone_turns_evenly_and_stands_out_and_noise_does_not() -> None:
    band = 20
    time = np.arange(WINDOW_SAMPLES) / SAMPLE_RATE
    tone = np.sin(2 * np.pi * (band + 0.5) * 125 * time).astype(np.float32)

    of_tone, of_noise = maps(torch.from_numpy(np.stack([tone, noises(1)[0]])))[:, :, :, band]

    assert of_tone.shape[0] == MAPS
    assert float(of_tone[0].mean()) > float(of_noise[0].mean())
    assert float(of_tone[1].mean()) < float(of_noise[1].mean()) - 0.5
    assert float(of_tone[2].mean()) > 0.95
    assert float(of_noise[2].mean()) < 0.7


def test_an_equalizer_changes_nothing_but_the_level() -> None:
    windows = torch.from_numpy(noises(1))
    spectrum = torch.fft.rfft(windows)
    tilt = torch.linspace(1.0, 0.2, spectrum.shape[1])
    tilted = torch.fft.irfft(spectrum * tilt, n=WINDOW_SAMPLES)

    before, after = maps(windows), maps(tilted)

    assert before.shape[-1] == ALL_BANDS
    assert float((before - after)[:, 1:].abs().mean()) < 0.02
    assert float((before - after)[:, 0].abs().mean()) > 0.1


def test_weights_carry_their_card_and_keep_their_bytes() -> None:
    torch.manual_seed(1)
    network = Network()

    data = pack([network], {"seeds": [1]})

    assert data == pack([network], {"seeds": [1]})
    assert parse(data).card == {"seeds": [1]}
    assert len(data) < 300_000


@pytest.mark.parametrize(
    "data",
    [b"", b"not weights at all", pack([], {})],
    ids=["empty", "other bytes", "no network"],
)
def test_bytes_that_are_no_weights_are_refused(data: bytes) -> None:
    with pytest.raises(DetectorError):
        parse(data)


def test_weights_that_are_not_the_pinned_ones_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(generic, "WEIGHTS", "watermark-tail.json")
    generic.load.cache_clear()

    with pytest.raises(DetectorError, match="sha256"):
        generic.load()

    generic.load.cache_clear()


def test_a_data_card_is_json_with_its_keys_in_order() -> None:
    data = pack([Network()], {"b": 1, "a": 2})
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])

    assert header["__metadata__"]["card"] == '{"a": 2, "b": 1}'


def test_the_shipped_networks_are_small_and_tell_what_they_learned_from() -> None:
    shipped = generic.load()
    path = resources.files("detectors") / "weights" / generic.WEIGHTS
    licenses = {name for row in shipped.card["clips"].values() for name in row["licenses"]}

    assert len(path.read_bytes()) <= 500_000
    assert generic.load() is shipped
    assert {"left out", "variants", "seeds", "steps"} <= set(shipped.card)
    assert not any("AGPL" in name or name.startswith("GPL-2") for name in licenses)
    assert "hifigan" not in shipped.card["clips"]
