"""Reading, writing and resampling sound: the one place that opens audio files.

``Audio`` is a float32 array of shape (channels, samples) with its sample rate.
libsndfile reads first because it refuses damaged files loudly; FFmpeg (through
PyAV) reads what libsndfile does not know, with the demuxers limited to audio
containers, so that a playlist named ``.mp3`` cannot point at other files.
"""

import hashlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from safegen import containers
from safegen.errors import InputError

Waveform = npt.NDArray[np.float32]
FileFormat = Literal["wav", "flac", "mp3"]

MP3_SAMPLE_RATES: Final = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
TAG_NAMES: Final = frozenset({"title", "artist", "comment", "software"})
MAX_SECONDS: Final = 3600.0
MAX_CHANNELS: Final = 8
MAX_SAMPLE_RATE: Final = 384_000
MIN_SAMPLE_RATE: Final = 1_000
MAX_VALUES: Final = 700_000_000
"""Most samples times channels that are decoded: an hour of stereo at 96 kHz."""

AUDIO_SUFFIXES: Final = frozenset(
    {
        ".wav",
        ".flac",
        ".mp3",
        ".ogg",
        ".oga",
        ".opus",
        ".m4a",
        ".mp4",
        ".aac",
        ".g722",
        ".aif",
        ".aiff",
    }
)
DEMUXERS: Final = "wav,w64,flac,mp3,ogg,mov,aac,aiff,g722,matroska"
_READ_FRAMES: Final = 1 << 20
_UNKNOWN: Final = 1 << 60
"""libsndfile's count for a FLAC that was written to a pipe is larger than this."""
_CODEC_DELAY: Final = 4096
"""Samples that a lossy codec may owe at the end: priming, padding and one frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audio:
    """Sound in memory.

    Attributes:
        waveform: Shape (channels, samples), float32, finite, channels >= 1, samples >= 1.
        sample_rate: In Hz.
    """

    waveform: Waveform
    sample_rate: int

    def __post_init__(self) -> None:
        if self.waveform.ndim != 2 or self.waveform.dtype != np.float32:
            msg = (
                f"waveform must be float32 of shape (channels, samples), not "
                f"{self.waveform.dtype} of shape {self.waveform.shape}"
            )
            raise ValueError(msg)
        if self.sample_rate <= 0:
            msg = f"sample rate must be > 0, not {self.sample_rate}"
            raise ValueError(msg)

    @property
    def seconds(self) -> float:
        """Length of the sound."""
        return float(self.waveform.shape[1] / self.sample_rate)

    def mono(self) -> Waveform:
        """Mean of the channels, shape (samples,)."""
        return np.asarray(self.waveform.mean(axis=0), dtype=np.float32)

    def cut(self, start_seconds: float, end_seconds: float) -> "Audio":
        """Copy the stretch [start, end) in seconds; ends beyond the sound are clipped."""
        first = max(0, round(start_seconds * self.sample_rate))
        last = min(self.waveform.shape[1], round(end_seconds * self.sample_rate))
        return Audio(waveform=self.waveform[:, first:last].copy(), sample_rate=self.sample_rate)


def load(path: Path, *, max_seconds: float = MAX_SECONDS) -> Audio:
    """Read an audio file: wav, flac, mp3, ogg, opus, m4a and what else FFmpeg demuxes as audio.

    Raises:
        InputError: If the file is missing, empty, truncated, mislabelled, longer than
            ``max_seconds``, or holds no channel, no sample, or a NaN. The message
            names the file and the fault.
    """
    try:
        if not path.exists():
            raise InputError(f"{path}: no such file", remedy="Check the path.")
        if not path.is_file():
            raise InputError(
                f"{path}: not a regular file", remedy="Give the path of an audio file."
            )
        if path.stat().st_size == 0:
            raise InputError(
                f"{path}: the file is empty (0 bytes)", remedy="Export the audio again."
            )
        container = containers.container(path)
        containers.refuse_mislabelled(path, container)
        containers.refuse_cut(path, container)
        is_declared = containers.declares_length(path, container)
        audio = _load_soundfile(path, max_seconds, is_declared=is_declared) or _load_av(
            path, max_seconds, is_declared=is_declared
        )
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({_short(error)})",
            remedy="Check the path and its permissions.",
        ) from error
    return checked(audio.waveform, audio.sample_rate, name=str(path))


def checked(waveform: Waveform, sample_rate: int, *, name: str) -> Audio:
    """Build an ``Audio`` from numbers that came from outside.

    Args:
        waveform: Shape (channels, samples).
        sample_rate: In Hz.
        name: What the error message calls it.

    Raises:
        InputError: If there is no channel, no sample, a NaN or an infinity, or a
            sample rate that no audio file has.
    """
    if waveform.ndim != 2 or waveform.shape[0] == 0:
        raise InputError(f"{name}: the file has 0 channels", remedy="Export the audio again.")
    if waveform.shape[0] > MAX_CHANNELS:
        raise InputError(
            f"{name}: {waveform.shape[0]} channels, at most {MAX_CHANNELS} are read",
            remedy="Mix the file down to mono or stereo.",
        )
    if waveform.shape[1] == 0:
        raise InputError(f"{name}: the file holds 0 samples", remedy="Export the audio again.")
    if not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
        raise InputError(
            f"{name}: sample rate {sample_rate} Hz is outside "
            f"{MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz",
            remedy="Export the audio again.",
        )
    if not np.isfinite(waveform).all():
        bad = int((~np.isfinite(waveform)).sum())
        raise InputError(
            f"{name}: {bad} samples are NaN or infinite", remedy="Export the audio again."
        )
    return Audio(waveform=np.ascontiguousarray(waveform, dtype=np.float32), sample_rate=sample_rate)


def resample(audio: Audio, sample_rate: int) -> Audio:
    """Convert to another sample rate with torchaudio's windowed-sinc resampler."""
    if sample_rate == audio.sample_rate:
        return audio
    import torch
    import torchaudio

    with torch.inference_mode():
        out = torchaudio.functional.resample(
            torch.from_numpy(audio.waveform), audio.sample_rate, sample_rate
        )
    return Audio(waveform=np.ascontiguousarray(out.numpy()), sample_rate=sample_rate)


