"""Which works are licensed, by whom, for what, and what do they sound like?

A work is identified by the sha256 of the file it came from; adding it again changes
nothing. Nothing is deleted: ``remove_work`` leaves a tombstone, and a removed work
comes back only on purpose (``revive``), so that re-running an import over a folder
never undoes a takedown. Every change gets a number in ``catalog_changes``, from
which indexes are kept up to date.

Questions may be asked as of an earlier moment: ``as_of`` answers with the works, shares
and licenses that were on record then. Share changes and new licenses are appended, and
a work's presence is read from the change log, so no later change rewrites the answer.
"""

import unicodedata
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from registry.errors import ConflictError, InvalidError, NotFoundError
from registry.licensing import (
    WORLD,
    LicenseRow,
    NewLicense,
    covers,
    holds,
    is_inside,
    license_id,
    license_row,
    refuse_territories,
    refuse_window,
)
from registry.scope import AuditScope, covered_works, rights_known
from registry.tables import (
    WORK_SOURCES,
    CatalogChange,
    Fingerprint,
    License,
    RightsHolder,
    Work,
    WorkRight,
)

_NAMESPACE: Final = uuid.UUID("6f1c1d39-93c5-5d0e-9a53-0d5a1f9e7c11")
_ITEM_BYTES: Final = 4

