"""What a header says of a file is read as it is."""

from pathlib import Path

import pytest

from safegen.encodings import Encoding, encoding

ZOO = Path(__file__).parents[1] / "assets" / "zoo"


@pytest.mark.parametrize(
    ("name", "container", "codec", "bits"),
    [
        ("whole.wav", "WAV", "PCM", 16),
        ("whole.flac", "FLAC", "FLAC", 16),
        ("whole.aiff", "AIFF", "PCM", 16),
        ("whole.ogg", "Ogg", "VORBIS", 0),
        ("whole.opus", "Ogg", "OPUS", 0),
        ("whole.mp3", "MP3", "MP3", 0),
        ("whole.m4a", "MPEG-4", "AAC", 0),
        ("whole.aac", "ADTS AAC", "AAC", 0),
        ("mislabelled-text.wav", "unknown", "unknown", 0),
    ],
)
def test_container_codec_and_bits_are_read(
    name: str, container: str, codec: str, bits: int
) -> None:
    found = encoding(ZOO / name)

    assert found == Encoding(container=container, codec=codec, bit_depth=bits)


def test_a_playlist_cannot_point_at_other_files() -> None:
    assert encoding(ZOO / "playlist.mp3").codec == "unknown"


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="gone"):
        encoding(tmp_path / "gone.wav")
