"""What does an index read from the registry?

Blobs of the works in force, the changes since it last looked, and the newest change
with an anchor: a digest by which an index notices that it belongs to another
database, or to a backup that was restored meanwhile.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry.segment_writing import NewEntry
from registry.segments import PostingsOf
from registry.tables import CatalogChange, Fingerprint, Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """How the fingerprints of one engine are searched.

    Attributes:
        name: Under which fingerprints are stored.
        scheme: Name of the rule that ``postings_of`` follows; another name makes every
            older segment worthless.
        item_bytes: Bytes of a blob that count as one item.
        postings_of: The rule.
    """

    name: str
    scheme: str
    item_bytes: int
    postings_of: PostingsOf


@dataclass(frozen=True, slots=True, kw_only=True)
class Newest:
    """The newest catalog change; number 0 and no anchor for an empty catalog."""

    change: int
    anchor: str


def newest_change(session: Session) -> Newest:
    """Read the newest change."""
    row = session.scalar(select(CatalogChange).order_by(CatalogChange.sequence.desc()).limit(1))
    if row is None:
        return Newest(change=0, anchor="")
    return Newest(change=row.sequence, anchor=_anchor(row))


def is_anchored(session: Session, change: int, anchor: str) -> bool:
    """Whether the database has that very change."""
    if not change:
        return not anchor
    row = session.get(CatalogChange, change)
    return row is not None and _anchor(row) == anchor


def changed_since(session: Session, change: int) -> tuple[str, ...]:
    """List the works that a later change names, each once, ascending."""
    query = select(CatalogChange.work_id).where(CatalogChange.sequence > change).distinct()
    return tuple(sorted(session.scalars(query)))


def blobs_of(session: Session, engine: str, work_ids: Sequence[str]) -> dict[str, bytes]:
    """Read the blobs of some works; those not in force have none."""
    query = (
        select(Fingerprint.work_id, Fingerprint.items)
        .join(Work, Work.id == Fingerprint.work_id)
        .where(
            Fingerprint.work_id.in_(work_ids),
            Fingerprint.engine == engine,
            Work.removed_at.is_(None),
        )
    )
    return {row[0]: row[1] for row in session.execute(query)}


def entries_after(session: Session, engine: str, work_id: str) -> Iterator[NewEntry]:
    """Stream the works in force whose ids are larger, in the order of their ids."""
    query = (
        select(Fingerprint.work_id, Fingerprint.items)
        .join(Work, Work.id == Fingerprint.work_id)
        .where(
            Fingerprint.engine == engine, Work.removed_at.is_(None), Fingerprint.work_id > work_id
        )
        .order_by(Fingerprint.work_id)
        .execution_options(yield_per=200)
    )
    for found, items in session.execute(query):
        yield NewEntry(work_id=found, blob=items)


def count_entries(session: Session, engine: str) -> int:
    """Count the works in force that the engine has heard."""
    query = (
        select(func.count())
        .select_from(Fingerprint)
        .join(Work, Work.id == Fingerprint.work_id)
        .where(Fingerprint.engine == engine, Work.removed_at.is_(None))
    )
    return int(session.scalar(query) or 0)


def _anchor(row: CatalogChange) -> str:
    text = f"{row.sequence} {row.event} {row.work_id} {row.at.isoformat()}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]
