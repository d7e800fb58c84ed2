"""The attacks' door to FFmpeg: encode and decode in memory, and run one filter."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, cast

import numpy as np

from safegen.audio import Audio, Waveform


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


_MPEG_RATES: Final = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)

CODECS: Final[Mapping[str, Codec]] = {
    "mp3": Codec(encoder="libmp3lame", container="mp3", sample_rates=_MPEG_RATES),
    "aac": Codec(encoder="aac", container="mp4", sample_rates=_MPEG_RATES),
    "opus": Codec(encoder="libopus", container="ogg", sample_rates=(48000,)),
}
G722: Final = Codec(encoder="g722", container="wav", sample_rates=(16000,))
"""64 kbit/s whatever is asked for, mono, and late by ``G722_DELAY`` samples."""
G722_DELAY: Final = 22


def encode(audio: Audio, codec: Codec, *, bitrate: int) -> bytes:
    """Write the sound with FFmpeg into memory."""
    import av

    channels = audio.waveform.shape[0]
    layout = "mono" if channels == 1 else "stereo"
    buffer = io.BytesIO()
    with av.open(buffer, mode="w", format=codec.container) as container:
        stream = cast("av.AudioStream", container.add_stream(codec.encoder, rate=audio.sample_rate))
        stream.bit_rate = bitrate
        stream.layout = layout
        frame = _frame(audio)
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


def decode(data: bytes, channels: int) -> Audio:
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
    return _joined(blocks, channels, rate)


def payload_bytes(data: bytes) -> int:
    """Count the bytes of the encoder's packets alone, without what the container adds."""
    import av

    with av.open(io.BytesIO(data), mode="r") as container:
        return sum(packet.size for packet in container.demux(container.streams.audio[0]))


def filtered(audio: Audio, name: str, arguments: str) -> Audio:
    """Run one of FFmpeg's audio filters over the sound; the length may change.

    Args:
        audio: One or two channels.
        name: FFmpeg's name of the filter.
        arguments: As after the ``=`` on FFmpeg's command line.
    """
    import av
    from av.error import BlockingIOError, EOFError
    from av.filter import Graph

    channels = audio.waveform.shape[0]
    layout = "mono" if channels == 1 else "stereo"
    graph = Graph()
    source = graph.add_abuffer(
        format="fltp",
        sample_rate=audio.sample_rate,
        layout=layout,
        time_base=Fraction(1, audio.sample_rate),
    )
    # Filters may work in another format; floats come out whatever it is.
    graph.link_nodes(
        source,
        graph.add(name, arguments),
        graph.add("aformat", f"sample_fmts=fltp:channel_layouts={layout}"),
        graph.add("abuffersink"),
    ).configure()
    blocks: list[Waveform] = []
    graph.push(_frame(audio))
    graph.push(None)
    while True:
        try:
            pulled = graph.pull()
        except (BlockingIOError, EOFError):
            break
        blocks.append(_floats(cast("av.AudioFrame", pulled).to_ndarray()))
    return _joined(blocks, channels, audio.sample_rate)


def _frame(audio: Audio) -> Any:
    """Hand the whole sound over at once, planar floats within full scale."""
    import av

    layout = "mono" if audio.waveform.shape[0] == 1 else "stereo"
    frame = av.AudioFrame.from_ndarray(
        np.ascontiguousarray(np.clip(audio.waveform, -1.0, 1.0)), format="fltp", layout=layout
    )
    frame.sample_rate = audio.sample_rate
    # Without time stamps the MP4 muxer forgets the encoder delay.
    frame.time_base, frame.pts = Fraction(1, audio.sample_rate), 0
    return frame


def _joined(blocks: list[Waveform], channels: int, sample_rate: int) -> Audio:
    waveform = np.concatenate(blocks, axis=1) if blocks else np.zeros((channels, 0), np.float32)
    return Audio(waveform=np.ascontiguousarray(waveform, dtype=np.float32), sample_rate=sample_rate)


def _floats(block: np.ndarray[tuple[int, ...], np.dtype[Any]]) -> Waveform:
    return np.asarray(block, dtype=np.float32)
