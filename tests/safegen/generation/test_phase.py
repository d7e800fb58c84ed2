"""A waveform is found that goes on from what was played."""

import pytest
import torch

from safegen.generation.codec import HOP, N_FFT, griffin_lim
from safegen.generation.phase import continue_phase


def magnitudes(waveform: torch.Tensor) -> torch.Tensor:
    window = torch.hann_window(N_FFT)
    return torch.stft(
        waveform, N_FFT, HOP, window=window, return_complex=True, pad_mode="constant"
    ).abs()


def sound(seed: int = 0) -> torch.Tensor:
    times = torch.arange(20 * HOP) / 32_000
    noise = torch.randn(20 * HOP, generator=torch.Generator().manual_seed(seed))
    return 0.3 * torch.sin(2 * torch.pi * 440 * times) + 0.01 * noise


def test_with_nothing_known_it_is_the_search_of_the_whole() -> None:
    wanted = magnitudes(sound())
    again = torch.cat([wanted, wanted[:, -1:]], dim=1)  # As ``griffin_lim`` does.
    found = continue_phase(again, torch.zeros(0), torch.zeros(0))
    whole = griffin_lim(wanted, 21 * HOP)

    assert found.shape == (21 * HOP,)
    torch.testing.assert_close(found, whole, rtol=0.0, atol=2e-2)


def test_what_was_played_goes_on_at_the_wanted_magnitudes() -> None:
    whole = sound()
    wanted = magnitudes(whole)
    found = continue_phase(wanted, whole[: 8 * HOP], whole[8 * HOP : 10 * HOP])
    missed = (magnitudes(found) - wanted).norm() / wanted.norm()

    assert found.shape == whole.shape
    assert float(missed) < 0.1


@pytest.mark.parametrize("frames", [2, 3])
def test_few_frames_are_enough(frames: int) -> None:
    found = continue_phase(torch.ones(N_FFT // 2 + 1, frames), torch.zeros(0), torch.zeros(0))

    assert found.shape == ((frames - 1) * HOP,)
    assert torch.isfinite(found).all()


def test_silence_stays_silent() -> None:
    found = continue_phase(torch.zeros(N_FFT // 2 + 1, 10), torch.zeros(HOP), torch.zeros(HOP))

    assert not found.any()
