"""What was asked, and of which build: what it takes to make a sound again.

One request is told twice. The record, which anyone may read, holds the hashes of the
sounds that were given and salted commitments to every text. A file in the state folder,
which only the operator reads, holds the request itself; without it whoever asks for a
replay must name the texts and sounds again, and the record tells whether they are the
same.
"""

import json
import os
import platform
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from safegen.audio import Audio, encode_exact, load, pcm_sha256
from safegen.errors import IntegrityError
from safegen.generation.base import Chapter, Request, Span
from safegen.generation.requests import sounds
from safegen.provenance import record
from safegen.provenance.record import Json

Salt = Callable[[str], bytes]
"""Name of a private value of one record -> its salt."""

_SCHEMA: Final = "safegen.request/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """What decides, beside request and weights, which bits come out.

    The number of threads is not among it: the shipped systems compute on one.

    Attributes:
        torch: Version.
        numpy: Version.
        machine: Architecture, "x86_64".
        cpu_capability: Vector instructions that torch uses, "AVX2".
        device: "cpu" or "cuda".
        precision: Of weights and activations.
    """

    torch: str
    numpy: str
    machine: str
    cpu_capability: str
    device: str
    precision: str = "float32"

    def to_json(self) -> dict[str, Json]:
        """Give the part of the record."""
        return dict(asdict(self))


def this_build(device: str, *, precision: str = "float32") -> Build:
    """Describe the running one.

    Args:
        device: On which the generator computes, "cpu" or "cuda".
        precision: In which it computes.
    """
    return Build(
        torch=torch.__version__,
        numpy=np.__version__,
        machine=platform.machine(),
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
        device=device,
        precision=precision,
    )


def public(request: Request, *, salt: Salt) -> dict[str, Json]:
    """Give what the record tells of a request beside prompt and seed.

    ``inputs`` is there only if something was given; a sound is named by the hash of its
    samples as they were decoded (``safegen.audio.pcm_sha256``), a text by a commitment.
    """
    inputs: list[Json] = []
    for kind, audio in sounds(request):
        row: dict[str, Json] = {
            "kind": kind,
            "pcm_sha256": pcm_sha256(audio),
            "seconds": audio.seconds,
            "sample_rate": audio.sample_rate,
            "channels": audio.waveform.shape[0],
        }
        if kind == "source":
            row["strength"] = float(request.strength)
            row["spans"] = _spans(request)
        inputs.append(row)
    if request.negative_prompt:
        name = "negative_prompt"
        commitment = record.commit(name, request.negative_prompt, salt=salt(name))
        inputs.append({"kind": name, "commitment": commitment})
    if request.story:
        inputs.append({"kind": "story", "chapters": _chapters(request, salt)})
    found: dict[str, Json] = {"wanted_seconds": float(request.seconds)}
    return {**found, "inputs": inputs} if inputs else found


def differing(logged: Mapping[str, Any], request: Request, *, salt: Salt) -> tuple[str, ...]:
    """Name what of a request is not what a record tells, () if it is the same request.

    Args:
        logged: The record's ``request``; one of an earlier version tells less.
        request: What is held against it.
        salt: Of this record.
    """
    commitment = record.commit("prompt", request.prompt, salt=salt("prompt"))
    told = public(request, salt=salt)
    wanted = logged.get("wanted_seconds", request.seconds)
    pairs = {
        "prompt": (logged["prompt_commitment"], commitment if request.prompt else ""),
        "seed": (logged["seed"], str(request.seed)),
        "length": (wanted, told["wanted_seconds"]),
        **{
            kind.replace("_", " "): (_input(logged, kind), _input(told, kind))
            for kind in ("melody", "continue_from", "source", "negative_prompt", "story")
        },
    }
    return tuple(name for name, (theirs, ours) in pairs.items() if theirs != ours)


def keep(request: Request, folder: Path, *, record_id: str) -> None:
    """Write the request down where only the operator reads it; whole, or not at all.

    Args:
        request: With its sounds, which are kept beside it, each once, bit for bit.
        folder: ``Config.requests``; made if missing.
        record_id: Of its record.
    """
    inputs = folder / "inputs"
    inputs.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    written: dict[str, Any] = {
        "schema": _SCHEMA,
        "record_id": record_id,
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "seconds": request.seconds,
        "seed": str(request.seed),
        "strength": request.strength,
        "inpaint": _spans(request),
        "story": [[chapter.start_seconds, chapter.prompt] for chapter in request.story],
    }
    for kind, audio in sounds(request):
        # Named by all that makes it this sound: samples alone do not tell the rate.
        channels = audio.waveform.shape[0]
        name = f"{pcm_sha256(audio)}-{channels}x{audio.sample_rate}.wav"
        if not (inputs / name).exists():
            _write_private(inputs / name, encode_exact(audio))
        written[kind] = name
    text = json.dumps(written, ensure_ascii=False, indent=1, allow_nan=False)
    _write_private(folder / f"{record_id}.json", text.encode())


def kept(folder: Path, *, record_id: str) -> Request | None:
    """Read a request that was kept; None if there is none.

    Raises:
        IntegrityError: If the file is damaged, or one of its sounds is gone.
    """
    path = folder / f"{record_id}.json"
    try:
        written = json.loads(path.read_bytes())
        if written["schema"] != _SCHEMA or written["record_id"] != record_id:
            msg = "another schema or record"
            raise ValueError(msg)
        return Request(
            prompt=str(written["prompt"]),
            negative_prompt=str(written["negative_prompt"]),
            seconds=float(written["seconds"]),
            seed=int(written["seed"]),
            strength=float(written["strength"]),
            inpaint=tuple(Span(start_seconds=a, end_seconds=b) for a, b in written["inpaint"]),
            story=tuple(Chapter(start_seconds=a, prompt=str(b)) for a, b in written["story"]),
            **{
                kind: _kept_sound(folder / "inputs" / Path(written[kind]).name)
                for kind in ("melody", "continue_from", "source")
                if kind in written
            },
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IntegrityError(
            f"{path}: the kept request is damaged",
            remedy="Remove the file, and name the prompt and the sounds again.",
        ) from error


def _kept_sound(path: Path) -> Audio:
    if not path.exists():
        raise IntegrityError(
            f"{path}: a sound of the kept request is gone",
            remedy="Remove the request's file, and name the prompt and the sounds again.",
        )
    return load(path)


def _spans(request: Request) -> list[Json]:
    return [[float(span.start_seconds), float(span.end_seconds)] for span in request.inpaint]


def _chapters(request: Request, salt: Salt) -> list[Json]:
    rows: list[Json] = []
    for number, chapter in enumerate(request.story, 1):
        name = f"chapter {number}"
        commitment = record.commit(name, chapter.prompt, salt=salt(name))
        start = float(chapter.start_seconds)
        rows.append({"start_seconds": start, "prompt_commitment": commitment})
    return rows


def _input(told: Mapping[str, Any], kind: str) -> Any:
    found = [row for row in told.get("inputs", []) if row.get("kind") == kind]
    # Through JSON, as a record's rows went: 10.0 and 10 are one number there.
    return [record.canonical(row) for row in found]


def _write_private(path: Path, data: bytes) -> None:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
