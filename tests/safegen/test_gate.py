"""The gate, on real parts: what it releases, what it refuses, and what it leaves behind."""

import dataclasses
import json
import stat
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from detectors import chromaprint
from detectors.base import Match
from registry import catalog, releases
from registry.catalog import NewFingerprint, NewRight, NewWork
from registry.licensing import NewLicense
from safegen import watermark
from safegen.audio import Audio, load, resample, sha256_file
from safegen.errors import InputError, ReleaseBlockedError, SafegenError
from safegen.gate import Gate
from safegen.generation.base import Generation, ModelFacts, Request
from safegen.matching import Prints
from safegen.policy import Action
from safegen.provenance import c2pa, record
from safegen.provenance.keys import KeyStore
from safegen.publishing import STAGING_NAME
from safegen.recording import MAX_MATCHES, now
from tests.safegen.conftest import tones

FOREIGN = ModelFacts(name="Test tones 1", version="unknown", license="unknown")


@pytest.fixture
def gate(home: Path) -> Iterator[Gate]:
    gate = Gate.open(home)
    yield gate
    gate.close()


def test_a_good_output_is_released_marked_signed_and_logged(gate: Gate, tmp_path: Path) -> None:
    audio = tones(1)

    release = gate.release(
        audio.waveform, audio.sample_rate, out=tmp_path / "out", generator="Test tones 1"
    )

    assert release.is_released
    assert release.finished is not None
    file = release.finished.path
    assert sha256_file(file) == release.finished.sha256
    found = watermark.detect(load(file), keys=gate.mark_keys)
    assert found.payload == release.finished.payload
    assert release.finished.c2pa_state == "trusted"
    with gate.database.read() as session:
        row = releases.get_output(session, release.item.record_id)
        assert row.state == "released"
        assert gate.log.entry(session, row.log_index) == row.record
        gate.log.verify(session)
    # Whoever hears the file later is told by the mark, whatever the classifier heard before it.
    told = json.loads(row.record)["synthetic"]
    assert (told["verdict"], told["because"]) == ("own_generator", "watermark")
    assert told["model"]
    assert release.to_json()["synthetic"] == told
    assert release.receipt is not None
    assert release.receipt.exists()
    assert not list((tmp_path / "out" / STAGING_NAME).glob("*/"))


def test_the_released_sound_is_the_sound_that_came_in(gate: Gate, tmp_path: Path) -> None:
    audio = tones(2)

    release = gate.release(
        audio.waveform, audio.sample_rate, out=tmp_path, generator="Test tones 1"
    )

    assert release.finished is not None
    released = load(release.finished.path)
    assert released.sample_rate == audio.sample_rate
    assert released.waveform.shape == audio.waveform.shape
    error = released.waveform - audio.waveform
    snr_db = 10 * np.log10((audio.waveform**2).mean() / (error**2).mean())
    assert 12 < snr_db < 60  # marked, and not much more than marked


def test_a_quotation_of_a_cataloged_work_is_refused_and_only_logged(
    gate: Gate, tmp_path: Path
) -> None:
    work_id = _catalog(gate, tones(3, seconds=30.0), uses=())
    quote = tones(3, seconds=30.0).cut(8.0, 20.0)

    with pytest.raises(ReleaseBlockedError, match="blocked by R4") as refusal:
        gate.release(quote.waveform, quote.sample_rate, out=tmp_path / "out", generator="Tones")

    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").glob("*.*"))
    with gate.database.read() as session:
        row = releases.get_output(session, refusal.value.record_id)
        logged = json.loads(gate.log.entry(session, row.log_index))
    assert row.state == "blocked"
    assert row.path == ""
    assert [match.work_id for match in row.matches] == [work_id]
    assert logged["output"] is None
    assert logged["decision"]["action"] == "block"
    match = row.matches[0]
    shift = match.reference_start_seconds - match.query_start_seconds
    assert shift == pytest.approx(8.0, abs=0.3)


def test_a_quotation_under_a_license_in_force_is_released_with_a_label(
    gate: Gate, tmp_path: Path
) -> None:
    _catalog(gate, tones(4, seconds=30.0), uses=("sample",))
    quote = tones(4, seconds=30.0).cut(8.0, 20.0)

    release = gate.release(quote.waveform, quote.sample_rate, out=tmp_path, generator="Tones")

    assert release.judgement.decision.action is Action.LABEL
    assert release.is_released
    assert release.judgement.matches[0].license_id