CHUNK: Final = 500
"""Ids in one query; SQLite takes at most 32,766 parameters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFingerprint:
    """What one engine heard.

    Attributes:
        engine: "chromaprint", "landmarks", ...
        items: Little-endian uint32 items, at least one.
    """

    engine: str
    items: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRight:
    """Who holds how much of a work.

    Attributes:
        rights_holder: Not empty; one name is one rights-holder, whatever its case.
        share_percent: In (0, 100].
        ipi: Empty or 11 digits.
        isni: Empty or 16 characters without spaces.
        territories: Country codes, or "*" with exclusions such as "-US".
        valid_from: Aware, inclusive; None is the moment at which it is recorded.
        valid_until: Aware, exclusive; None is open-ended.
    """

    rights_holder: str
    share_percent: float = 100.0
    ipi: str = ""
    isni: str = ""
    territories: tuple[str, ...] = (WORLD,)
    valid_from: datetime | None = None
    valid_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWork:
    """A recording to be added.

    Attributes:
        title: Not empty.
        rights: At least one; nowhere and at no time do the shares exceed 100.
        licenses: May be empty: then nothing is allowed with the work.
        seconds: Length of the recording, > 0.
        content_sha256: Of the file's bytes, lower-case hex.
        source_name: The file's name, for people.
        isrc: Empty or 12 characters without hyphens.
        iswc: Empty or as registered.
        musicbrainz_id: Of the recording; empty or a UUID in lower case.
        source: "audio" if the file was here, "fingerprint" if only fingerprints were sent.
    """

    title: str
    rights: tuple[NewRight, ...]
    licenses: tuple[NewLicense, ...]
    fingerprints: tuple[NewFingerprint, ...]
    seconds: float
    content_sha256: str
    source_name: str
    artist: str = ""
    isrc: str = ""
    iswc: str = ""
    musicbrainz_id: str = ""
    source: str = "audio"


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedWork:
    """What ``add_work`` did.

    Attributes:
        work_id: The same for the same file in every registry.
        created: False if the work was there already and nothing was written.
        license_differs: True if it was there under other license terms than asked.
    """

    work_id: str
    created: bool
    license_differs: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RightRow:
    """A rights-holder of one work; fields as in ``NewRight``.

    Attributes:
        ended_at: When a later share replaced it, None if none had by then.
    """

    rights_holder_id: str
    rights_holder: str
    share_percent: float
    valid_from: datetime
    valid_until: datetime | None
    recorded_at: datetime
    ended_at: datetime | None = None
    ipi: str = ""
    isni: str = ""
    territories: tuple[str, ...] = (WORLD,)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkRow:
    """A work with its rights and licenses, as on record when it was asked about.

    Attributes:
        removed_at: None while it is in force.
        rights: Shares on record, largest first.
        licenses: Replaced ones too, with the end that this put to them.
    """

    work_id: str
    title: str
    artist: str
    isrc: str
    iswc: str
    seconds: float
    content_sha256: str
    source_name: str
    added_at: datetime
    removed_at: datetime | None
    rights: tuple[RightRow, ...]
    licenses: tuple[LicenseRow, ...]
    musicbrainz_id: str = ""
    source: str = "audio"

    @property
    def rights_holder(self) -> str:
        """Name the holders, largest share first, for one line of text."""
        return ", ".join(dict.fromkeys(right.rights_holder for right in self.rights))


@dataclass(frozen=True, slots=True, kw_only=True)
class FingerprintRow:
    """Items of one work, little-endian uint32."""

    work_id: str
    engine: str
    items: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRow:
    """One numbered change: "added", "removed" or "relicensed"."""

    sequence: int
    at: datetime
    event: str
    work_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogStats:
    """The catalog in numbers; removed works count only under ``removed``."""

    works: int
    removed: int
    seconds: float
    rights_holders: int
    artists: int
    fingerprints: int
    fingerprint_bytes: int
    works_heard: Mapping[str, int]
    """Works by the engine that heard them; one it did not hear, it cannot find."""
    last_change: int


def add_work(session: Session, work: NewWork, *, at: datetime, revive: bool = False) -> AddedWork:
    """Add a work with its rights, licenses and fingerprints, once.

    Args:
        session: A writer's.
        work: What to add.
        at: Now, aware.
        revive: Bring a removed work back under its old id, with the shares and licenses
            given here in place of the old ones.

    A work that is there learns the fingerprints of engines that had not heard it, so that a
    catalog from before there was an engine is completed by adding its files again.

    Raises:
        InvalidError: If a value has the wrong form.
        ConflictError: If the recording is there under other rights-holders, or was
            removed and ``revive`` is not set.
    """
    _refuse_malformed(work, at)
    found = session.scalar(select(Work).where(Work.content_sha256 == work.content_sha256))
    if found is None:
        return _insert(session, work, at)
    row = _rows(session, [found])[0]
    if found.removed_at is None or not revive:
        result = compare(row, work)
        if _complete(session, found.id, work.fingerprints):
            _log_change(session, "added", found.id, at)
        return result
    _complete(session, found.id, work.fingerprints)
    _refuse_other_holders(row, work)
    found.removed_at = None
    relicense(session, found.id, work.licenses, at=at)
    if _shares(row.rights) != _shares(work.rights):
        reassign(session, found.id, work.rights, at=at)
    _log_change(session, "added", found.id, at)
    return AddedWork(work_id=found.id, created=True)


def compare(row: WorkRow, work: NewWork) -> AddedWork:
    """Say what adding ``work`` means where ``row`` is that recording already.

    Raises:
        ConflictError: If the rights-holders differ, or the work was removed.
    """
    _refuse_other_holders(row, work)
    if row.removed_at is not None:
        msg = (
            f"{work.source_name}: work {row.work_id} was removed on {row.removed_at:%Y-%m-%d}\n"
            "Give --revive to bring it back."
        )
        raise ConflictError(msg)
    terms = {license_.terms_sha256 for license_ in row.licenses if license_.ended_at is None}
    differs = any(new.terms_digest() not in terms for new in work.licenses)
    return AddedWork(work_id=row.work_id, created=False, license_differs=differs)


def remove_work(session: Session, work_id: str, *, at: datetime) -> None:
    """Leave a tombstone: from ``at`` on nothing is compared with the work.

    Raises:
        NotFoundError: If there is no such work, or it was removed before.
    """
    work = session.get(Work, work_id)
    if work is None or work.removed_at is not None:
        raise NotFoundError(_no_work(work_id, was_removed=work is not None))
    work.removed_at = at
    _log_change(session, "removed", work_id, at)
    session.flush()


def relicense(
    session: Session, work_id: str, licenses: tuple[NewLicense, ...], *, at: datetime
) -> None:
    """Let every license in force or to come end at ``at``, and record new ones.

    The windows stay as they were, so past decisions can be replayed, also those about a
    future that has changed since.

    Raises:
        NotFoundError: If there is no such work.
    """
    if session.get(Work, work_id) is None:
        raise NotFoundError(_no_work(work_id, was_removed=False))
    for row in session.scalars(select(License).where(License.work_id == work_id)):
        if row.ended_at is None and (row.valid_until is None or row.valid_until > at):
            row.ended_at = at
    _insert_licenses(session, work_id, licenses, at)
    _log_change(session, "relicensed", work_id, at)
    session.flush()


def reassign(session: Session, work_id: str, rights: tuple[NewRight, ...], *, at: datetime) -> None:
    """Let every share on record end at ``at``, and record who holds the work from then on.

    Raises:
        NotFoundError: If there is no such work.
        InvalidError: If there is no share, or they exceed 100 percent somewhere.
    """
    if session.get(Work, work_id) is None:
        raise NotFoundError(_no_work(work_id, was_removed=False))
    _refuse_shares(work_id, rights, at)
    on_record = select(WorkRight).where(WorkRight.work_id == work_id, rights_known(None))
    for row in session.scalars(on_record):
        row.ended_at = at
    session.flush()
    _insert_rights(session, work_id, rights, at)
    _log_change(session, "relicensed", work_id, at)
    session.flush()


def get_work(session: Session, work_id: str, *, as_of: datetime | None = None) -> WorkRow:
    """Read one work, removed or not.

    Args:
        session: A reader's.
        work_id: The work.
        as_of: Answer with what was on record at this moment; None is now.

    Raises:
        NotFoundError: If there is no such work, or there was none yet.
    """
    work = session.get(Work, work_id)
    if work is None:
        raise NotFoundError(_no_work(work_id, was_removed=False))
    if as_of is not None and not _presence(session, [work_id], as_of):
        msg = (
            f"{work_id}: not in the catalog on {as_of:%Y-%m-%dT%H:%M:%SZ}, "
            f"it was added on {work.added_at:%Y-%m-%dT%H:%M:%SZ}"
        )
        raise NotFoundError(msg)
    return _rows(session, [work], as_of=as_of)[0]


def find_by_sha256(session: Session, content_sha256: str) -> WorkRow | None:
    """Read the work that came from a file with this hash, removed or not."""
    work = session.scalar(select(Work).where(Work.content_sha256 == content_sha256))
    return None if work is None else _rows(session, [work])[0]


def list_works(
    session: Session, scope: AuditScope, *, include_removed: bool = False
) -> tuple[WorkRow, ...]:
    """List the works in a scope, by artist, title and id, as of the scope's moment."""
    query = select(Work).where(covered_works(scope)).order_by(Work.artist, Work.title, Work.id)
    if scope.as_of is None:
        if not include_removed:
            query = query.where(Work.removed_at.is_(None))
        return tuple(_rows(session, list(session.scalars(query))))
    known = select(CatalogChange.work_id).where(CatalogChange.at <= scope.as_of)
    works = list(session.scalars(query.where(Work.id.in_(known))))
    rows = _rows(session, works, as_of=scope.as_of)
    return tuple(row for row in rows if include_removed or row.removed_at is None)


