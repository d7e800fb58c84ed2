"""A work that comes later is compared with what was released and screened before it."""

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from detectors.base import Match
from registry import catalog, releases, rescans
from registry.errors import ConflictError
from registry.rescans import RescanRow
from registry.scope import AuditScope
from safegen import audit
from safegen.audit import Window
from safegen.errors import IntegrityError
from safegen.gate import Gate
from safegen.kept import match_again
from safegen.matching import CatalogMatcher
from safegen.recording import now
from safegen.rescan import Finding
from tests.safegen.conftest import tones
from tests.safegen.rescan_help import LATER, SONG, House, opened, quoting
from tests.safegen.screening_help import NOON


@pytest.fixture
def house(home: Path, tmp_path: Path) -> Iterator[House]:
    with opened(home, tmp_path) as found:
        yield found


def test_a_past_upload_that_quotes_a_later_work_is_found_and_logged_once(house: House) -> None:
    guilty = house.upload(quoting(SONG))
    house.upload(tones(1, seconds=12))
    with house.database.read() as session:
        before = releases.get_output(session, guilty)
    work = house.add(SONG)

    (found,) = house.rescan()
    again = house.rescan()

    assert again == []
    with house.database.read() as session:
        after = releases.get_output(session, guilty)
        entry = json.loads(house.log.entry(session, found.position))
        house.log.verify(session)
    assert (after.record, after.log_index, after.decision) == (
        before.record,
        before.log_index,
        before.decision,
    )
    assert (entry["type"], entry["record_id"], entry["work_id"]) == ("rescan", guilty, work)
    assert entry["catalog"]["change"] == 1
    (match,) = entry["matches"]
    assert match["status"] == "unlicensed"
    assert match["p_value"] < 1e-3
    shift = match["reference_start_seconds"] - match["query_start_seconds"]
    assert shift == pytest.approx(8.0, abs=0.3)
    assert [row.rescan_log_index for row in after.matches] == [found.position]


def test_what_a_rescan_found_is_told_by_the_audit_with_its_proof(house: House) -> None:
    guilty = house.upload(quoting(SONG))
    house.add(SONG, uses=("sample",))
    (found,) = house.rescan()

    (row,) = house.rows()

    assert row["record_id"] == guilty
    (match,) = row["matches"]
    assert (match["status"], match["license"]["name"]) == ("licensed", "Test license")
    assert match["rescan"]["catalog_change"] == 1
    assert match["rescan"]["log"]["index"] == found.position
    assert match["rescan"]["log"]["verified"]
    with house.database.read() as session:
        scope = AuditScope.everything()
        answer = audit.record(session, house.log, scope, guilty)
        events = list(audit.later_events(session, answer, as_of=None))
    assert [(event["type"], event["index"]) for event in events] == [("rescan", found.position)]


def test_a_question_as_of_an_earlier_day_does_not_know_the_rescan(house: House) -> None:
    house.upload(quoting(SONG))
    house.add(SONG)
    house.rescan()

    assert house.rows(as_of=LATER - timedelta(seconds=1)) == []
    assert len(house.rows(as_of=LATER)) == 1


def test_a_released_output_is_found_too(house: House, tmp_path: Path) -> None:
    gate = Gate.open(house.home)
    sound = quoting(SONG)
    release = gate.release(sound.waveform, sound.sample_rate, out=tmp_path / "o", generator="Tones")
    gate.close()
    work = house.add(SONG, at=now())

    (found,) = house.rescan()

    assert (found.body["kind"], found.body["record_id"]) == ("release", release.item.record_id)
    assert found.body["work_id"] == work
    with house.database.read() as session:
        row = releases.get_output(session, release.item.record_id)
        assert row.record == house.log.entry(session, row.log_index)
    assert row.state == "released"
    assert json.loads(row.record)["matches"] == []


def test_a_work_that_was_there_when_the_output_was_made_is_not_compared_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.add(SONG, at=NOON - timedelta(days=1))
    monkeypatch.setattr(CatalogMatcher, "match_prints", lambda *_, **__: ())
    house.upload(quoting(SONG))

    assert house.rescan() == []


