"""How does sound come out of the codec while what it is decoded from still arrives?

``StreamDecoder`` reads a codec file, ``LatentStream`` the latents of a row that generates.
Latents wait until the decoder has seen the 15 after them, so the spectrogram of a part is
that of the whole file, and the phase of each second is found with what was played before
held fixed and 160 ms of what comes next thrown away and found again. Less than three
seconds are kept, however long the file is, and the same bytes give the same samples in
pieces of any size.

What comes out carries the decoder's mark at the places where the whole sound has it. It
has not been through the gate: nothing judged it, nobody signed it.

Source: an estimate per chunk that keeps its past and looks ahead, as in Zhu, Beauregard
and Wyse, "Real-time signal estimation from modified short-time Fourier transform
magnitude spectra" (2007), section III; here over chunks of a second with the fast
Griffin-Lim of ``safegen.generation.phase``.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor

from safegen.audio import Audio, Waveform
from safegen.errors import InputError, IntegrityError
from safegen.generation.bitstream import BLOCK_FRAMES, Codes, Head, Reader
from safegen.generation.codec import HOP, SAMPLE_RATE, STACK, Codec
from safegen.generation.loudness import Limiter
from safegen.generation.phase import continue_phase
from safegen.generation.stages import one_thread

LOOKAHEAD_HOPS: Final = 8
CONTEXT_HOPS: Final = 4
STEP_HOPS: Final = STACK * BLOCK_FRAMES
REACH: Final = 3
"""Frames that a convolution of the codec sees to either side."""


class StreamDecoder:
    """Takes a codec file in pieces of any size and gives sound as soon as it can.

    The first sound comes with the first second of codes, 0.24 s long, then a second with
    each second; the last piece comes from ``finish``. All pieces together have the length
    that the head says.

    Args:
        codec: The codec.
        codec_id: Names its weights.

    Cost: about 0.05 s of one core for a second of sound.
    """

    def __init__(self, codec: Codec, *, codec_id: bytes) -> None:
        self._codec, self._codec_id = codec, codec_id
        self._reader = Reader()
        self._sound: LatentStream | None = None

    @property
    def head(self) -> Head | None:
        """What the file says about itself, None until that has arrived."""
        return self._reader.head

    def feed(self, data: bytes) -> Audio | None:
        """Take the next bytes.

        Returns:
            The sound that became ready, mono, 32 kHz, or None.

        Raises:
            InputError: If this is no such file, or one of another codec.
            IntegrityError: If it is damaged here. What was given before is good.
        """
        codes = self._reader.feed(data)
        head = self._reader.head
        if head is None:
            return None
        refuse_other(head, self._codec_id)
        if self._sound is None:
            self._sound = LatentStream(self._codec, samples=head.samples, gain=head.gain)
        if codes is None:
            return None
        # Block by block, so that the size of the pieces does not show in the sound.
        blocks = range(0, codes.shape[1], BLOCK_FRAMES)
        parts = [
            self._sound.feed(latents_of(codes[:, first : first + BLOCK_FRAMES], self._codec))
            for first in blocks
        ]
        return _some(np.concatenate(parts))

    def finish(self) -> Audio | None:
        """Say that the file has ended, and take what is left of the sound.

        Raises:
            InputError: If there were no bytes.
            IntegrityError: If the file was cut.
        """
        self._reader.finish()
        return None if self._sound is None else _some(self._sound.finish())


class LatentStream:
    """Takes latents and gives the sound that they make certain.

    The same parts give the same samples; other parts of the same latents sound alike.

    Args:
        codec: The codec.
        samples: Length of the whole; what the last latent makes beyond it is cut off.
        gain: What the decoded sound is multiplied by, before peaks are turned down.
    """

    def __init__(self, codec: Codec, *, samples: int, gain: float = 1.0) -> None:
        self._codec, self._left, self._gain = codec, samples, np.float32(gain)
        self._around = REACH * codec.config.decoder_blocks
        self._z = torch.zeros(0, codec.config.latent)
        self._z_begin = 0
        self._decoded = 0
        self._phase = PhaseStream()
        self._limiter = Limiter()

    def feed(self, z: Tensor) -> Waveform:
        """Take the next latents, shape (t, latent); give shape (samples,), maybe none."""
        self._z = torch.cat([self._z, z])
        with torch.inference_mode(), one_thread():
            waveform = self._push(self._z_begin + len(self._z) - self._around)
        return self._cut(self._limiter.feed(waveform * self._gain))

    def finish(self) -> Waveform:
        """Say that there are no more, and take the rest; shape (samples,)."""
        with torch.inference_mode(), one_thread():
            rest = [self._push(self._z_begin + len(self._z)), self._phase.finish().numpy()]
        loud = self._limiter.feed(np.concatenate(rest) * self._gain)
        return self._cut(np.concatenate([loud, self._limiter.finish()]))

    def _push(self, until: int) -> Waveform:
        """Decode the latents before ``until`` and forget those no longer looked back at."""
        if until <= self._decoded:
            return np.zeros(0, np.float32)
        begin = self._decoded - self._z_begin
        part = range(begin, until - self._z_begin)
        magnitudes = self._codec.marked_magnitudes(self._z, part=part, position=self._decoded)
        self._decoded = until
        keep = max(0, until - self._around - self._z_begin)
        self._z, self._z_begin = self._z[keep:], self._z_begin + keep
        return np.asarray(self._phase.feed(magnitudes).numpy(), dtype=np.float32)

    def _cut(self, waveform: Waveform) -> Waveform:
        part = waveform[: self._left]
        self._left -= len(part)
        return part


class PhaseStream:
    """Finds a waveform for magnitudes that come piece by piece.

    A step covers ``STEP_HOPS`` hops and ``LOOKAHEAD_HOPS`` after them, which the next step
    finds again, beginning with what this one found.
    """

    def __init__(self) -> None:
        self._waiting: Tensor | None = None
        self._past = torch.zeros(0)
        self._guess = torch.zeros(0)

    def feed(self, magnitudes: Tensor) -> Tensor:
        """Take magnitudes of shape (bins, t), t >= 1; give what is certain, shape (samples,)."""
        waiting = magnitudes if self._waiting is None else torch.cat([self._waiting, magnitudes], 1)
        self._waiting = waiting
        context = len(self._past) // HOP
        ready = waiting.shape[1] - context - LOOKAHEAD_HOPS - 1
        parts = [self._step(min(STEP_HOPS, ready - at)) for at in range(0, ready, STEP_HOPS)]
        return torch.cat(parts) if parts else torch.zeros(0)

    def finish(self) -> Tensor:
        """Give the rest; the last frame is repeated, so that its samples are covered."""
        if self._waiting is None:
            return torch.zeros(0)
        self._waiting = torch.cat([self._waiting, self._waiting[:, -1:]], dim=1)
        left = self._waiting.shape[1] - 1 - len(self._past) // HOP
        parts = []
        while left > 0:
            parts.append(self._step(min(STEP_HOPS, left)))
            left -= STEP_HOPS
        return torch.cat(parts) if parts else torch.zeros(0)

    def _step(self, hops: int) -> Tensor:
        """Find the next ``hops`` and forget what lies more than ``CONTEXT_HOPS`` back."""
        if self._waiting is None:
            return torch.zeros(0)
        context = len(self._past)
        frames = context // HOP + hops + LOOKAHEAD_HOPS + 1
        found = continue_phase(self._waiting[:, :frames], self._past, self._guess)
        new = found[context : context + hops * HOP]
        # The guess joins the past without a step, and differs little from what replaced it.
        fade = min(HOP, len(self._guess), len(new))
        rising = torch.linspace(0.0, 1.0, fade + 2)[1:-1]
        joined = self._guess[:fade] * (1.0 - rising) + new[:fade] * rising
        new = torch.cat([joined, new[fade:]])
        self._guess = found[context + hops * HOP :]
        self._past = torch.cat([self._past, new])[-CONTEXT_HOPS * HOP :]
        dropped = context // HOP + hops - len(self._past) // HOP
        self._waiting = self._waiting[:, dropped:]
        return new


def latents_of(codes: Codes, codec: Codec) -> Tensor:
    """Look codes of shape (codebooks, n) up: latents of shape (n, latent).

    Raises:
        IntegrityError: If the codec has no such code.
    """
    if codes.max() >= codec.config.codes or codes.shape[0] > codec.config.codebooks:
        raise IntegrityError(
            f"code {codes.max()} of {codes.shape[0]} codebooks, the codec has "
            f"{codec.config.codes} codes in each of {codec.config.codebooks}",
            remedy="Encode the sound again with `safegen codec encode`.",
        )
    return codec.quantizer.decode(torch.from_numpy(codes.astype(np.int64).T.copy()))


def refuse_other(head: Head, codec_id: bytes) -> None:
    """Compare the codec that a file names with ours.

    Raises:
        InputError: If it is another one.
    """
    if head.codec_id != codec_id:
        raise InputError(
            f"the file was written by the codec {head.codec_id.hex()[:12]}, "
            f"this one is {codec_id.hex()[:12]}",
            remedy="Use the version of safegen that wrote it, or encode the sound again.",
        )


def _some(waveform: Waveform) -> Audio | None:
    return audio_of(waveform) if len(waveform) else None


def audio_of(waveform: Waveform) -> Audio:
    """Wrap samples of shape (n,) at the codec's rate."""
    return Audio(waveform=np.ascontiguousarray(waveform)[None], sample_rate=SAMPLE_RATE)
