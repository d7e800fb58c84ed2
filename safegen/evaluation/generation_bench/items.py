"""What did a model make of these requests? Each is generated once.

A work folder keeps every sound as FLAC and, line by line, what it cost, so that a stopped
run goes on. Names depend on the weights and on the whole request.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from safegen.audio import Audio, load, save
from safegen.evaluation.state import State
from safegen.generation.base import Generator, Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One sound a model made.

    Attributes:
        request: What was asked for.
        path: Of the sound, FLAC.
        seconds: Length of the sound.
        cpu_seconds: Processor time that making it took.
        plan_json: The score the model wrote, "" if it wrote none.
    """

    request: Request
    path: Path
    seconds: float
    cpu_seconds: float
    plan_json: str

    @property
    def name(self) -> str:
        """Hash of the model and the request."""
        return self.path.stem

    def audio(self) -> Audio:
        """Load the sound."""
        return load(self.path)


def made(generator: Generator, requests: Sequence[Request], *, folder: Path) -> Iterator[Item]:
    """Yield the sound of each request, from the folder if it is there.

    Raises:
        InputError: If a request is outside what the model can do.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept = State(folder / "made.jsonl", "1")
    for request in requests:
        name = name_of(generator, request)
        path = folder / f"{name}.flac"
        if name not in kept.rows or not path.is_file():
            begun = time.process_time()
            output = generator.generate(request)
            spent = time.process_time() - begun
            save(output.audio, path)
            kept.add(
                {
                    "trial": name,
                    "seconds": output.audio.seconds,
                    "cpu_seconds": spent,
                    "plan_json": output.plan_json,
                }
            )
        row = kept.rows[name]
        yield Item(
            request=request,
            path=path,
            seconds=float(row["seconds"] or 0.0),
            cpu_seconds=float(row["cpu_seconds"] or 0.0),
            plan_json=str(row["plan_json"] or ""),
        )


def name_of(generator: Generator, request: Request) -> str:
    """Name an output by the model's weights and everything that was asked for."""
    facts = generator.facts
    parts = [facts.name, facts.version, facts.weights_sha256]
    for field in fields(request):
        value = getattr(request, field.name)
        if value == field.default:
            continue  # so that inputs which are added later change no names
        if isinstance(value, Audio):
            sound = hashlib.sha256(value.waveform.tobytes()).hexdigest()
            value = f"{value.sample_rate} {value.waveform.shape} {sound}"
        parts.append(f"{field.name}={value!r}")
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