def test_a_work_added_while_an_upload_was_heard_is_compared(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.rescan()
    house.add(SONG, at=NOON - timedelta(minutes=1))
    with monkeypatch.context() as patch:
        patch.setattr(CatalogMatcher, "match_prints", lambda *_, **__: ())
        house.upload(quoting(SONG))

    assert len(house.rescan()) == 1


def test_a_match_that_was_known_is_not_found_again(house: House) -> None:
    house.add(SONG)
    house.upload(quoting(SONG))

    assert house.rescan() == []
    (row,) = house.rows()
    assert [match["rescan"] for match in row["matches"]] == [None]


def test_the_next_run_compares_old_outputs_with_new_works_only(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.upload(quoting(SONG))
    house.upload(quoting(6))
    house.add(SONG)
    assert len(house.rescan()) == 1
    house.add(6)
    asked: list[bytes] = []

    def counted(
        matcher: CatalogMatcher, fingerprint: bytes, others: Mapping[str, bytes]
    ) -> tuple[Match, ...]:
        asked.append(fingerprint)
        return match_again(matcher, fingerprint, others)

    monkeypatch.setattr("safegen.rescan.match_again", counted)

    (second,) = house.rescan()

    assert second.body["title"] == "Song 6"
    assert len(asked) == 2
    assert house.rescan() == []
    assert len(asked) == 2  # nothing is new: nothing is matched


def test_a_work_that_was_taken_down_is_not_compared(house: House) -> None:
    house.upload(quoting(SONG))
    work = house.add(SONG)
    with house.database.begin() as session:
        catalog.remove_work(session, work, at=NOON + timedelta(days=1))

    assert house.rescan() == []


def test_a_run_that_dies_between_batches_goes_on_where_it_was(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safegen.rescan.BATCH", 1)
    guilty = [house.upload(quoting(SONG, start=start)) for start in (4.0, 8.0, 12.0)]
    house.add(SONG)
    run = house.rescanner().run()
    first = next(run)
    run.close()  # type: ignore[attr-defined]
    house.add(6)  # belongs to the next run

    with house.database.read() as session:
        half = rescans.unfinished(session)
    rest = house.rescan()

    assert half is not None
    assert (half.compared, half.findings, half.change_to) == (1, 1, 1)
    ids = [each.body["record_id"] for each in (*first.findings, *rest)]
    assert ids == guilty
    with house.database.read() as session:
        done = rescans.last_finished(session)
    assert done is not None
    assert (done.rescan_id, done.compared, done.findings) == (half.rescan_id, 3, 3)


def test_a_crash_inside_a_batch_leaves_neither_entry_nor_row(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    guilty = house.upload(quoting(SONG))
    house.add(SONG)
    with house.database.read() as session:
        size = house.log.size(session)

    def power_cut(*_: object, **__: object) -> RescanRow:
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(rescans, "advance", power_cut)
        with pytest.raises(RuntimeError, match="power cut"):
            house.rescan()

    with house.database.read() as session:
        assert house.log.size(session) == size
        assert releases.get_output(session, guilty).matches == ()
    assert len(house.rescan()) == 1


def test_two_runs_at_once_log_nothing_twice(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.upload(quoting(SONG))
    house.add(SONG)
    others: list[Finding] = []

    def meanwhile(*args: Any) -> tuple[Match, ...]:
        monkeypatch.setattr("safegen.rescan.match_again", match_again)
        others.extend(house.rescan())
        return match_again(*args)

    monkeypatch.setattr("safegen.rescan.match_again", meanwhile)
    with pytest.raises(ConflictError, match="another process"):
        house.rescan()

    (row,) = house.rows()
    assert len(others) == 1
    assert len(row["matches"]) == 1
    assert house.rescan() == []


def test_a_match_that_differs_from_its_entry_is_no_answer(house: House) -> None:
    house.upload(quoting(SONG))
    house.add(SONG)
    house.rescan()
    with house.database.begin() as session:
        session.execute(text("UPDATE matches SET query_end_seconds = 99"))

    with pytest.raises(IntegrityError, match="is not what was logged"):
        house.rows()


def test_another_holder_does_not_learn_of_the_finding(house: House) -> None:
    guilty = house.upload(quoting(SONG))
    house.add(SONG)
    house.add(6, holder="Other")
    house.rescan()

    with house.database.read() as session:
        scope = AuditScope.of(catalog.find_rights_holder(session, "Other"))
        found = list(audit.matches(session, house.log, scope, window=Window()))

    assert found == []
    assert guilty