def find_rights_holder(session: Session, name: str) -> str:
    """Name the id under which a rights-holder is kept, whatever the spelling's case.

    Raises:
        NotFoundError: If nobody of that name holds anything.
    """
    found = rights_holder_id(name)
    if session.get(RightsHolder, found) is None:
        msg = f"{name}: no rights-holder of that name\nRun `safegen catalog list` to see them."
        raise NotFoundError(msg)
    return found


def rights_holder_id(name: str) -> str:
    """Derive a rights-holder's id from the name, ignoring case and spacing."""
    return str(uuid.uuid5(_NAMESPACE, f"rights-holder:{_plain(name).casefold()}"))


def iterate_fingerprints(session: Session, engine: str) -> Iterator[FingerprintRow]:
    """Stream the fingerprints of all works in force, in the order of their ids."""
    query = (
        select(Fingerprint.work_id, Fingerprint.items)
        .join(Work, Work.id == Fingerprint.work_id)
        .where(Fingerprint.engine == engine, Work.removed_at.is_(None))
        .order_by(Fingerprint.work_id)
        .execution_options(yield_per=200)
    )
    for work_id, items in session.execute(query):
        yield FingerprintRow(work_id=work_id, engine=engine, items=items)


def get_fingerprint(session: Session, work_id: str, engine: str) -> FingerprintRow | None:
    """Read one work's fingerprint of one engine."""
    query = select(Fingerprint.items).where(
        Fingerprint.work_id == work_id, Fingerprint.engine == engine
    )
    items = session.scalar(query)
    return None if items is None else FingerprintRow(work_id=work_id, engine=engine, items=items)