@pytest.mark.parametrize("policy", ["strict", "permissive"])
def test_what_a_license_obliges_to_is_in_decision_record_manifest_and_tags(
    home: Path, tmp_path: Path, policy: str
) -> None:
    line = "„Wörk“ by A. Vantongeren, CC BY-SA 4.0"
    gate = Gate.open(home, policy_name=policy)
    try:
        work = _catalog(
            gate,
            tones(4, seconds=30.0),
            uses=("sample",),
            obligations=("attribution", "share_alike"),
            attribution_text=line,
        )
        quote = tones(4, seconds=30.0).cut(8.0, 20.0)
        release = gate.release(quote.waveform, quote.sample_rate, out=tmp_path, generator="Tones")
        with gate.database.read() as session:
            row = releases.get_output(session, release.item.record_id)
            terms = catalog.get_work(session, work).licenses[0].terms_sha256
    finally:
        gate.close()

    assert release.judgement.decision.action is Action.LABEL
    labels = release.judgement.decision.obligations
    assert f"attribution is owed: {line}" in labels
    assert any(label.startswith("share-alike: test terms") for label in labels)
    expected = {
        "name": "test terms",
        "terms_sha256": terms,
        "obligations": ["attribution", "share_alike"],
        "attribution": line,
    }
    for matches in (json.loads(row.record)["matches"], release.to_json()["matches"]):
        assert [(match["status"], match["license"]) for match in matches] == [
            ("licensed", expected)
        ]
    assert release.finished is not None
    manifest = c2pa.read(
        release.finished.path, trust_anchors=KeyStore(home / "keys").trust_anchors()
    )
    assert (manifest.state, manifest.attributions) == ("trusted", (line,))
    with av.open(str(release.finished.path)) as file:
        assert line in file.metadata["comment"]


def test_a_match_without_a_license_in_force_is_called_unlicensed(
    gate: Gate, tmp_path: Path
) -> None:
    _catalog(gate, tones(4, seconds=30.0), uses=("train",), obligations=("attribution",))
    quote = tones(4, seconds=30.0).cut(8.0, 20.0)

    with pytest.raises(ReleaseBlockedError) as refusal:
        gate.release(quote.waveform, quote.sample_rate, out=tmp_path, generator="Tones")

    with gate.database.read() as session:
        row = releases.get_output(session, refusal.value.record_id)
    logged = json.loads(row.record)
    assert [(m["status"], m["license"]) for m in logged["matches"]] == [("unlicensed", None)]
    assert "attribution" not in json.dumps(logged["decision"])


def test_a_prompt_that_names_a_cataloged_artist_is_never_generated(
    gate: Gate, tmp_path: Path
) -> None:
    _catalog(gate, tones(5, seconds=20.0), uses=())
    generator = _Tones()

    release = gate.generate(
        generator,
        Request(prompt="a song in the style of Aurelia Vantongeren", seconds=6.0, seed=1),
        out=tmp_path,
    )

    assert not release.is_released
    assert release.judgement.decision.reasons[0].rule == "R1"
    assert generator.calls == 0


def test_the_prompt_is_committed_to_and_never_written(gate: Gate, tmp_path: Path) -> None:
    prompt = "a melancholy waltz for my neighbor"

    release = gate.generate(_Tones(), Request(prompt=prompt, seconds=6.0, seed=1), out=tmp_path)

    with gate.database.read() as session:
        row = releases.get_output(session, release.item.record_id)
    assert prompt.encode() not in row.record
    assert release.finished is not None
    assert prompt.encode() not in release.finished.path.read_bytes()
    commitment = json.loads(row.record)["request"]["prompt_commitment"]
    salt = gate.salt(release.item.record_id)
    record.verify_commitment(commitment, "prompt", prompt, salt=salt)