def encode(
    audio: Audio,
    file_format: FileFormat,
    *,
    bitrate: int = 192_000,
    tags: Mapping[str, str] | None = None,
) -> bytes:
    """Write the sound as a file in memory: 16-bit WAV, 24-bit FLAC, or MP3.

    Args:
        audio: One or two channels; MP3 takes the sample rates MPEG-1 and -2 define.
        file_format: Container and codec.
        bitrate: In bit/s, for MP3 only.
        tags: Any of "title", "artist", "comment", "software"; others are refused.

    Raises:
        ValueError: If a tag has a name that not every format can hold.
        InputError: If MP3 cannot hold the sample rate or the number of channels.
    """
    tags = tags or {}
    if unknown := set(tags) - TAG_NAMES:
        msg = f"tags {sorted(unknown)} are not among {sorted(TAG_NAMES)}"
        raise ValueError(msg)
    if file_format == "mp3":
        _refuse_for_mp3(audio)
        return _encode_mp3(audio, bitrate, tags)
    import soundfile

    buffer = io.BytesIO()
    with soundfile.SoundFile(
        buffer,
        mode="w",
        samplerate=audio.sample_rate,
        channels=audio.waveform.shape[0],
        format=file_format.upper(),
        subtype="PCM_16" if file_format == "wav" else "PCM_24",
    ) as file:
        for name, value in tags.items():
            setattr(file, name, value)
        file.write(audio.waveform.T)
    return buffer.getvalue()


def encode_exact(audio: Audio) -> bytes:
    """Write the sound as a WAV file of 32-bit floats in memory: ``load`` gives the same bits."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, audio.waveform.T, audio.sample_rate, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


def save(audio: Audio, path: Path, *, bitrate: int = 192_000) -> None:
    """Write the sound under ``path``; the suffix chooses the format.

    Raises:
        InputError: If the suffix is not .wav, .flac or .mp3.
    """
    suffix = path.suffix.lower().removeprefix(".")
    if suffix not in ("wav", "flac", "mp3"):
        raise InputError(
            f"{path}: cannot write {path.suffix or 'a file without suffix'}",
            remedy="Use a name that ends in .wav, .flac or .mp3.",
        )
    path.write_bytes(encode(audio, suffix, bitrate=bitrate))  # type: ignore[arg-type]


def sha256_file(path: Path) -> str:
    """Hash a file's bytes, as lower-case hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pcm_sha256(audio: Audio) -> str:
    """Hash the samples as little-endian float32, channel by channel, as lower-case hex."""
    return hashlib.sha256(audio.waveform.astype("<f4").tobytes()).hexdigest()


def walk(paths: tuple[Path, ...]) -> Iterator[Path]:
    """Yield the files named, and the audio files below the folders named, in sorted order.

    A file that is named is always yielded, whatever its suffix, so that a
    mislabelled upload is judged rather than skipped.
    """
    for path in paths:
        if path.is_dir():
            yield from sorted(
                found
                for found in path.rglob("*")
                if found.is_file() and found.suffix.lower() in AUDIO_SUFFIXES
            )
        else:
            yield path


def _load_soundfile(path: Path, max_seconds: float, *, is_declared: bool) -> Audio | None:
    """Read with libsndfile; None if it does not know the format or stumbles."""
    import soundfile

    blocks: list[Waveform] = []
    read = 0
    try:
        with soundfile.SoundFile(path) as file:
            declared, rate, channels = file.frames, file.samplerate, file.channels
            is_declared = is_declared and declared < _UNKNOWN
            _refuse_bomb(path, channels, rate, declared if is_declared else 0, max_seconds)
            while True:
                block = file.read(_READ_FRAMES, dtype="float32", always_2d=True)
                if len(block) == 0:
                    break
                read += len(block)
                _refuse_bomb(path, channels, rate, read, max_seconds)
                blocks.append(block)
    except (soundfile.SoundFileError, TypeError):  # TypeError: a name that ends in .raw
        return None
    # libsndfile reads up to a cut without a word.
    if is_declared:
        _refuse_fewer(path, read, declared, rate)
    waveform = np.concatenate(blocks, axis=0).T if blocks else np.zeros((channels, 0), np.float32)
    return Audio(waveform=np.ascontiguousarray(waveform, dtype=np.float32), sample_rate=rate)


