"""The benchmark of the catalog match counts what it says it counts."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from safegen.audio import Audio, save
from safegen.errors import InputError
from safegen.evaluation import fingerprint as benchmark
from safegen.evaluation.matching_bench import shared, summary, trials
from safegen.evaluation.matching_bench.promises import Cell, Promise
from tests.detectors.test_chromaprint import melody

SPEECH = "asterisk-core-sounds-en-g722/usr/share/asterisk/sounds/en"


@pytest.fixture
def assets(tmp_path: Path) -> Path:
    """Four melodies and a voice, where Debian's packages would be."""
    music = tmp_path / "assets" / "asc-music"
    music.mkdir(parents=True)
    for number in range(4):
        save(Audio(waveform=melody(29.0, seed=number), sample_rate=11_025), music / f"{number}.wav")
    voice = tmp_path / "assets" / SPEECH
    voice.mkdir(parents=True)
    # Any bytes are G.722; these are 4 s of noise.
    (voice / "hello.g722").write_bytes(bytes(range(1, 251)) * 128)
    return tmp_path / "assets"


@pytest.fixture
def run(assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setattr(benchmark, "LENGTHS", (3.0, 10.0))

    def invoke(*options: str) -> Result:
        return CliRunner().invoke(
            benchmark.command,
            [
                *("--assets", str(assets), "--work", str(tmp_path / "work"), "--jobs", "1"),
                *("--distortions", "clean,noise-20db", "--excerpts", "1"),
                *("--strangers", "6", "--composed", "1", "--rival-strangers", "0"),
                *options,
            ],
        )

    return invoke


def test_known_works_are_counted_as_found_and_strangers_as_left_alone(
    run: Callable[..., Result],
) -> None:
    found = json.loads(run().stdout)

    lines = {(line["distortion"], line["seconds"]): line for line in found["recall"]}
    assert found["works"] == 4
    assert lines["clean", 10.0]["plain"] == {
        "n": 4,
        "hits": 4,
        "rate": 1.0,
        "low95": 0.5101,
        "high95": 1.0,
    }
    assert lines["clean", 10.0]["engines"]["chromaprint"]["hits"] == 4
    assert lines["noise-20db", 10.0]["plain"]["n"] == 4
    assert ("noise-20db", 5.0) not in lines
    assert lines["clean", 3.0]["plain"]["hits"] == 0
    assert lines["clean", 3.0]["refused"] == 4
    assert [(each["works"], each["n"], each["hits"]) for each in found["strangers"]] == [(2, 6, 0)]
    assert found["stretches"]["quotes"] == 4
    assert found["offset_error_seconds"]["share_within_one_hop"] == 1.0


def test_a_promise_that_is_missed_is_named_and_ends_with_3(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = Cell(distortion="clean", seconds=10.0)
    monkeypatch.setattr(summary, "PROMISES", {cell: Promise(recall=1.1)})
    result = run("--distortions", "clean", "--composed", "0")

    found = json.loads(result.stdout)
    assert result.exit_code == 3
    assert found["failed"] == ["clean, 10 s: found 1.000, asked 1.1"]
    assert "only 4 works were measured, asked 130" in found["unmeasured"]


def test_the_same_sound_in_both_halves_is_no_false_match_but_told(
    run: Callable[..., Result], assets: Path
) -> None:
    # The same sound in other bytes, in the other half.
    sound = Audio(waveform=0.9 * melody(29.0, seed=0), sample_rate=11_025)
    save(sound, assets / "asc-music" / "1.wav")

    result = run("--distortions", "clean", "--composed", "0")

    (each,) = json.loads(result.stdout)["strangers"]
    assert (each["hits"], each["same_sound"], each["related_works"]) == (0, 4, 0)
    (pair,) = each["pairs_with_the_same_sound"]
    assert "0.wav and" in pair
    assert "1.wav" in pair


def test_a_match_that_the_waveforms_do_not_show_is_false(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, assets: Path
) -> None:
    sound = Audio(waveform=0.9 * melody(29.0, seed=0), sample_rate=11_025)
    save(sound, assets / "asc-music" / "1.wav")
    monkeypatch.setattr(shared, "likeness", lambda *_: shared.NOTHING)
    result = run("--distortions", "clean", "--composed", "0")

    (each,) = json.loads(result.stdout)["strangers"]
    assert (each["hits"], each["same_sound"]) == (4, 0)
    assert ".wav (" in each["which"][0]
    assert result.exit_code == 3


def test_what_was_measured_is_kept_and_segments_are_written_for_pexs_toolkit(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = run("--csv", str(tmp_path / "csv"))
    monkeypatch.setattr(trials, "load", None)
    second = run()

    assert json.loads(second.stdout) == json.loads(first.stdout)
    lines = (tmp_path / "csv" / "annotations.csv").read_text().splitlines()
    assert len(lines) == 1 + 4
    assert lines[0].startswith("reference_id,query_id,reference_begin,reference_end,query_begin")
    assert (tmp_path / "csv" / "matches.csv").exists()


def test_unknown_distortions_are_named() -> None:
    with pytest.raises(InputError, match="no distortion is named mp3-1k, splice-4s"):
        benchmark.chosen("clean,mp3-1k,splice-4s")


def test_music_that_is_not_there_is_asked_for(tmp_path: Path) -> None:
    result = CliRunner().invoke(benchmark.command, ["--assets", str(tmp_path / "none")])

    assert isinstance(result.exception, InputError)
    assert "safegen eval assets" in result.exception.remedy
