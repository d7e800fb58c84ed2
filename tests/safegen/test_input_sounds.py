"""Sounds that are given to a model: compared first, linked to what they are, never trusted."""

import csv
import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detectors.base import Match
from detectors.composition import CompositionMatch
from registry import catalog, releases
from registry.scope import AuditScope
from safegen import audit, audit_export, watermark
from safegen.audio import Audio, load, save
from safegen.errors import InputError
from safegen.gate import Gate
from safegen.generation.base import Generation, ModelFacts, Request
from safegen.licensing import owed_by
from safegen.matching import Prints
from safegen.policy import Action, Outcome
from safegen.provenance import c2pa, record
from safegen.provenance.keys import KeyStore
from safegen.recording import InputFinding, Release
from tests.safegen.conftest import tones
from tests.safegen.test_gate import _catalog

SECONDS = 8.0


@pytest.fixture
def gate(home: Path) -> Iterator[Gate]:
    gate = Gate.open(home)
    yield gate
    gate.close()


class Continues:
    """A generator whose output holds what it is given, bit for bit."""

    def __init__(self) -> None:
        self.calls = 0
        self.facts = ModelFacts(name="Continues", version="1", license="CC0-1.0")

    def generate(self, request: Request, *, progress: object = None) -> Generation:
        self.calls += 1
        given = request.continue_from or request.source
        sound = tones(1000 + request.seed, seconds=request.seconds).waveform
        if given is not None:
            sound = sound.copy()
            kept = given.waveform[:, : sound.shape[1]]
            sound[:, : kept.shape[1]] = kept
        return Generation(
            audio=Audio(waveform=sound, sample_rate=32_000),
            plan_json="",
            plan_tokens=np.zeros(0, np.int64),
            codes=np.zeros((0, 0), np.int64),
        )


def wish(seed: int = 1, **sounds: Audio) -> Request:
    return Request(prompt="tones", seconds=12.0, seed=seed, **sounds)  # type: ignore[arg-type]


def logged(gate: Gate, release: Release) -> dict[str, Any]:
    with gate.database.read() as session:
        row = releases.get_output(session, release.item.record_id)
    parsed: dict[str, Any] = json.loads(row.record)
    return parsed


def manifest_of(release: Release, home: Path) -> c2pa.C2paFinding:
    assert release.finished is not None
    anchors = KeyStore(home / "keys").trust_anchors()
    return c2pa.read(release.finished.path, trust_anchors=anchors)


def check(release: Release, name: str = "input_match") -> tuple[Outcome, str]:
    found = {each.name: each for each in release.judgement.checks}[name]
    return found.outcome, found.detail


# R19


@pytest.mark.parametrize("kind", ["melody", "continue_from", "source"])
def test_a_work_without_a_license_is_no_input_and_nothing_is_made_from_it(
    gate: Gate, tmp_path: Path, kind: str
) -> None:
    work = _catalog(gate, tones(3, seconds=30.0), uses=("train",))
    model = Continues()

    release = gate.generate(
        model, wish(1, **{kind: tones(3, seconds=30.0).cut(10.0, 18.0)}), out=tmp_path / "out"
    )

    assert not release.is_released
    assert model.calls == 0
    worst = release.judgement.decision.reasons[0]
    assert (worst.rule, worst.check, worst.action) == ("R19", "input_match", Action.BLOCK)
    assert f"quote work {work} without a license in force, limit 3 s" in worst.problem
    assert not (tmp_path / "out").exists()
    (told,) = logged(gate, release)["inputs"]
    (match,) = told["matches"]
    assert (told["kind"], match["work_id"], match["status"]) == (kind, work, "unlicensed")
    shift = match["reference_start_seconds"] - match["query_start_seconds"]
    assert shift == pytest.approx(10.0, abs=0.3)


def test_the_registry_holds_which_stretch_of_which_input_quotes_which_work(
    gate: Gate, tmp_path: Path
) -> None:
    work = _catalog(gate, tones(3, seconds=30.0), uses=())
    melody = tones(3, seconds=30.0).cut(0.0, 9.0)

    release = gate.generate(Continues(), wish(melody=melody), out=tmp_path)

    with gate.database.read() as session:
        row = releases.get_output(session, release.item.record_id)
    evidence = {each.name: each.evidence for each in row.checks}["input_match"]
    assert evidence["inputs"]["melody"]["unlicensed"] == [work]
    assert evidence["found"]["melody"][0]["work_id"] == work