def _load_av(path: Path, max_seconds: float, *, is_declared: bool) -> Audio:
    """Read with FFmpeg, demuxers limited to audio containers and files opened by us."""
    import av
    from av.error import FFmpegError

    blocks: list[Waveform] = []
    read = 0
    rate = 0
    declared = 0
    try:
        with (
            path.open("rb") as file,
            av.open(file, mode="r", options={"format_whitelist": DEMUXERS}) as container,
        ):
            if not container.streams.audio:
                raise InputError(f"{path}: no audio stream in the file", remedy="Export audio.")
            stream = container.streams.audio[0]
            if stream.codec_context is None:
                raise InputError(
                    f"{path}: cannot be decoded as audio (unknown codec)",
                    remedy="Export it again as WAV, FLAC, MP3, Ogg or M4A.",
                )
            rate = int(stream.codec_context.sample_rate)
            channels = int(stream.codec_context.channels)
            if channels == 0 or rate == 0:
                raise InputError(f"{path}: the file has 0 channels", remedy="Export it again.")
            if stream.duration and stream.time_base:
                declared = int(stream.duration * stream.time_base * rate)
            resampler = av.AudioResampler(format="fltp", layout=stream.layout, rate=rate)
            for frame in container.decode(stream):
                for part in resampler.resample(frame):
                    block = np.asarray(part.to_ndarray(), dtype=np.float32)
                    read += block.shape[1]
                    _refuse_bomb(path, channels, rate, read, max_seconds)
                    blocks.append(block)
            for part in resampler.resample(None):
                blocks.append(np.asarray(part.to_ndarray(), dtype=np.float32))
    except (FFmpegError, ValueError, EOFError) as error:
        if read:
            raise InputError(
                f"{path}: damaged or truncated after {read / rate:.2f} s ({_short(error)})",
                remedy="Copy, download or export the file again.",
            ) from error
        raise InputError(
            f"{path}: cannot be decoded as audio ({_short(error)})",
            remedy="Check that the file is complete and that its suffix fits its content.",
        ) from error
    if is_declared:
        _refuse_fewer(path, read, declared, rate)
    waveform = np.concatenate(blocks, axis=1) if blocks else np.zeros((channels, 0), np.float32)
    return Audio(waveform=waveform, sample_rate=rate)


def _refuse_fewer(path: Path, read: int, declared: int, rate: int) -> None:
    """Compare what was decoded with what the header declared, less an encoder's delay."""
    if read + _CODEC_DELAY < declared:
        raise InputError(
            f"{path}: truncated, {read / rate:.2f} of {declared / rate:.2f} s are there",
            remedy="Copy, download or export the file again.",
        )


def _refuse_for_mp3(audio: Audio) -> None:
    channels = audio.waveform.shape[0]
    if audio.sample_rate not in MP3_SAMPLE_RATES or channels not in (1, 2):
        raise InputError(
            f"MP3 cannot hold {channels} channels at {audio.sample_rate} Hz, only 1 or 2 at "
            f"{', '.join(map(str, MP3_SAMPLE_RATES))} Hz",
            remedy="Use wav or flac, or resample the sound.",
        )


def _encode_mp3(audio: Audio, bitrate: int, tags: Mapping[str, str]) -> bytes:
    import av

    buffer = io.BytesIO()
    layout = "mono" if audio.waveform.shape[0] == 1 else "stereo"
    with av.open(buffer, mode="w", format="mp3") as container:
        # ID3 has no "software"; "encoded_by" (TENC) is its field for it.
        names = {"software": "encoded_by"}
        container.metadata.update({names.get(name, name): text for name, text in tags.items()})
        stream = container.add_stream("libmp3lame", rate=audio.sample_rate)
        stream.bit_rate = bitrate
        stream.layout = layout
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(np.clip(audio.waveform, -1.0, 1.0)), format="fltp", layout=layout
        )
        frame.sample_rate = audio.sample_rate
        resampler = av.AudioResampler(
            format=stream.codec_context.format, layout=layout, rate=audio.sample_rate
        )
        fifo = av.AudioFifo()
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            fifo.write(part)
        for block in [*fifo.read_many(1152), fifo.read(0, partial=True)]:
            if block is not None:
                container.mux(stream.encode(block))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def _refuse_bomb(path: Path, channels: int, rate: int, frames: int, max_seconds: float) -> None:
    """Stop before a small file becomes a large array."""
    if frames > max_seconds * rate or frames * channels > MAX_VALUES:
        raise InputError(
            f"{path}: {frames / max(rate, 1):.0f} s of {channels}-channel audio at {rate} Hz, "
            f"limit {max_seconds:g} s and {MAX_VALUES} values",
            remedy="Cut the file into shorter pieces.",
        )


def _short(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0][:160]
