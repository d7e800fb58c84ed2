"""How do codes become sound and sound codes, by the EnCodec inside a MusicGen checkpoint?

A mono codec codes the channels of a stereo model one by one; their codebooks alternate.

Piece by piece, a decoder that sees a few frames to either side of a piece says what it says
of the whole, but for its LSTM, which remembers everything before: so the LSTM goes on from
where it stopped, and the layers around it see as far as they reach. The pieces are the whole
decode, to rounding.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from safegen.audio import Audio, resample

_RESNET: Final = "EncodecResnetBlock"
_LSTM: Final = "EncodecLSTM"


class EncodecSound:
    """The codec of a checkpoint.

    Args:
        model: A loaded ``EncodecModel`` that codes one frame of any length, not normalized.
        channels: Of the sound.
    """

    def __init__(self, model: Any, *, channels: int) -> None:
        self.model, self.channels = model, channels
        self.sample_rate = int(model.config.sampling_rate)
        self.hop: int = math.prod(model.config.upsampling_ratios)

    def frames(self, seconds: float) -> int:
        """Tell how many frames a length takes."""
        return math.ceil(self.samples(seconds) / self.hop)

    def samples(self, seconds: float) -> int:
        """Tell how many samples a length has."""
        return round(seconds * self.sample_rate)

    def encode(self, audio: Audio) -> Tensor:
        """Code the whole frames of a sound, shape (codebooks, frames)."""
        waveform = resample(audio, self.sample_rate).waveform
        if len(waveform) != self.channels:
            waveform = np.tile(waveform.mean(axis=0), (self.channels, 1))
        waveform = waveform[:, : waveform.shape[1] // self.hop * self.hop]
        sound = torch.from_numpy(np.ascontiguousarray(waveform)).to(self.model.device)
        codes = [self.model.encode(one[None, None]).audio_codes[0, 0] for one in sound]
        return torch.stack(codes, dim=1).flatten(0, 1).cpu()

    def decode(self, codes: Tensor) -> Audio:
        """Turn codes, shape (codebooks, frames), into sound of as many frames."""
        sound = [
            self.model.decode(codes[None, None, channel :: self.channels], [None]).audio_values[0]
            for channel in range(self.channels)
        ]
        return self._audio(torch.cat(sound))

    def pieces(self) -> SoundPieces:
        """Begin to decode a clip piece by piece."""
        return SoundPieces(self)

    def _audio(self, sound: Tensor) -> Audio:
        waveform = sound.float().clamp(-1.0, 1.0).cpu().numpy()
        return Audio(waveform=np.ascontiguousarray(waveform), sample_rate=self.sample_rate)


class SoundPieces:
    """A clip that is decoded while its codes are still being drawn.

    Args:
        sound: The codec.
    """

    def __init__(self, sound: EncodecSound) -> None:
        self._sound = sound
        layers = list(sound.model.decoder.layers)
        at = next(n for n, layer in enumerate(layers) if type(layer).__name__ == _LSTM)
        self._before, self._lstm, self._after = layers[:at], layers[at].lstm, layers[at + 1 :]
        self._reach_before, self._reach_after = _reach(self._before), _reach(self._after)
        self._memory: list[Any] = [None] * sound.channels
        self._remembered: list[Tensor | None] = [None] * sound.channels
        self._told = 0
        self._done = 0

    def audio(self, codes: Tensor, *, is_end: bool) -> Audio | None:
        """Decode what has become certain.

        Args:
            codes: All codes so far, shape (codebooks, frames).
            is_end: Whether no more follow.

        Returns:
            The sound that follows what was given before; None while none is certain.
        """
        frames = codes.shape[1]
        told = frames if is_end else frames - self._reach_before
        done = frames if is_end else told - self._reach_after
        if done <= self._done:
            return None
        sound = [
            self._channel(number, codes[number :: self._sound.channels], told, done)
            for number in range(self._sound.channels)
        ]
        self._told, self._done = told, done
        return self._sound._audio(torch.cat(sound))

    def _channel(self, number: int, codes: Tensor, told: int, done: int) -> Tensor:
        """Decode the frames from those done before to ``done`` of one channel."""
        first = max(0, self._told - self._reach_before)
        states = self._sound.model.quantizer.decode(codes[:, None, first:])
        for layer in self._before:
            states = layer(states)
        states = states[..., self._told - first : told - first].permute(2, 0, 1)
        heard, self._memory[number] = self._lstm(states, self._memory[number])
        heard = heard + states
        before = self._remembered[number]
        heard = heard if before is None else torch.cat([before, heard])
        start = told - len(heard)
        self._remembered[number] = heard[max(0, done - self._reach_after - start) :]
        found = heard.permute(1, 2, 0)
        for layer in self._after:
            found = layer(found)
        hop = self._sound.hop
        return found[0, :, (self._done - start) * hop : (done - start) * hop]


def _reach(layers: list[Any]) -> int:
    """Tell how many frames to either side a row of layers sees, rounded up."""
    reach, steps = 0.0, 1.0
    for layer in layers:
        parts = [*layer.block, layer.shortcut] if type(layer).__name__ == _RESNET else [layer]
        for part in parts:
            conv = getattr(part, "conv", None)
            if isinstance(conv, torch.nn.ConvTranspose1d):
                reach += (conv.kernel_size[0] / conv.stride[0] - 1) / steps
                steps *= conv.stride[0]
            elif conv is not None:
                span = (conv.kernel_size[0] - 1) * conv.dilation[0]
                reach += (span if part.causal else math.ceil(span / 2)) / steps
    return math.ceil(reach)
