"""How does a sound become a codec file, and a whole file a sound?

``encode`` and ``decode`` are the two ends of ``safegen.generation.bitstream``;
``safegen.generation.codec_stream`` decodes while the file arrives. What comes out carries
the decoder's mark and has not been through the gate.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Final

import numpy as np
import torch

from safegen.audio import Audio, Waveform, resample
from safegen.errors import InputError
from safegen.generation.bitstream import (
    CODEC_ID_BYTES,
    MAX_GAIN,
    MAX_SAMPLES,
    Codes,
    Head,
    read,
    write,
)
from safegen.generation.cards import DEFAULT_MODEL, ModelCard, card
from safegen.generation.codec import LOUDNESS_RMS, SAMPLE_RATE, SAMPLES_PER_FRAME, Codec
from safegen.generation.codec_stream import (
    REACH,
    StreamDecoder,
    audio_of,
    latents_of,
    refuse_other,
)
from safegen.generation.loudness import Limiter, loudness
from safegen.generation.stages import one_thread

WHOLE_SECONDS: Final = 300.0
"""Longest file that is decoded at once; the phase search takes 3 MB a second."""
_ENCODED_FRAMES: Final = 750
_PIECE_BYTES: Final = 2048
_SILENCE: Final = 1e-4


def shipped_codec_id() -> bytes:
    """Name the shipped codec; see ``codec_id_of``."""
    return codec_id_of(card(DEFAULT_MODEL))


def codec_id_of(found: ModelCard) -> bytes:
    """Name the codec of a model: the first bytes of the SHA-256 of its weights."""
    return bytes.fromhex(found.file("codec").sha256)[:CODEC_ID_BYTES]


def encode(audio: Audio, codec: Codec, *, codec_id: bytes, codebooks: int) -> bytes:
    """Write a sound as a codec file; memory for the spectrogram of 30 s.

    Args:
        audio: Any rate; channels are mixed, because the codec's phase is made up on the
            way back and two channels would not fit each other.
        codec: The codec.
        codec_id: Names its weights.
        codebooks: In [1, codec.config.codebooks]; each costs 250 bit/s.

    Returns:
        The file's bytes. Its gain brings the decoded sound to the loudness of this one.

    Raises:
        InputError: If the sound is longer than an hour or louder than any file is.
    """
    mono = resample(audio, SAMPLE_RATE).mono()
    samples = len(mono)
    if samples > MAX_SAMPLES:
        raise InputError(
            f"{samples / SAMPLE_RATE:.0f} s are longer than the "
            f"{MAX_SAMPLES / SAMPLE_RATE:.0f} s that a codec file holds",
            remedy="Cut the sound into shorter pieces.",
        )
    codes = _codes(mono, codec)[:codebooks]
    quiet = Head(codec_id=codec_id, codebooks=codebooks, samples=samples, gain=1.0)
    given_back = _loudness_given_back(write(quiet, codes), codec, codec_id)
    gain = loudness(audio_of(mono)) / max(given_back, _SILENCE)
    if gain > MAX_GAIN:
        raise InputError(
            f"the sound is {gain:.0f} times as loud as the codec's, at most {MAX_GAIN:g}",
            remedy="Bring its samples between -1 and 1.",
        )
    return write(dataclasses.replace(quiet, gain=gain), codes)


def _codes(mono: Waveform, codec: Codec) -> Codes:
    """Name a sound of shape (n,) by codes of all codebooks, zeros after its end."""
    padded = torch.nn.functional.pad(torch.from_numpy(mono), (0, -len(mono) % SAMPLES_PER_FRAME))
    rms = padded.double().square().mean().sqrt().float()
    padded = padded * (LOUDNESS_RMS / rms.clamp_min(1e-6))
    frames = len(padded) // SAMPLES_PER_FRAME
    around = REACH * codec.config.encoder_blocks + 1
    parts = []
    for first in range(0, frames, _ENCODED_FRAMES):
        last = min(first + _ENCODED_FRAMES, frames)
        begin, end = max(0, first - around), min(frames, last + around)
        piece = padded[begin * SAMPLES_PER_FRAME : end * SAMPLES_PER_FRAME]
        with torch.inference_mode(), one_thread():
            z = codec.encode_mel(codec.log_mel(piece[None]))[0, first - begin : last - begin]
            parts.append(codec.quantizer.encode(z))
    return torch.cat(parts).T.numpy().astype(np.int16)


def _loudness_given_back(data: bytes, codec: Codec, codec_id: bytes) -> float:
    """Listen to what the codes sound like, a piece at a time.

    The codec blurs sharp spectral peaks, so what it gives back is up to 7 dB less loud than
    what it got; only its sound says how much.
    """
    decoder = StreamDecoder(codec, codec_id=codec_id)
    energy = samples = 0.0
    pieces = [data[at : at + _PIECE_BYTES] for at in range(0, len(data), _PIECE_BYTES)]
    for part in (*map(decoder.feed, pieces), decoder.finish()):
        if part is not None:
            length = part.waveform.shape[1]
            energy += loudness(part) ** 2 * length
            samples += length
    return math.sqrt(energy / max(1.0, samples))


def decode(data: bytes, codec: Codec, *, codec_id: bytes) -> Audio:
    """Make the sound of a whole file, at its length and loudness, marked.

    Raises:
        InputError: If this is no such file, or one of another codec, or longer than
            ``WHOLE_SECONDS``.
        IntegrityError: If it is damaged.
    """
    head, codes = read(data)
    refuse_other(head, codec_id)
    if head.seconds > WHOLE_SECONDS:
        raise InputError(
            f"{head.seconds:.0f} s are longer than the {WHOLE_SECONDS:.0f} s that are decoded "
            "at once",
            remedy="Decode it as a stream: `safegen codec decode --stream`.",
        )
    with torch.inference_mode(), one_thread():
        waveform = codec.unlimited(latents_of(codes, codec)).numpy() * np.float32(head.gain)
    limiter = Limiter()
    limited = np.concatenate([limiter.feed(waveform), limiter.finish()])
    return audio_of(limited[: head.samples])
