"""AudioSeal, the second mark: a trained generator and detector, 16 bits, no key of their own.

The networks are built from the package's own configuration. Weights come from a folder that
``write_weights`` filled: two safetensors files and a card that names both by sha256; the
package's own loader, which unpickles, is never called.

The contract is 16 kHz. Every channel is resampled to it, the generator's *difference* is
computed there, brought back and added: the programme itself is never resampled, and nothing
above 8 kHz changes. The 16 bits follow from the id and the key and are never random.

Known of the public weights: the message sits mostly at the start of what was marked, so a cut
loses it (facebookresearch/audioseal, issue 52). Marking therefore starts anew every two
seconds, and listening adds windows up.

Source: San Roman et al. 2024, "Proactive Detection of Voice Cloning with Localized
Watermarking"; package audioseal 0.2.0.
"""

import hashlib
import hmac
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from math import gcd
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
import numpy.typing as npt
from scipy.ndimage import maximum_filter1d, minimum_filter1d, uniform_filter1d
from scipy.signal import resample_poly

from detectors.base import WatermarkFinding, Waveform
from detectors.errors import DetectorError
from detectors.presence import (
    MESSAGE_BITS,
    SAMPLE_RATE,
    AudioSealFinding,
    NullTable,
    Tally,
)
from detectors.windows import at_16k, batches, cut_windows

if TYPE_CHECKING:
    import torch

CARD_NAME: Final = "audioseal.json"
NULL_NAME: Final = "audioseal-null.json"
CARD_SCHEMA: Final = "safegen.audioseal/1"
ROLES: Final = ("generator", "detector")

