"""How is the sound of this file stored: container, codec, bits?

Read from headers only, and only of files that ``safegen.audio.load`` has decoded before:
that is where damaged and mislabelled ones are refused.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from safegen import containers
from safegen.audio import DEMUXERS

_BITS: Final = {
    "PCM_S8": 8,
    "PCM_U8": 8,
    "PCM_16": 16,
    "PCM_24": 24,
    "PCM_32": 32,
    "FLOAT": 32,
    "DOUBLE": 64,
    "ULAW": 8,
    "ALAW": 8,
}
_NAMES: Final = {"MPEG_LAYER_III": "MP3", "MP3FLOAT": "MP3", "ULAW": "mu-law", "ALAW": "A-law"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """What the header says.

    Attributes:
        container: By its first bytes, "unknown" if it is none of ``safegen.containers``.
        codec: "PCM", "FLAC", "VORBIS", "MP3", "AAC", ... in one spelling.
        bit_depth: Of stored samples, 0 for lossy codecs, which have none.
    """

    container: str
    codec: str
    bit_depth: int


def encoding(path: Path) -> Encoding:
    """Read a file's headers.

    Raises:
        OSError: If the file cannot be opened.
    """
    import soundfile

    container = containers.container(path) or "unknown"
    try:
        facts = soundfile.info(str(path))
    except (soundfile.SoundFileError, TypeError):  # TypeError: a name that ends in .raw
        codec = _codec_of_stream(path)
        return Encoding(container=container, codec=_NAMES.get(codec, codec), bit_depth=0)
    bits = _BITS.get(facts.subtype, 0)
    is_plain = facts.subtype.startswith("PCM_") or facts.subtype in ("FLOAT", "DOUBLE")
    codec = "PCM" if is_plain else _NAMES.get(facts.subtype, facts.subtype)
    return Encoding(
        container=container,
        codec="FLAC" if facts.format == "FLAC" else codec,
        bit_depth=bits,
    )


def _codec_of_stream(path: Path) -> str:
    """Ask FFmpeg, of what libsndfile does not know."""
    import av
    from av.error import FFmpegError

    try:
        with (
            path.open("rb") as file,
            av.open(file, mode="r", options={"format_whitelist": DEMUXERS}) as container,
        ):
            return str(container.streams.audio[0].codec_context.name).upper()
    except (FFmpegError, ValueError, IndexError):
        return "unknown"
