"""Where does a sound go that is heard while it is made? Into a WAV file, or down a pipe.

The length of a stream is not known when its header is written; a pipe's header says so
as players expect it, that of a file is put right at the end.
"""

import os
import struct
import sys
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Final

from safegen.errors import InputError, SafegenError

if TYPE_CHECKING:
    from safegen.audio import Audio

PIPE: Final = Path("-")
_SUFFIXES: Final = ("", ".wav", ".fifo", ".pipe")
_UNKNOWN: Final = 0xFFFFFFFF
_BYTES: Final = 2
_HEADER_BYTES: Final = 44


class ListenerLeftError(SafegenError):
    """Nobody reads the pipe any more, or the disk is full."""


class Hearing:
    """Writes a sound piece by piece, 16 bits a sample.

    Args:
        path: A file that is not there yet, a named pipe, or ``PIPE`` for stdout.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._shape = (0, 0)
        self._written_bytes = 0

    def __enter__(self) -> "Hearing":
        """Open the file.

        Raises:
            InputError: If it is there, cannot be written, or is a terminal.
        """
        if self._path == PIPE:
            if sys.stdout.isatty():
                raise InputError(
                    "--stream -: a terminal cannot play sound",
                    remedy="Send it to a player, `--stream - | ffplay -`, or name a file.",
                )
            self._file = sys.stdout.buffer
            return self
        if self._path.suffix.lower() not in _SUFFIXES:
            raise InputError(
                f"{self._path}: a stream is WAV, not {self._path.suffix}",
                remedy="Name a file that ends in .wav; --file-format is that of the released file.",
            )
        if self._path.is_file() or self._path.is_dir():
            raise InputError(f"{self._path} exists", remedy="Name another file for --stream.")
        try:
            self._file = self._path.open("wb")
        except OSError as error:
            raise InputError(
                f"{self._path}: cannot be written ({error.strerror})", remedy="Name another file."
            ) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Put the header right, and close; a file of which nothing was heard is removed."""
        file = self._file
        if file is None or self._path == PIPE:
            return
        try:
            with file:
                if self._written_bytes and file.seekable():
                    file.seek(0)
                    file.write(_header(*self._shape, data_bytes=self._written_bytes))
        except OSError as late:
            if kind is None:
                raise _unwritable(self._path, late) from late
        if not self._written_bytes and self._path.is_file():
            self._path.unlink()

    def write(self, audio: "Audio") -> None:
        """Write the next piece.

        Raises:
            ListenerLeftError: If nobody reads the pipe any more, or the disk is full.
        """
        import numpy as np

        if self._file is None:
            msg = "the hearing is not open"
            raise ValueError(msg)
        # As libsndfile writes the released file: rounded to 32 bits, of which the upper 16 stay.
        scaled = np.rint(audio.waveform.T.astype(np.float64) * 2.0**31)
        data = (np.clip(scaled, -(2.0**31), 2.0**31 - 1).astype(np.int64) >> 16).astype("<i2")
        try:
            if not self._written_bytes:
                self._shape = (audio.waveform.shape[0], audio.sample_rate)
                self._file.write(_header(*self._shape, data_bytes=_UNKNOWN))
            self._file.write(data.tobytes())
            self._file.flush()
        except OSError as error:
            if self._path == PIPE:  # or Python would try again at its end
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise _unwritable(self._path, error) from error
        self._written_bytes += data.nbytes


def _unwritable(path: Path, error: OSError) -> ListenerLeftError:
    return ListenerLeftError(
        "nobody listens to the stream any more"
        if isinstance(error, BrokenPipeError)
        else f"--stream {path}: cannot be written ({error.strerror})",
        remedy="`safegen log verify` and `safegen audit record` tell what the log has of it.",
    )


def _header(channels: int, sample_rate: int, *, data_bytes: int) -> bytes:
    """Write the header of a WAV file; unknown lengths are the largest, as in a pipe."""
    frame = channels * _BYTES
    riff = min(data_bytes + _HEADER_BYTES - 8, _UNKNOWN)
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", riff, b"WAVE", b"fmt ", 16, 1, channels),
        *(sample_rate, sample_rate * frame, frame, 8 * _BYTES, b"data", data_bytes),
    )
