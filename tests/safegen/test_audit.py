"""A rights-holder gets every answer about their own works, proved, and nothing else."""

import base64
import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.agreement import ItemIndex
from detectors.memorization import Calibration, FingerprintRung
from registry import catalog
from registry.errors import NotFoundError
from registry.scope import AuditScope
from registry.session import Database
from safegen import audit, audit_export
from safegen.audit import Window
from safegen.errors import InputError, IntegrityError, SafegenError
from safegen.generation.base import ModelFacts
from safegen.memorization import Items
from safegen.provenance import merkle
from safegen.provenance.keys import KeyStore
from safegen.provenance.log import Log, open_log
from safegen.provenance.notes import open_checkpoint, parse_verifier
from safegen.provenance.record import canonical
from tests.safegen.audit_help import Quote, put_output, put_work
from tests.safegen.screening_help import NOON, config_of, open_home

ALWAYS = Window()
MODEL = ModelFacts(name="m", version="1", license="Apache-2.0", training_manifest_sha256="cd")


@dataclass(frozen=True, kw_only=True)
class Office:
    database: Database
    log: Log
    home: Path

    def scope(self, holder: str) -> AuditScope:
        with self.database.read() as session:
            return AuditScope.of(catalog.find_rights_holder(session, holder))

    def rows(self, scope: AuditScope, **options: Any) -> list[dict[str, Any]]:
        options.setdefault("window", ALWAYS)
        with self.database.read() as session:
            found = audit.matches(session, self.log, scope, **options)
            return [each.to_json(scope) for each in found]

    def record(self, scope: AuditScope, record_id: str) -> dict[str, Any]:
        with self.database.read() as session:
            return audit.record(session, self.log, scope, record_id).to_json(scope)


@pytest.fixture
def office(home: Path) -> Iterator[Office]:
    database = open_home(home)
    yield Office(
        database=database, log=open_log(database, KeyStore(config_of(home).keys)), home=home
    )
    database.close()


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        ("release", "released"),
        ("release", "blocked"),
        ("release", "quarantined"),
        ("screening", "screened"),
    ],
)
def test_every_kind_of_output_is_told_with_place_policy_and_decision(
    office: Office, kind: str, state: str
) -> None:
    work = put_work(office.database, "Acme")
    record_id = put_output(
        office.database, office.log, Quote(work_id=work, holders=("Acme",)), kind=kind, state=state
    )

    row = office.rows(office.scope("Acme"))[0]

    assert (row["record_id"], row["kind"], row["state"]) == (record_id, kind, state)
    assert row["policy"]["name"] == "strict"
    assert [reason["rule"] for reason in row["reasons"]] == ["R4"]
    match = row["matches"][0]
    assert (match["query_start_seconds"], match["query_end_seconds"]) == (1.0, 7.0)
    assert (match["reference_start_seconds"], match["reference_end_seconds"]) == (20.0, 26.0)
    assert match["license"] is None


def test_the_license_that_covered_a_match_is_named(office: Office) -> None:
    work = put_work(office.database, "Acme")
    with office.database.read() as session:
        license_id = catalog.get_work(session, work).licenses[0].license_id
    put_output(
        office.database,
        office.log,
        Quote(work_id=work, holders=("Acme",), license_id=license_id),
        state="released",
        reasons=(),
    )

    license_ = office.rows(office.scope("Acme"))[0]["matches"][0]["license"]

    assert (license_["id"], license_["name"]) == (license_id, "Blanket 2026")


def test_the_proof_can_be_checked_with_nothing_but_the_answer(office: Office) -> None:
    work = put_work(office.database, "Acme")
    for _ in range(5):
        put_output(office.database, office.log, Quote(work_id=work, holders=("Acme",)))

    for row in office.rows(office.scope("Acme")):
        log = row["log"]
        leaf = merkle.leaf_hash(canonical(row["record"]))

        assert leaf.hex() == log["leaf_hash"]
        merkle.verify_inclusion(
            leaf,
            log["index"],
            size=log["tree_size"],
            proof=[bytes.fromhex(item) for item in log["proof"]],
            expected_root=bytes.fromhex(log["root"]),
        )


def test_the_window_is_half_open(office: Office) -> None:
    work = put_work(office.database, "Acme")
    made = [
        put_output(
            office.database,
            office.log,
            Quote(work_id=work, holders=("Acme",)),
            at=NOON + timedelta(hours=hour),
        )
        for hour in range(4)
    ]
    window = Window(since=NOON + timedelta(hours=1), until=NOON + timedelta(hours=3))

    rows = office.rows(office.scope("Acme"), window=window)

    assert [row["record_id"] for row in rows] == made[1:3]


