"""What happens to a sound between its release and its finder: codecs, noise, cuts, filters.

``ATTACKS`` maps a name to a function ``Audio -> Audio``. Every attack keeps the
sample rate and the channels; all but crops, speed and tempo also keep the length
and the alignment (encoder delay is taken off). Each is deterministic: noise is
seeded from the sound itself, so that a benchmark repeats to the bit.

Codecs run in memory through PyAV; bitrates are those of the whole stream, mono
or stereo.
"""

import io
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any, Final, cast

import numpy as np

from safegen.audio import Audio, Waveform, resample

Attack = Callable[[Audio], Audio]


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """One way through FFmpeg.

    Attributes:
        encoder: FFmpeg's name of the encoder.
        container: FFmpeg's name of the muxer; each of these stores the encoder delay.
        sample_rates: Rates in Hz the encoder takes; empty if it takes any.
    """

    encoder: str
    container: str
    sample_rates: tuple[int, ...]


CODECS: Final[Mapping[str, Codec]] = {
    "mp3": Codec(
        encoder="libmp3lame",
        container="mp3",
        sample_rates=(8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
    ),
    "aac": Codec(
        encoder="aac",
        container="mp4",
        sample_rates=(8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
    ),
    "opus": Codec(encoder="libopus", container="ogg", sample_rates=(48000,)),
}


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
    data = _encode(resample(audio, rate), facts, bitrate)
    decoded = resample(_decode(data, audio.waveform.shape[0]), audio.sample_rate)
    return _fit(decoded.waveform, audio)


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
    return _fit(decoded.T, audio)


def resample_round_trip(audio: Audio, *, sample_rate: int) -> Audio:
    """Convert to ``sample_rate`` and back, losing everything above half of it."""
    return _fit(resample(resample(audio, sample_rate), audio.sample_rate).waveform, audio)


def white_noise(audio: Audio, *, snr_db: float) -> Audio:
    """Add white noise ``snr_db`` below the sound's mean power."""
    return _add_noise(audio, _generator(audio).standard_normal(audio.waveform.shape), snr_db)


def pink_noise(audio: Audio, *, snr_db: float) -> Audio:
    """Add noise that falls by 3 dB an octave, ``snr_db`` below the sound's mean power."""
    shape = audio.waveform.shape
    spectrum = np.fft.rfft(_generator(audio).standard_normal(shape), axis=1)
    spectrum /= np.sqrt(np.maximum(np.arange(spectrum.shape[1]), 1.0))
    return _add_noise(audio, np.fft.irfft(spectrum, shape[1], axis=1), snr_db)


def crop(audio: Audio, *, start: float, end: float) -> Audio:
    """Keep the stretch between two shares of the length, 0 <= start < end <= 1."""
    return audio.cut(start * audio.seconds, end * audio.seconds)


def cut_start(audio: Audio, *, seconds: float) -> Audio:
    """Drop the first ``seconds``, at most half of the sound."""
    return audio.cut(min(seconds, audio.seconds / 2), audio.seconds)


def gain(audio: Audio, *, level_db: float) -> Audio:
    """Make it louder or quieter; what passes full scale is clipped."""
    return _like(np.clip(audio.waveform * 10 ** (level_db / 20), -1.0, 1.0), audio)


def invert(audio: Audio) -> Audio:
    """Flip the polarity."""
    return _like(-audio.waveform, audio)


def speed(audio: Audio, *, factor: float) -> Audio:
    """Play faster (> 1) or slower, tempo and pitch together; the length changes."""
    declared = Audio(waveform=audio.waveform, sample_rate=round(audio.sample_rate * factor))
    return resample(declared, audio.sample_rate)


def low_pass(audio: Audio, *, cutoff_hz: float) -> Audio:
    """Cut above ``cutoff_hz``, 8th-order Butterworth, no phase shift."""
    return _filter(audio, cutoff_hz, "lowpass")


def high_pass(audio: Audio, *, cutoff_hz: float) -> Audio:
    """Cut below ``cutoff_hz``, 8th-order Butterworth, no phase shift."""
    return _filter(audio, cutoff_hz, "highpass")


def echo(audio: Audio, *, delay_seconds: float, level: float) -> Audio:
    """Add one repetition at ``level`` times the amplitude."""
    out = audio.waveform.copy()
    delay = round(delay_seconds * audio.sample_rate)
    if 0 < delay < out.shape[1]:
        out[:, delay:] += level * audio.waveform[:, :-delay]
    return _like(out, audio)


def compress(audio: Audio, *, exponent: float) -> Audio:
    """Raise quiet parts against loud ones: a power law on the 20 ms envelope."""
    from scipy.ndimage import uniform_filter1d

    width = max(1, round(0.02 * audio.sample_rate))
    power = uniform_filter1d(audio.waveform.astype(np.float64) ** 2, width, axis=1)
    # The running sum may end a rounding error below zero.
    envelope = np.sqrt(np.maximum(power, 0.0))
    out = audio.waveform * np.maximum(envelope, 1e-3) ** (exponent - 1.0)
    peak = max(float(np.abs(out).max()), 1e-9)
    return _like(out * (float(np.abs(audio.waveform).max()) / peak), audio)


def quantize(audio: Audio, *, bits: int) -> Audio:
    """Round to ``bits`` per sample."""
    steps = float(2 ** (bits - 1))
    return _like(np.round(audio.waveform * steps) / steps, audio)


ATTACKS: Final[Mapping[str, Attack]] = {
    "clean": lambda audio: audio,
    "pcm-16": partial(quantize, bits=16),
    "pcm-8": partial(quantize, bits=8),
    "mp3-128k": partial(through_codec, codec="mp3", bitrate=128_000),
    "mp3-64k": partial(through_codec, codec="mp3", bitrate=64_000),
    "mp3-32k": partial(through_codec, codec="mp3", bitrate=32_000),
    "aac-64k": partial(through_codec, codec="aac", bitrate=64_000),
    "aac-32k": partial(through_codec, codec="aac", bitrate=32_000),
    "opus-64k": partial(through_codec, codec="opus", bitrate=64_000),
    "opus-32k": partial(through_codec, codec="opus", bitrate=32_000),
    "opus-16k": partial(through_codec, codec="opus", bitrate=16_000),
    "vorbis-q1": partial(through_vorbis, quality=0.1),
    "resample-8k": partial(resample_round_trip, sample_rate=8_000),
    "resample-22k": partial(resample_round_trip, sample_rate=22_050),
    "noise-30db": partial(white_noise, snr_db=30.0),
    "noise-20db": partial(white_noise, snr_db=20.0),
    "pink-20db": partial(pink_noise, snr_db=20.0),
    "crop-half": partial(crop, start=0.25, end=0.75),
    "cut-1s": partial(cut_start, seconds=1.003),
    "gain-12db": partial(gain, level_db=-12.0),
    "invert": invert,
    "speed-1.02": partial(speed, factor=1.02),
    "speed-1.05": partial(speed, factor=1.05),
    "lowpass-3500": partial(low_pass, cutoff_hz=3_500.0),
    "highpass-500": partial(high_pass, cutoff_hz=500.0),
    "echo": partial(echo, delay_seconds=0.1, level=0.3),
    "compress": partial(compress, exponent=0.6),
}
"""Every attack with the numbers its name promises; benchmarks choose rows by name."""


def _encode(audio: Audio, codec: Codec, bitrate: int) -> bytes:
    """Write the sound with FFmpeg into memory."""
    import av

    channels = audio.waveform.shape[0]
    layout = "mono" if channels == 1 else "stereo"
    buffer = io.BytesIO()
    with av.open(buffer, mode="w", format=codec.container) as container:
        stream = cast("av.AudioStream", container.add_stream(codec.encoder, rate=audio.sample_rate))
        stream.bit_rate = bitrate
        stream.layout = layout
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(np.clip(audio.waveform, -1.0, 1.0)), format="fltp", layout=layout
        )
        frame.sample_rate = audio.sample_rate
        # Without time stamps the MP4 muxer forgets the encoder delay.
        frame.time_base, frame.pts = Fraction(1, audio.sample_rate), 0
        converter = av.AudioResampler(
            format=stream.codec_context.format, layout=layout, rate=audio.sample_rate
        )
        # The encoder says its frame size only once it is open.
        stream.codec_context.open()
        size = stream.codec_context.frame_size or 1024
        fifo = av.AudioFifo()
        for part in [*converter.resample(frame), *converter.resample(None)]:
            fifo.write(part)
        for block in [*fifo.read_many(size), fifo.read(0, partial=True)]:
            if block is not None:
                container.mux(stream.encode(block))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def _decode(data: bytes, channels: int) -> Audio:
    """Read it back; the demuxer's skip marks take the encoder delay off."""
    import av

    blocks: list[Waveform] = []
    with av.open(io.BytesIO(data), mode="r") as container:
        stream = container.streams.audio[0]
        rate = int(stream.codec_context.sample_rate)
        layout = "mono" if channels == 1 else "stereo"
        converter = av.AudioResampler(format="fltp", layout=layout, rate=rate)
        for frame in container.decode(stream):
            blocks.extend(_floats(part.to_ndarray()) for part in converter.resample(frame))
        blocks.extend(_floats(part.to_ndarray()) for part in converter.resample(None))
    waveform = np.concatenate(blocks, axis=1) if blocks else np.zeros((channels, 0), np.float32)
    return Audio(waveform=np.ascontiguousarray(waveform, dtype=np.float32), sample_rate=rate)


def _floats(block: np.ndarray[tuple[int, ...], np.dtype[Any]]) -> Waveform:
    return np.asarray(block, dtype=np.float32)


def _fit(waveform: Waveform, like: Audio) -> Audio:
    """Cut or pad with silence to the length of ``like``."""
    samples = like.waveform.shape[1]
    missing = samples - waveform.shape[1]
    if missing > 0:
        waveform = np.pad(waveform, ((0, 0), (0, missing)))
    return _like(waveform[:, :samples], like)


def _like(waveform: np.ndarray[tuple[int, ...], np.dtype[np.floating]], like: Audio) -> Audio:
    """Wrap numbers as a sound at the rate of ``like``."""
    return Audio(
        waveform=np.ascontiguousarray(waveform, dtype=np.float32), sample_rate=like.sample_rate
    )


def _generator(audio: Audio) -> np.random.Generator:
    """Seed from the sound, so that each clip has its own noise, the same every time."""
    return np.random.default_rng(zlib.crc32(np.ascontiguousarray(audio.waveform).tobytes()))


def _add_noise(
    audio: Audio, noise: np.ndarray[tuple[int, ...], np.dtype[np.float64]], snr_db: float
) -> Audio:
    """Scale the noise to the wanted distance and add it; silence stays silent."""
    power = float(np.mean(audio.waveform.astype(np.float64) ** 2))
    scale = np.sqrt(power / max(float(np.mean(noise**2)), 1e-30)) * 10 ** (-snr_db / 20)
    return _like(audio.waveform + scale * noise, audio)


def _filter(audio: Audio, cutoff_hz: float, kind: str) -> Audio:
    """Run an 8th-order Butterworth filter forward and backward."""
    from scipy.signal import butter, sosfiltfilt

    nyquist = audio.sample_rate / 2
    if not 0 < cutoff_hz < nyquist:
        return audio
    sections = butter(4, cutoff_hz / nyquist, kind, output="sos")
    pad = min(3 * 9, audio.waveform.shape[1] - 1)
    return _like(sosfiltfilt(sections, audio.waveform.astype(np.float64), padlen=pad), audio)
