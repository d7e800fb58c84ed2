"""How does somebody else's classifier become one of the models that are asked?

A plug-in is a folder of weights and a description of it: which outputs mean synthetic and
which mean real, the sample rate, how a window becomes the length the model was trained on,
and what kinds of sound it is for. None of it is guessed: of two public checkpoints with
labels 0 and 1 one means "fake" by 0 and the other by 1, and scores of a model that hears the
wrong rate look like scores all the same. What a score is worth says the calibration
(``detectors.synthetic.plugin_scores``); without one a plug-in is not asked.

Two kinds:

* ``transformers``: an ``AutoModelForAudioClassification`` with its own feature extractor.
  Of the folder only its settings (JSON) and safetensors are read; no code of the checkpoint
  runs.
* ``torch``: any other module. Its code is a function of an installed Python package that
  the operator names, and runs with the operator's rights; the weights are safetensors and
  cannot run. There is no TorchScript, and no ``torch.export`` archive: reading one evaluates
  text of the file (torch/_export/serde/serialize.py, ``sympy.sympify``).

Plug-ins hear the windows that every model hears, 16 kHz: sound above 8 kHz is not heard.
"""

import hashlib
import importlib
import importlib.util
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from scipy.signal import resample_poly

from detectors.errors import DetectorError
from detectors.synthetic.entries import NAME
from detectors.synthetic.traces import SAMPLE_RATE, WINDOW_SECONDS

if TYPE_CHECKING:
    import torch

Floats = npt.NDArray[np.float64]
Sound = npt.NDArray[np.float32]
Logits = Callable[[Sound], Floats]

TRANSFORMERS: Final = "transformers"
TORCH: Final = "torch"
SOUNDS: Final = ("speech", "music")

CONFIG: Final = "config.json"
EXTRACTOR: Final = "preprocessor_config.json"
SHARDS: Final = "model.safetensors.index.json"
READ: Final = (CONFIG, EXTRACTOR, SHARDS)
"""Files of a ``transformers`` folder that are read beside ``*.safetensors``; no other."""

_RATES_HZ: Final = (4_000, 96_000)
_MOST_CROP_SECONDS: Final = 60.0
_RUNS_CODE: Final = ("auto_map", "quantization_config", "custom_pipelines")
_BATCH: Final = 8
_REFERENCE: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")

_CROP: Final = re.compile(r"(repeat|pad|center|slide):([0-9]{1,9})")

LONGER: Final = ("repeat", "pad")
SHORTER: Final = ("center", "slide")


