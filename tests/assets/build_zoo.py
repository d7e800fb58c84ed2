"""Rebuild ``tests/assets/zoo``: tiny audio files, each named after its fault, or ``whole``.

Run as ``python -m tests.assets.build_zoo``. Everything is computed here from sine
tones; nothing is downloaded. Bytes may differ with another FFmpeg, so the files are
committed and tests read those.
"""

import io
import struct
from pathlib import Path
from typing import Final, cast

import av
import numpy as np
import soundfile
from av.audio.stream import AudioStream

ZOO: Final = Path(__file__).parent / "zoo"
RATE: Final = 24_000
SECONDS: Final = 0.5


def tone(
    channels: int = 1, seconds: float = SECONDS
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Shape (channels, samples): two notes with a beat."""
    t = np.arange(round(seconds * RATE)) / RATE
    wave = 0.3 * np.sin(2 * np.pi * 440 * t) + 0.2 * np.sin(2 * np.pi * 554 * t)
    return np.tile(wave.astype(np.float32), (channels, 1))


def sndfile(kind: str, subtype: str, seconds: float = SECONDS) -> bytes:
    """Encode the tone with libsndfile."""
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(seconds=seconds).T, RATE, format=kind, subtype=subtype)
    return buffer.getvalue()


def ffmpeg(encoder: str, muxer: str, *, seconds: float = SECONDS, **options: str) -> bytes:
    """Encode the tone with FFmpeg."""
    # A file, not memory: moving the index to the front reads what was written.
    path = ZOO / f"being-made.{muxer}"
    with av.open(str(path), mode="w", format=muxer, options=options) as container:
        stream = cast(AudioStream, container.add_stream(encoder, rate=RATE))
        stream.bit_rate = 32_000
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(tone(seconds=seconds), format="fltp", layout="mono")
        frame.sample_rate = RATE
        context = stream.codec_context
        resampler = av.AudioResampler(
            format=context.format, layout="mono", rate=RATE, frame_size=context.frame_size or None
        )
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    data = path.read_bytes()
    path.unlink()
    return data


def wav(
    body: bytes,
    *,
    kind: int = 1,
    channels: int = 1,
    rate: int = RATE,
    bits: int = 16,
    promised: int | None = None,
) -> bytes:
    """Write a WAV header by hand, true or not."""
    frame = channels * bits // 8
    size = len(body) if promised is None else promised
    fmt = struct.pack("<HHIIHH", kind, channels, rate, (rate * frame) & 0xFFFFFFFF, frame, bits)
    return (
        b"RIFF"
        + struct.pack("<I", 36 + size)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + fmt
        + b"data"
        + struct.pack("<I", size)
        + body
    )


def silent_flac(seconds: int) -> bytes:
    """Encode digital silence at 1 kHz, which takes almost no bytes."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(seconds * 1000, np.int16), 1000, format="FLAC")
    return buffer.getvalue()


def video_only() -> bytes:
    """Encode an MP4 that holds one picture and no sound."""
    buffer = io.BytesIO()
    with av.open(buffer, mode="w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=1)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuv420p"
        picture = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
        container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def files() -> dict[str, bytes]:
    """Name -> bytes of every file."""
    pcm = (tone()[0] * 32_767).astype("<i2").tobytes()
    floats = tone()[0].astype("<f4")
    with_nan, with_inf = floats.copy(), floats.copy()
    with_nan[7], with_inf[7] = np.nan, np.inf
    whole = {
        "whole.wav": wav(pcm),
        "whole.flac": sndfile("FLAC", "PCM_16"),
        "whole.mp3": ffmpeg("libmp3lame", "mp3"),
        "whole.ogg": sndfile("OGG", "VORBIS"),
        "whole.opus": ffmpeg("libopus", "ogg"),
        "whole.m4a": ffmpeg("aac", "ipod"),
        "whole.aiff": sndfile("AIFF", "PCM_16"),
        "whole.aac": ffmpeg("aac", "adts"),
    }
    early_index = ffmpeg("aac", "ipod", movflags="+faststart")
    long_mp3 = ffmpeg("libmp3lame", "mp3", seconds=1.5)
    long_ogg = sndfile("OGG", "VORBIS", seconds=1.5)
    long_opus = ffmpeg("libopus", "ogg", seconds=2.5)
    packed = RATE << 44 | 0 << 41 | 15 << 36  # rate, channels - 1, bits - 1, no samples
    flac_header = struct.pack(">HH", 4096, 4096) + bytes(6) + packed.to_bytes(8, "big")
    return whole | {
        "empty.wav": b"",
        "empty.mp3": b"",
        "zero-samples.wav": wav(b""),
        "zero-samples.flac": b"fLaC\x80\0\0\x22" + flac_header + bytes(16),
        "cut-at-a-frame.flac": sndfile("FLAC", "PCM_16", seconds=1.5)[:42],
        "zero-channels.wav": wav(pcm, channels=0),
        "nine-channels.wav": wav(pcm[: 18 * 100], channels=9),
        "rate-1-hz.wav": wav(pcm[:2000], rate=1),
        "rate-4-ghz.wav": wav(pcm[:2000], rate=4_000_000_000),
        "not-a-number.wav": wav(with_nan.tobytes(), kind=3, bits=32),
        "infinite.wav": wav(with_inf.tobytes(), kind=3, bits=32),
        "truncated.wav": wav(pcm, promised=len(pcm))[: 44 + len(pcm) // 2],
        "header-only.wav": wav(b"", promised=len(pcm)),
        "truncated.flac": whole["whole.flac"][: len(whole["whole.flac"]) // 2],
        "truncated.mp3": long_mp3[: len(long_mp3) // 2],
        "truncated-inside-a-page.ogg": long_ogg[: len(long_ogg) - 400],
        "truncated-inside-a-page.opus": long_opus[: len(long_opus) // 2],
        "truncated-between-pages.opus": long_opus[: long_opus.rindex(b"OggS")],
        "truncated-no-index.m4a": whole["whole.m4a"][: len(whole["whole.m4a"]) // 2],
        "truncated-index-first.m4a": early_index[: len(early_index) * 2 // 3],
        "truncated.aiff": whole["whole.aiff"][: len(whole["whole.aiff"]) // 2],
        "mislabelled-flac.wav": whole["whole.flac"],
        "mislabelled-mp3.flac": whole["whole.mp3"],
        "mislabelled-wav.mp3": whole["whole.wav"],
        "mislabelled-ogg.m4a": whole["whole.ogg"],
        "mislabelled-m4a.ogg": whole["whole.m4a"],
        "mislabelled-text.wav": b"This is a text and no sound at all.\n" * 20,
        "mislabelled-png.mp3": b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4,
        "mislabelled-html.ogg": b"<!DOCTYPE html><title>404</title>" * 20,
        "playlist.mp3": b"#EXTM3U\n#EXTINF:1,\nwhole.mp3\n#EXT-X-ENDLIST\n",
        "concat-list.wav": b"ffconcat version 1.0\nfile whole.wav\n",
        "only-a-tag.mp3": b"ID3\x04\x00\x00\x00\x00\x02\x00" + bytes(256),
        "video-only.m4a": video_only(),
        "longer-than-an-hour.flac": silent_flac(3_700),
    }


def main() -> None:
    """Write the zoo."""
    ZOO.mkdir(exist_ok=True)
    for name, data in files().items():
        (ZOO / name).write_bytes(data)


if __name__ == "__main__":
    main()
