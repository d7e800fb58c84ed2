"""Sound files from anywhere: whole ones are read, broken ones are refused by name and fault."""

import contextlib
import io
import struct
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from safegen.audio import Audio, checked, encode, load, resample, save, walk
from safegen.cli import main
from safegen.errors import InputError

ZOO = Path(__file__).parents[1] / "assets" / "zoo"
BROKEN = sorted(path for path in ZOO.iterdir() if not path.name.startswith("whole"))
WHOLE = sorted(path for path in ZOO.iterdir() if path.name.startswith("whole"))

FAULTS = {
    "concat-list.wav": "cannot be decoded",
    "cut-at-a-frame.flac": "cannot be decoded",
    "empty.mp3": "empty (0 bytes)",
    "empty.wav": "empty (0 bytes)",
    "header-only.wav": "truncated, 44 of 24044 bytes",
    "infinite.wav": "1 samples are NaN or infinite",
    "longer-than-an-hour.flac": "3700 s of 1-channel audio",
    "mislabelled-flac.wav": "ends in .wav and the content is FLAC",
    "mislabelled-html.ogg": "cannot be decoded",
    "mislabelled-m4a.ogg": "ends in .ogg and the content is MPEG-4",
    "mislabelled-mp3.flac": "ends in .flac and the content is MP3",
    "mislabelled-ogg.m4a": "ends in .m4a and the content is Ogg",
    "mislabelled-png.mp3": "cannot be decoded",
    "mislabelled-text.wav": "cannot be decoded",
    "mislabelled-wav.mp3": "ends in .mp3 and the content is WAV",
    "nine-channels.wav": "9 channels",
    "not-a-number.wav": "1 samples are NaN or infinite",
    "only-a-tag.mp3": "cannot be decoded",
    "playlist.mp3": "cannot be decoded",
    "rate-1-hz.wav": "sample rate 1 Hz",
    "rate-4-ghz.wav": "cannot be decoded",
    "truncated-between-pages.opus": "no Ogg page is marked as the last one",
    "truncated-index-first.m4a": "truncated after 0.30 s",
    "truncated-inside-a-page.ogg": "bytes of the last Ogg page are there",
    "truncated-inside-a-page.opus": "bytes of the last Ogg page are there",
    "truncated-no-index.m4a": "cannot be decoded",
    "truncated.aiff": "truncated, 12027 of 24054 bytes",
    "truncated.flac": "truncated after 0.17 s",
    "truncated.mp3": "truncated, 0.70 of 1.50 s",
    "truncated.wav": "truncated, 12044 of 24044 bytes",
    "video-only.m4a": "no audio stream",
    "zero-channels.wav": "0 channels",
    "zero-samples.flac": "0 samples",
    "zero-samples.wav": "0 samples",
}


@pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.name)
def test_every_format_is_read_at_its_length_and_level(path: Path) -> None:
    audio = load(path)

    assert audio.sample_rate in (24_000, 48_000)
    assert audio.waveform.shape[0] == 1
    assert audio.seconds == pytest.approx(0.5, abs=0.06)  # AAC in MPEG-4 and ADTS keeps its padding
    assert np.sqrt((audio.waveform**2).mean()) == pytest.approx(0.255, rel=0.1)


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.name)
def test_every_broken_file_is_refused_with_its_name_and_its_fault(path: Path) -> None:
    with pytest.raises(InputError) as refused:
        load(path)

    assert str(path) in refused.value.problem
    assert FAULTS[path.name] in refused.value.problem
    assert refused.value.remedy


def test_the_zoo_and_the_table_of_faults_name_the_same_files() -> None:
    assert {path.name for path in BROKEN} == set(FAULTS)


@pytest.mark.parametrize(
    "name", ["truncated.mp3", "zero-channels.wav", "mislabelled-flac.wav", "empty.wav"]
)
def test_a_broken_file_ends_the_command_with_2_and_no_traceback(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAFEGEN_HOME", str(tmp_path / "home"))
    runner = CliRunner()
    runner.invoke(main, ["db", "upgrade"])
    arguments = ["catalog", "add", str(ZOO / name), "--rights-holder", "A", "--license", "CC0-1.0"]
    result = runner.invoke(main, arguments)

    assert result.exit_code == 2, result.output
    assert name in result.output
    assert "Traceback" not in result.output


def test_a_missing_file_a_folder_and_a_name_that_is_too_long_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.wav", tmp_path, tmp_path / ("x" * 300 + ".wav")):
        with pytest.raises(InputError, match=r"no such file|not a regular file|cannot be read"):
            load(path)


def test_a_file_that_may_not_be_opened_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "private.wav"
    path.write_bytes(b"RIFF")

    def refuse(*_: object, **__: object) -> io.BytesIO:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)

    with pytest.raises(InputError, match=r"cannot be read \(Permission denied\)"):
        load(path)


def test_a_right_file_under_a_suffix_that_promises_nothing_is_read(tmp_path: Path) -> None:
    for suffix in ("", ".part", ".raw", ".bin"):
        path = tmp_path / f"sound{suffix}"
        path.write_bytes((ZOO / "whole.flac").read_bytes())

        assert load(path).seconds == 0.5, suffix