def test_a_rights_holder_finds_what_was_given_and_not_who_else_was_in_it(
    gate: Gate, tmp_path: Path
) -> None:
    mine = _catalog(gate, tones(3, seconds=30.0), uses=())
    with gate.database.begin() as session:
        holder = catalog.find_rights_holder(session, "Vantongeren Estate")
    melody = tones(3, seconds=30.0).cut(0.0, 9.0)
    alone = gate.generate(Continues(), wish(melody=melody), out=tmp_path)
    theirs = _catalog(gate, tones(9, seconds=30.0), uses=("train",), rights_holder="Other Estate")
    both = gate.generate(
        Continues(), wish(melody=melody, source=tones(9, seconds=30.0).cut(0.0, 9.0)), out=tmp_path
    )

    scope = AuditScope.of(holder)
    with gate.database.read() as session:
        first, second = audit.matches(session, gate.log, scope, window=audit.Window())
        (work,) = audit.works(session, scope)
        rows = [each.to_json(scope) for each in (first, second)]
        export = list(csv.DictReader(audit_export.to_csv([first, second], scope)))

    assert [row["record_id"] for row in rows] == [alone.item.record_id, both.item.record_id]
    assert [[m["heard_in"] for m in row["matches"]] for row in rows] == [["melody"], ["melody"]]
    assert {m["work_id"] for row in rows for m in row["matches"]} == {mine}
    assert [row["heard_in"] for row in export] == ["melody", "melody"]
    assert work.outputs == {"blocked": 2}
    assert rows[0]["record"] is not None
    assert rows[1]["record"] is None
    assert theirs not in json.dumps(rows)


@pytest.mark.parametrize("policy", ["strict", "standard", "permissive"])
def test_a_licensed_work_may_go_in_and_what_its_license_asks_is_owed(
    home: Path, tmp_path: Path, policy: str
) -> None:
    line = "Wörk by A. Vantongeren, CC BY 4.0"
    gate = Gate.open(home, policy_name=policy)
    _catalog(
        gate,
        tones(4, seconds=30.0),
        uses=("sample",),
        obligations=("attribution",),
        attribution_text=line,
    )
    melody = tones(4, seconds=30.0).cut(2.0, 20.0)

    release = gate.generate(Continues(), wish(melody=melody), out=tmp_path / "out")
    body = record.parse(record.canonical(logged(gate, release)))
    gate.close()

    assert release.is_released
    assert release.judgement.decision.action is Action.LABEL
    assert f"attribution is owed: {line}" in release.judgement.decision.obligations
    assert manifest_of(release, home).attributions == (line,)
    assert [each.terms.attribution for each in owed_by(body)] == [line]
    label = any("made from work" in each for each in release.judgement.decision.obligations)
    assert label is (policy != "permissive")


def test_free_sounds_go_in_and_the_record_says_that_they_were_compared(
    gate: Gate, tmp_path: Path
) -> None:
    _catalog(gate, tones(3, seconds=30.0), uses=())

    release = gate.generate(Continues(), wish(source=tones(5, seconds=12.0)), out=tmp_path)

    assert release.is_released
    assert check(release) == (Outcome.PASS, "no input quotes a work")
    (told,) = logged(gate, release)["inputs"]
    assert told == InputFinding(kind="source").to_json()


@pytest.mark.parametrize(
    ("policy", "seconds", "is_made"),
    [("strict", 2.0, True), ("strict", 3.5, False), ("standard", 4.8, True)],
)
def test_an_input_too_short_to_compare_passes_only_if_it_cannot_quote(
    home: Path, tmp_path: Path, policy: str, seconds: float, is_made: bool
) -> None:
    gate, model = Gate.open(home, policy_name=policy), Continues()

    release = gate.generate(model, wish(melody=tones(5, seconds=seconds)), out=tmp_path)
    gate.close()

    assert (model.calls == 1) is is_made
    outcome, detail = check(release)
    assert outcome is (Outcome.PASS if is_made else Outcome.ERROR)
    assert ("could not be compared" if is_made else "too short to compare") in detail
    if not is_made:
        assert release.judgement.decision.reasons[0].rule == "R10"


