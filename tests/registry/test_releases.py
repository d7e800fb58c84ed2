"""Outputs are written once, move only forward, and are shown to whom they concern."""

from datetime import timedelta

import pytest

from registry import catalog, releases
from registry.catalog import NewRight
from registry.errors import ConflictError, InvalidError, NotFoundError
from registry.releases import CheckRow, NewManifest
from registry.scope import AuditScope
from registry.session import Database
from registry.tables import CHECK_OUTCOMES, OUTPUT_STATES
from tests.registry.samples import A_MODEL, NOON, a_match, a_work, an_output

EVERYTHING = AuditScope.everything()


def add_works(database: Database, *holders: str) -> list[str]:
    with database.begin() as writer:
        return [
            catalog.add_work(
                writer, a_work(number, rights=(NewRight(rights_holder=name),)), at=NOON
            ).work_id
            for number, name in enumerate(holders)
        ]


def test_an_output_is_read_back_as_it_was_written(database: Database) -> None:
    (work,) = add_works(database, "Acme")
    checks = tuple(
        CheckRow(name=outcome, outcome=outcome, score=0.25, detail="why", evidence={"n": [1, 2]})
        for outcome in sorted(CHECK_OUTCOMES)
    )
    with database.begin() as writer:
        model = releases.record_model(writer, A_MODEL, at=NOON)
        again = releases.record_model(writer, A_MODEL, at=NOON)
        manifest = NewManifest(sha256="d" * 64, name="m", item_count=3, license="CC0-1.0")
        releases.record_manifest(writer, manifest, at=NOON)
        releases.record_manifest(writer, manifest, at=NOON)
        new = an_output(
            0, payload="00ff" * 4, checks=checks, matches=(a_match(work),), model_id=model
        )
        releases.insert_output(writer, new)

    with database.read() as reader:
        found = releases.get_output(reader, "output-0")
        marked = releases.find_by_payload(reader, "00FF" * 4)
        hashed = releases.find_by_sha256(reader, f"{0:064x}")
        absent = releases.find_by_payload(reader, "f" * 16)
    assert model == again
    assert (found.model_name, found.model_version) == ("music-flow", "1")
    assert found.record == new.record
    assert found.created_at == NOON
    assert found.checks == checks
    assert found.matches == (a_match(work),)
    assert found == marked == hashed
    assert absent is None


def test_a_p_value_too_small_for_the_database_is_kept_as_the_smallest(database: Database) -> None:
    (work,) = add_works(database, "Acme")
    with database.begin() as writer:
        releases.insert_output(writer, an_output(0, matches=(a_match(work, p_value=5e-324),)))

    with database.read() as reader:
        assert releases.get_output(reader, "output-0").matches[0].p_value == 1e-300


STEPS = {
    ("prepared", "released"),
    ("prepared", "blocked"),
    ("prepared", "quarantined"),
    ("prepared", "void"),
    ("quarantined", "released"),
    ("quarantined", "void"),
}


@pytest.mark.parametrize("before", OUTPUT_STATES)
@pytest.mark.parametrize("after", OUTPUT_STATES)
def test_a_state_moves_only_forward(sqlite_database: Database, before: str, after: str) -> None:
    with sqlite_database.begin() as writer:
        releases.insert_output(writer, an_output(0, state=before))

    def move() -> None:
        with sqlite_database.begin() as writer:
            releases.set_state(writer, "output-0", after, path="/out/0.wav")

    if before == after or (before, after) in STEPS:
        move()
        expected = (after, "/out/0.wav")
    else:
        with pytest.raises(ConflictError, match=f"is {before} and cannot become {after}"):
            move()
        expected = (before, "")
    with sqlite_database.read() as reader:
        found = releases.get_output(reader, "output-0")
    assert (found.state, found.path) == expected


def test_a_path_stays_when_only_the_state_moves(sqlite_database: Database) -> None:
    with sqlite_database.begin() as writer:
        releases.insert_output(writer, an_output(0))
        releases.set_state(writer, "output-0", "quarantined", path="/q/0.wav")
        releases.set_state(writer, "output-0", "void")

    with sqlite_database.read() as reader:
        assert releases.get_output(reader, "output-0").path == "/q/0.wav"


def test_interrupted_releases_are_found_in_the_order_of_the_log(database: Database) -> None:
    with database.begin() as writer:
        for number, state in [(2, "prepared"), (0, "prepared"), (1, "released")]:
            releases.insert_output(writer, an_output(number, state=state))

    with database.read() as reader:
        found = [row.output_id for row in releases.prepared(reader)]
        newest = [row.output_id for row in releases.list_outputs(reader, limit=2)]
        released = releases.list_outputs(reader, kind="release", state="released", limit=9)
    assert found == ["output-0", "output-2"]
    assert newest == ["output-2", "output-1"]
    assert [row.output_id for row in released] == ["output-1"]


