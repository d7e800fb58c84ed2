"""A generator of one's own behind the gate: it keeps its model and gains the rest."""

from pathlib import Path

import numpy as np

from safegen import Audio, Gate
from safegen.generation.base import Generation, ModelFacts, Request


class Plucks:
    facts = ModelFacts(name="plucks", version="1.0", license="CC0-1.0")

    def __init__(self, *, device: str = "cpu") -> None:
        self.device = device  # where a model's weights would go

    def generate(self, request: Request, *, progress: object = None) -> Generation:
        dice, time = np.random.default_rng(request.seed), np.arange(16_000) / 32_000
        pitches = 220.0 * 2 ** (dice.integers(0, 24, round(2 * request.seconds)) / 12)
        notes = [np.sin(2 * np.pi * p * time * np.arange(1, 9)[:, None]).sum(0) for p in pitches]
        sound = np.concatenate([note * np.exp(-5 * time) / 8 for note in notes])
        waveform = (sound + dice.normal(0, 0.01, sound.shape)).astype(np.float32)[None]
        return Generation(audio=Audio(waveform=waveform, sample_rate=32_000))


if __name__ == "__main__":
    with Gate.open(policy_name="strict") as gate:
        wish = Request(prompt="plucked strings", seconds=10.0, seed=1)
        release = gate.generate(Plucks(), wish, out=Path("released"))
        print(release.judgement.decision.action, release.finished and release.finished.path)