def test_a_comparison_that_breaks_has_not_passed(
    gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(prints: Prints, *, deep: bool) -> tuple[Match, ...]:
        raise OSError("the index is gone")

    monkeypatch.setattr(gate.matcher, "match_prints", broken)
    model = Continues()

    release = gate.generate(model, wish(source=tones(5)), out=tmp_path)

    assert model.calls == 0
    assert release.judgement.decision.reasons[0].rule == "R10"
    assert "the index is gone" in release.judgement.decision.reasons[0].problem


def test_requests_without_sounds_have_no_such_check(gate: Gate, home: Path, tmp_path: Path) -> None:
    release = gate.generate(Continues(), wish(), out=tmp_path)

    assert release.is_released
    assert not {each.name for each in release.judgement.checks} & {
        "input_match",
        "input_composition",
    }
    assert "inputs" not in logged(gate, release)
    assert manifest_of(release, home).ingredients == ()


# Ours


@pytest.mark.parametrize("kind", ["continue_from", "source"])
def test_our_own_release_goes_on_with_a_new_mark_and_its_record_is_named(
    gate: Gate, home: Path, tmp_path: Path, kind: str
) -> None:
    first = gate.generate(Continues(), wish(), out=tmp_path)
    assert first.finished is not None
    given = load(first.finished.path)
    longer = dataclasses.replace(wish(2, **{kind: given}), seconds=20.0)

    second = gate.generate(
        Continues(), longer, out=tmp_path, input_files={kind: first.finished.path}
    )

    assert second.is_released, second.judgement.decision.reasons
    assert second.finished is not None
    heard = watermark.detect(load(second.finished.path), keys=gate.mark_keys)
    assert heard.payload == second.finished.payload != first.finished.payload
    (told,) = logged(gate, second)["inputs"]
    assert told["release"] == {"basis": "watermark", "record_id": first.item.record_id}
    assert told["file"]["sha256"] == first.finished.sha256
    assert told["file"]["c2pa"] == {
        "state": "trusted",
        "failures": [],
        "record_id": first.item.record_id,
    }
    manifest = manifest_of(second, home)
    assert (manifest.state, manifest.source_type) == ("trusted", c2pa.COMPOSITE)
    (ingredient,) = manifest.ingredients
    assert (ingredient.name, ingredient.relationship) == (kind, "parentOf")
    assert (ingredient.record_id, ingredient.is_valid) == (first.item.record_id, True)


def test_a_mark_that_no_release_explains_is_refused_as_before(gate: Gate, tmp_path: Path) -> None:
    marked = watermark.embed(tones(6), payload=5, key=gate.mark_key.secret)

    release = gate.generate(Continues(), wish(continue_from=marked), out=tmp_path)

    assert not release.is_released
    worst = release.judgement.decision.reasons[0]
    assert worst.rule == "R7"
    assert "carries our mark already" in worst.problem


def test_one_release_does_not_excuse_the_mark_of_another(gate: Gate, tmp_path: Path) -> None:
    first = gate.generate(Continues(), wish(), out=tmp_path)
    assert first.finished is not None
    other = watermark.embed(tones(6, seconds=11.0), payload=5, key=gate.mark_key.secret)

    class Swaps(Continues):
        def generate(self, request: Request, *, progress: object = None) -> Generation:
            made = super().generate(request)
            return dataclasses.replace(made, audio=other)

    release = gate.generate(Swaps(), wish(melody=load(first.finished.path)), out=tmp_path)

    assert not release.is_released
    assert release.judgement.decision.reasons[0].rule == "R7"


# Files


def damaged(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[5000] ^= 1
    path.write_bytes(data)


def test_a_melody_guides_and_a_tampered_manifest_is_believed_in_nothing(
    gate: Gate, home: Path, tmp_path: Path
) -> None:
    first = gate.generate(Continues(), wish(), out=tmp_path)
    assert first.finished is not None
    path = first.finished.path
    damaged(path)

    second = gate.generate(
        Continues(), wish(2, melody=load(path)), out=tmp_path, input_files={"melody": path}
    )

    assert second.is_released, second.judgement.decision.reasons
    (told,) = logged(gate, second)["inputs"]
    assert told["file"]["c2pa"]["state"] == "invalid"
    assert told["file"]["c2pa"]["record_id"] == ""
    assert "assertion.dataHash.mismatch" in told["file"]["c2pa"]["failures"]
    manifest = manifest_of(second, home)
    assert (manifest.state, manifest.source_type) == ("trusted", c2pa.GENERATED)
    (ingredient,) = manifest.ingredients
    assert (ingredient.relationship, ingredient.is_valid) == ("inputTo", False)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3"])
def test_a_file_without_a_manifest_is_an_ingredient_too(
    gate: Gate, home: Path, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"mine{suffix}"
    save(tones(7), path)

    release = gate.generate(
        Continues(), wish(source=load(path)), out=tmp_path / "out", input_files={"source": path}
    )

    assert release.is_released
    (told,) = release.to_json()["inputs"]
    assert told["file"]["c2pa"]["state"] == "absent"
    (ingredient,) = manifest_of(release, home).ingredients
    assert (ingredient.name, ingredient.has_manifest) == ("source", False)


WRONG: dict[str, tuple[Callable[[Path], dict[str, Path]], str]] = {
    "another sound": (lambda path: {"source": path / "other.wav"}, "are not those of the request"),
    "another field": (lambda path: {"melody": path / "mine.wav"}, "which the request has not"),
    "no field": (lambda path: {"prompt": path / "mine.wav"}, "which the request has not"),
    "no file": (lambda path: {"source": path / "none.wav"}, "no such file"),
}


@pytest.mark.parametrize(("files", "says"), WRONG.values(), ids=WRONG)
def test_a_file_that_is_not_the_sound_of_its_field_is_refused_before_anything_is_logged(
    gate: Gate, tmp_path: Path, files: Callable[[Path], dict[str, Path]], says: str
) -> None:
    save(tones(7), tmp_path / "mine.wav")
    save(tones(8), tmp_path / "other.wav")
    request = wish(source=load(tmp_path / "mine.wav"))

    with pytest.raises(InputError, match=says):
        gate.generate(Continues(), request, out=tmp_path / "out", input_files=files(tmp_path))

    with gate.database.read() as session:
        assert gate.log.size(session) == 0


def test_a_file_that_changes_meanwhile_stops_the_release(gate: Gate, tmp_path: Path) -> None:
    path = tmp_path / "mine.wav"
    save(tones(7), path)

    class Meddles(Continues):
        def generate(self, request: Request, *, progress: object = None) -> Generation:
            save(tones(8), path)
            return super().generate(request)

    with pytest.raises(InputError, match="has changed since it was read"):
        gate.generate(
            Meddles(), wish(source=load(path)), out=tmp_path / "out", input_files={"source": path}
        )

    assert not list((tmp_path / "out").glob("*.wav"))


# R18 for a melody


def test_the_notes_of_a_given_melody_are_a_hint_before_anything_is_made(
    gate: Gate, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = _catalog(gate, tones(3, seconds=30.0), uses=())
    hint = CompositionMatch(
        work_id=work,
        query_start_seconds=0.0,
        query_end_seconds=16.0,
        work_start_seconds=4.0,
        work_end_seconds=20.0,
        semitones=2,
        speed=1.0,
        agreement=0.9,
        score=30.0,
        p_value=1e-9,
    )
    found: dict[str, Release] = {}
    for policy in ("strict", "standard"):
        asked = Gate.open(home, policy_name=policy)
        monkeypatch.setattr(asked.matcher, "compositions", lambda audio, *, deep: (hint,))
        found[policy] = asked.generate(
            Continues(), wish(melody=tones(9, seconds=20.0)), out=tmp_path / policy
        )
        asked.close()

    assert found["strict"].judgement.decision.action is Action.QUARANTINE
    assert found["standard"].judgement.decision.action is Action.LABEL
    for release in found.values():
        reasons = {each.check: each for each in release.judgement.decision.reasons}
        assert reasons["input_composition"].rule == "R18"
        assert reasons["input_composition"].problem.startswith(
            f"the melody: 0 to 16 s may play the composition of work {work}"
        )
        (told,) = logged(gate, release)["inputs"]
        assert [each["work_id"] for each in told["compositions"]] == [work]


def test_a_melody_too_short_for_its_notes_gives_no_hint(gate: Gate, tmp_path: Path) -> None:
    release = gate.generate(Continues(), wish(melody=tones(9, seconds=8.0)), out=tmp_path)

    assert release.is_released
    outcome, detail = check(release, "input_composition")
    assert outcome is Outcome.NOT_APPLICABLE
    assert detail.startswith("the melody: ")