def test_matches_can_be_narrowed_to_one_work(office: Office) -> None:
    one, two = put_work(office.database, "Acme"), put_work(office.database, "Acme")
    put_output(office.database, office.log, Quote(work_id=one, holders=("Acme",)))
    both = put_output(
        office.database,
        office.log,
        Quote(work_id=one, holders=("Acme",)),
        Quote(work_id=two, holders=("Acme",)),
    )

    rows = office.rows(office.scope("Acme"), work_id=two)

    assert [row["record_id"] for row in rows] == [both]
    assert [match["work_id"] for match in rows[0]["matches"]] == [two]


def test_works_are_counted_by_what_became_of_the_outputs(office: Office) -> None:
    work = put_work(office.database, "Acme")
    unmatched = put_work(office.database, "Acme")
    quote = Quote(work_id=work, holders=("Acme",))
    for state in ("released", "blocked", "blocked"):
        put_output(office.database, office.log, quote, state=state)
    put_output(office.database, office.log, quote, kind="screening", state="screened")

    with office.database.read() as session:
        found = {
            each.work.work_id: each.outputs for each in audit.works(session, office.scope("Acme"))
        }

    assert found == {work: {"blocked": 2, "flagged": 1, "released": 1}, unmatched: {}}


def test_co_owners_are_a_count_and_the_record_that_names_them_is_withheld(office: Office) -> None:
    work = put_work(office.database, "Acme", "Secret Songs", "Hidden Hits")
    put_output(
        office.database,
        office.log,
        Quote(work_id=work, holders=("Acme", "Secret Songs", "Hidden Hits")),
    )

    row = office.rows(office.scope("Acme"))[0]

    assert row["matches"][0]["rights_holder"] == "Acme"
    assert row["matches"][0]["other_holders"] == 2
    assert row["record"] is None
    assert "Secret" not in json.dumps(row)
    assert row["log"]["verified"] is True


def test_what_an_output_took_from_others_is_not_told(office: Office) -> None:
    mine, theirs = put_work(office.database, "Acme"), put_work(office.database, "Secret Songs")
    put_output(
        office.database,
        office.log,
        Quote(work_id=mine, holders=("Acme",)),
        Quote(work_id=theirs, holders=("Secret Songs",)),
        reasons=(("R4", f"6.0 s quote work {theirs}"), ("R1", "the prompt names Secret Songs")),
    )

    told = json.dumps(office.rows(office.scope("Acme")))

    assert theirs not in told
    assert "Secret" not in told


def test_names_in_a_prompt_are_not_told_to_third_parties(office: Office) -> None:
    mine = put_work(office.database, "Acme")
    put_output(
        office.database,
        office.log,
        Quote(work_id=mine, holders=("Acme",)),
        reasons=(("R1", "the prompt names Somebody Else"),),
    )

    row = office.rows(office.scope("Acme"))[0]

    assert "Somebody" not in json.dumps(row)


def test_the_name_of_an_upload_belongs_to_the_uploader(office: Office) -> None:
    work = put_work(office.database, "Acme")
    put_output(
        office.database,
        office.log,
        Quote(work_id=work, holders=("Acme",)),
        kind="screening",
        state="screened",
        file_name="jane-doe-demo.wav",
    )

    assert office.rows(office.scope("Acme"))[0]["file"] is None
    assert office.rows(AuditScope.everything())[0]["file"] == "jane-doe-demo.wav"


def test_a_record_of_others_is_as_if_it_did_not_exist(office: Office) -> None:
    put_work(office.database, "Acme")
    theirs = put_work(office.database, "Secret Songs")
    record_id = put_output(
        office.database, office.log, Quote(work_id=theirs, holders=("Secret Songs",))
    )

    with pytest.raises(NotFoundError) as hidden:
        office.record(office.scope("Acme"), record_id)
    with pytest.raises(NotFoundError) as missing:
        office.record(office.scope("Acme"), record_id[:-1] + "x")

    assert str(hidden.value).replace(record_id, "") == str(missing.value).replace(
        record_id[:-1] + "x", ""
    )
    assert office.record(AuditScope.everything(), record_id)["record_id"] == record_id


def test_a_work_of_others_is_as_if_it_did_not_exist(office: Office) -> None:
    put_work(office.database, "Acme")
    theirs = put_work(office.database, "Secret Songs")

    with pytest.raises(NotFoundError):
        office.rows(office.scope("Acme"), work_id=theirs)