def test_a_refused_prompt_is_not_quoted_in_the_record(gate: Gate, tmp_path: Path) -> None:
    prompt = "clone the voice of my neighbor Aloysius"

    release = gate.generate(_Tones(), Request(prompt=prompt, seconds=6.0, seed=1), out=tmp_path)

    with gate.database.read() as session:
        row = releases.get_output(session, release.item.record_id)
    assert release.judgement.decision.reasons[0].rule == "R2"
    assert b"Aloysius" not in row.record
    assert b"clone the voice" not in row.record


def test_a_sound_that_is_marked_already_is_not_marked_again(gate: Gate, tmp_path: Path) -> None:
    audio = tones(6)
    first = gate.release(audio.waveform, audio.sample_rate, out=tmp_path, generator="Tones")
    assert first.finished is not None
    again = load(first.finished.path)

    with pytest.raises(ReleaseBlockedError, match=r"blocked by R7.*carries our mark"):
        gate.release(again.waveform, again.sample_rate, out=tmp_path, generator="Tones")


def test_a_generator_that_hands_out_marked_sound_is_refused_and_logged(
    gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Audio-to-audio on one of our own releases, with too little changed.
    marked = watermark.embed(tones(6), payload=5, key=gate.mark_key.secret)
    made = _Tones().generate(Request(prompt="tones", seconds=6.0, seed=1))
    monkeypatch.setattr(
        _Tones, "generate", lambda *_, **__: dataclasses.replace(made, audio=marked)
    )

    release = gate.generate(_Tones(), Request(prompt="tones", seconds=6.0, seed=1), out=tmp_path)

    assert not release.is_released
    worst = release.judgement.decision.reasons[0]
    assert worst.rule == "R7"
    assert "carries our mark already" in worst.problem
    assert release.position >= 0


def test_a_check_that_breaks_blocks_in_strict(
    gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(prints: Prints, *, deep: bool) -> tuple[Match, ...]:
        raise OSError("the index is gone")

    monkeypatch.setattr(gate.matcher, "match_prints", broken)
    audio = tones(7)

    with pytest.raises(ReleaseBlockedError, match=r"blocked by R10.*the index is gone"):
        gate.release(audio.waveform, audio.sample_rate, out=tmp_path, generator="Tones")

    assert not list(tmp_path.glob("*.wav"))


def test_an_output_that_quotes_hundreds_of_stretches_is_refused_and_logged(
    gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work_id = _catalog(gate, tones(8), uses=())
    stretches = tuple(
        Match(
            work_id=work_id,
            engine=chromaprint.ENGINE,
            query_start_seconds=float(start),
            query_end_seconds=start + 5.0,
            reference_start_seconds=float(start),
            reference_end_seconds=start + 5.0,
            score=0.9,
            p_value=1e-9,
        )
        for start in range(300)
    )
    monkeypatch.setattr(gate.matcher, "match_prints", lambda *_, **__: stretches)
    audio = tones(7)

    with pytest.raises(ReleaseBlockedError, match="blocked by R4") as refused:
        gate.release(audio.waveform, audio.sample_rate, out=tmp_path, generator="Tones")

    with gate.database.read() as session:
        row = releases.get_output(session, refused.value.record_id)
    assert len(json.loads(row.record)["matches"]) == MAX_MATCHES


def test_a_file_that_changes_after_signing_is_not_released(
    gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safegen.provenance import c2pa

    sign = c2pa.sign

    def meddle(source: Path, destination: Path, **rest: object) -> None:
        sign(source, destination, **rest)  # type: ignore[arg-type]
        data = bytearray(destination.read_bytes())
        data[2000] ^= 1
        destination.write_bytes(data)

    monkeypatch.setattr(c2pa, "sign", meddle)
    audio = tones(8)

    with pytest.raises(ReleaseBlockedError, match="blocked by R8"):
        gate.release(audio.waveform, audio.sample_rate, out=tmp_path, generator="Tones")

    assert not list(tmp_path.glob("*.wav"))


def test_a_quarantined_output_waits_where_only_the_operator_can_read(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate.open(home, policy_name="standard")
    audio = tones(9)

    def broken(prints: Prints, *, deep: bool) -> tuple[Match, ...]:
        raise OSError("the index is gone")

    monkeypatch.setattr(gate.matcher, "match_prints", broken)
    release = gate.submit(audio, FOREIGN, out=tmp_path / "out")
    gate.close()

    assert release.judgement.decision.action is Action.QUARANTINE
    kept = home / "quarantine" / f"{release.item.record_id}.flac"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert load(kept).waveform.shape == audio.waveform.shape
    assert not list((tmp_path / "out").glob("*.wav"))


@pytest.mark.parametrize("file_format", ["wav", "flac", "mp3"])
def test_every_format_is_released_with_its_tags(
    gate: Gate, tmp_path: Path, file_format: str
) -> None:
    import tinytag

    audio = resample(tones(10), 44_100)

    release = gate.release(
        np.repeat(audio.waveform, 2, axis=0),
        audio.sample_rate,
        out=tmp_path,
        generator="Tones",
        file_format=file_format,  # type: ignore[arg-type]
    )

    assert release.finished is not None
    assert release.finished.path.suffix == f".{file_format}"
    assert release.finished.channels == 2
    assert release.item.record_id in (tinytag.TinyTag.get(release.finished.path).title or "")


@pytest.mark.parametrize(
    ("waveform", "fault"),
    [
        (np.full((1, 1000), np.nan), "NaN"),
        (np.zeros((0, 1000)), "0 channels"),
        (np.zeros((1, 0)), "0 samples"),
    ],
    ids=["NaN", "no channel", "no sample"],
)
def test_numbers_that_are_no_sound_are_refused_before_anything_is_logged(
    gate: Gate, tmp_path: Path, waveform: np.ndarray, fault: str
) -> None:
    with pytest.raises(InputError, match=fault):
        gate.release(waveform, 32_000, out=tmp_path, generator="Tones")

    with gate.database.read() as session:
        assert gate.log.size(session) == 0


def test_a_rate_that_mp3_cannot_hold_is_named(gate: Gate, tmp_path: Path) -> None:
    audio = resample(tones(11), 96_000)

    with pytest.raises(InputError, match="MP3 cannot hold 1 channels at 96000 Hz"):
        gate.release(audio.waveform, 96_000, out=tmp_path, generator="Tones", file_format="mp3")

    assert not list(tmp_path.glob("*.mp3"))


def test_without_keys_the_gate_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(SafegenError, match="safegen keys init"):
        Gate.open(tmp_path / "nowhere")


def test_silence_is_not_released_because_it_holds_no_mark(gate: Gate, tmp_path: Path) -> None:
    silence = np.zeros((1, 32_000 * 6), np.float32)

    with pytest.raises(ReleaseBlockedError):
        gate.release(silence, 32_000, out=tmp_path, generator="Tones")

    assert not list(tmp_path.glob("*.wav"))


class _Tones:
    """A generator of tones that counts how often it was asked."""

    def __init__(self) -> None:
        self.calls = 0
        self.facts = ModelFacts(name="Test tones", version="1", license="CC0-1.0")

    def generate(self, request: Request, *, progress: object = None) -> Generation:
        self.calls += 1
        return Generation(
            audio=tones(request.seed, seconds=request.seconds),
            plan_json="",
            plan_tokens=np.zeros(0, np.int64),
            codes=np.zeros((0, 0), np.int64),
        )


def _catalog(
    gate: Gate,
    audio: Audio,
    *,
    uses: tuple[str, ...],
    obligations: tuple[str, ...] = (),
    attribution_text: str = "",
    rights_holder: str = "Vantongeren Estate",
) -> str:
    items = chromaprint.fingerprint(audio.waveform, audio.sample_rate)
    work = NewWork(
        title="The Quoted Work",
        artist="Aurelia Vantongeren",
        seconds=audio.seconds,
        content_sha256="0" * 63 + str(len(uses)),
        source_name="quoted.wav",
        rights=(NewRight(rights_holder=rights_holder),),
        licenses=(
            NewLicense(
                name="test terms",
                territories=("*",),
                uses=uses,
                valid_from=now().replace(year=2000),
                valid_until=None,
                obligations=obligations,
                attribution_text=attribution_text,
            ),
        ),
        fingerprints=(NewFingerprint(engine="chromaprint", items=items.tobytes()),),
    )
    with gate.database.begin() as session:
        return catalog.add_work(session, work, at=now()).work_id
