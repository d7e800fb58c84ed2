"""A license allows what it says, where it says, while it says."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from registry.errors import InvalidError
from registry.licensing import USES, LicenseRow, covers
from tests.registry.samples import NOON, a_license


def a_row(
    *,
    territories: tuple[str, ...] = ("*",),
    uses: tuple[str, ...] = ("sync",),
    valid_from: datetime = NOON,
    valid_until: datetime | None = None,
) -> LicenseRow:
    return LicenseRow(
        license_id="l",
        work_id="w",
        name="n",
        terms_sha256="t",
        territories=territories,
        uses=uses,
        valid_from=valid_from,
        valid_until=valid_until,
        recorded_at=NOON,
    )


@pytest.mark.parametrize(
    ("territories", "asked", "expected"),
    [
        (("*",), "DE", True),
        (("*",), "*", True),
        (("DE", "AT"), "AT", True),
        (("DE", "AT"), "CH", False),
        (("DE", "AT"), "*", False),
        (("*", "-US"), "US", False),
        (("*", "-US"), "CA", True),
        (("*", "-US"), "*", False),
    ],
)
def test_territories(territories: tuple[str, ...], asked: str, expected: bool) -> None:
    assert covers(a_row(territories=territories), at=NOON, territory=asked, use="sync") is expected


@given(offset=st.integers(-100, 200))
@example(offset=-1)
@example(offset=0)
@example(offset=99)
@example(offset=100)
def test_a_window_holds_at_its_start_and_no_longer_at_its_end(offset: int) -> None:
    row = a_row(valid_until=NOON + timedelta(seconds=100))
    at = NOON + timedelta(seconds=offset)

    assert covers(row, at=at, territory="DE", use="sync") is (0 <= offset < 100)


def test_a_window_does_not_depend_on_the_zone_it_is_asked_in() -> None:
    from datetime import timezone

    row = a_row(valid_until=NOON + timedelta(hours=1))
    tokyo = timezone(timedelta(hours=9))

    assert covers(row, at=NOON.astimezone(tokyo), territory="JP", use="sync")


@pytest.mark.parametrize("use", USES)
def test_a_use_is_allowed_only_if_it_is_named(use: str) -> None:
    others = tuple(other for other in USES if other != use)

    assert covers(a_row(uses=(use,)), at=NOON, territory="DE", use=use)
    assert not covers(a_row(uses=others), at=NOON, territory="DE", use=use)
    assert not covers(a_row(uses=()), at=NOON, territory="DE", use=use)


@pytest.mark.parametrize(
    ("territories", "words"),
    [
        ((), "needs a territory"),
        (("XX",), "'XX' is no ISO 3166-1"),
        (("de",), "'de' is no ISO 3166-1"),
        (("USA",), "'USA' is no ISO 3166-1"),
        (("-US",), "-US only makes sense beside"),
        (("DE", "-US"), "-US only makes sense beside"),
        (("*", "DE"), "already contains"),
        (("*", "*"), "already contains"),
        (("-*", "*"), "no ISO 3166-1"),
    ],
)
def test_wrong_territories_are_refused(territories: tuple[str, ...], words: str) -> None:
    with pytest.raises(InvalidError, match=words):
        a_license(territories=territories)


def test_the_other_fields_are_checked_too() -> None:
    with pytest.raises(InvalidError, match="each at most once"):
        a_license(uses=("sell",))
    with pytest.raises(InvalidError, match="each at most once"):
        a_license(uses=("sync", "sync"))
    with pytest.raises(InvalidError, match="needs a name"):
        a_license(name=" ")
    with pytest.raises(InvalidError, match="time zone"):
        a_license(valid_from=datetime(2026, 1, 1))
    with pytest.raises(InvalidError, match="before it begins"):
        a_license(valid_until=NOON)
    with pytest.raises(InvalidError, match="territory 'Mars'"):
        covers(a_row(), at=NOON, territory="Mars", use="sync")
    with pytest.raises(InvalidError, match="use 'sell'"):
        covers(a_row(), at=NOON, territory="DE", use="sell")


def test_the_hash_of_the_terms_follows_the_terms_and_not_their_order() -> None:
    base = a_license(territories=("DE", "AT"), uses=("sync", "train"))
    same = a_license(territories=("AT", "DE"), uses=("train", "sync"))
    later = a_license(valid_until=datetime(2030, 1, 1, tzinfo=UTC))

    assert base.terms_digest() == same.terms_digest()
    assert base.terms_digest() != later.terms_digest()