def engines_of(session: Session, work_id: str) -> frozenset[str]:
    """Name the engines that have heard a work."""
    return frozenset(
        session.scalars(select(Fingerprint.engine).where(Fingerprint.work_id == work_id))
    )


def last_change(session: Session) -> int:
    """Number of the newest catalog change, 0 for an empty catalog."""
    return int(session.scalar(select(func.max(CatalogChange.sequence))) or 0)


def changes_since(session: Session, sequence: int) -> tuple[ChangeRow, ...]:
    """List the changes with a higher number, in order."""
    query = (
        select(CatalogChange)
        .where(CatalogChange.sequence > sequence)
        .order_by(CatalogChange.sequence)
    )
    return tuple(
        ChangeRow(sequence=row.sequence, at=row.at, event=row.event, work_id=row.work_id)
        for row in session.scalars(query)
    )


def license_in_force(
    session: Session,
    work_id: str,
    *,
    at: datetime,
    territory: str,
    use: str,
    as_of: datetime | None = None,
) -> LicenseRow | None:
    """Find a license that allows ``use`` of a work in ``territory`` at the moment ``at``.

    Of several, the one that ends last is named, then the smallest id.

    Args:
        session: A reader's.
        work_id: The work.
        at: Aware; windows are half-open, so a license is no longer in force at its end.
        territory: ISO 3166-1 alpha-2, or "*" to ask for the whole world.
        use: One of ``registry.licensing.USES``.
        as_of: Only licenses on record at this moment count, and only what was known of
            them then; None is now.
    """
    fitting = [
        row
        for row in _licenses(session, work_id, as_of)
        if covers(row, at=at, territory=territory, use=use)
    ]
    fitting.sort(key=lambda row: (row.valid_until is not None, _negative_end(row), row.license_id))
    return fitting[0] if fitting else None


def names(session: Session) -> tuple[str, ...]:
    """List the artists and rights-holders of works in force, for prompt rules, sorted."""
    artists = select(Work.artist).where(Work.removed_at.is_(None), Work.artist != "")
    holders = (
        select(RightsHolder.name)
        .join(WorkRight, WorkRight.rights_holder_id == RightsHolder.id)
        .join(Work, Work.id == WorkRight.work_id)
        .where(Work.removed_at.is_(None), rights_known(None))
    )
    return tuple(sorted(set(session.scalars(artists)) | set(session.scalars(holders))))


def stats(session: Session) -> CatalogStats:
    """Count what is in the catalog."""
    in_force = Work.removed_at.is_(None)
    works, seconds, artists = session.execute(
        select(
            func.count(),
            func.coalesce(func.sum(Work.seconds), 0.0),
            func.count(func.distinct(func.nullif(Work.artist, ""))),
        ).where(in_force)
    ).one()
    holders = select(func.count(func.distinct(WorkRight.rights_holder_id))).join(
        Work, Work.id == WorkRight.work_id
    )
    fingerprints, size = session.execute(
        select(func.count(), func.coalesce(func.sum(func.length(Fingerprint.items)), 0))
        .join(Work, Work.id == Fingerprint.work_id)
        .where(in_force)
    ).one()
    heard = session.execute(
        select(Fingerprint.engine, func.count())
        .join(Work, Work.id == Fingerprint.work_id)
        .where(in_force)
        .group_by(Fingerprint.engine)
        .order_by(Fingerprint.engine)
    )
    return CatalogStats(
        works=int(works),
        removed=int(session.scalar(select(func.count(Work.id)).where(~in_force)) or 0),
        seconds=float(seconds),
        rights_holders=int(session.scalar(holders.where(in_force, rights_known(None))) or 0),
        artists=int(artists),
        fingerprints=int(fingerprints),
        fingerprint_bytes=int(size),
        works_heard={engine: int(count) for engine, count in heard},
        last_change=last_change(session),
    )


