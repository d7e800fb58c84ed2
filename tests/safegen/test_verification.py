"""What a file is: ours, a claim that does not hold, or unknown."""

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy
from click.testing import CliRunner

from registry.session import connect
from safegen import watermark
from safegen.audio import Audio, load, save
from safegen.cli import main
from safegen.config import from_environment
from safegen.errors import IntegrityError
from safegen.evaluation.attacks import ATTACKS
from safegen.gate import Gate
from safegen.generation.base import Request
from safegen.generation.systems import load as load_model
from safegen.licensing import owed_by
from safegen.provenance.keys import KeyStore
from safegen.recording import Release
from safegen.verification import Verdict, Verifier
from tests.safegen.conftest import tones
from tests.safegen.screening_help import add_work
from tests.safegen.synthesis_help import HIFIGAN


@pytest.fixture
def released(home: Path, tmp_path: Path) -> Release:
    gate = Gate.open(home)
    audio = tones(1, seconds=12.0)
    release = gate.release(
        audio.waveform, audio.sample_rate, out=tmp_path / "out", generator="Test tones 1"
    )
    gate.close()
    return release


@pytest.fixture
def verifier(home: Path) -> Iterator[Verifier]:
    config = from_environment({"SAFEGEN_HOME": str(home)})
    database = connect(config.database_url)
    yield Verifier(database=database, keys=KeyStore(config.keys))
    database.close()


def test_a_released_file_is_ours_by_its_bytes(released: Release, verifier: Verifier) -> None:
    found = verifier.verify(_path(released))

    assert found.verdict is Verdict.OURS
    assert found.basis == "sha256"
    assert found.record_id == released.item.record_id
    assert found.is_logged
    assert found.manifest.state == "trusted"


def test_it_is_still_ours_as_an_mp3_at_64_kbit_per_s(
    released: Release, verifier: Verifier, tmp_path: Path
) -> None:
    encoded = tmp_path / "again.mp3"
    save(load(_path(released)), encoded, bitrate=64_000)

    found = verifier.verify(encoded)

    assert found.verdict is Verdict.OURS
    assert found.basis == "watermark"
    assert found.manifest.state == "absent"
    assert found.bit_error_rate is not None
    assert found.bit_error_rate < 0.2


@pytest.mark.parametrize("attack", ["speed-0.93", "speed-1.05", "tempo-1.04", "pitch-2"])
def test_it_is_still_ours_at_another_speed_or_pitch(
    released: Release, verifier: Verifier, tmp_path: Path, attack: str
) -> None:
    changed = tmp_path / "changed.wav"
    save(ATTACKS[attack](load(_path(released))), changed)

    found = verifier.verify(changed)

    assert found.verdict is Verdict.OURS, found.reason
    assert found.basis == "watermark"
    assert found.is_logged


