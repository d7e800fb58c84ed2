"""What lossy codecs do to a sound: MP3, AAC and Opus through FFmpeg, Vorbis, EnCodec.

Everything runs in memory and comes back aligned: encoder delay is taken off. Bitrates
are those of the whole stream, mono or stereo.
"""

import io

import numpy as np

from safegen.audio import Audio, resample
from safegen.evaluation.attacks.base import fit, like
from safegen.evaluation.attacks.ffmpeg import CODECS, G722, G722_DELAY, decode, encode


def through_codec(audio: Audio, codec: str, *, bitrate: int) -> Audio:
    """Encode and decode in memory, aligned with the input and cut to its length.

    Args:
        audio: One or two channels.
        codec: A name in ``CODECS``.
        bitrate: In bit/s, for all channels together. MP3 takes the nearest it can
            do at this sample rate.

    Raises:
        ValueError: If there are more than two channels.
    """
    if audio.waveform.shape[0] > 2:
        msg = f"codecs take 1 or 2 channels, not {audio.waveform.shape[0]}"
        raise ValueError(msg)
    facts = CODECS[codec]
    rate = audio.sample_rate
    if facts.sample_rates and rate not in facts.sample_rates:
        rate = min(
            (known for known in facts.sample_rates if known >= rate),
            default=facts.sample_rates[-1],
        )
    data = encode(resample(audio, rate), facts, bitrate=bitrate)
    decoded = resample(decode(data, audio.waveform.shape[0]), audio.sample_rate)
    return fit(decoded.waveform, audio)


def through_mono_codec(audio: Audio, codec: str, *, bitrate: int) -> Audio:
    """Mix to mono, encode and decode, and play the one channel on all.

    Args:
        audio: Any channels.
        codec: A name in ``CODECS``.
        bitrate: In bit/s.
    """
    mono = like(audio.waveform.mean(axis=0, keepdims=True), audio)
    decoded = through_codec(mono, codec, bitrate=bitrate)
    return like(np.repeat(decoded.waveform, audio.waveform.shape[0], axis=0), audio)


def through_vorbis(audio: Audio, *, quality: float) -> Audio:
    """Encode and decode as Ogg Vorbis with libsndfile; PyAV's FFmpeg has no libvorbis.

    Args:
        audio: Any channels.
        quality: In [0, 1], as oggenc's -q divided by 10.
    """
    import soundfile

    buffer = io.BytesIO()
    with soundfile.SoundFile(
        buffer,
        mode="w",
        samplerate=audio.sample_rate,
        channels=audio.waveform.shape[0],
        format="OGG",
        subtype="VORBIS",
        compression_level=1.0 - quality,
    ) as file:
        # libvorbis overruns its stack when it is handed minutes at once.
        for start in range(0, audio.waveform.shape[1], 65_536):
            file.write(np.clip(audio.waveform[:, start : start + 65_536], -1.0, 1.0).T)
    buffer.seek(0)
    decoded, _ = soundfile.read(buffer, dtype="float32", always_2d=True)
    return fit(decoded.T, audio)


def through_g722(audio: Audio) -> Audio:
    """Mix to mono at 16 kHz and pass through the telephone's wideband codec at 64 kbit/s.

    Returns:
        Aligned with the input, of its shape and rate.
    """
    low = resample(like(audio.waveform.mean(axis=0, keepdims=True), audio), G722.sample_rates[0])
    late = np.pad(low.waveform, ((0, 0), (0, G722_DELAY)))
    decoded = decode(encode(like(late, low), G722, bitrate=64_000), 1)
    back = resample(like(decoded.waveform[:, G722_DELAY:], low), audio.sample_rate)
    return fit(np.repeat(back.waveform, audio.waveform.shape[0], axis=0), audio)