def test_a_wav_written_to_a_pipe_has_no_size_and_is_read(tmp_path: Path) -> None:
    data = bytearray((ZOO / "whole.wav").read_bytes())
    data[4:8] = data[40:44] = struct.pack("<I", 0xFFFFFFFF)
    path = tmp_path / "piped.wav"
    path.write_bytes(data)

    assert load(path).seconds == 0.5


def test_a_flac_written_to_a_pipe_has_no_length_and_is_read(tmp_path: Path) -> None:
    data = bytearray((ZOO / "whole.flac").read_bytes())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    path = tmp_path / "piped.flac"
    path.write_bytes(data)

    assert load(path).seconds == pytest.approx(0.5)


def test_an_mp3_with_a_tag_of_any_size_is_read(tmp_path: Path) -> None:
    tag = b"ID3\x04\x00\x00" + bytes([0, 0, 0x40, 0]) + bytes(8192)
    path = tmp_path / "tagged.mp3"
    path.write_bytes(tag + (ZOO / "whole.mp3").read_bytes())

    assert load(path).seconds == pytest.approx(0.5, abs=0.06)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from([path.name for path in WHOLE]),
    cut=st.floats(0.0, 1.0),
    places=st.lists(st.tuples(st.floats(0.0, 0.999), st.integers(0, 255)), max_size=8),
)
def test_damage_of_any_kind_is_either_heard_or_refused(
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    cut: float,
    places: list[tuple[float, int]],
) -> None:
    data = bytearray((ZOO / name).read_bytes())
    for place, value in places:
        data[int(place * len(data))] = value
    path = tmp_path_factory.getbasetemp() / f"damaged-{name}"
    path.write_bytes(data[: round(cut * len(data))])

    with contextlib.suppress(InputError):
        audio = load(path)

        assert np.isfinite(audio.waveform).all()


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(["whole.wav", "whole.flac", "whole.ogg", "whole.opus", "whole.m4a"]),
    cut=st.floats(0.02, 0.9),
)
def test_a_cut_anywhere_is_never_taken_for_a_short_file(
    tmp_path_factory: pytest.TempPathFactory, name: str, cut: float
) -> None:
    data = (ZOO / name).read_bytes()
    path = tmp_path_factory.getbasetemp() / f"cut-{name}"
    path.write_bytes(data[: round(cut * len(data))])

    with pytest.raises(InputError):
        load(path)


@pytest.mark.parametrize("file_format", ["wav", "flac", "mp3"])
@pytest.mark.parametrize("channels", [1, 2])
def test_what_is_written_is_read_back(file_format: str, channels: int, tmp_path: Path) -> None:
    audio = Audio(
        waveform=np.tile(load(ZOO / "whole.wav").waveform, (channels, 4)), sample_rate=24_000
    )
    path = tmp_path / f"out.{file_format}"
    save(audio, path)
    back = load(path)

    assert back.waveform.shape == audio.waveform.shape
    assert np.abs(back.waveform - audio.waveform).max() < (0.1 if file_format == "mp3" else 1e-4)


def test_an_unknown_suffix_or_tag_is_not_written(tmp_path: Path) -> None:
    audio = load(ZOO / "whole.wav")

    with pytest.raises(InputError, match=r"cannot write \.ogg"):
        save(audio, tmp_path / "out.ogg")
    with pytest.raises(ValueError, match="'mood'"):
        encode(audio, "wav", tags={"mood": "calm"})


@pytest.mark.parametrize(
    ("shape", "sample_rate", "fault"),
    [
        ((0, 10), 44_100, "0 channels"),
        ((9, 10), 44_100, "9 channels"),
        ((1, 0), 44_100, "0 samples"),
        ((1, 10), 10, "sample rate 10 Hz"),
    ],
    ids=["no channel", "too many channels", "no sample", "impossible rate"],
)
def test_numbers_from_outside_are_checked(
    shape: tuple[int, int], sample_rate: int, fault: str
) -> None:
    with pytest.raises(InputError, match=fault):
        checked(np.zeros(shape, np.float32), sample_rate, name="upload")


def test_resampling_keeps_length_and_pitch() -> None:
    audio = load(ZOO / "whole.wav")
    out = resample(audio, 11_025)

    assert out.seconds == pytest.approx(audio.seconds, abs=1e-3)
    spectrum = np.abs(np.fft.rfft(out.waveform[0]))
    assert np.argmax(spectrum) / out.seconds == pytest.approx(440, abs=3)


def test_a_walk_takes_audio_files_below_folders_and_whatever_is_named(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    for name in ("b.wav", "a.txt", "below/c.MP3"):
        (tmp_path / name).touch()

    found = [path.relative_to(tmp_path).as_posix() for path in walk((tmp_path,))]
    assert found == ["b.wav", "below/c.MP3"]
    assert list(walk((tmp_path / "a.txt",))) == [tmp_path / "a.txt"]
