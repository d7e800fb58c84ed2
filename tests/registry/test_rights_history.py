"""A question about an earlier day is answered with that day's shares, licenses and takedowns."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete

from registry import catalog
from registry.catalog import NewRight, WorkRow
from registry.errors import ConflictError, InvalidError, NotFoundError
from registry.licensing import NewLicense, end, holds
from registry.scope import AuditScope
from registry.session import Database
from registry.tables import CatalogChange, Fingerprint, License, RightsHolder, Work, WorkRight
from tests.registry.samples import NOON, a_license, a_work

DAY = timedelta(days=1)


def day(number: float) -> datetime:
    return NOON + number * DAY


def is_licensed(database: Database, work: str, at: datetime, as_of: datetime | None) -> bool:
    with database.read() as reader:
        found = catalog.license_in_force(
            reader, work, at=at, territory="DE", use="sync", as_of=as_of
        )
    return found is not None


def seen(database: Database, work: str, as_of: datetime) -> WorkRow:
    with database.read() as reader:
        return catalog.get_work(reader, work, as_of=as_of)


def test_a_takedown_does_not_rewrite_what_was_before_it(database: Database) -> None:
    with database.begin() as writer:
        work = catalog.add_work(writer, a_work(1), at=day(0)).work_id
    with database.begin() as writer:
        catalog.remove_work(writer, work, at=day(10))

    assert seen(database, work, day(9)).removed_at is None
    assert seen(database, work, day(10)).removed_at == day(10)
    with database.read() as reader:
        before = catalog.list_works(reader, AuditScope.everything(as_of=day(9)))
        after = catalog.list_works(reader, AuditScope.everything(as_of=day(10)))
    assert [row.work_id for row in before] == [work]
    assert after == ()


def test_a_work_that_came_back_was_still_gone_in_between(database: Database) -> None:
    with database.begin() as writer:
        work = catalog.add_work(writer, a_work(1), at=day(0)).work_id
    with database.begin() as writer:
        catalog.remove_work(writer, work, at=day(10))
    with database.begin() as writer:
        catalog.add_work(writer, a_work(1), at=day(20), revive=True)

    gone = [seen(database, work, day(number)).removed_at for number in (5, 15, 25)]

    assert gone == [None, day(10), None]


def test_a_work_is_not_known_before_it_was_added(database: Database) -> None:
    with database.begin() as writer:
        work = catalog.add_work(writer, a_work(1), at=day(5)).work_id

    with pytest.raises(NotFoundError, match="was added on 2026-11-26"):
        seen(database, work, day(5) - timedelta(microseconds=1))
    assert seen(database, work, day(5)).work_id == work
    with database.read() as reader:
        assert catalog.list_works(reader, AuditScope.everything(as_of=day(4))) == ()


def test_a_new_license_leaves_the_old_window_to_questions_of_its_time(database: Database) -> None:
    old = a_license(name="Old", valid_from=day(0), valid_until=day(100))
    with database.begin() as writer:
        work = catalog.add_work(writer, a_work(1, licenses=(old,)), at=day(0)).work_id
    with database.begin() as writer:
        catalog.relicense(writer, work, (a_license(name="New", uses=()),), at=day(10))

    # Known on day 9, day 50 would be licensed; known on day 10, it is not any more.
    assert is_licensed(database, work, day(50), as_of=day(9))
    assert not is_licensed(database, work, day(50), as_of=day(10))
    assert not is_licensed(database, work, day(50), as_of=None)
    # What was licensed stays licensed, whenever it is asked about.
    assert is_licensed(database, work, day(5), as_of=day(9))
    assert is_licensed(database, work, day(5), as_of=None)
    assert [row.valid_until for row in seen(database, work, day(9)).licenses] == [day(100)]


def test_a_license_recorded_later_for_earlier_days_was_not_known_then(database: Database) -> None:
    with database.begin() as writer:
        work = catalog.add_work(writer, a_work(1, licenses=()), at=day(0)).work_id
    with database.begin() as writer:
        backdated = a_license(valid_from=day(1), valid_until=day(30))
        catalog.relicense(writer, work, (backdated,), at=day(20))

    assert not is_licensed(database, work, day(5), as_of=day(5))
    assert is_licensed(database, work, day(5), as_of=day(20))


def test_shares_change_by_appending(database: Database) -> None:
    with database.begin() as writer:
        work = catalog.add_work(writer, a_work(1), at=day(0)).work_id
    shares = (
        NewRight(rights_holder="Bob", share_percent=70.0),
        NewRight(rights_holder="Acme", share_percent=30.0),
    )
    with database.begin() as writer:
        catalog.reassign(writer, work, shares, at=day(10))

    assert seen(database, work, day(9)).rights_holder == "Acme"
    assert seen(database, work, day(10)).rights_holder == "Bob, Acme"
    with database.read() as reader:
        assert reader.query(WorkRight).count() == 3
        assert [row.event for row in catalog.changes_since(reader, 0)] == ["added", "relicensed"]


def test_who_sold_a_work_sees_it_only_as_of_their_time(database: Database) -> None:
    with database.begin() as writer:
        catalog.add_work(writer, a_work(1), at=day(0))
        work = catalog.add_work(writer, a_work(2, title="Sold"), at=day(0)).work_id
    with database.begin() as writer:
        catalog.reassign(writer, work, (NewRight(rights_holder="Bob"),), at=day(10))

    def titles(holder: str, as_of: datetime | None) -> set[str]:
        scope = AuditScope.of(catalog.rights_holder_id(holder), as_of=as_of)
        with database.read() as reader:
            return {row.title for row in catalog.list_works(reader, scope)}

    assert titles("Acme", None) == {"Song"}
    assert titles("Acme", day(9)) == {"Song", "Sold"}
    assert titles("Bob", day(9)) == set()
    assert titles("Bob", None) == {"Sold"}


def test_a_share_counts_only_within_its_window(database: Database) -> None:
    lease = (
        NewRight(rights_holder="Acme", valid_from=day(0), valid_until=day(30)),
        NewRight(rights_holder="Bob", valid_from=day(30)),
    )
    with database.begin() as writer:
        catalog.add_work(writer, a_work(1, rights=lease), at=day(0))

    def count(holder: str, as_of: datetime) -> int:
        scope = AuditScope.of(catalog.rights_holder_id(holder), as_of=as_of)
        with database.read() as reader:
            return len(catalog.list_works(reader, scope))

    assert [count("Acme", day(number)) for number in (0, 29, 30, 31)] == [1, 1, 0, 0]
    assert [count("Bob", day(number)) for number in (0, 29, 30, 31)] == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("shares", "total"),
    [
        ((NewRight(rights_holder="A", share_percent=60), NewRight(rights_holder="B")), 160),
        (
            (
                NewRight(rights_holder="A", territories=("DE", "FR")),
                NewRight(rights_holder="B", share_percent=50, territories=("*", "-DE")),
            ),
            150,
        ),
        (
            (
                NewRight(rights_holder="A", valid_until=NOON + 2 * DAY),
                NewRight(rights_holder="B", share_percent=20, valid_from=NOON + DAY),
            ),
            120,
        ),
    ],
    ids=["everywhere", "in one country", "for one day"],
)
def test_shares_above_the_whole_anywhere_are_refused(
    sqlite_database: Database, shares: tuple[NewRight, ...], total: int
) -> None:
    with (
        pytest.raises(InvalidError, match=f"at most 100 percent, not {total}"),
        sqlite_database.begin() as writer,
    ):
        catalog.add_work(writer, a_work(1, rights=shares), at=NOON)


def test_shares_that_never_meet_may_each_be_whole(sqlite_database: Database) -> None:
    shares = (
        NewRight(rights_holder="A", territories=("DE",), valid_until=day(5)),
        NewRight(rights_holder="B", territories=("DE",), valid_from=day(5)),
        NewRight(rights_holder="C", territories=("*", "-DE")),
    )
    with sqlite_database.begin() as writer:
        work = catalog.add_work(writer, a_work(1, rights=shares), at=NOON).work_id

    assert len(seen(sqlite_database, work, NOON).rights) == 3


def test_identifiers_of_a_holder_are_learned_and_never_replaced(sqlite_database: Database) -> None:
    known = NewRight(rights_holder="Acme", isni="0000000121032683", ipi="00014107338")
    with sqlite_database.begin() as writer:
        catalog.add_work(writer, a_work(1), at=NOON)
        catalog.add_work(writer, a_work(2, rights=(known,)), at=NOON)
        work = catalog.add_work(writer, a_work(3), at=NOON).work_id

    (right,) = seen(sqlite_database, work, NOON).rights
    assert (right.isni, right.ipi) == ("0000000121032683", "00014107338")
    other = NewRight(rights_holder="ACME", ipi="00014107339")
    with (
        pytest.raises(ConflictError, match="IPI 00014107339 is not 00014107338"),
        sqlite_database.begin() as writer,
    ):
        catalog.add_work(writer, a_work(4, rights=(other,)), at=NOON)


@pytest.mark.parametrize(
    ("right", "words"),
    [
        (NewRight(rights_holder="A", isni="0000000121032684"), "no ISNI"),
        (NewRight(rights_holder="A", isni="000000012103268"), "no ISNI"),
        (NewRight(rights_holder="A", ipi="1234"), "no IPI"),
        (NewRight(rights_holder="A", territories=("XX",)), "no ISO 3166-1"),
        (NewRight(rights_holder="A", valid_from=NOON, valid_until=NOON), "before it begins"),
        (NewRight(rights_holder="A", share_percent=-1.0), "must be > 0"),
        (NewRight(rights_holder="A", share_percent=float("nan")), "must be > 0"),
    ],
)
def test_a_malformed_share_is_refused(
    sqlite_database: Database, right: NewRight, words: str
) -> None:
    with pytest.raises(InvalidError, match=words), sqlite_database.begin() as writer:
        catalog.add_work(writer, a_work(1, rights=(right,)), at=NOON)


@pytest.mark.parametrize(
    ("obligations", "line", "words"),
    [
        (("pay",), "", "each at most once of attribution"),
        (("attribution", "attribution"), "", "each at most once"),
        (("share_alike",), "Song by Ann", "needs the obligation attribution"),
        (("attribution",), "Song\nby Ann", "one line"),
        (("attribution",), "x" * 501, "at most 500"),
    ],
)
def test_malformed_obligations_are_refused(
    obligations: tuple[str, ...], line: str, words: str
) -> None:
    with pytest.raises(InvalidError, match=words):
        a_license(obligations=obligations, attribution_text=line)


def test_obligations_are_kept_and_belong_to_the_terms(database: Database) -> None:
    plain = a_license()
    owing = a_license(obligations=("share_alike", "attribution"), attribution_text="Song by Ann")
    with database.begin() as writer:
        work = catalog.add_work(writer, a_work(1, licenses=(owing,)), at=NOON).work_id

    (row,) = seen(database, work, NOON).licenses
    assert (row.obligations, row.attribution_text) == (
        ("share_alike", "attribution"),
        "Song by Ann",
    )
    assert plain.terms_digest() != owing.terms_digest()
    assert (
        owing.terms_digest()
        == a_license(
            obligations=("attribution", "share_alike"), attribution_text="Song by Ann"
        ).terms_digest()
    )


@given(
    start=st.integers(-50, 50),
    length=st.one_of(st.none(), st.integers(1, 50)),
    ended=st.one_of(st.none(), st.integers(-60, 120)),
    asked=st.integers(-60, 120),
)
def test_a_window_that_ended_holds_until_then_and_no_longer(
    start: int, length: int | None, ended: int | None, asked: int
) -> None:
    until = None if length is None else day(start + length)
    cut = end(day(start), until, None if ended is None else day(ended))

    expected = (
        start <= asked
        and (length is None or asked < start + length)
        and (ended is None or asked < ended)
    )
    assert holds(day(asked), day(start), cut) is expected


@dataclass(frozen=True, kw_only=True)
class Step:
    """One change: at a day, licensed or not from then on, or taken down, or put back."""

    kind: str
    gap: int


STEPS = st.lists(
    st.builds(
        Step, kind=st.sampled_from(["allow", "deny", "remove", "sell"]), gap=st.integers(1, 5)
    ),
    max_size=8,
)


@given(steps=STEPS)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_comes_later_no_answer_about_the_past_changes(
    sqlite_database: Database, steps: list[Step]
) -> None:
    with sqlite_database.begin() as writer:
        for table in (CatalogChange, License, WorkRight, Fingerprint, Work, RightsHolder):
            writer.execute(delete(table))
        work = catalog.add_work(writer, a_work(1, licenses=()), at=day(0)).work_id
    at, owner, moments = 0, 0, [0]
    told: dict[int, tuple[object, ...]] = {}

    def answer(number: int) -> tuple[object, ...]:
        row = seen(sqlite_database, work, day(number))
        return (
            row.removed_at,
            row.rights_holder,
            tuple((each.name, each.valid_from, each.valid_until) for each in row.licenses),
            is_licensed(sqlite_database, work, day(number), day(number)),
        )

    told[0] = answer(0)
    for step in steps:
        at += step.gap
        with sqlite_database.begin() as writer:
            is_removed = catalog.get_work(writer, work).removed_at is not None
            if step.kind == "remove" and is_removed:
                holder = catalog.get_work(writer, work).rights_holder
                again = a_work(1, licenses=(), rights=(NewRight(rights_holder=holder),))
                catalog.add_work(writer, again, at=day(at), revive=True)
            elif step.kind == "remove":
                catalog.remove_work(writer, work, at=day(at))
            elif step.kind == "sell":
                owner += 1
                catalog.reassign(
                    writer, work, (NewRight(rights_holder=f"Owner {owner}"),), at=day(at)
                )
            else:
                uses = ("sync",) if step.kind == "allow" else ()
                catalog.relicense(writer, work, (_lasting(uses),), at=day(at))
        moments.append(at)
        told[at] = answer(at)

    for moment, following in pairwise([*moments, at + 3]):
        assert answer(moment) == told[moment]
        assert answer(following - 1)[:2] == told[moment][:2]


def _lasting(uses: tuple[str, ...]) -> NewLicense:
    return a_license(name="Lasting", uses=uses, valid_from=None)
