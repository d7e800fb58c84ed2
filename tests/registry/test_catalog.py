"""Works go in once, come out as they went in, and leave a trace when they go."""

from datetime import timedelta

import pytest

from registry import catalog
from registry.catalog import NewRight
from registry.errors import ConflictError, InvalidError, NotFoundError
from registry.scope import AuditScope
from registry.session import Database
from tests.registry.samples import NOON, a_license, a_work

LATER = NOON + timedelta(days=1)


def test_a_work_is_read_back_as_it_was_added(database: Database) -> None:
    shares = (
        NewRight(rights_holder="Bob", share_percent=40.0),
        NewRight(rights_holder="Acme  Records", share_percent=60.0),
    )
    license_ = a_license(
        territories=("*", "-US"), uses=("sync", "train"), valid_until=NOON + timedelta(days=365)
    )
    new = a_work(1, title="Süß", rights=shares, licenses=(license_,), isrc="GBAYE0601498")
    with database.begin() as writer:
        added = catalog.add_work(writer, new, at=NOON)

    with database.read() as reader:
        work = catalog.get_work(reader, added.work_id)
        prints = list(catalog.iterate_fingerprints(reader, "chromaprint"))
    assert added.created
    assert (work.title, work.artist, work.isrc) == ("Süß", "Ann", "GBAYE0601498")
    assert (work.seconds, work.added_at, work.removed_at) == (60.0, NOON, None)
    assert work.rights_holder == "Acme Records, Bob"
    assert work.licenses[0].territories == ("*", "-US")
    assert work.licenses[0].valid_until == NOON + timedelta(days=365)
    assert [(row.work_id, row.items) for row in prints] == [(added.work_id, b"\x01\x02\x03\x04")]


def test_adding_the_same_recording_again_changes_nothing(database: Database) -> None:
    with database.begin() as writer:
        first = catalog.add_work(writer, a_work(1), at=NOON)
    with database.begin() as writer:
        second = catalog.add_work(writer, a_work(1, title="Other title"), at=LATER)

    with database.read() as reader:
        stats = catalog.stats(reader)
        title = catalog.get_work(reader, first.work_id).title
    assert (first.work_id, first.created) == (second.work_id, True)
    assert not second.created
    assert not second.license_differs
    assert (stats.works, stats.last_change, title) == (1, 1, "Song")


def test_the_same_file_gets_the_same_id_in_every_registry(
    database: Database, sqlite_database: Database
) -> None:
    with database.begin() as writer:
        here = catalog.add_work(writer, a_work(1), at=NOON)
    with sqlite_database.begin() as writer:
        there = catalog.add_work(writer, a_work(1, title="Else"), at=LATER)

    assert here.work_id == there.work_id


def test_other_license_terms_are_reported_and_not_written(database: Database) -> None:
    with database.begin() as writer:
        catalog.add_work(writer, a_work(1), at=NOON)
        again = catalog.add_work(
            writer, a_work(1, licenses=(a_license(uses=("train",)),)), at=LATER
        )

    with database.read() as reader:
        licenses = catalog.get_work(reader, again.work_id).licenses
    assert again.license_differs
    assert [row.uses for row in licenses] == [("sync",)]


def test_a_second_claim_on_a_recording_is_refused(database: Database) -> None:
    with database.begin() as writer:
        catalog.add_work(writer, a_work(1), at=NOON)

    claim = a_work(1, rights=(NewRight(rights_holder="Mallory"),))
    with pytest.raises(ConflictError, match=r"of Acme\nSettle"), database.begin() as writer:
        catalog.add_work(writer, claim, at=LATER)


def test_a_rights_holder_is_one_whatever_the_spelling(database: Database) -> None:
    with database.begin() as writer:
        for number, name in enumerate(("Café Noir", "CAFÉ  noir ", "Cafe\u0301 Noir")):
            catalog.add_work(
                writer, a_work(number, rights=(NewRight(rights_holder=name),)), at=NOON
            )

    with database.read() as reader:
        assert catalog.stats(reader).rights_holders == 1
        scope = AuditScope.of(catalog.find_rights_holder(reader, "café noir"))
        assert len(catalog.list_works(reader, scope)) == 3


def test_a_removed_work_is_no_longer_compared_but_stays_on_record(database: Database) -> None:
    with database.begin() as writer:
        kept = catalog.add_work(writer, a_work(1, artist="Kept"), at=NOON)
        gone = catalog.add_work(
            writer, a_work(2, artist="Gone", rights=(NewRight(rights_holder="Zed"),)), at=NOON
        )
    with database.begin() as writer:
        catalog.remove_work(writer, gone.work_id, at=LATER)

    with database.read() as reader:
        prints = [row.work_id for row in catalog.iterate_fingerprints(reader, "chromaprint")]
        everything = AuditScope.everything()
        listed = [work.work_id for work in catalog.list_works(reader, everything)]
        also = catalog.list_works(reader, everything, include_removed=True)
        stats = catalog.stats(reader)
        names = catalog.names(reader)
        removed_at = catalog.get_work(reader, gone.work_id).removed_at
    assert prints == listed == [kept.work_id]
    assert len(also) == 2
    assert (stats.works, stats.removed, stats.fingerprints) == (1, 1, 1)
    assert names == ("Acme", "Kept")
    assert removed_at == LATER