def test_a_mark_whose_id_cannot_be_read_leads_by_its_day_and_the_sound(
    released: Release, verifier: Verifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy.flac"
    save(load(_path(released)), copy)
    heard = watermark.detect(load(copy), keys=verifier._mark_keys)
    monkeypatch.setattr(
        watermark, "detect", lambda audio, **_: dataclasses.replace(heard, payload=None)
    )

    found = verifier.verify(copy)
    other = tmp_path / "other.wav"
    save(tones(99, seconds=12.0), other)

    assert (found.verdict, found.basis) == (Verdict.OURS, "watermark-day")
    assert found.record_id == released.item.record_id
    assert verifier.verify(other).verdict is Verdict.UNKNOWN


def test_other_music_is_unknown(released: Release, verifier: Verifier, tmp_path: Path) -> None:
    other = tmp_path / "other.wav"
    save(tones(99), other)

    found = verifier.verify(other)

    assert found.verdict is Verdict.UNKNOWN
    assert found.record_id == ""


def test_a_sound_of_the_shipped_codec_released_elsewhere_is_unknown_but_told(
    verifier: Verifier, home: Path, tmp_path: Path
) -> None:
    path = tmp_path / "elsewhere.wav"
    save(
        load_model("music-flow").generate(Request(prompt="a piano", seconds=6.0, seed=1)).audio,
        path,
    )

    found = verifier.verify(path)
    shown = CliRunner().invoke(
        main, ["verify", "--explain", str(path)], env={"SAFEGEN_HOME": str(home)}
    )

    assert found.verdict is Verdict.UNKNOWN
    assert found.to_json()["decoder_mark"] == {
        "detected": True,
        "p_value": pytest.approx(found.root.p_value),
    }
    assert "made with the shipped safegen codec" in found.reason
    assert "codec mark  heard" in shown.stdout


def test_a_mark_pasted_onto_another_recording_is_a_mismatch(
    released: Release, verifier: Verifier, home: Path, tmp_path: Path
) -> None:
    # The attack: whoever holds the marked and the unmarked sound holds the residual.
    original, marked = tones(1, seconds=12.0), load(_path(released))
    residual = marked.waveform - original.waveform
    other = tones(99, seconds=12.0)
    pasted = tmp_path / "pasted.wav"
    # The mark changes magnitudes of its own host; it is heard on another only where that
    # one is quiet, so the attacker turns it down.
    waveform = np.clip(0.25 * other.waveform + 2.0 * residual, -1, 1).astype(np.float32)
    save(Audio(waveform=waveform, sample_rate=other.sample_rate), pasted)

    found = verifier.verify(pasted)

    assert found.mark.detected
    assert found.verdict is Verdict.CLAIMED_MISMATCH
    assert found.record_id == released.item.record_id


def test_a_mark_of_our_key_without_a_record_is_a_mismatch(
    verifier: Verifier, home: Path, tmp_path: Path
) -> None:
    keys = KeyStore(from_environment({"SAFEGEN_HOME": str(home)}).keys)
    forged = tmp_path / "forged.wav"
    sound = tones(3, seconds=12.0)
    save(watermark.embed(sound, payload=7, key=keys.current_watermark_key().secret), forged)

    found = verifier.verify(forged)

    assert found.verdict is Verdict.CLAIMED_MISMATCH
    assert found.record_id == ""


def test_a_record_that_was_changed_after_logging_is_broken_evidence(
    released: Release, verifier: Verifier, home: Path
) -> None:
    database = connect(from_environment({"SAFEGEN_HOME": str(home)}).database_url)
    with database.begin() as session:
        session.execute(sqlalchemy.text("UPDATE outputs SET record = X'7B7D'"))
    database.close()

    with pytest.raises(IntegrityError, match="is not what was logged"):
        verifier.verify(_path(released))


def test_offline_the_receipt_is_enough(
    released: Release, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAFEGEN_HOME", str(home))
    file = _path(released)

    good = CliRunner().invoke(main, ["verify", "--offline", str(file)])
    file.write_bytes(file.read_bytes() + b"x")
    changed = CliRunner().invoke(main, ["verify", "--offline", str(file)])

    assert good.exit_code == 0, good.output
    assert changed.exit_code == 4, changed.output


def test_the_exit_status_tells_ours_from_unknown_and_unreadable(
    released: Release, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAFEGEN_HOME", str(home))
    other, broken = tmp_path / "other.wav", tmp_path / "broken.wav"
    save(tones(99), other)
    broken.write_bytes(b"RIFF")

    def status(*files: Path) -> int:
        return CliRunner().invoke(main, ["verify", *map(str, files)]).exit_code

    assert status(_path(released)) == 0
    assert status(_path(released), other) == 3
    assert status(_path(released), broken) == 2


def test_what_a_release_owes_is_told_of_the_file_that_is_ours(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAFEGEN_HOME", str(home))
    gate = Gate.open(home)
    work = add_work(
        gate.database,
        tones(4, seconds=16.0),
        title="Wörk",
        holders=("Ann",),
        uses=("sample",),
        obligations=("attribution", "share_alike"),
    )
    quote = tones(4, seconds=16.0).cut(2.0, 14.0)
    release = gate.release(quote.waveform, quote.sample_rate, out=tmp_path, generator="Tones")
    gate.close()
    file = _path(release)

    told = CliRunner().invoke(main, ["verify", str(file)])
    as_json = CliRunner().invoke(main, ["verify", str(file), "--format", "jsonl"])
    offline = CliRunner().invoke(main, ["verify", str(file), "--offline"])
    other = tmp_path / "other.wav"
    save(tones(99), other)
    unknown = CliRunner().invoke(main, ["verify", str(other), "--format", "jsonl"])

    (owed,) = json.loads(as_json.stdout)["owed"]
    assert (owed["work_id"], owed["title"], owed["rights_holder"]) == (work, "Wörk", "Ann")
    assert owed["obligations"] == ["attribution", "share_alike"]
    assert owed["attribution"] == "Wörk by Ann (Test license)"
    assert json.loads(as_json.stdout)["c2pa"]["attributions"] == [owed["attribution"]]
    for result in (told, offline):
        assert result.exit_code == 0, result.output
        assert "attribution is owed: Wörk by Ann (Test license)" in result.stdout
        assert "share-alike: Test license of Wörk (Ann)" in result.stdout
    assert json.loads(unknown.stdout)["owed"] == []


def test_a_match_that_did_not_count_owes_nothing() -> None:
    match = {
        "work_id": "w",
        "title": "Song",
        "isrc": "",
        "rights_holder": "Ann",
        "license_id": "l",
        "license": {
            "name": "CC BY 4.0",
            "terms_sha256": "0" * 64,
            "obligations": ["attribution"],
            "attribution": "Song by Ann",
        },
    }
    named = {"problem": "attribution is owed: Song by Ann"}

    counted = owed_by({"decision": {"reasons": [named]}, "matches": [match, match]})

    assert [each.terms.attribution for each in counted] == ["Song by Ann"]
    assert owed_by({"decision": {"reasons": []}, "matches": [match]}) == ()
    assert owed_by({"decision": {"reasons": [named]}, "matches": [match | {"license": None}]}) == ()


def _path(release: Release) -> Path:
    assert release.finished is not None
    return release.finished.path


def test_who_made_a_file_rests_on_the_log_then_on_the_mark(
    released: Release, verifier: Verifier, tmp_path: Path
) -> None:
    encoded = tmp_path / "again.mp3"
    save(load(_path(released)), encoded, bitrate=64_000)
    stranger = tmp_path / "stranger.wav"
    save(tones(9, seconds=12.0), stranger)

    rows: list[Any] = [
        verifier.verify(path).to_json() for path in (_path(released), encoded, stranger)
    ]

    assert [(r["synthetic"]["verdict"], r["synthetic"]["because"]) for r in rows] == [
        ("own_generator", "log"),
        ("own_generator", "watermark"),
        (None, ""),
    ]


def test_a_mark_that_was_copied_onto_other_sound_identifies_nobody(
    released: Release, verifier: Verifier
) -> None:
    found = replace(
        verifier.verify(_path(released)), verdict=Verdict.CLAIMED_MISMATCH, synthetic=HIFIGAN
    )

    assert (found.origin.because, found.origin.generator) == ("classifier", "hifigan")
