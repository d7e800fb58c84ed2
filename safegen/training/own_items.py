"""How do files of any length become training items of one length? Cut, then encoded once.

A file is cut into stretches of ``ITEM_SECONDS``. What is left at its end is one more
stretch that reaches back into the last one, if it is at least ``LEAST_NEW_SECONDS`` long.
A shorter file is one item, followed by silence, that begins where excerpts of it begin,
so that what is learned from it is mostly sound. Silent stretches are left out.

Each file is read and encoded once; the result is kept under the hash of its bytes and
that of the codec, so a stopped run goes on where it was, and models that learn from the
same files share it. It is derived data and may be deleted at any time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from detectors import chromaprint
from detectors.agreement import NO_CODE
from safegen.audio import Audio, load, resample
from safegen.errors import InputError
from safegen.generation.codec import (
    FLOOR,
    FRAME_RATE,
    HOP,
    LOUDNESS_RMS,
    MELS,
    SAMPLE_RATE,
    SAMPLES_PER_FRAME,
    STACK,
    Codec,
)
from safegen.generation.melody import NONE, classes_of
from safegen.generation.requests import SILENCE_DBFS, level_dbfs
from safegen.training.latents import fingerprint
from safegen.training.manifests import ITEM_SECONDS
from safegen.training.own_data import LeftOut, OwnData, OwnFile

FRAMES: Final = round(ITEM_SECONDS * FRAME_RATE)
SHORTEST_SECONDS: Final = 1.0
LEAST_NEW_SECONDS: Final = 1.0
PRINT_ITEMS: Final = 1 + int((ITEM_SECONDS - chromaprint.SPAN_SECONDS) / chromaprint.ITEM_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnItems:
    """Training items, n of them.

    Attributes:
        files: File of each item.
        starts: Where each begins in its file, in seconds.
        sounding: Frames of each that are sound, the others follow it; shape (n,).
        latents: Shape (n, ``FRAMES``, latent).
        codes: Shape (n, codebooks, ``FRAMES``).
        melody: Leading pitch classes, shape (n, ``FRAMES``).
        fingerprints: Chromaprint items, padded with silence, shape (n, k).
        mels: Log-mel, shape (n, STACK * ``FRAMES``, MELS); None unless asked for.
        left_out: Files that gave no item.
    """

    files: tuple[OwnFile, ...]
    starts: tuple[float, ...]
    sounding: npt.NDArray[np.int64]
    latents: npt.NDArray[np.float16]
    codes: npt.NDArray[np.int16]
    melody: npt.NDArray[np.uint8]
    fingerprints: npt.NDArray[np.uint32]
    mels: npt.NDArray[np.float16] | None
    left_out: tuple[LeftOut, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Name each item by its file and where it begins: "loops/a.wav@20s"."""
        pairs = zip(self.files, self.starts, strict=True)
        return tuple(f"{file.name}@{start:g}s" for file, start in pairs)

    @property
    def first_codes(self) -> npt.NDArray[np.int16]:
        """First-codebook tokens, ``NO_CODE`` after the sound; shape (n, ``FRAMES``)."""
        is_sound = np.arange(FRAMES)[None] < self.sounding[:, None]
        return np.where(is_sound, self.codes[:, 0], np.int16(NO_CODE))


class _Unusable(Exception):  # noqa: N818
    """A file gives no item; the reason is its text."""


def encode(data: OwnData, codec: Codec, *, folder: Path, keep_mels: bool) -> Iterator[int]:
    """Cut and encode all files into a folder, unless that was done before.

    Args:
        data: The files.
        codec: Names the sounds.
        folder: Where items are kept.
        keep_mels: Whether log-mel frames are kept, too.

    Yields:
        How many files are done.

    Cost: about 0.1 s of one core per item.
    """
    place = _place(folder, codec, keep_mels=keep_mels)
    place.mkdir(parents=True, exist_ok=True)
    for number, file in enumerate(data.files, 1):
        path = place / f"{file.sha256}.npz"
        if not _is_encoded(path):
            try:
                arrays = _encoded(file, codec, keep_mels=keep_mels)
            except _Unusable as reason:
                arrays = {"reason": np.array(str(reason))}
            temporary = path.with_suffix(".part")
            with temporary.open("wb") as out:
                np.savez(out, **arrays)  # type: ignore[arg-type]
            temporary.replace(path)
        yield number