def test_a_licensed_holder_does_not_learn_that_somebody_else_was_quoted(office: Office) -> None:
    mine, theirs = put_work(office.database, "Acme"), put_work(office.database, "Secret Songs")
    with office.database.read() as session:
        license_id = catalog.get_work(session, mine).licenses[0].license_id
    put_output(
        office.database,
        office.log,
        Quote(work_id=mine, holders=("Acme",), license_id=license_id),
        Quote(work_id=theirs, holders=("Secret Songs",)),
        reasons=(("R4", "it quotes a work"), ("R6", "not recognizable")),
    )

    assert [r["rule"] for r in office.rows(office.scope("Acme"))[0]["reasons"]] == ["R6"]
    assert [r["rule"] for r in office.rows(office.scope("Secret Songs"))[0]["reasons"]] == [
        "R4",
        "R6",
    ]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """One installation for all examples of the property; each brings holders of its own."""
    from registry import schema
    from safegen.config import from_environment

    home = tmp_path_factory.mktemp("audit") / "home"
    config = from_environment({"SAFEGEN_HOME": str(home)})
    KeyStore(config.keys).init()
    schema.upgrade(config.database_url)
    database = open_home(home)
    yield Office(database=database, log=open_log(database, KeyStore(config.keys)), home=home)
    database.close()


_example = iter(range(10**9))


@given(
    owners=st.lists(st.sets(st.integers(0, 3), min_size=1), min_size=1, max_size=5),
    outputs=st.lists(st.sets(st.integers(0, 4), min_size=1), min_size=1, max_size=5),
    state=st.sampled_from(["released", "blocked", "quarantined"]),
)
@settings(max_examples=15, deadline=None)
def test_nobody_sees_what_is_only_of_others(
    shared: Office, owners: list[set[int]], outputs: list[set[int]], state: str
) -> None:
    number = next(_example)
    names = [f"Holder-{letter}-{number}" for letter in "abcd"]
    of_work = [tuple(names[i] for i in sorted(each)) for each in owners]
    works = [put_work(shared.database, *each) for each in of_work]
    made: dict[str, set[int]] = {}
    for each in outputs:
        chosen = {i % len(works) for i in each}
        quotes = [Quote(work_id=works[i], holders=of_work[i]) for i in sorted(chosen)]
        reasons = tuple(("R4", f"quotes {works[i]} of {of_work[i]}") for i in chosen)
        made[put_output(shared.database, shared.log, *quotes, state=state, reasons=reasons)] = (
            chosen
        )

    for asking in {name for each in of_work for name in each}:
        rows = shared.rows(shared.scope(asking))

        held = {works[i] for i, each in enumerate(of_work) if asking in each}
        told = json.dumps(rows)
        assert {row["record_id"] for row in rows} == {
            record_id for record_id, chosen in made.items() if held & {works[i] for i in chosen}
        }
        assert {m["work_id"] for row in rows for m in row["matches"]} <= held
        assert not [work for work in works if work not in held and work in told]
        assert not [name for name in names if name != asking and name in told]


# Evidence that was changed


def test_a_record_that_is_not_what_was_logged_is_never_told(office: Office) -> None:
    from sqlalchemy import text

    work = put_work(office.database, "Acme")
    record_id = put_output(office.database, office.log, Quote(work_id=work, holders=("Acme",)))
    with office.database.begin() as session:
        session.execute(
            text("UPDATE outputs SET record = :new WHERE id = :id"),
            {"new": b'{"v":1}', "id": record_id},
        )

    with pytest.raises(IntegrityError, match="is not what was logged"):
        office.rows(office.scope("Acme"))


def test_a_record_and_its_entry_changed_together_cannot_be_proved(office: Office) -> None:
    from sqlalchemy import text

    work = put_work(office.database, "Acme")
    record_id = put_output(office.database, office.log, Quote(work_id=work, holders=("Acme",)))
    put_output(office.database, office.log, Quote(work_id=work, holders=("Acme",)))
    forged = canonical({"v": 1, "matches": [], "reasons": []})
    with office.database.begin() as session:
        session.execute(
            text("UPDATE outputs SET record = :new WHERE id = :id"),
            {"new": forged, "id": record_id},
        )
        session.execute(
            text("UPDATE log_entries SET entry = :new, leaf_hash = :leaf WHERE position = 0"),
            {"new": forged, "leaf": merkle.leaf_hash(forged)},
        )

    with pytest.raises(IntegrityError):
        office.rows(office.scope("Acme"))


def test_the_events_of_a_record_are_found_in_the_log(office: Office) -> None:
    work = put_work(office.database, "Acme")
    record_id = put_output(office.database, office.log, Quote(work_id=work, holders=("Acme",)))
    put_output(office.database, office.log, Quote(work_id=work, holders=("Acme",)))
    with office.database.begin() as session:
        entry = canonical({"v": 1, "type": "released", "record_id": record_id, "time": "t"})
        office.log.append(session, [entry])

    with office.database.read() as session:
        everything = AuditScope.everything()
        found = audit.record(session, office.log, everything, record_id)
        events = list(audit.later_events(session, found, as_of=None))

    assert events == [{"type": "released", "time": "t", "index": 2}]