def _insert(session: Session, new: NewWork, at: datetime) -> AddedWork:
    work_id = str(uuid.uuid5(_NAMESPACE, f"work:{new.content_sha256}"))
    session.add(
        Work(
            id=work_id,
            title=new.title,
            artist=new.artist,
            isrc=new.isrc,
            iswc=new.iswc,
            musicbrainz_id=new.musicbrainz_id,
            source=new.source,
            seconds=new.seconds,
            content_sha256=new.content_sha256,
            source_name=new.source_name,
            added_at=at,
            removed_at=None,
        )
    )
    session.flush()
    _insert_rights(session, work_id, new.rights, at)
    _insert_licenses(session, work_id, new.licenses, at)
    for print_ in new.fingerprints:
        session.add(Fingerprint(work_id=work_id, engine=print_.engine, items=print_.items))
    _log_change(session, "added", work_id, at)
    session.flush()
    return AddedWork(work_id=work_id, created=True)


def _complete(session: Session, work_id: str, prints: tuple[NewFingerprint, ...]) -> bool:
    """Store the fingerprints of engines that had not heard the work; False if there are none."""
    known = engines_of(session, work_id)
    missing = [print_ for print_ in prints if print_.engine not in known]
    for print_ in missing:
        session.add(Fingerprint(work_id=work_id, engine=print_.engine, items=print_.items))
    session.flush()
    return bool(missing)


def _insert_rights(
    session: Session, work_id: str, rights: tuple[NewRight, ...], at: datetime
) -> None:
    for right in rights:
        session.add(
            WorkRight(
                work_id=work_id,
                rights_holder_id=_holder(session, right, at),
                share_percent=right.share_percent,
                territories=list(right.territories),
                valid_from=right.valid_from or at,
                valid_until=right.valid_until,
                recorded_at=at,
            )
        )
    session.flush()


def _holder(session: Session, right: NewRight, at: datetime) -> str:
    """Name the rights-holder's id, made if need be; identifiers are learned, never replaced."""
    holder_id = rights_holder_id(right.rights_holder)
    holder = session.get(RightsHolder, holder_id)
    if holder is None:
        holder = RightsHolder(
            id=holder_id, name=_plain(right.rights_holder), ipi="", isni="", created_at=at
        )
        session.add(holder)
    for name, given in (("ipi", right.ipi), ("isni", right.isni)):
        known = getattr(holder, name)
        if given and known and given != known:
            msg = (
                f"{right.rights_holder}: the {name.upper()} {given} is not {known}, under which "
                "this rights-holder is known\nTell two holders of one name apart by their names."
            )
            raise ConflictError(msg)
        if given:
            setattr(holder, name, given)
    session.flush()
    return holder_id


def _insert_licenses(
    session: Session, work_id: str, licenses: tuple[NewLicense, ...], at: datetime
) -> None:
    for new in licenses:
        session.add(
            License(
                id=license_id(work_id, new, at),
                work_id=work_id,
                name=new.name,
                terms_sha256=new.terms_digest(),
                territories=list(new.territories),
                uses=list(new.uses),
                valid_from=new.valid_from or at,
                valid_until=new.valid_until,
                recorded_at=at,
                obligations=list(new.obligations),
                attribution_text=new.attribution_text,
            )
        )
    session.flush()


def _log_change(session: Session, event: str, work_id: str, at: datetime) -> None:
    session.add(CatalogChange(at=at, event=event, work_id=work_id))
    session.flush()


