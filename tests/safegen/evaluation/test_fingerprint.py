"""The benchmark of the catalog match counts what it says it counts."""

from pathlib import Path

import pytest

from safegen.audio import Audio, save
from safegen.evaluation import fingerprint as benchmark
from tests.detectors.test_chromaprint import melody


def write(folder: Path, *, count: int) -> list[Path]:
    paths = [folder / f"track{number}.wav" for number in range(count)]
    for number, path in enumerate(paths):
        save(Audio(waveform=melody(16.0, seed=number), sample_rate=11_025), path)
    return paths


def test_known_works_are_counted_as_found_and_strangers_as_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "DISTORTIONS", ("clean", "noise-20db"))
    paths = write(tmp_path, count=4)
    (tmp_path / "heard").mkdir()
    heard = [
        benchmark._heard(path, work=tmp_path, excerpts=1, strangers=2, seed=0) for path in paths
    ]
    found = benchmark.figures(heard, [row for track in heard for row in track.strange])

    assert found["recall"]["clean"]["recall"] == 1.0
    assert found["recall"]["noise-20db"]["n"] == 4
    assert found["strangers"]["n"] == 8
    assert found["strangers"]["false_matches"] == 0
    assert found["offset_error_seconds"]["share_within_one_hop"] == 1.0


def test_a_work_in_both_halves_is_counted_as_a_false_match(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "DISTORTIONS", ("clean",))
    first, second = write(tmp_path, count=2)
    second.write_bytes(first.read_bytes())
    (tmp_path / "heard").mkdir()
    heard = [
        benchmark._heard(path, work=tmp_path, excerpts=1, strangers=1, seed=0)
        for path in (first, second)
    ]
    found = benchmark.figures(heard, [row for track in heard for row in track.strange])

    assert found["strangers"]["false_matches"] == 2


def test_what_was_heard_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "DISTORTIONS", ("clean",))
    (path,) = write(tmp_path, count=1)
    (tmp_path / "heard").mkdir()
    first = benchmark._heard(path, work=tmp_path, excerpts=1, strangers=1, seed=0)
    monkeypatch.setattr(benchmark, "_columns", None)
    second = benchmark._heard(path, work=tmp_path, excerpts=1, strangers=1, seed=0)

    assert (second.items == first.items).all()
    assert second.known[0].start_seconds == first.known[0].start_seconds


@pytest.mark.parametrize(
    ("successes", "count", "low", "high"),
    [(0, 1000, 0.0, 0.0038), (310, 310, 0.9878, 1.0), (5, 10, 0.2366, 0.7634)],
)
def test_intervals_are_wilsons(successes: int, count: int, low: float, high: float) -> None:
    assert benchmark.wilson(successes, count) == pytest.approx((low, high), abs=1e-4)