@dataclass(frozen=True, slots=True, kw_only=True)
class Crop:
    """How a window of four seconds becomes the length a model was trained on.

    Attributes:
        rule: "whole": as it is; "repeat" or "pad": made longer with itself or with zeros;
            "center": its middle; "slide": pieces that overlap by half, whose scores are
            averaged.
        samples: The model's length at its own rate; 0 for "whole".
    """

    rule: str
    samples: int = 0

    def __str__(self) -> str:
        """Write it as ``parse_crop`` reads it."""
        return self.rule if self.rule == "whole" else f"{self.rule}:{self.samples}"

    def pieces(self, sound: Sound) -> Sound:
        """Cut windows; shape (n, samples of a window) to (n, k, samples)."""
        length = sound.shape[1]
        if self.rule == "whole" or length == self.samples:
            return sound[:, None, :]
        if self.rule == "repeat":
            return np.tile(sound, -(-self.samples // length))[:, None, : self.samples]
        if self.rule == "pad":
            return np.pad(sound, ((0, 0), (0, self.samples - length)))[:, None, :]
        room = length - self.samples
        starts = [room // 2]
        if self.rule == "slide":
            count = -(-room // max(1, self.samples // 2)) + 1
            starts = np.linspace(0, room, count).astype(int).tolist()
        return np.stack([sound[:, s : s + self.samples] for s in starts], axis=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What its operator says about a plug-in.

    Attributes:
        name: Lower case, unique among plug-ins.
        kind: ``TRANSFORMERS`` or ``TORCH``.
        synthetic: Labels of the outputs that mean synthetic: names as in the model's
            settings, or numbers of outputs for ``TORCH``.
        real: Labels of those that mean real. Both together name every output; one of the
            two is empty for a model with a single output.
        sample_rate: Of what the model hears, in Hz.
        crop: How windows are cut.
        sounds: Of ``SOUNDS``, those that it is for.
        license: Of the weights, as SPDX id.
        origin: Where the weights are from.
        code: ``module:function`` for ``TORCH``; "" otherwise.
        files: Name -> sha256 of every file that is read, and of the module's own file
            under the name of ``code``.
        added: When, ISO 8601.
    """

    name: str
    kind: str
    synthetic: tuple[str, ...]
    real: tuple[str, ...]
    sample_rate: int
    crop: Crop
    sounds: tuple[str, ...]
    license: str
    origin: str
    code: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    added: str = ""

    @property
    def digest(self) -> str:
        """Hash of everything that a score depends on."""
        facts = [self.kind, self.synthetic, self.real, self.sample_rate, str(self.crop)]
        text = json.dumps([*facts, self.code, sorted(self.files.items())])
        return hashlib.sha256(text.encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Give the object that ``parse`` reads."""
        return asdict(self) | {"crop": str(self.crop)}


def parse_crop(text: str) -> Crop:
    """Read ``whole``, ``repeat:64600``, ``pad:N``, ``center:N`` or ``slide:N``.

    Raises:
        DetectorError: If it is none of these.
    """
    if text == "whole":
        return Crop(rule="whole")
    found = _CROP.fullmatch(text)
    if found is None:
        msg = f"crop {text!r:.40} is neither whole nor repeat:N, pad:N, center:N or slide:N"
        raise DetectorError(msg)
    return Crop(rule=found[1], samples=int(found[2]))


def parse(facts: object) -> Description:
    """Read what ``Description.to_json`` gave.

    Raises:
        DetectorError: If something is missing or impossible.
    """
    if not isinstance(facts, Mapping):
        msg = "the description of a plug-in is not an object"
        raise DetectorError(msg)
    try:
        described = Description(
            name=str(facts["name"]),
            kind=str(facts["kind"]),
            synthetic=tuple(str(label) for label in facts["synthetic"]),
            real=tuple(str(label) for label in facts["real"]),
            sample_rate=int(facts["sample_rate"]),
            crop=parse_crop(str(facts["crop"])),
            sounds=tuple(str(kind) for kind in facts["sounds"]),
            license=str(facts["license"]),
            origin=str(facts["origin"]),
            code=str(facts["code"]),
            files={str(name): str(digest) for name, digest in facts["files"].items()},
            added=str(facts["added"]),
        )
    except KeyError as error:
        msg = f"the description of a plug-in lacks {error}"
        raise DetectorError(msg) from error
    except (TypeError, ValueError, AttributeError) as error:
        msg = f"the description of a plug-in cannot be read: {error}"
        raise DetectorError(msg) from error
    check(described)
    return described


def check(described: Description) -> None:
    """Refuse a description that cannot be right.

    Raises:
        DetectorError: With the fault.
    """
    low, high = _RATES_HZ
    window = round(WINDOW_SECONDS * described.sample_rate)
    crop, labels = described.crop, (*described.synthetic, *described.real)
    fault = ""
    if not NAME.fullmatch(described.name):
        fault = f"the name {described.name!r:.60} is not lower-case letters, digits, '.' and '-'"
    elif described.kind not in (TRANSFORMERS, TORCH):
        fault = f"unknown kind {described.kind!r:.40}"
    elif not labels:
        fault = "no label map: which outputs mean synthetic, which real?"
    elif len(set(labels)) < len(labels):
        fault = f"a label is named twice: {', '.join(labels):.200}"
    elif not low <= described.sample_rate <= high:
        fault = f"sample rate {described.sample_rate} Hz, {low} to {high} Hz are possible"
    elif crop.rule in LONGER and crop.samples < window:
        fault = f"crop {crop}: a window has {window} samples, more than that; use center or slide"
    elif crop.rule in SHORTER and crop.samples > window:
        fault = f"crop {crop}: a window has {window} samples, fewer than that; use repeat or pad"
    elif crop.rule != "whole" and not (
        described.sample_rate / 4 <= crop.samples <= _MOST_CROP_SECONDS * described.sample_rate
    ):
        fault = f"crop {crop}: a quarter of a second to {_MOST_CROP_SECONDS:g} s are possible"
    elif not described.sounds or not set(described.sounds) <= set(SOUNDS):
        fault = f"it is for {', '.join(described.sounds) or 'nothing'}, not speech or music"
    elif not described.license.strip():
        fault = "the license of the weights is not stated"
    elif (described.kind == TORCH) != bool(_REFERENCE.fullmatch(described.code)):
        fault = f"code {described.code!r:.60}: a torch plug-in, and no other, has MODULE:FUNCTION"
    if fault:
        msg = f"plug-in {described.name:.60}: {fault}"
        raise DetectorError(msg)


def hashes(folder: Path, code: str = "") -> dict[str, str]:
    """Hash what a plug-in is read from: its folder, and the file of its code.

    Raises:
        DetectorError: If there are no safetensors, or the module is not found.
    """
    if not folder.is_dir():
        msg = f"{folder}: the folder is not there"
        raise DetectorError(msg)
    names = [path.name for path in sorted(folder.iterdir()) if path.is_file()]
    weights = [name for name in names if name.endswith(".safetensors")]
    if not weights:
        pickles = [n for n in names if n.endswith((".bin", ".pt", ".pth", ".ckpt", ".pkl"))]
        msg = f"{folder}: no .safetensors"
        if pickles:
            msg += f", only {', '.join(pickles):.200}, which may be a pickle and is never read"
        raise DetectorError(msg)
    found = {name: _sha256(folder / name) for name in names if name in weights or name in READ}
    return found | ({code: _sha256(_source(code))} if code else {})


def open_model(described: Description, folder: Path) -> Logits:
    """Load the weights of a plug-in.

    Args:
        described: What it is.
        folder: That holds its files.

    Returns:
        A function from windows at 16 kHz, shape (n, samples), to log-odds of synthetic,
        uncalibrated, shape (n,). It raises ``DetectorError`` if one is not finite.

    Raises:
        DetectorError: If the files are not those of the description, the model is not
            whole, holds a number that is not finite, or does not have its labels.

    Cost: hashes the files, a second for each gigabyte.
    """
    check(described)
    if hashes(folder, described.code) != dict(described.files):
        msg = f"plug-in {described.name}: its files are not those that it was added with"
        raise DetectorError(msg)
    with _explained(described.name):
        run, labels = (_transformers if described.kind == TRANSFORMERS else _torch)(
            described, folder
        )
        sides = None if labels is None else _sides(described, labels)
        silence = np.zeros((1, round(WINDOW_SECONDS * described.sample_rate)), dtype=np.float32)
        outputs = run(described.crop.pieces(silence)[:, 0])
        sides = sides or _sides(described, [str(n) for n in range(outputs.shape[1])])
        if outputs.shape[1] != sum(len(side) for side in sides):
            msg = f"{outputs.shape[1]} outputs, {sum(len(s) for s in sides)} have a label"
            raise ValueError(msg)

    def logits(windows: Sound) -> Floats:
        sound = described.crop.pieces(_resampled(windows, described.sample_rate))
        n, k = sound.shape[:2]
        flat = sound.reshape(n * k, -1)
        with _explained(described.name):
            parts = [run(flat[i : i + _BATCH]) for i in range(0, len(flat), _BATCH)]
        outputs = np.concatenate(parts).astype(np.float64)
        scores = _log_odds(outputs, *sides).reshape(n, k).mean(axis=1)
        if not np.isfinite(scores).all():
            msg = f"plug-in {described.name}: it answered with a number that is not finite"
            raise DetectorError(msg)
        return np.asarray(scores, dtype=np.float64)

    return logits


def labels(folder: Path) -> list[str]:
    """Read the labels of a ``transformers`` model from its settings, in the order of outputs.

    Raises:
        DetectorError: If they cannot be read.
    """
    from transformers import AutoConfig

    with _explained(folder.name):
        settings: Any = AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        return [str(settings.id2label[n]) for n in sorted(settings.id2label)]


def _log_odds(outputs: Floats, synthetic: Sequence[int], real: Sequence[int]) -> Floats:
    """Subtract the logits of the two sides; shape (n, outputs) to (n,). An empty side is 0."""
    sides = [
        np.logaddexp.reduce(outputs[:, list(side)], axis=1) if side else np.zeros(len(outputs))
        for side in (synthetic, real)
    ]
    return np.asarray(sides[0] - sides[1], dtype=np.float64)


def _sides(described: Description, labels: Sequence[str]) -> tuple[list[int], list[int]]:
    """Find the outputs that mean synthetic and real; every output must be named once."""
    named = (*described.synthetic, *described.real)
    listed = ", ".join(map(repr, labels))
    if len(set(labels)) < len(labels):
        msg = f"two of its outputs have one label ({listed:.200})"
        raise ValueError(msg)
    if unknown := [label for label in named if label not in labels]:
        msg = f"it has no label {unknown[0]!r:.60}; its labels are {listed:.200}"
        raise ValueError(msg)
    if missing := [label for label in labels if label not in named]:
        msg = (
            f"label {missing[0]!r:.60} is neither synthetic nor real; its labels are {listed:.200}"
        )
        raise ValueError(msg)
    if len(labels) > 1 and not (described.synthetic and described.real):
        msg = f"all of its outputs mean the same ({listed:.200})"
        raise ValueError(msg)
    synthetic, real = (
        [labels.index(label) for label in side] for side in (described.synthetic, described.real)
    )
    return synthetic, real


def _transformers(
    described: Description, folder: Path
) -> tuple[Callable[[Sound], npt.NDArray[np.float32]], list[str] | None]:
    import torch
    from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

    _check_settings(folder)
    here = {"local_files_only": True, "trust_remote_code": False}
    extractors: Any = AutoFeatureExtractor
    extractor = extractors.from_pretrained(folder, **here)
    rate = getattr(extractor, "sampling_rate", None)
    if rate != described.sample_rate:
        msg = f"it is described for {described.sample_rate} Hz, its feature extractor says {rate}"
        raise ValueError(msg)
    with _quiet():
        model, info = AutoModelForAudioClassification.from_pretrained(
            folder,
            **here,
            use_safetensors=True,
            # Another attention may be fetched from a hub, as code.
            attn_implementation="eager",
            dtype=torch.float32,
            output_loading_info=True,
        )
    # What is missing is filled with random numbers, and the model answers all the same.
    if missing := sorted(str(key) for key in info["missing_keys"]):
        msg = f"{len(missing)} of its tensors are missing, e.g. {missing[0]:.80}"
        raise ValueError(msg)
    _refuse_broken(model)
    names = model.config.id2label
    labels = [str(names[n]) for n in sorted(names)]

    def run(sound: Sound) -> npt.NDArray[np.float32]:
        inputs = extractor(list(sound), sampling_rate=described.sample_rate, return_tensors="pt")
        with torch.inference_mode():
            return np.asarray(model(**inputs).logits.numpy(), dtype=np.float32)

    return run, labels


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep a library from drawing bars and printing tables about weights."""
    from transformers.utils import logging

    settings: Any = logging
    shown, level = settings.is_progress_bar_enabled(), settings.get_verbosity()
    settings.disable_progress_bar()
    settings.set_verbosity_error()
    try:
        yield
    finally:
        settings.set_verbosity(level)
        if shown:
            settings.enable_progress_bar()


def _torch(
    described: Description, folder: Path
) -> tuple[Callable[[Sound], npt.NDArray[np.float32]], list[str] | None]:
    import torch
    from safetensors.torch import load_file

    name, _, function = described.code.partition(":")
    model = getattr(importlib.import_module(name), function)()
    if not isinstance(model, torch.nn.Module):
        msg = f"{described.code} gave {type(model).__name__}, not a torch module"
        raise TypeError(msg)
    (weights,) = [file for file in described.files if file.endswith(".safetensors")]
    model.load_state_dict(load_file(folder / weights), strict=True)
    model = model.float().eval().requires_grad_(False)
    _refuse_broken(model)

    def run(sound: Sound) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            outputs = model(torch.from_numpy(np.ascontiguousarray(sound)))
        if not isinstance(outputs, torch.Tensor) or outputs.shape[:1] != (len(sound),):
            msg = f"{described.code} answers {len(sound)} sounds with something else than rows"
            raise ValueError(msg)
        return np.asarray(outputs.reshape(len(sound), -1).numpy(), dtype=np.float32)

    return run, None


def _check_settings(folder: Path) -> None:
    """Refuse settings that would fetch or run code, and weights that nobody hashed."""
    for name in (CONFIG, EXTRACTOR):
        if not (folder / name).is_file():
            msg = f"there is no {name}"
            raise ValueError(msg)
        facts = json.loads((folder / name).read_text("utf-8"))
        for word in _RUNS_CODE:
            if word in facts:
                msg = f"{name} asks for code that is not part of transformers ({word})"
                raise ValueError(msg)
    if (folder / SHARDS).is_file():
        facts = json.loads((folder / SHARDS).read_text("utf-8"))
        for shard in sorted(set(facts["weight_map"].values())):
            if Path(shard).name != shard or not (folder / shard).is_file():
                msg = f"there is no {shard!r:.80}"
                raise ValueError(msg)


def _refuse_broken(model: "torch.nn.Module") -> None:
    for name, tensor in model.state_dict().items():
        if not bool(tensor.isfinite().all()):
            msg = f"tensor {name} holds a number that is not finite"
            raise ValueError(msg)


def _source(code: str) -> Path:
    """Find the file of a module; of a package it is in, the package runs."""
    name = code.partition(":")[0]
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        msg = f"module {name} is not installed here"
        raise DetectorError(msg)
    return Path(spec.origin)


def _resampled(windows: Sound, rate: int) -> Sound:
    if rate == SAMPLE_RATE:
        return windows
    divisor = int(np.gcd(rate, SAMPLE_RATE))
    sound = resample_poly(windows, rate // divisor, SAMPLE_RATE // divisor, axis=1)
    length = round(windows.shape[1] * rate / SAMPLE_RATE)
    # A resampler may return a sample or two more or less.
    sound = np.pad(sound, ((0, 0), (0, max(0, length - sound.shape[1]))))[:, :length]
    return np.asarray(sound, dtype=np.float32)


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Name the plug-in in whatever goes wrong inside: its code and files are strangers'."""
    try:
        yield
    except DetectorError:
        raise
    except Exception as error:
        said = str(error).strip().splitlines()
        msg = f"plug-in {name}: {said[0] if said else type(error).__name__:.400}"
        raise DetectorError(msg) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