def _rows(session: Session, works: list[Work], *, as_of: datetime | None = None) -> list[WorkRow]:
    """Read rights and licenses of many works with a few queries."""
    ids = [work.id for work in works]
    rights: dict[str, list[RightRow]] = {}
    licenses: dict[str, list[LicenseRow]] = {}
    removed = {work.id: work.removed_at for work in works}
    for chunk in (ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK)):
        for right, holder in session.execute(_rights_of(chunk, as_of)):
            rights.setdefault(right.work_id, []).append(_right_row(right, holder, as_of))
        for license_ in session.scalars(_licenses_of(chunk, as_of)):
            licenses.setdefault(license_.work_id, []).append(license_row(license_, as_of=as_of))
        if as_of is not None:
            removed |= _presence(session, chunk, as_of)
    return [
        WorkRow(
            work_id=work.id,
            title=work.title,
            artist=work.artist,
            isrc=work.isrc,
            iswc=work.iswc,
            musicbrainz_id=work.musicbrainz_id,
            source=work.source,
            seconds=work.seconds,
            content_sha256=work.content_sha256,
            source_name=work.source_name,
            added_at=work.added_at,
            removed_at=removed[work.id],
            rights=tuple(rights.get(work.id, ())),
            licenses=tuple(licenses.get(work.id, ())),
        )
        for work in works
    ]


def _right_row(right: WorkRight, holder: RightsHolder, as_of: datetime | None) -> RightRow:
    is_future = as_of is not None and right.ended_at is not None and right.ended_at > as_of
    return RightRow(
        rights_holder_id=right.rights_holder_id,
        rights_holder=holder.name,
        share_percent=right.share_percent,
        valid_from=right.valid_from,
        valid_until=right.valid_until,
        recorded_at=right.recorded_at,
        ended_at=None if is_future else right.ended_at,
        ipi=holder.ipi,
        isni=holder.isni,
        territories=tuple(right.territories),
    )


def _presence(session: Session, work_ids: list[str], as_of: datetime) -> dict[str, datetime | None]:
    """Tell when each work that was known at ``as_of`` had been removed, None if it had not."""
    query = (
        select(CatalogChange)
        .where(
            CatalogChange.work_id.in_(work_ids),
            CatalogChange.event.in_(("added", "removed")),
            CatalogChange.at <= as_of,
        )
        .order_by(CatalogChange.sequence)
    )
    return {
        row.work_id: row.at if row.event == "removed" else None for row in session.scalars(query)
    }


def _rights_of(work_ids: list[str], as_of: datetime | None) -> "Select[WorkRight, RightsHolder]":
    return (
        select(WorkRight, RightsHolder)
        .join(RightsHolder, RightsHolder.id == WorkRight.rights_holder_id)
        .where(WorkRight.work_id.in_(work_ids), rights_known(as_of))
        .order_by(
            WorkRight.work_id, WorkRight.share_percent.desc(), RightsHolder.name, WorkRight.id
        )
    )


def _licenses_of(work_ids: list[str], as_of: datetime | None) -> "Select[License]":
    """Ended licenses stay on the list: what they allowed until then is still so."""
    query = select(License).where(License.work_id.in_(work_ids))
    if as_of is not None:
        query = query.where(License.recorded_at <= as_of)
    return query.order_by(License.work_id, License.recorded_at, License.id)


def _licenses(session: Session, work_id: str, as_of: datetime | None) -> tuple[LicenseRow, ...]:
    rows = session.scalars(_licenses_of([work_id], as_of))
    return tuple(license_row(row, as_of=as_of) for row in rows)


def _negative_end(row: LicenseRow) -> float:
    return -row.valid_until.timestamp() if row.valid_until else 0.0


def _refuse_malformed(work: NewWork, at: datetime) -> None:
    name = work.source_name or work.title
    if not work.title.strip():
        msg = f"{name}: a work needs a title"
        raise InvalidError(msg)
    _refuse_shares(name, work.rights, at)
    if not work.seconds > 0:
        msg = f"{name}: a work must be longer than {work.seconds:g} s"
        raise InvalidError(msg)
    if len(work.content_sha256) != 64 or set(work.content_sha256) - set("0123456789abcdef"):
        msg = f"{name}: {work.content_sha256!r} is no lower-case sha256"
        raise InvalidError(msg)
    if work.isrc != "" and not is_isrc(work.isrc):
        msg = f"{name}: {work.isrc!r} is no ISRC such as GBAYE0601498"
        raise InvalidError(msg)
    if work.musicbrainz_id != "" and not is_musicbrainz_id(work.musicbrainz_id):
        msg = f"{name}: {work.musicbrainz_id!r} is no MusicBrainz id, a UUID in lower case"
        raise InvalidError(msg)
    if work.source not in WORK_SOURCES:
        msg = f"{name}: a work comes as {' or '.join(WORK_SOURCES)}, not {work.source!r}"
        raise InvalidError(msg)
    for print_ in work.fingerprints:
        if not print_.items or len(print_.items) % _ITEM_BYTES:
            msg = f"{name}: {len(print_.items)} bytes are no row of uint32 items"
            raise InvalidError(msg)


