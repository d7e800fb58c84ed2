"""What callers hand over as sound: arrays and tensors of any kind, one or many."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from safegen.audio import load
from safegen.errors import InputError
from safegen.gate import Gate
from safegen.waveforms import as_audio, as_audios
from tests.safegen.conftest import tones

MONO = np.linspace(-0.5, 0.5, 1000, dtype=np.float32)
STEREO = np.stack([MONO, -MONO])

GOOD: dict[str, tuple[Any, tuple[int, int], float]] = {
    "one axis": (MONO, (1, 1000), 0.0),
    "two axes": (STEREO, (2, 1000), 0.0),
    "float64": (STEREO.astype(np.float64), (2, 1000), 0.0),
    "float16": (MONO.astype(np.float16), (1, 1000), 1e-3),
    "big-endian": (MONO.astype(">f4"), (1, 1000), 0.0),
    "a list": (MONO.tolist(), (1, 1000), 0.0),
    "a view with strides": (np.repeat(MONO, 2)[::2], (1, 1000), 0.0),
    "tensor": (torch.from_numpy(STEREO), (2, 1000), 0.0),
    "tensor with a gradient": (torch.tensor(MONO, requires_grad=True) * 1, (1, 1000), 0.0),
    "half tensor": (torch.from_numpy(MONO).half(), (1, 1000), 1e-3),
    "bfloat16 tensor": (torch.from_numpy(MONO).bfloat16()[None], (1, 1000), 5e-3),
    "tensor made in inference mode": (torch.inference_mode()(torch.tensor)(MONO), (1, 1000), 0.0),
    "transposed tensor": (torch.from_numpy(STEREO.T.copy()).T, (2, 1000), 0.0),
}


@pytest.mark.parametrize(("given", "shape", "error"), GOOD.values(), ids=GOOD)
def test_arrays_and_tensors_become_sound(given: Any, shape: tuple[int, int], error: float) -> None:
    audio = as_audio(given, 32_000)

    assert audio.waveform.dtype == np.float32
    assert audio.waveform.shape == shape
    assert np.abs(audio.waveform[0] - MONO).max() <= error


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_tensor_on_a_gpu_becomes_sound() -> None:
    audio = as_audio(torch.from_numpy(STEREO).cuda().half(), 32_000)

    assert np.abs(audio.waveform - STEREO).max() < 1e-3


def test_the_callers_numbers_are_not_shared() -> None:
    mine = MONO.copy()
    audio = as_audio(mine, 32_000)
    audio.waveform[:] = 0.0

    assert np.array_equal(mine, MONO)


BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "a batch": (lambda: STEREO[None], r"three axes.*\n.*release_batch"),
    "no axis": (lambda: np.float32(0.1), "is no sound"),
    "four axes": (lambda: np.zeros((1, 1, 1, 9), np.float32), "is no sound"),
    "channels last": (lambda: STEREO.T, r"1000 channels of 2 samples\n.*waveform\.T"),
    "sixteen bits": (lambda: (MONO * 32767).astype(np.int16), r"int16.*\n.*32768"),
    "a tensor of integers": (lambda: torch.arange(9), "int64"),
    "sixteen bits as floats": (lambda: MONO * 32767, r"loudest sample is 16383\.5"),
    "complex": (lambda: MONO.astype(np.complex64), "complex64"),
    "words": (lambda: ["a", "b"], "not floats"),
    "nothing": (lambda: None, "not floats"),
    "rows of different lengths": (lambda: [[0.1, 0.2], [0.3]], "no row of numbers"),
    "NaN": (lambda: np.array([0.1, np.nan]), "1 samples are NaN"),
    "no sample": (lambda: np.zeros((1, 0)), "0 samples"),
    "no channel": (lambda: np.zeros((0, 9)), "0 channels"),
    "a sparse tensor": (lambda: torch.from_numpy(STEREO).to_sparse(), "dense"),
}


@pytest.mark.parametrize(("given", "says"), BAD.values(), ids=BAD)
def test_what_is_not_one_sound_is_refused_with_a_remedy(
    given: Callable[[], Any], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        as_audio(given(), 32_000)


@pytest.mark.parametrize("rate", [44_100.5, True, float("nan"), float("inf"), 0, -1, 10**9])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(InputError, match="sample rate"):
        as_audio(MONO, rate)


def test_a_batch_may_be_one_tensor_or_sounds_of_any_length() -> None:
    whole = as_audios(torch.from_numpy(np.stack([STEREO, STEREO])), 32_000)
    mixed = as_audios([MONO, torch.from_numpy(STEREO[:, :10])], 32_000)

    assert [each.waveform.shape for each in whole] == [(2, 1000), (2, 1000)]
    assert [each.waveform.shape for each in mixed] == [(1, 1000), (2, 10)]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (STEREO, "2 axes are no batch"),
        (np.zeros((0, 1, 9), np.float32), "the batch is empty"),
        ([], "the batch is empty"),
        ([MONO, np.array([np.nan])], r"waveforms\[1\]: 1 samples are NaN"),
    ],
    ids=["two axes", "no item", "an empty list", "NaN in one"],
)
def test_what_is_no_batch_is_refused(given: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        as_audios(given, 32_000)


@pytest.fixture
def gate(home: Path) -> Iterator[Gate]:
    gate = Gate.open(home)
    yield gate
    gate.close()


def test_one_refused_item_of_a_batch_does_not_stop_the_others(gate: Gate, tmp_path: Path) -> None:
    first, last = tones(1), tones(2)
    silence = np.zeros_like(first.waveform)
    batch = torch.from_numpy(np.stack([first.waveform, silence, last.waveform]))

    releases = gate.release_batch(
        batch, first.sample_rate, out=tmp_path / "out", generator="Tones", prompts=["a", None, "b"]
    )

    assert [each.is_released for each in releases] == [True, False, True]
    assert len(list((tmp_path / "out").glob("*.wav"))) == 2
    assert releases[1].judgement.decision.reasons
    assert releases[0].item.prompt_commitment
    assert not releases[1].item.prompt_commitment


def test_a_batch_with_a_bad_item_is_refused_before_anything_is_logged(
    gate: Gate, tmp_path: Path
) -> None:
    for sounds, prompts in (([MONO, MONO * np.nan], None), ([MONO, MONO], ["one"])):
        with pytest.raises(InputError):
            gate.release_batch(
                sounds, 32_000, out=tmp_path / "out", generator="Tones", prompts=prompts
            )

    with gate.database.read() as session:
        assert gate.log.size(session) == 0
    assert not (tmp_path / "out").exists()


def test_a_tensor_is_released_as_the_sound_it_holds(gate: Gate, tmp_path: Path) -> None:
    audio = tones(3)
    tensor = torch.tensor(audio.waveform[0], requires_grad=True)

    release = gate.release(tensor, audio.sample_rate, out=tmp_path, generator="Tones")

    assert release.finished is not None
    assert load(release.finished.path).waveform.shape == audio.waveform.shape