def test_a_removed_work_comes_back_only_on_purpose(database: Database) -> None:
    with database.begin() as writer:
        work = catalog.add_work(writer, a_work(1), at=NOON)
        catalog.remove_work(writer, work.work_id, at=NOON)

    with pytest.raises(ConflictError, match="--revive"), database.begin() as writer:
        catalog.add_work(writer, a_work(1), at=LATER)
    with database.begin() as writer:
        new = a_work(1, licenses=(a_license(uses=("train",), valid_from=None),))
        back = catalog.add_work(writer, new, at=LATER, revive=True)
        again = catalog.add_work(writer, new, at=LATER, revive=True)

    assert (back.work_id, back.created, again.created) == (work.work_id, True, False)
    with database.read() as reader:
        events = [change.event for change in catalog.changes_since(reader, 0)]
        row = catalog.get_work(reader, work.work_id)
        old = catalog.license_in_force(reader, work.work_id, at=LATER, territory="*", use="sync")
        new_ = catalog.license_in_force(reader, work.work_id, at=LATER, territory="*", use="train")
    assert row.removed_at is None
    assert events == ["added", "removed", "relicensed", "added"]
    assert old is None
    assert new_ is not None


def test_a_new_license_ends_the_old_one_without_rewriting_the_past(database: Database) -> None:
    with database.begin() as writer:
        work = catalog.add_work(writer, a_work(1), at=NOON).work_id
    with database.begin() as writer:
        new = a_license(name="Blanket", uses=("train",), valid_from=None)
        catalog.relicense(writer, work, (new,), at=LATER)

    def in_force(use: str, days: float) -> str:
        with database.read() as reader:
            row = catalog.license_in_force(
                reader, work, at=NOON + timedelta(days=days), territory="DE", use=use
            )
        return "" if row is None else row.name

    assert (in_force("sync", 0.5), in_force("sync", 1)) == ("CC0-1.0", "")
    assert (in_force("train", 0.5), in_force("train", 1)) == ("", "Blanket")


def test_of_several_licenses_the_one_that_ends_last_is_named(database: Database) -> None:
    short = a_license(name="short", valid_until=NOON + timedelta(days=1))
    long = a_license(name="long", valid_until=NOON + timedelta(days=9))
    open_ended = a_license(name="open")
    found = []
    for number, licenses in enumerate([(short, long), (long, open_ended), (open_ended, short)]):
        with database.begin() as writer:
            work = catalog.add_work(writer, a_work(number, licenses=licenses), at=NOON).work_id
            row = catalog.license_in_force(writer, work, at=NOON, territory="*", use="sync")
        found.append("" if row is None else row.name)

    assert found == ["long", "open", "open"]


def test_changes_are_numbered_in_order(database: Database) -> None:
    ids = []
    for number in range(3):
        with database.begin() as writer:
            ids.append(catalog.add_work(writer, a_work(number), at=NOON).work_id)
    with database.begin() as writer:
        catalog.remove_work(writer, ids[1], at=LATER)

    with database.read() as reader:
        newest = catalog.last_change(reader)
        changes = catalog.changes_since(reader, 0)
        tail = catalog.changes_since(reader, changes[2].sequence)
    assert [(row.event, row.work_id) for row in changes] == [
        ("added", ids[0]),
        ("added", ids[1]),
        ("added", ids[2]),
        ("removed", ids[1]),
    ]
    assert [row.sequence for row in changes] == sorted(row.sequence for row in changes)
    assert tail == changes[3:]
    assert newest == changes[-1].sequence


def test_many_works_are_listed_with_their_own_rights(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "CHUNK", 3)
    with database.begin() as writer:
        for number in range(10):
            new = a_work(number, rights=(NewRight(rights_holder=f"Holder {number}"),))
            catalog.add_work(writer, new, at=NOON)

    with database.read() as reader:
        works = catalog.list_works(reader, AuditScope.everything())
    assert len(works) == 10
    for work in works:
        number = int(work.content_sha256, 16)
        assert [right.rights_holder for right in work.rights] == [f"Holder {number}"]
        assert len(work.licenses) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"title": "  "}, "needs a title"),
        ({"rights": ()}, "needs a rights-holder"),
        ({"rights": (NewRight(rights_holder=" "),)}, "needs a rights-holder"),
        ({"rights": (NewRight(rights_holder="A", share_percent=101.0),)}, "at most 100"),
        ({"seconds": 0.0}, "longer than 0 s"),
        ({"seconds": float("nan")}, "longer than nan s"),
        ({"content_sha256": "AB" * 32}, "no lower-case sha256"),
        ({"isrc": "GB-AYE-06-01498"}, "is no ISRC"),
        ({"items": b""}, "0 bytes are no row"),
        ({"items": b"12345"}, "5 bytes are no row"),
    ],
)
def test_a_malformed_work_is_refused(
    sqlite_database: Database, change: dict[str, object], words: str
) -> None:
    new = a_work(1, **change)  # type: ignore[arg-type]

    with pytest.raises(InvalidError, match=words), sqlite_database.begin() as writer:
        catalog.add_work(writer, new, at=NOON)


def test_a_work_that_is_not_there_is_named(sqlite_database: Database) -> None:
    with sqlite_database.begin() as writer:
        work = catalog.add_work(writer, a_work(1), at=NOON).work_id
        catalog.remove_work(writer, work, at=NOON)

    with sqlite_database.begin() as writer:
        with pytest.raises(NotFoundError, match="removed before"):
            catalog.remove_work(writer, work, at=NOON)
        with pytest.raises(NotFoundError, match="nothing: no work"):
            catalog.get_work(writer, "nothing")
        with pytest.raises(NotFoundError, match="Nobody: no rights-holder"):
            catalog.find_rights_holder(writer, "Nobody")
        assert catalog.get_fingerprint(writer, "nothing", "chromaprint") is None
        assert catalog.find_by_sha256(writer, "f" * 64) is None
