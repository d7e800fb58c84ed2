"""The deep scan from every door, and the question about one file."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from registry.session import Database
from safegen import listening, steps
from safegen.audio import Audio, save
from safegen.cli import main
from safegen.config import Config
from safegen.gate import Gate
from safegen.generation.base import ModelFacts
from safegen.listening import Ears
from safegen.matching import LEAST_SECONDS, Scan
from safegen.policy import CheckResult
from safegen.provenance import record
from tests.safegen.conftest import tones
from tests.safegen.screening_help import NOON, add_work, ears_of, open_home

FACTS = ModelFacts(name="elsewhere", version="1", license="MIT")
DEEP = {"kind": "deep", "variants": 35}


def sped_up() -> Audio:
    """Eight seconds of the cataloged song, played 4 percent faster and higher."""
    cut = tones(5, seconds=16).cut(3.0, 11.0)
    return Audio(waveform=cut.waveform, sample_rate=round(cut.sample_rate * 1.04))


@pytest.fixture
def database(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """An installation with one song; its classifier knows nothing, other ears are real."""
    monkeypatch.setenv("SAFEGEN_HOME", str(home))
    monkeypatch.delenv("SAFEGEN_DATABASE_URL", raising=False)
    opened = open_home(home)
    add_work(opened, tones(5, seconds=16), title="Song", holders=("Acme",), uses=("train",))

    def ears(_: Config, *, scan: Scan) -> Ears:
        return ears_of(home, opened, scan=scan)

    monkeypatch.setattr(listening, "open_ears", ears)
    yield opened
    opened.close()


@pytest.fixture
def upload(tmp_path: Path) -> Path:
    path = tmp_path / "upload.wav"
    save(sped_up(), path)
    return path


def run(*words: object) -> Result:
    return CliRunner().invoke(main, list(map(str, words)))


def rows(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_the_gate_finds_a_retuned_copy_by_a_deep_scan_and_records_how_it_looked(
    home: Path, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: dict[str, float] = {}

    def timed(
        name: str, check: Callable[[], CheckResult], *, limit_seconds: float = 60.0
    ) -> CheckResult:
        limits[name] = limit_seconds
        return check()

    monkeypatch.setattr(steps, "run_check", timed)
    gate = Gate.open(home, scan=Scan.DEEP)
    found = gate.submit(sped_up(), FACTS, out=tmp_path / "out")

    assert not found.is_released
    assert found.to_json()["scan"] == DEEP
    (match,) = found.to_json()["matches"]
    assert match["speed"] == pytest.approx(1.04)
    assert match["semitones"] == pytest.approx(0.68)
    check = next(each for each in found.judgement.checks if each.name == "catalog_match")
    assert check.detail.endswith("(deep scan, 35 variants)")
    # A scan of 35 variants may take longer than one of the sound alone, by its length.
    assert limits["catalog_match"] > limits["memorization"] + 10
    with database.read() as session:
        assert record.parse(gate.log.entry(session, found.position))["scan"] == DEEP
    gate.close()

    told = run("audit", "matches", "--rights-holder", "Acme")
    assert "deep, 35 variants" in told.stdout


@pytest.mark.usefixtures("database")
def test_screening_says_how_it_looked_and_resumes_only_what_looked_as_far(
    upload: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report.html"
    plain = run("screen", upload, "--format", "jsonl")
    deep = run("screen", upload, "--format", "jsonl", "--scan", "deep", "--resume")
    again = run(
        "screen", upload, "--scan", "deep", "--resume", "--format", "jsonl", "--report", report
    )

    assert rows(plain)[0]["scan"] == {"kind": "plain", "variants": 1}
    assert rows(plain)[0]["verdict"] == "clear"
    assert rows(deep)[0]["scan"] == DEEP
    assert rows(deep)[0]["verdict"] == "flagged"
    assert not rows(deep)[0]["resumed"]
    assert rows(again)[0]["resumed"]
    assert "deep, 35 variants" in report.read_text()


@pytest.mark.usefixtures("database")
def test_a_file_is_asked_about_plainly_and_deeply(upload: Path) -> None:
    plain = run("catalog", "find", upload)
    deep = run("catalog", "find", upload, "--scan", "deep")

    assert plain.exit_code == 0, plain.output
    assert "nothing (plain scan, 1 variant)" in plain.stdout
    assert deep.exit_code == 3, deep.output
    assert "Song (Acme)" in deep.stdout
    assert "of the work, +0.68 semitones, at 1.040 of its speed" in deep.stdout
    assert "chromaprint: votes" in deep.stdout
    assert "no license in force" in deep.stdout


def test_the_license_told_is_the_one_of_the_moment_asked_about(
    database: Database, tmp_path: Path
) -> None:
    add_work(
        database, tones(7, seconds=16), title="Loop", holders=("Bob",), uses=("sample",), until=NOON
    )
    path = tmp_path / "loop.flac"
    save(tones(7, seconds=16).cut(3.0, 11.0), path)

    before = run("catalog", "find", path, "--at", "2026-11-20", "--format", "jsonl")
    after = run("catalog", "find", path, "--at", "2026-11-22", "--format", "jsonl")

    assert [result.exit_code for result in (before, after)] == [3, 3]
    assert rows(before)[0]["matches"][0]["license"]["name"] == "Test license"
    assert rows(after)[0]["matches"][0]["license"] is None


@pytest.mark.usefixtures("database")
def test_what_cannot_be_compared_is_named_and_the_rest_is_answered(
    upload: Path, tmp_path: Path
) -> None:
    short, broken = tmp_path / "short.wav", tmp_path / "broken.wav"
    save(tones(5, seconds=LEAST_SECONDS - 0.5), short)
    broken.write_bytes(b"no sound")

    result = run("catalog", "find", short, broken, upload, "--format", "jsonl")

    assert result.exit_code == 2, result.output
    assert "at least 4.9 s are compared" in result.stderr
    assert "broken.wav" in result.stderr
    assert [row["file"] for row in rows(result)] == [str(upload)]