def test_a_watermark_payload_is_given_once(database: Database) -> None:
    with database.begin() as writer:
        releases.insert_output(writer, an_output(0, payload="a" * 16))
        releases.insert_output(writer, an_output(1, payload=None))
        releases.insert_output(writer, an_output(2, payload=None))

    with pytest.raises(ConflictError), database.begin() as writer:
        releases.insert_output(writer, an_output(3, payload="a" * 16))


@pytest.mark.parametrize("broken", ["state", "kind", "outcome"])
def test_words_outside_the_tables_vocabulary_are_refused(database: Database, broken: str) -> None:
    new = an_output(
        0,
        state="lost" if broken == "state" else "prepared",
        kind="gift" if broken == "kind" else "release",
        checks=(CheckRow(name="c2pa", outcome="maybe" if broken == "outcome" else "pass"),),
    )

    with pytest.raises(ConflictError), database.begin() as writer:
        releases.insert_output(writer, new)


def test_a_match_with_an_unknown_work_is_refused(database: Database) -> None:
    with pytest.raises(ConflictError), database.begin() as writer:
        releases.insert_output(writer, an_output(0, matches=(a_match("no such work"),)))


def test_evidence_must_be_standard_json(database: Database) -> None:
    check = CheckRow(name="c2pa", outcome="pass", evidence={"score": float("nan")})

    with pytest.raises(InvalidError, match="JSON"), database.begin() as writer:
        releases.insert_output(writer, an_output(0, checks=(check,)))


def test_a_rights_holder_sees_only_quotes_of_own_works(database: Database) -> None:
    ours, theirs = add_works(database, "Acme", "Zed")
    with database.begin() as writer:
        both = (a_match(ours), a_match(theirs))
        releases.insert_output(writer, an_output(0, matches=both))
        releases.insert_output(writer, an_output(1, matches=(a_match(theirs),)))
        releases.insert_output(writer, an_output(2))

    with database.read() as reader:
        acme, zed = (
            releases.outputs_matching(
                reader, AuditScope.of(catalog.find_rights_holder(reader, name))
            )
            for name in ("Acme", "Zed")
        )
        all_ = releases.outputs_matching(reader, EVERYTHING)
        nobody = releases.outputs_matching(reader, AuditScope.of("nobody"))
    assert [(row.output_id, [m.work_id for m in row.matches]) for row in acme] == [
        ("output-0", [ours])
    ]
    assert [row.output_id for row in zed] == ["output-0", "output-1"]
    assert all(match.work_id == theirs for row in zed for match in row.matches)
    assert [len(row.matches) for row in all_] == [2, 1]
    assert nobody == ()


def test_quotes_are_filtered_by_work_holder_and_time(database: Database) -> None:
    first, second = add_works(database, "Acme", "Zed")
    with database.begin() as writer:
        for number, work in enumerate((first, second, first)):
            at = NOON + timedelta(hours=number)
            new = an_output(number, created_at=at, matches=(a_match(work),))
            releases.insert_output(writer, new)

    with database.read() as reader:
        zed = catalog.rights_holder_id("zed")
        hour = timedelta(hours=1)
        found = {
            "work": releases.outputs_matching(reader, EVERYTHING, work_id=first),
            "holder": releases.outputs_matching(reader, EVERYTHING, rights_holder_id=zed),
            "since": releases.outputs_matching(reader, EVERYTHING, since=NOON + hour),
            "until": releases.outputs_matching(reader, EVERYTHING, until=NOON + hour),
            "not mine": releases.outputs_matching(reader, AuditScope.of(zed), work_id=first),
        }
    assert {name: [row.log_index for row in rows] for name, rows in found.items()} == {
        "work": [0, 2],
        "holder": [1],
        "since": [1, 2],
        "until": [0],
        "not mine": [],
    }


def test_a_scope_is_never_everything_by_omission() -> None:
    with pytest.raises(ValueError, match="either one rights-holder or everything"):
        AuditScope(rights_holder_id=None, is_everything=False)
    with pytest.raises(ValueError, match="either one rights-holder or everything"):
        AuditScope(rights_holder_id="acme", is_everything=True)


def test_an_output_that_is_not_there_is_named(sqlite_database: Database) -> None:
    with sqlite_database.begin() as writer:
        with pytest.raises(NotFoundError, match="nothing: no output"):
            releases.get_output(writer, "nothing")
        with pytest.raises(NotFoundError, match="nothing: no output"):
            releases.set_state(writer, "nothing", "void")