# Training


def _items(fingerprints: np.ndarray[Any, np.dtype[np.uint32]]) -> Items:
    return Items(
        plans=None,
        tokens=None,
        fingerprints=FingerprintRung(
            index=ItemIndex(fingerprints),
            names=tuple(f"seed:{i}" for i in range(len(fingerprints))),
            calibration=Calibration(chance=0.1, limit=0.3, pieces=100),
        ),
    )


def _answer(office: Office, work: str, items: Items | None) -> dict[str, Any]:
    with office.database.read() as session:
        found = audit.training(
            session,
            AuditScope.everything(),
            work_id=work,
            models=[MODEL],
            items_of=lambda _: items,
        )
        return next(iter(found)).to_json()


@pytest.mark.parametrize("is_trained", [True, False])
def test_a_work_is_compared_with_every_training_item(office: Office, is_trained: bool) -> None:
    dice = np.random.default_rng(0)
    trained = dice.integers(0, 2**32, (20, 74), dtype=np.uint32)
    heard = dice.integers(0, 2**32, 400, dtype=np.uint32)
    if is_trained:
        heard[200:274] = trained[13]
    work = put_work(office.database, "Acme", items=heard.astype("<u4").tobytes())

    row = _answer(office, work, _items(trained))

    assert row["available"] is True
    assert row["found"] is is_trained
    if is_trained:
        assert row["nearest_item"] == "seed:13"
        assert row["work_start_seconds"] == pytest.approx(200 * 0.1238, abs=10)


def test_a_missing_manifest_is_said_and_not_taken_for_a_no(office: Office) -> None:
    work = put_work(office.database, "Acme")

    row = _answer(office, work, None)

    assert (row["available"], row["found"]) == (False, None)
    assert "no training manifest" in row["reason"]


def test_a_broken_manifest_is_said(office: Office) -> None:
    work = put_work(office.database, "Acme")

    def broken(_: ModelFacts) -> Items:
        raise SafegenError("the file is missing")

    with office.database.read() as session:
        found = audit.training(
            session, AuditScope.everything(), work_id=work, models=[MODEL], items_of=broken
        )
        row = next(iter(found)).to_json()

    assert (row["available"], row["reason"]) == (False, "the file is missing")


def test_a_work_without_fingerprint_cannot_be_compared(office: Office) -> None:
    from sqlalchemy import text

    work = put_work(office.database, "Acme")
    with office.database.begin() as session:
        session.execute(text("DELETE FROM fingerprints"))

    with pytest.raises(InputError, match="fingerprint"):
        _answer(office, work, None)


# Exports


def _export(office: Office, holder: str) -> list[str]:
    scope = office.scope(holder)
    with office.database.read() as session:
        found = tuple(audit.matches(session, office.log, scope, window=ALWAYS))
        return list(
            audit_export.to_jsonl(
                found,
                scope,
                rights_holder=holder,
                window=ALWAYS,
                checkpoint=office.log.checkpoint(session),
                public_key=KeyStore(config_of(office.home).keys).log_public_key(),
                at=NOON,
            )
        )


def test_an_export_can_be_checked_offline(office: Office) -> None:
    import hashlib

    work = put_work(office.database, "Acme")
    for _ in range(3):
        put_output(office.database, office.log, Quote(work_id=work, holders=("Acme",)))

    lines = _export(office, "Acme")

    head, *outputs, tail = [json.loads(line) for line in lines]
    verifier = parse_verifier(head["log_public_key"])
    checkpoint = open_checkpoint(head["checkpoint"], [verifier], origin=verifier.name)
    assert [row["log"]["root"] for row in outputs] == [checkpoint.root.hex()] * 3
    assert (tail["outputs"], tail["matches"]) == (3, 3)
    assert tail["sha256"] == hashlib.sha256("".join(lines[:-1]).encode()).hexdigest()
    assert base64.b64encode(checkpoint.root).decode() in head["checkpoint"]


def test_a_table_has_one_line_for_each_match_and_no_formula(office: Office) -> None:
    work = put_work(office.database, "=Evil()", title="@SUM(A1)")
    put_output(office.database, office.log, Quote(work_id=work, holders=("=Evil()",)))
    scope = office.scope("=Evil()")

    with office.database.read() as session:
        found = tuple(audit.matches(session, office.log, scope, window=ALWAYS))
    rows = list(csv.DictReader(io.StringIO("".join(audit_export.to_csv(found, scope)))))

    assert len(rows) == 1
    assert (rows[0]["title"], rows[0]["rights_holder"]) == ("'@SUM(A1)", "'=Evil()")
    assert (rows[0]["query_start_seconds"], rows[0]["license"]) == ("1.0", "")