def encoded(data: OwnData, codec: Codec, *, folder: Path, keep_mels: bool) -> OwnItems:
    """Read back what ``encode`` kept.

    Raises:
        InputError: If no file gave an item; the message says why.
    """
    place = _place(folder, codec, keep_mels=keep_mels)
    files: list[OwnFile] = []
    parts: list[dict[str, npt.NDArray[np.generic]]] = []
    left_out: list[LeftOut] = []
    for file in data.files:
        with np.load(place / f"{file.sha256}.npz", allow_pickle=False) as found:
            arrays = dict(found)
        if "reason" in arrays:
            left_out.append(LeftOut(name=file.name, reason=str(arrays["reason"])))
            continue
        files.extend([file] * len(arrays["starts"]))
        parts.append(arrays)
    if not parts:
        shown = "\n  ".join(f"{x.name}: {x.reason}" for x in left_out[:5])
        raise InputError(
            f"none of {len(left_out)} files can be learned from\n  {shown}",
            remedy="Give files of at least a second in which something is heard.",
        )
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return OwnItems(
        files=tuple(files),
        starts=tuple(joined["starts"].tolist()),
        sounding=joined["sounding"].astype(np.int64),
        latents=joined["latents"].astype(np.float16),
        codes=joined["codes"].astype(np.int16),
        melody=joined["melody"].astype(np.uint8),
        fingerprints=joined["fingerprints"].astype(np.uint32),
        mels=joined["mels"].astype(np.float16) if keep_mels else None,
        left_out=tuple(left_out),
    )


def stretches(seconds: float) -> list[float]:
    """Say where the items of a file of some length begin, in seconds."""
    if seconds <= ITEM_SECONDS:
        return [0.0]
    whole = int(seconds / ITEM_SECONDS)
    starts = [i * ITEM_SECONDS for i in range(whole)]
    if seconds - whole * ITEM_SECONDS >= LEAST_NEW_SECONDS:
        starts.append(seconds - ITEM_SECONDS)
    return starts


def _place(folder: Path, codec: Codec, *, keep_mels: bool) -> Path:
    return folder / f"own-items-{fingerprint(codec)}{'-mels' if keep_mels else ''}"


def _is_encoded(path: Path) -> bool:
    """Whether there are items; what could not be used is tried again."""
    if not path.exists():
        return False
    with np.load(path, allow_pickle=False) as found:
        return "reason" not in found


def _encoded(file: OwnFile, codec: Codec, *, keep_mels: bool) -> dict[str, npt.NDArray[np.generic]]:
    try:
        audio = load(file.path)
    except InputError as error:
        raise _Unusable(error.problem.removeprefix(f"{file.path}: ")) from error
    if audio.seconds < SHORTEST_SECONDS:
        raise _Unusable(f"{audio.seconds:.2f} s, at least {SHORTEST_SECONDS:g} s are needed")
    audio = resample(Audio(waveform=audio.mono()[None], sample_rate=audio.sample_rate), SAMPLE_RATE)
    rows: dict[str, list[npt.NDArray[np.generic]]] = {}
    for start in stretches(audio.seconds):
        part = audio.cut(start, start + ITEM_SECONDS)
        if level_dbfs(part) >= SILENCE_DBFS:
            for name, value in _item(part, codec, keep_mels=keep_mels).items():
                rows.setdefault(name, []).append(value)
            rows.setdefault("starts", []).append(np.array(round(start, 3)))
    if not rows:
        raise _Unusable(f"silent, below {SILENCE_DBFS:g} dBFS throughout")
    return {name: np.stack(values) for name, values in rows.items()}


def _item(part: Audio, codec: Codec, *, keep_mels: bool) -> dict[str, npt.NDArray[np.generic]]:
    """Encode one stretch of mono sound at the codec's rate, at most ``ITEM_SECONDS`` long."""
    frames = min(FRAMES, part.waveform.shape[1] // SAMPLES_PER_FRAME)
    mono = torch.from_numpy(part.waveform[:, : frames * SAMPLES_PER_FRAME])
    rms = mono.double().square().mean().sqrt().float()
    with torch.inference_mode():
        mels = torch.full((1, STACK * FRAMES, MELS), float(np.log10(FLOOR)))
        mels[:, : frames * SAMPLES_PER_FRAME // HOP] = codec.log_mel(mono * (LOUDNESS_RMS / rms))
        # Rounded as they are kept, so that latents are those of the kept frames.
        mels = mels.half().float()
        z = codec.encode_mel(mels)
        codes = codec.quantizer.encode(z)
    melody = np.full(FRAMES, NONE, dtype=np.uint8)
    melody[:frames] = classes_of(part)[:frames]
    prints = np.full(PRINT_ITEMS, chromaprint.SILENCE, dtype=np.uint32)
    heard = chromaprint.fingerprint(part.waveform, part.sample_rate)[:PRINT_ITEMS]
    prints[: len(heard)] = heard
    row: dict[str, npt.NDArray[np.generic]] = {
        "sounding": np.array(frames),
        "latents": z[0].numpy().astype(np.float16),
        "codes": codes[0].T.numpy().astype(np.int16),
        "melody": melody,
        "fingerprints": prints,
    }
    if keep_mels:
        row["mels"] = mels[0].numpy().astype(np.float16)
    return row