def is_isrc(text: str) -> bool:
    """Whether ``text`` is an ISRC without hyphens: country, registrant, year, number."""
    return (
        len(text) == 12
        and text.isascii()
        and text[:2].isalpha()
        and text[:5].isalnum()
        and text[5:].isdigit()
        and text == text.upper()
    )


def is_musicbrainz_id(text: str) -> bool:
    """Whether ``text`` is a UUID with hyphens, in lower case."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def is_ipi(text: str) -> bool:
    """Whether ``text`` has the form of an IPI name number: 11 digits."""
    return len(text) == 11 and text.isascii() and text.isdigit()


def is_isni(text: str) -> bool:
    """Whether ``text`` is an ISNI without spaces, its check character included.

    Source: ISO 27729, which takes ISO 7064 MOD 11-2.
    """
    digits, check = text[:-1], text[-1:]
    if len(text) != 16 or not digits.isascii() or not digits.isdigit():
        return False
    total = 0
    for digit in digits:
        total = (total + int(digit)) * 2
    return check == "0123456789X"[(12 - total % 11) % 11]


def _refuse_shares(name: str, rights: tuple[NewRight, ...], at: datetime) -> None:
    """Refuse shares that exceed the whole in any country at any moment."""
    if not rights or any(not _plain(right.rights_holder) for right in rights):
        msg = f"{name}: a work needs a rights-holder"
        raise InvalidError(msg)
    for right in rights:
        refuse_territories(right.territories)
        refuse_window(right.valid_from, right.valid_until, of="share")
        if right.ipi and not is_ipi(right.ipi):
            msg = f"{name}: {right.ipi!r} is no IPI name number, 11 digits"
            raise InvalidError(msg)
        if right.isni and not is_isni(right.isni):
            msg = f"{name}: {right.isni!r} is no ISNI, 16 characters with a check digit"
            raise InvalidError(msg)
    total = max(
        sum(
            right.share_percent
            for right in rights
            if holds(moment, right.valid_from or at, right.valid_until)
            and _is_held_in(country, right.territories)
        )
        for moment in {right.valid_from or at for right in rights}
        for country in _countries(rights)
    )
    if total > 100.0 + 1e-6 or any(not right.share_percent > 0 for right in rights):
        msg = f"{name}: shares must be > 0 and add up to at most 100 percent, not {total:g}"
        raise InvalidError(msg)


def _countries(rights: tuple[NewRight, ...]) -> set[str]:
    """Name every country that is treated on its own, and "" for all others."""
    return {"", *(code.lstrip("-*") for right in rights for code in right.territories)}


def _is_held_in(country: str, territories: tuple[str, ...]) -> bool:
    return is_inside(country, territories) if country else WORLD in territories


def _shares(rights: "tuple[NewRight, ...] | tuple[RightRow, ...]") -> set[tuple[str, float]]:
    return {(rights_holder_id(right.rights_holder), right.share_percent) for right in rights}


def _refuse_other_holders(row: WorkRow, work: NewWork) -> None:
    """Refuse a second claim on the same recording; who is right is not ours to decide."""
    held = {right.rights_holder_id: right.rights_holder for right in row.rights}
    claimed = {rights_holder_id(right.rights_holder) for right in work.rights}
    if claimed != set(held):
        msg = (
            f"{work.source_name}: this recording is in the catalog as work {row.work_id} of "
            f"{', '.join(held.values())}\nSettle who holds it before adding it again."
        )
        raise ConflictError(msg)


def _no_work(work_id: str, *, was_removed: bool) -> str:
    problem = f"{work_id}: the work was removed before" if was_removed else f"{work_id}: no work"
    return f"{problem}\nRun `safegen catalog list` to see the works in force."


def _plain(name: str) -> str:
    """One spelling for one name: composed characters, single spaces."""
    return " ".join(unicodedata.normalize("NFC", name).split())
