"""How does the sound of a codec file play while the file still arrives?

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
Griffin-Lim of ``safegen.generation.codec``.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor

from safegen.audio import Audio, Waveform
from safegen.errors import InputError, IntegrityError
from safegen.generation.bitstream import BLOCK_FRAMES, Codes, Head, Reader
from safegen.generation.codec import HOP, SAMPLE_RATE, STACK, Codec, continue_phase
from safegen.generation.loudness import Limiter
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

    Cost: about 0.06 s of one core for a second of sound.
    """

    def __init__(self, codec: Codec, *, codec_id: bytes) -> None:
        self._codec, self._codec_id = codec, codec_id
        self._reader = Reader()
        self._around = REACH * codec.config.decoder_blocks
        self._z = torch.zeros(0, codec.config.latent)
        self._z_begin = 0
        self._decoded = 0
        self._phase = PhaseStream()
        self._limiter = Limiter()
        self._given = 0

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
        if self._reader.head is None:
            return None
        refuse_other(self._reader.head, self._codec_id)
        if codes is None:
            return None
        # Block by block, so that the size of the pieces does not show in the sound.
        parts = []
        with torch.inference_mode(), one_thread():
            for first in range(0, codes.shape[1], BLOCK_FRAMES):
                z = latents_of(codes[:, first : first + BLOCK_FRAMES], self._codec)
                self._z = torch.cat([self._z, z])
                parts.append(self._push(self._z_begin + len(self._z) - self._around))
        return self._loud(np.concatenate(parts))

    def finish(self) -> Audio | None:
        """Say that the file has ended, and take what is left of the sound.

        Raises:
            InputError: If there were no bytes.
            IntegrityError: If the file was cut.
        """
        self._reader.finish()
        with torch.inference_mode(), one_thread():
            rest = [self._push(self._z_begin + len(self._z)), self._phase.finish().numpy()]
        return self._loud(np.concatenate(rest), is_last=True)

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

    def _loud(self, waveform: Waveform, *, is_last: bool = False) -> Audio | None:
        """Give the loudness back, and no more samples than the head says."""
        head = self._reader.head
        if head is None:
            return None
        loud = self._limiter.feed(waveform * np.float32(head.gain))
        if is_last:
            loud = np.concatenate([loud, self._limiter.finish()])
        loud = loud[: head.samples - self._given]
        self._given += len(loud)
        return audio_of(loud) if len(loud) else None


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


def audio_of(waveform: Waveform) -> Audio:
    """Wrap samples of shape (n,) at the codec's rate."""
    return Audio(waveform=np.ascontiguousarray(waveform)[None], sample_rate=SAMPLE_RATE)
