"""Small data sets whose classes are alike, or differ in what a test says."""

import csv
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

SAMPLE_RATE = 22_050
Floats = npt.NDArray[np.float64]
Change = Callable[[Floats], Floats]


def sound(rng: np.random.Generator, *, seconds: float) -> Floats:
    """A few wandering partials over noise, at a random level: each file its own sound."""
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    mix = rng.normal(0.0, 0.01, len(t))
    for hz in rng.uniform(100.0, 3000.0, 6):
        bend = 1 + 0.01 * np.sin(t * rng.uniform(1.0, 5.0))
        mix += rng.uniform(0.1, 1.0) * np.sin(2 * np.pi * hz * t * bend)
    mix *= 0.3 + np.abs(np.sin(t * rng.uniform(2.0, 9.0)))
    return np.asarray(mix / np.abs(mix).max() * rng.uniform(0.2, 0.9), dtype=np.float64)


def write(path: Path, samples: Floats, *, sample_rate: int = SAMPLE_RATE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, sample_rate, subtype="PCM_16")


def data_set(
    folder: Path,
    *,
    groups: int = 5,
    files: int = 6,
    change_fakes: Change = lambda samples: samples,
    fake_rate: int = SAMPLE_RATE,
) -> list[dict[str, str]]:
    """Write ``groups`` speakers and as many generators of ``files`` each; one row per file."""
    rng = np.random.default_rng(5)
    rows = []
    for label in ("real", "fake"):
        for group in range(groups):
            for number in range(files):
                name = f"{label}-{group}-{number}.wav"
                samples = sound(rng, seconds=rng.uniform(0.8, 1.2))
                is_fake = label == "fake"
                write(
                    folder / name,
                    change_fakes(samples) if is_fake else samples,
                    sample_rate=fake_rate if is_fake else SAMPLE_RATE,
                )
                rows.append(
                    {
                        "file": name,
                        "label": f"generator-{group}" if is_fake else "real",
                        "source": "" if is_fake else f"speaker-{group}",
                        "split": "train" if group < groups - 2 else "test",
                    }
                )
    manifest(folder, rows)
    return rows


def manifest(folder: Path, rows: list[dict[str, str]]) -> None:
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def kinds(row: Mapping[str, object]) -> list[str]:
    """Name the findings of a printed audit."""
    found = row["findings"]
    assert isinstance(found, list)
    return [each["kind"] for each in found]
