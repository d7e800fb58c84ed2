"""Works taken over by their fingerprints alone: found like others, and nothing smuggled in."""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

import safegen.catalog
from detectors import chromaprint, landmarks
from registry.catalog import NewFingerprint
from registry.schema import open_database
from safegen.audio import Audio
from safegen.cli import main
from safegen.errors import InputError
from safegen.exchange import Entry, Writer, entries
from safegen.handover import MAX_REPEATS, refuse_fingerprint
from safegen.matching import CatalogMatcher
from tests.safegen.conftest import tones

RATE = 11_025
TERMS = ("--rights-holder", "Acme", "--license", "CC0-1.0")
NOW = datetime(2026, 3, 1, tzinfo=UTC)

Run = Callable[..., Result]


@pytest.fixture
def home(tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    shutil.copy(sqlite_template, folder / "safegen.db")
    monkeypatch.setenv("SAFEGEN_HOME", str(folder))
    monkeypatch.delenv("SAFEGEN_DATABASE_URL", raising=False)
    return folder


@pytest.fixture(scope="module")
def sounds() -> tuple[Audio, ...]:
    return tuple(tones(seed, seconds=12.0, sample_rate=RATE) for seed in range(3))


@pytest.fixture
def music(tmp_path: Path, sounds: tuple[Audio, ...]) -> Path:
    folder = tmp_path / "music"
    folder.mkdir()
    for number, sound in enumerate(sounds):
        save(folder / f"work {number}.wav", sound)
    return folder


def save(path: Path, sound: Audio) -> None:
    soundfile.write(path, sound.waveform.T, sound.sample_rate)


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(main, ["catalog", *(str(word) for word in words)])


def rows(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_work_is_found_though_its_audio_was_never_here(
    home: Path, music: Path, sounds: tuple[Audio, ...], tmp_path: Path
) -> None:
    file = tmp_path / "acme.sfp"
    written = run("fingerprint", music, "--out", file, "--format", "jsonl")
    shutil.rmtree(music)
    taken = run("import", file, *TERMS, "--use", "sync", "--ipi", "52210040".zfill(9), "--format",
                "jsonl")  # fmt: skip
    with open_database(f"sqlite:///{home / 'safegen.db'}") as database:
        matches = CatalogMatcher(database).match(sounds[1].cut(2.0, 10.0))

    assert (written.exit_code, taken.exit_code) == (0, 0), written.output + taken.output
    assert [row["created"] for row in rows(taken)] == [True] * 3
    by_id = {row["work_id"]: row["title"] for row in rows(taken)}
    assert by_id[matches[0].work_id] == "work 1"
    (shown,) = rows(run("show", matches[0].work_id, "--format", "jsonl"))
    assert shown["source"] == "fingerprint"
    assert shown["rights"][0]["ipi"] == "00052210040"
    assert shown["sha256"] in {row["sha256"] for row in rows(written)}


def test_an_interrupted_run_goes_on_where_it_was(
    music: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, straight = tmp_path / "acme.sfp", tmp_path / "straight.sfp"
    listen = safegen.catalog._listen
    heard: list[str] = []

    def interrupted(path: Path) -> object:
        heard.append(path.name)
        if len(heard) == 2:
            raise KeyboardInterrupt
        return listen(path)

    monkeypatch.setattr("safegen.catalog._listen", interrupted)
    broken = run("fingerprint", music, "--out", file, "--jobs", "1")
    again = run("fingerprint", music, "--out", file, "--jobs", "1")
    monkeypatch.setattr("safegen.catalog._listen", listen)
    run("fingerprint", music, "--out", straight)

    assert broken.exit_code == 1
    assert "acme.sfp.part is kept" in broken.stderr
    assert again.exit_code == 0
    assert "2 written, 1 there before, 0 left out" in again.stderr
    assert heard == ["work 0.wav", "work 1.wav", "work 1.wav", "work 2.wav"]
    assert tuple(entries(file)) == tuple(entries(straight))


def test_what_cannot_be_heard_is_left_out_and_named(music: Path, tmp_path: Path) -> None:
    (music / "broken.mp3").write_bytes(b"this is not sound")
    shutil.copy(music / "work 0.wav", music / "copy.wav")
    file = tmp_path / "acme.sfp"
    result = run("fingerprint", music, "--out", file, "--jobs", "1")

    assert result.exit_code == 2
    assert "broken.mp3" in result.stderr
    assert "3 written, 1 there before, 1 left out" in result.stderr
    assert len(tuple(entries(file))) == 3


def test_no_file_is_written_if_nothing_can_be_heard(tmp_path: Path) -> None:
    (tmp_path / "broken.mp3").write_bytes(b"this is not sound")
    result = run("fingerprint", tmp_path, "--out", tmp_path / "acme.sfp")

    assert result.exit_code == 2
    assert "none of 1 files could be heard" in result.stderr
    assert list(tmp_path.glob("acme*")) == []


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("acme.bin", "must end in .sfp"),
        ("nowhere/acme.sfp", "no such folder"),
        ("there.sfp", "is there already"),
    ],
)
def test_a_wrong_output_is_refused_before_anything_is_heard(
    music: Path, tmp_path: Path, out: str, words: str
) -> None:
    (tmp_path / "there.sfp").touch()
    result = run("fingerprint", music, "--out", tmp_path / out)

    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stdout == ""


def test_importing_again_changes_nothing(home: Path, music: Path, tmp_path: Path) -> None:
    file = tmp_path / "acme.sfp"
    run("fingerprint", music, "--out", file)
    first = rows(run("import", file, *TERMS, "--format", "jsonl"))
    again = rows(run("import", file, *TERMS, "--format", "jsonl"))
    removed = run("remove", first[0]["work_id"])
    third = run("import", file, *TERMS, "--format", "jsonl")
    fourth = run("import", file, *TERMS, "--revive", "--format", "jsonl")

    assert [row["created"] for row in again] == [False] * 3
    assert [row["work_id"] for row in again] == [row["work_id"] for row in first]
    assert (removed.exit_code, third.exit_code, fourth.exit_code) == (0, 2, 0)
    assert "was removed on" in rows(third)[0]["error"]
    assert rows(fourth)[0]["created"]


def test_good_entries_of_a_damaged_file_are_kept(home: Path, music: Path, tmp_path: Path) -> None:
    file = tmp_path / "acme.sfp"
    run("fingerprint", music, "--out", file)
    file.write_bytes(file.read_bytes().replace(b'"work 1"', b'"work !"')[:-50])

    result = run("import", file, *TERMS, "--format", "jsonl")

    assert result.exit_code == 2
    assert [row["title"] for row in rows(result) if row["work_id"]] == ["work 0"]
    assert "acme.sfp: entry 2 at byte " in result.stderr
    assert "the file was cut" in result.stderr
    assert len(run("list").stdout.splitlines()) == 1


@pytest.mark.parametrize("fault", ["damaged", "held by another"])
def test_a_strict_import_keeps_all_or_nothing(
    home: Path, music: Path, tmp_path: Path, fault: str
) -> None:
    file = tmp_path / "acme.sfp"
    run("fingerprint", music, "--out", file)
    if fault == "damaged":
        file.write_bytes(file.read_bytes()[:-50])
        before = 0
    else:
        run("add", music / "work 2.wav", "--rights-holder", "Zed", "--license", "X")
        before = 1
    result = run("import", file, *TERMS, "--strict", "--format", "jsonl")

    assert result.exit_code == 2
    assert "nothing was added" in result.stderr
    assert ("was cut" if fault == "damaged" else "Settle who holds it") in result.stderr
    assert result.stdout == ""
    assert len(run("list").stdout.splitlines()) == before


def test_a_strict_import_of_a_good_file_keeps_all(home: Path, music: Path, tmp_path: Path) -> None:
    file = tmp_path / "acme.sfp"
    run("fingerprint", music, "--out", file)
    result = run("import", file, *TERMS, "--strict")

    assert result.exit_code == 0, result.output
    assert "3 added, 0 there before, 0 not added" in result.stderr
    assert len(run("list").stdout.splitlines()) == 3


def test_what_is_no_file_of_fingerprints_is_refused_before_anything_is_asked(
    home: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.sfp").write_bytes(b"RIFF....WAVE")
    for path in (tmp_path / "a.sfp", tmp_path / "nowhere.sfp", tmp_path):
        result = run("import", path)

        assert result.exit_code == 2
        assert "--rights-holder" not in result.stderr


# Fingerprints that no sound has


def items(count: int, *, seed: int = 1) -> np.ndarray[Any, np.dtype[np.uint32]]:
    return np.random.default_rng(seed).integers(0, 1 << 32, count, dtype=np.uint32)


def print_of(values: Any) -> NewFingerprint:
    blob = np.asarray(values).astype("<u4").tobytes()
    return NewFingerprint(engine=chromaprint.ENGINE, items=blob)


def keys_of(count: int, frames: Any) -> NewFingerprint:
    blob = np.arange(count, dtype="<u4").tobytes() + np.asarray(frames, dtype="<u4").tobytes()
    return NewFingerprint(engine=landmarks.ENGINE, items=blob)


ONE_MINUTE = 464  # items
IMPOSSIBLE: dict[str, tuple[NewFingerprint, float, str]] = {
    "half an item": (NewFingerprint(engine="chromaprint", items=b"123"), 60.0, "no row of 32-bit"),
    "too many items": (print_of(items(ONE_MINUTE + 20)), 60.0, "do not cover 60 s"),
    "the first two minutes": (print_of(items(950)), 240.0, "whole recordings"),
    "one item again and again": (
        print_of([7] * (MAX_REPEATS + 1) + list(items(1000))),
        189.0,
        f"comes {MAX_REPEATS + 1} times, limit {MAX_REPEATS}",
    ),
    "silence": (print_of([chromaprint.SILENCE] * ONE_MINUTE), 60.0, "nothing but silence"),
    "half a key": (NewFingerprint(engine="landmarks", items=b"1234"), 60.0, "8-byte keys"),
    "a landmark after the end": (keys_of(2, [5, 60 * 44]), 60.0, "one is at 61.3 s of 60 s"),
    "landmarks in disorder": (keys_of(2, [9, 5]), 60.0, "not in the order"),
    "too many landmarks": (keys_of(9_000, np.arange(9_000) // 4), 60.0, "9000 keys in 60 s, limit"),
}


@pytest.mark.parametrize("fault", IMPOSSIBLE)
def test_an_impossible_fingerprint_is_refused(fault: str) -> None:
    print_, seconds, words = IMPOSSIBLE[fault]

    with pytest.raises(InputError, match=words):
        refuse_fingerprint(print_, seconds=seconds)


def test_what_our_engines_hear_is_possible(sounds: tuple[Audio, ...]) -> None:
    for seconds in (2.8, 3.0, 7.77, 12.0):
        sound = sounds[0].cut(0.0, seconds)
        heard = chromaprint.fingerprint(sound.waveform, sound.sample_rate)
        keyed = landmarks.fingerprint_of(chromaprint.pcm(sound.waveform, sound.sample_rate))
        refuse_fingerprint(print_of(heard), seconds=sound.seconds)
        refuse_fingerprint(
            NewFingerprint(engine=landmarks.ENGINE, items=landmarks.to_blob(keyed)),
            seconds=sound.seconds,
        )


@given(
    engine=st.sampled_from(["chromaprint", "landmarks", "unknown"]),
    blob=st.binary(max_size=400),
    seconds=st.floats(1e-300, 3600),
)
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_possible_or_refused(engine: str, blob: bytes, seconds: float) -> None:
    with contextlib.suppress(InputError):
        refuse_fingerprint(NewFingerprint(engine=engine, items=blob), seconds=seconds)


def test_an_engine_of_the_future_is_not_stored(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "future.sfp"
    future = NewFingerprint(engine="future", items=b"abcd")
    known = print_of(items(ONE_MINUTE))
    with Writer(file, engines=("future",), made_by="test", now=NOW) as writer:
        for number, prints in enumerate([(future,), (future, known)]):
            writer.add(
                Entry(
                    title=f"work {number}",
                    seconds=60.0,
                    content_sha256=hashlib.sha256(bytes([number])).hexdigest(),
                    source_name="a.wav",
                    fingerprints=prints,
                )
            )
        writer.finish()
    result = run("import", file, *TERMS, "--format", "jsonl")

    assert [bool(row["work_id"]) for row in rows(result)] == [False, True]
    assert "engines that this version does not know: future" in result.stderr


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"iswc": "T-034.524.680-2"}, "check digit of this ISWC"),
        ({"musicbrainz_id": "x"}, "no MusicBrainz id"),
    ],
)
def test_a_wrong_code_is_reported_with_its_place(
    home: Path, tmp_path: Path, fields: dict[str, str], words: str
) -> None:
    file = tmp_path / "a.sfp"
    with Writer(file, engines=("chromaprint",), made_by="test", now=NOW) as writer:
        writer.add(
            Entry(
                title="work",
                seconds=60.0,
                content_sha256="ab" * 32,
                source_name="a.wav",
                fingerprints=(print_of(items(ONE_MINUTE)),),
                **fields,
            )
        )
        writer.finish()
    result = run("import", file, *TERMS)

    assert result.exit_code == 2
    assert "a.sfp: entry 1 at byte" in result.stderr
    assert words in result.stderr


def test_copies_of_one_sound_are_taken_once(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.sfp"
    with Writer(file, engines=("chromaprint",), made_by="test", now=NOW) as writer:
        for number in range(3):
            writer.add(
                Entry(
                    title="work",
                    seconds=60.0,
                    content_sha256=hashlib.sha256(bytes([number])).hexdigest(),
                    source_name="a.wav",
                    fingerprints=(print_of(items(ONE_MINUTE)),),
                )
            )
        writer.finish()
    result = run("import", file, *TERMS)

    assert result.exit_code == 2
    assert result.stderr.count("an entry before has exactly these fingerprints") == 2
    assert len(run("list").stdout.splitlines()) == 1