BLOCK: Final = 2 * SAMPLE_RATE
"""Marking starts anew after so many samples."""
_FADE: Final = 80
"""The old block fades out under the new one, which starts at once: its message is there."""
_SHORTEST: Final = SAMPLE_RATE // 2
"""Shorter sounds are padded for the networks."""
_BATCH: Final = 4
"""On a CPU more at once is slower and takes half a gigabyte more."""
_BATCH_ON_GPU: Final = 64
_CHUNK_SECONDS: Final = 60
_SILENCE_SECONDS: Final = 0.05
_CARDS: Final = {"generator": "audioseal_wm_16bits", "detector": "audioseal_detector_16bits"}
_MESSAGE_LABEL: Final = b"safegen audioseal message"


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One of the two networks: its file and its size.

    Attributes:
        sha256: Of the safetensors file, lower-case hex.
        n_filters: Channels of the first layer.
        dimension: Channels of the innermost layer.
        lstm: Recurrent layers.
        source_sha256: Of the checkpoint that was converted.
    """

    sha256: str
    n_filters: int
    dimension: int
    lstm: int
    source_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What is installed.

    Attributes:
        generator: Writes the mark.
        detector: Hears it.
        license: SPDX id, or what the operator said.
        origin: Where the checkpoints came from.
    """

    generator: Network
    detector: Network
    license: str
    origin: str

    @property
    def weights_sha256(self) -> str:
        """One hash for both files."""
        lines = f"{self.generator.sha256}\n{self.detector.sha256}\n"
        return hashlib.sha256(lines.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Tensors as somebody saved them.

    Attributes:
        tensors: Name -> tensor.
        sha256: Of the file they were in.
    """

    tensors: "Mapping[str, torch.Tensor]"
    sha256: str


class AudioSeal:
    """The mark, with its networks in memory.

    Use ``AudioSeal.load``. Not shared between threads.
    """

    method: str = "audioseal"

    def __init__(
        self,
        *,
        generator: "torch.nn.Module",
        detector: "torch.nn.Module",
        weights_sha256: str,
        table: NullTable | None = None,
        device: str = "cpu",
        batch: int = _BATCH,
    ) -> None:
        self.weights_sha256 = weights_sha256
        self.table = table
        self._generator = generator.to(device).eval()
        self._detector = detector.to(device).eval()
        self._device = device
        self._batch = batch

    @classmethod
    def load(cls, folder: Path, *, card: Card, device: str = "cpu") -> Self:
        """Read both networks after checking their files; use the null table beside them.

        Args:
            folder: As filled by ``write_weights``.
            card: Names the only files that are accepted; ``read_card`` reads the folder's.
            device: "cpu" or "cuda".

        Raises:
            DetectorError: If a file is missing, is not the one the card names, or does not
                fit the architecture.
        """
        networks = {
            role: _build(role, size, _read(folder, role, size.sha256))
            for role, size in (("generator", card.generator), ("detector", card.detector))
        }
        null = folder / NULL_NAME
        table = None
        if null.exists():
            table = NullTable.read(null, weights_sha256=card.weights_sha256)
        return cls(
            generator=networks["generator"],
            detector=networks["detector"],
            weights_sha256=card.weights_sha256,
            table=table,
            device=device,
            batch=_BATCH if device == "cpu" else _BATCH_ON_GPU,
        )

    def embed(self, waveform: Waveform, sample_rate: int, *, payload: int, key: bytes) -> Waveform:
        """Add the mark to every channel, at the sound's own rate.

        Digital silence stays as it is, and no sample goes beyond full scale that did not before.

        Args:
            waveform: Shape (channels, samples), float32 in [-1, 1].
            sample_rate: In Hz.
            payload: The id, in [0, 2**64).
            key: The secret, at least 16 bytes.

        Raises:
            ValueError: If payload or key is out of range.
        """
        word = message(payload, key)
        samples = waveform.shape[1]
        if not samples:
            return waveform.copy()
        low = _resampled(waveform, sample_rate, SAMPLE_RATE)
        delta = np.stack([self._delta(channel, word) for channel in low])
        delta = _resampled(delta, SAMPLE_RATE, sample_rate)
        missing = max(0, samples - delta.shape[1])
        delta = np.pad(delta, ((0, 0), (0, missing)))[:, :samples]
        width = max(3, round(_SILENCE_SECONDS * sample_rate))
        delta = delta * maximum_filter1d(waveform != 0.0, width, axis=1)
        limit = np.maximum(np.abs(waveform), 1.0)
        marked = waveform + _within_headroom(waveform, delta, limit)
        return np.asarray(np.clip(marked, -limit, limit), dtype=np.float32)

    def detect(
        self, waveform: Waveform, sample_rate: int, *, keys: Mapping[str, bytes]
    ) -> WatermarkFinding:
        """Listen for a mark of anybody's; AudioSeal has no keys, so none is told apart.

        Args:
            waveform: Shape (channels, samples), float32 in [-1, 1].
            sample_rate: In Hz.
            keys: Not used. Whose mark it is, ``heard`` and ``agreement_p`` say.
        """
        return self.heard(waveform, sample_rate).finding

    def heard(self, waveform: Waveform, sample_rate: int) -> AudioSealFinding:
        """Listen to a sound in memory; needs little memory beside it.

        Args:
            waveform: Shape (channels, samples), float32 in [-1, 1].
            sample_rate: In Hz.
        """
        size = _CHUNK_SECONDS * sample_rate
        starts = range(0, waveform.shape[1], size)
        return self.heard_in((waveform[:, start : start + size] for start in starts), sample_rate)

    def heard_in(self, chunks: Iterable[Waveform], sample_rate: int) -> AudioSealFinding:
        """Listen to a sound that arrives in pieces of any size; the cuts make no difference.

        Args:
            chunks: Each of shape (channels, samples), the same number of channels.
            sample_rate: In Hz.
        """
        return self._tally(chunks, sample_rate).finding(self.table)

    def calibrate(self, sounds: Iterable[tuple[Waveform, int]]) -> NullTable:
        """Measure how high unmarked sound scores.

        The table holds for sound of the kind that was measured; windows of one recording
        resemble each other, so many recordings count more than long ones.

        Args:
            sounds: Unmarked, each of shape (channels, samples), with its sample rate.

        Raises:
            ValueError: If there is nothing to hear.
        """
        scores: list[float] = []
        for waveform, sample_rate in sounds:
            scores += self._tally([waveform], sample_rate).scores
        return NullTable.measured(scores, weights_sha256=self.weights_sha256)

    def _delta(self, channel: npt.NDArray[np.float32], word: int) -> npt.NDArray[np.float32]:
        """Compute the difference for one channel at 16 kHz, block by block."""
        import torch

        samples = len(channel)
        starts = list(range(0, samples, BLOCK))
        if len(starts) > 1 and samples - starts[-1] < BLOCK // 2:
            starts.pop()  # the rest goes with the block before it
        ends = [*(start + BLOCK + _FADE for start in starts[:-1]), samples]
        bits = torch.tensor([[word >> (MESSAGE_BITS - 1 - i) & 1 for i in range(MESSAGE_BITS)]])
        out = np.zeros(samples, np.float32)
        fade = np.linspace(1.0, 0.0, _FADE, endpoint=False, dtype=np.float32)
        for batch in _same_length(starts, ends, at_most=self._batch):
            pieces = [channel[start:end] for start, end in batch]
            audible = [bool(piece.any()) for piece in pieces]
            if not any(audible):
                continue
            length = len(pieces[0])
            stacked = np.stack(pieces)[:, None, :]
            stacked = np.pad(stacked, ((0, 0), (0, 0), (0, max(0, _SHORTEST - length))))
            with torch.inference_mode():
                x = torch.from_numpy(stacked).to(self._device)  # (b, 1, t)
                y = self._generator.get_watermark(
                    x, message=bits.repeat(len(pieces), 1).to(self._device)
                )  # type: ignore[operator]
            for (start, end), has, row in zip(batch, audible, y.cpu().numpy()[:, 0], strict=True):
                if not has:
                    continue
                piece = row[: end - start].copy()
                if end < samples:
                    piece[-_FADE:] *= fade
                out[start:end] += piece
        return out

    def _tally(self, chunks: Iterable[Waveform], sample_rate: int) -> Tally:
        import torch

        tally = Tally()
        for windows in batches(cut_windows(at_16k(chunks, sample_rate)), at_most=self._batch):
            length = windows[0].samples.shape[0]
            stacked = np.stack([window.samples for window in windows])[:, None, :]
            stacked = np.pad(stacked, ((0, 0), (0, 0), (0, max(0, _SHORTEST - length))))
            with torch.inference_mode():
                # Not the detector's forward: that one averages the bits over everything.
                inner: Any = self._detector.detector
                y = inner(torch.from_numpy(stacked).to(self._device))  # (b, 2 + 16, t)
                log_odds = (y[:, 1] - y[:, 0])[:, :length].cpu().numpy()
                bits = y[:, 2:, :length].cpu().numpy()
            for window, odds, bit in zip(windows, log_odds, bits, strict=True):
                tally.add(start=window.start, channel=window.channel, log_odds=odds, bit_logits=bit)
        return tally


def message(payload: int, key: bytes) -> int:
    """Derive the 16 bits that stand for an id; without the key nobody can tell which.

    Raises:
        ValueError: If payload or key is out of range.
    """
    if not 0 <= payload < 1 << 64:
        msg = f"a payload is in [0, 2**64), not {payload}"
        raise ValueError(msg)
    if len(key) < 16:
        msg = f"a watermark secret has at least 16 bytes, not {len(key)}"
        raise ValueError(msg)
    digest = hmac.new(key, _MESSAGE_LABEL + payload.to_bytes(8, "big"), hashlib.sha256).digest()
    return int.from_bytes(digest[: MESSAGE_BITS // 8], "big")


# Weights ---------------------------------------------------------------------------


def write_weights(
    folder: Path, *, generator: Checkpoint, detector: Checkpoint, license: str, origin: str
) -> Card:
    """Convert two checkpoints to safetensors and write them with their card.

    Args:
        folder: Must exist; files in it are overwritten.
        generator: Saved by the package or by training, with or without weight norm.
        detector: Likewise.
        license: Of the weights.
        origin: Where they came from.

    Raises:
        DetectorError: If the tensors are not those of the architecture.
    """
    from safetensors.torch import save

    found: dict[str, Network] = {}
    for role, checkpoint in (("generator", generator), ("detector", detector)):
        tensors = _plain(checkpoint.tensors)
        sizes = _sizes(role, tensors)
        data = save(tensors)
        network = Network(
            sha256=hashlib.sha256(data).hexdigest(),
            source_sha256=checkpoint.sha256,
            **sizes,
        )
        _build(role, network, tensors)
        (folder / _file_name(role)).write_bytes(data)
        found[role] = network
    card = Card(
        generator=found["generator"], detector=found["detector"], license=license, origin=origin
    )
    text = json.dumps({"schema": CARD_SCHEMA, **asdict(card)}, indent=1)
    (folder / CARD_NAME).write_text(text + "\n", encoding="utf-8")
    return card


def read_card(folder: Path) -> Card:
    """Read the card of a folder.

    Raises:
        DetectorError: If there is none, or it is not one.
    """
    try:
        row = json.loads((folder / CARD_NAME).read_text(encoding="utf-8"))
        if row.pop("schema") != CARD_SCHEMA:
            msg = f"{CARD_NAME}: not of schema {CARD_SCHEMA}"
            raise DetectorError(msg)
        generator, detector = (Network(**row.pop(role)) for role in ROLES)
        return Card(generator=generator, detector=detector, **row)
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"{CARD_NAME}: no card of AudioSeal weights ({error})"
        raise DetectorError(msg) from error


def _file_name(role: str) -> str:
    return f"audioseal-{role}.safetensors"


def _read(folder: Path, role: str, sha256: str) -> "dict[str, torch.Tensor]":
    from safetensors import SafetensorError
    from safetensors.torch import load

    name = _file_name(role)
    try:
        data = (folder / name).read_bytes()
    except OSError as error:
        msg = f"{name}: {error.strerror}"
        raise DetectorError(msg) from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        msg = f"{name}: sha256 {found[:16]}..., the card says {sha256[:16]}..."
        raise DetectorError(msg)
    try:
        return load(data)
    except SafetensorError as error:
        msg = f"{name}: not a safetensors file ({error})"
        raise DetectorError(msg) from error


def _build(role: str, size: Network, tensors: "Mapping[str, torch.Tensor]") -> "torch.nn.Module":
    """Make a network of the package's architecture and give it the tensors, all of them."""
    # The package decides while it is imported; compiling would cost a minute.
    os.environ["NO_TORCH_COMPILE"] = "1"
    from audioseal import builder, loader
    from omegaconf import OmegaConf

    plain: Any = OmegaConf.to_container(loader.load_local_model_config(_CARDS[role]))
    plain.pop("checkpoint")
    plain["seanet"].update(n_filters=size.n_filters, dimension=size.dimension, lstm=size.lstm)
    types = {"generator": builder.AudioSealWMConfig, "detector": builder.AudioSealDetectorConfig}
    makers: Any = {"generator": builder.create_generator, "detector": builder.create_detector}
    network: torch.nn.Module = makers[role](
        loader.AudioSeal.parse_config(plain, config_type=types[role])
    )
    try:
        network.load_state_dict(dict(tensors), strict=True)
    except RuntimeError as error:
        msg = f"the tensors are not those of an AudioSeal {role}: {str(error)[:300]}"
        raise DetectorError(msg) from error
    return network.requires_grad_(False)


def _plain(tensors: "Mapping[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
    """Give the tensors the names of the package's present layers, and fold weight norm in."""
    out: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        # Checkpoints of the first release lack one level of names.
        moved = re.sub(
            r"\.(conv|convtr)\.\1\.(?=weight|bias|parametrizations)", r".\1.\1.inner_conv.", name
        )
        moved = moved.replace("parametrizations.weight.original0", "weight_g")
        moved = moved.replace("parametrizations.weight.original1", "weight_v")
        out[moved] = tensor.detach().float().contiguous()
    for name in [name for name in out if name.endswith(".weight_g")]:
        stem = name.removesuffix("_g")
        size, direction = out.pop(name), out.pop(f"{stem}_v", None)
        if direction is None:
            msg = f"{name} has no direction ({stem}_v) beside it"
            raise DetectorError(msg)
        # Source: Salimans and Kingma 2016, w = g v / |v|, a norm for each first index.
        norm = direction.flatten(1).norm(dim=1).reshape(-1, *[1] * (direction.dim() - 1))
        out[stem] = (direction * (size / norm)).contiguous()
    return out


def _sizes(role: str, tensors: "Mapping[str, torch.Tensor]") -> dict[str, int]:
    """Read the architecture off the shapes of the tensors."""
    root = {"generator": "encoder.model", "detector": "detector.0.model"}[role]
    first = tensors.get(f"{root}.0.conv.conv.inner_conv.weight")
    names = re.compile(re.escape(root) + r"\.(\d+)\.conv\.conv\.inner_conv\.weight")
    layers = {int(m[1]): name for name in tensors if (m := names.fullmatch(name))}
    if first is None or len(layers) < 2:
        msg = f"no {root}.0 among the tensors: not an AudioSeal {role}"
        raise DetectorError(msg)
    recurrent = re.compile(re.escape(root) + r"\.\d+\.lstm\.weight_hh_l\d+")
    return {
        "n_filters": int(first.shape[0]),
        "dimension": int(tensors[layers[max(layers)]].shape[0]),
        "lstm": sum(recurrent.fullmatch(name) is not None for name in tensors),
    }


# Sound -----------------------------------------------------------------------------


def _same_length(
    starts: list[int], ends: list[int], *, at_most: int
) -> Iterator[list[tuple[int, int]]]:
    """Group blocks of one length."""
    batch: list[tuple[int, int]] = []
    for start, end in zip(starts, ends, strict=True):
        if batch and (len(batch) == at_most or batch[0][1] - batch[0][0] != end - start):
            yield batch
            batch = []
        batch.append((start, end))
    if batch:
        yield batch


def _resampled(waveform: Waveform, rate: int, to_rate: int) -> Waveform:
    if rate == to_rate:
        return waveform
    common = gcd(rate, to_rate)
    out = resample_poly(waveform, to_rate // common, rate // common, axis=1)
    return np.asarray(out, dtype=np.float32)


def _within_headroom(
    waveform: Waveform, delta: Waveform, limit: npt.NDArray[np.float32]
) -> Waveform:
    """Turn the mark down around peaks that it would push beyond the limit."""
    over = np.abs(waveform + delta) > limit
    if not over.any():
        return delta
    room = np.maximum(limit - np.abs(waveform), 0.0)
    allowed = np.where(over, room / np.maximum(np.abs(delta), 1e-12), 1.0)
    # The mean of minima never exceeds what the sample in the middle allows. Narrow, so that
    # a loud master keeps its mark between the peaks.
    width = 33
    calm = uniform_filter1d(minimum_filter1d(allowed, width, axis=1), width, axis=1)
    return np.asarray(delta * np.clip(calm, 0.0, 1.0), dtype=np.float32)
