"""How does sound become tokens and latents, and come back?

A vector-quantized autoencoder over log-mel spectrograms. Two mel frames of 20 ms make
one latent of 40 ms; four residual codebooks name it, and the decoder also accepts
latents that were never quantized, so one codec serves token models and diffusion
models. Magnitudes come back through the pseudo-inverse of the mel filters, phase
through fast Griffin-Lim from a fixed start: the same latents give the same samples.

``Codec.decode`` is the only way from latents to sound, and it writes the decoder's mark
(``detectors.decoder_mark``) into the log-mel frames, so there is no unmarked sound to
be had from a shipped model. Training sees ``decode_mel``, which is before the mark.

Loudness is normalized before encoding, because a gain change of 6 dB would otherwise
rewrite nearly every token.

Source: residual VQ with EMA codebooks, k-means start and dead-code restart as in
Zeghidour et al., SoundStream (2021), section III-C; fast Griffin-Lim from Perraudin,
Balazs and Søndergaard (2013), algorithm 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from detectors import decoder_mark
from safegen.audio import Audio, resample
from safegen.errors import InputError

SAMPLE_RATE: Final = 32_000
N_FFT: Final = 2048
HOP: Final = 640
MELS: Final = 160
STACK: Final = 2
FRAME_RATE: Final = SAMPLE_RATE / HOP / STACK
SAMPLES_PER_FRAME: Final = HOP * STACK
FLOOR: Final = 1e-2
LOUDNESS_RMS: Final = 0.1
GRIFFIN_LIM_ITERATIONS: Final = 32
GRIFFIN_LIM_MOMENTUM: Final = 0.99


@dataclass(frozen=True, slots=True, kw_only=True)
class CodecConfig:
    """Sizes of a codec.

    Attributes:
        width: Channels inside encoder and decoder.
        encoder_blocks: Residual blocks before the latent.
        decoder_blocks: Residual blocks after the latent.
        latent: Dimensions of a latent frame.
        codebooks: Residual codebooks.
        codes: Entries of each codebook.
    """

    width: int = 256
    encoder_blocks: int = 3
    decoder_blocks: int = 5
    latent: int = 64
    codebooks: int = 4
    codes: int = 1024


class LogMel(nn.Module):
    """Log-magnitude mel frames, and the magnitudes back from them.

    The scale is log10 of mel magnitude, floored at ``FLOOR``, shifted to zero mean on
    music at ``LOUDNESS_RMS``.
    """

    filters: Tensor
    inverse: Tensor
    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        filters = _mel_filters()
        self.register_buffer("filters", torch.from_numpy(filters).float(), persistent=False)
        # The filters are independent rows, so this is their pseudo-inverse.
        inverse = filters.T @ np.linalg.inv(filters @ filters.T)
        self.register_buffer("inverse", torch.from_numpy(inverse).float(), persistent=False)
        self.register_buffer("window", torch.hann_window(N_FFT), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Analyze sound.

        Args:
            waveform: Shape (b, samples), at ``SAMPLE_RATE``.

        Returns:
            Shape (b, samples // HOP, MELS).
        """
        spectrum = torch.stft(
            waveform, N_FFT, HOP, window=self.window, return_complex=True, pad_mode="constant"
        )
        mel = self.filters @ spectrum.abs()[..., : waveform.shape[-1] // HOP]
        return mel.clamp_min(FLOOR).log10().transpose(1, 2)

    def magnitudes(self, log_mel: Tensor) -> Tensor:
        """Spread mel energies over the STFT bins.

        Args:
            log_mel: Shape (b, t, MELS).

        Returns:
            Shape (b, N_FFT // 2 + 1, t), >= 0.
        """
        mel = (10.0**log_mel - FLOOR).clamp_min(0.0).transpose(1, 2)
        # The pseudo-inverse overshoots below zero; three multiplicative updates of the
        # non-negative least squares problem (Lee and Seung, 2001) take the ripple out.
        x = (self.inverse @ mel).clamp_min(1e-4)
        target = self.filters.T @ mel
        for _ in range(3):
            x = x * target / (self.filters.T @ (self.filters @ x)).clamp_min(1e-6)
        return x


class Block(nn.Module):
    """Depthwise convolution over time, then a two-layer perceptron, both residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Transform frames of shape (b, t, width)."""
        y = self.mix(x.transpose(1, 2)).transpose(1, 2)
        change: Tensor = self.down(F.gelu(self.up(self.norm(y))))
        return x + change


class Quantizer(nn.Module):
    """Residual vector quantization; the codebooks follow the data, not a gradient."""

    codebook: Tensor

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        shape = (config.codebooks, config.codes, config.latent)
        self.register_buffer("codebook", torch.zeros(shape))

    def encode(self, z: Tensor) -> Tensor:
        """Name latents of shape (..., latent) by codes of shape (..., codebooks); ties go low."""
        residual = z.reshape(-1, z.shape[-1])
        codes = []
        for book in self.codebook:
            index = nearest(residual, book)
            residual = residual - book[index]
            codes.append(index)
        return torch.stack(codes, dim=-1).reshape(*z.shape[:-1], len(codes))

    def decode(self, codes: Tensor) -> Tensor:
        """Sum the entries named by codes of shape (..., n), n codebooks from the first on."""
        books = self.codebook[: codes.shape[-1]]
        parts = [book[codes[..., i]] for i, book in enumerate(books)]
        return torch.stack(parts).sum(dim=0)


class Codec(nn.Module):
    """Sound to latents and codes, and back."""

    mean: Tensor
    scale: Tensor

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        self.log_mel = LogMel()
        self.quantizer = Quantizer(config)
        patch = STACK * MELS
        self.inlet = nn.Linear(patch, config.width)
        self.encoder = nn.Sequential(*(Block(config.width) for _ in range(config.encoder_blocks)))
        self.to_latent = nn.Linear(config.width, config.latent)
        self.from_latent = nn.Linear(config.latent, config.width)
        self.decoder = nn.Sequential(*(Block(config.width) for _ in range(config.decoder_blocks)))
        self.outlet = nn.Linear(config.width, patch)
        # Per-bin mean of log-mel, so that the networks see centered input.
        self.register_buffer("mean", torch.full((MELS,), -0.5))
        self.register_buffer("scale", torch.ones(()))

    def encode_mel(self, log_mel: Tensor) -> Tensor:
        """Turn log-mel frames of shape (b, 2t, MELS) into latents of shape (b, t, latent).

        Every latent frame has zero mean and unit variance over its dimensions, so that
        the noise of training means the same everywhere.
        """
        b, t, _ = log_mel.shape
        x = ((log_mel - self.mean) / self.scale).reshape(b, t // STACK, STACK * MELS)
        z = self.to_latent(self.encoder(self.inlet(x)))
        return F.layer_norm(z, (self.config.latent,))

    def decode_mel(self, z: Tensor) -> Tensor:
        """Turn latents of shape (b, t, latent) into log-mel frames of shape (b, 2t, MELS)."""
        b, t, _ = z.shape
        x: Tensor = self.outlet(self.decoder(self.from_latent(z)))
        return x.reshape(b, t * STACK, MELS) * self.scale + self.mean

    def encode(self, audio: Audio) -> npt.NDArray[np.int16]:
        """Name a sound by its codes.

        Args:
            audio: Any rate and channel count; mixed to mono, resampled and brought to
                ``LOUDNESS_RMS`` first.

        Returns:
            Shape (codebooks, frames), one frame per 40 ms, in [0, codes).

        Raises:
            InputError: If the sound is shorter than one frame.
        """
        with torch.inference_mode():
            codes = self.quantizer.encode(self.latents(audio))
        return np.asarray(codes[0].T.numpy(), dtype=np.int16)

    def latents(self, audio: Audio) -> Tensor:
        """Encode a sound without quantizing; shape (1, frames, latent).

        Raises:
            InputError: If the sound is shorter than one frame.
        """
        mono = torch.from_numpy(resample(audio, SAMPLE_RATE).mono())
        frames = mono.shape[0] // SAMPLES_PER_FRAME
        if frames == 0:
            raise InputError(
                f"{audio.seconds:.3f} s is shorter than one codec frame of "
                f"{SAMPLES_PER_FRAME / SAMPLE_RATE:g} s",
                remedy="Give a longer sound.",
            )
        mono = mono[: frames * SAMPLES_PER_FRAME]
        rms = mono.double().square().mean().sqrt().float()
        mono = mono * (LOUDNESS_RMS / rms.clamp_min(1e-6))
        with torch.inference_mode():
            return self.encode_mel(self.log_mel(mono[None]))

    def decode(self, z: Tensor) -> Audio:
        """Make the sound of latents of shape (t, latent): t * 40 ms, mono, 32 kHz, marked."""
        with torch.inference_mode():
            waveform = self.unlimited(z)
            peak = waveform.abs().max()
            waveform = waveform * (0.98 / peak.clamp_min(0.98))
        return Audio(waveform=waveform[None].numpy(), sample_rate=SAMPLE_RATE)

    def unlimited(self, z: Tensor) -> Tensor:
        """Make the same sound at its own loudness: shape (samples,), peaks may pass 1."""
        magnitudes = self.marked_magnitudes(z, part=range(z.shape[0]), position=0)
        return griffin_lim(magnitudes, z.shape[0] * SAMPLES_PER_FRAME)

    def marked_magnitudes(self, z: Tensor, *, part: range, position: int) -> Tensor:
        """Make the spectrogram of a part of a sound, with the decoder's mark at its place.

        Args:
            z: Latents of shape (t, latent): the part, and what is known around it.
            part: Which latents of ``z`` are wanted. The decoder looks 15 latents to either
                side (three for each block), so with that many around it a part is the same
                alone and in the whole.
            position: Where ``part`` begins in the whole sound, in latents.

        Returns:
            Shape (N_FFT // 2 + 1, STACK * len(part)), >= 0.
        """
        # The pattern repeats, so a part deep inside a long sound needs no more of it.
        skipped = STACK * position % decoder_mark.PERIOD_FRAMES
        mark = decoder_mark.bias(skipped + STACK * len(part))[skipped:]
        log_mel = self.decode_mel(z[None])[:, STACK * part.start : STACK * part.stop]
        return self.log_mel.magnitudes(log_mel + torch.from_numpy(mark))[0]

    def decode_codes(self, codes: npt.NDArray[np.int16]) -> Audio:
        """Make the sound of codes of shape (codebooks, t)."""
        index = torch.from_numpy(codes.astype(np.int64).T.copy())
        with torch.inference_mode():
            return self.decode(self.quantizer.decode(index))


def griffin_lim(magnitudes: Tensor, samples: int) -> Tensor:
    """Find a waveform with these STFT magnitudes, starting from zero phase.

    Args:
        magnitudes: Shape (N_FFT // 2 + 1, t), >= 0.
        samples: Length of the result, at most t * HOP.

    Returns:
        Shape (samples,). Bit-equal between calls.

    Cost: about 0.04 s of one core per second of sound.
    """
    window = torch.hann_window(N_FFT)
    # One frame more than the mel has, so that the inverse covers the last samples.
    magnitudes = torch.cat([magnitudes, magnitudes[:, -1:]], dim=1)
    length = (magnitudes.shape[1] - 1) * HOP
    phase = torch.ones_like(magnitudes, dtype=torch.complex64)
    previous = torch.zeros_like(phase)
    momentum = GRIFFIN_LIM_MOMENTUM / (1 + GRIFFIN_LIM_MOMENTUM)
    for _ in range(GRIFFIN_LIM_ITERATIONS):
        waveform = torch.istft(magnitudes * phase, N_FFT, HOP, window=window, length=length)
        rebuilt = torch.stft(
            waveform, N_FFT, HOP, window=window, return_complex=True, pad_mode="constant"
        )
        phase = rebuilt - momentum * previous
        phase = phase / phase.abs().clamp_min(1e-12)
        previous = rebuilt
    waveform = torch.istft(magnitudes * phase, N_FFT, HOP, window=window, length=length)
    return waveform[:samples]


def _mel_filters() -> npt.NDArray[np.float64]:
    """Build triangular filters on the HTK mel scale from 0 Hz to Nyquist, peak 1.

    Returns:
        Shape (MELS, N_FFT // 2 + 1).
    """
    nyquist = SAMPLE_RATE / 2
    top = 2595.0 * np.log10(1.0 + nyquist / 700.0)
    edges = 700.0 * (10.0 ** (np.linspace(0.0, top, MELS + 2) / 2595.0) - 1.0)
    bins = np.linspace(0.0, nyquist, N_FFT // 2 + 1)[None]
    low, center, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising = (bins - low) / (center - low)
    falling = (high - bins) / (high - center)
    return np.asarray(np.maximum(0.0, np.minimum(rising, falling)))


def nearest(x: Tensor, book: Tensor) -> Tensor:
    """Index of the closest entry for rows of shape (n, d) in a book of shape (k, d)."""
    distance = book.square().sum(dim=1) - 2.0 * x @ book.T
    return distance.argmin(dim=1)
