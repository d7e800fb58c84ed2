"""Whose works may a question see?

Every audit query takes an ``AuditScope``, so that no question is asked of
"everything" by leaving an argument out.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, or_, select, true

from registry.tables import Work, WorkRight


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditScope:
    """One rights-holder's works, or all of them.

    Attributes:
        rights_holder_id: Whose works are seen; None only together with ``is_everything``.
        is_everything: The operator's own view.
        as_of: Whose works they were at this moment, as known then: who sold a share sees
            what was done until the sale, and only that. None leaves windows alone and
            takes the shares on record now.
    """

    rights_holder_id: str | None
    is_everything: bool
    as_of: datetime | None = None

    def __post_init__(self) -> None:
        if self.is_everything == (self.rights_holder_id is not None):
            msg = "a scope is either one rights-holder or everything"
            raise ValueError(msg)

    @classmethod
    def everything(cls, *, as_of: datetime | None = None) -> "AuditScope":
        """See all works: the operator of this registry."""
        return cls(rights_holder_id=None, is_everything=True, as_of=as_of)

    @classmethod
    def of(cls, rights_holder_id: str, *, as_of: datetime | None = None) -> "AuditScope":
        """See the works of one rights-holder."""
        return cls(rights_holder_id=rights_holder_id, is_everything=False, as_of=as_of)

    def covers_work(self, work_id: ColumnElement[str]) -> ColumnElement[bool]:
        """Build the SQL condition that ``work_id`` lies in this scope."""
        if self.is_everything:
            return true()
        held = select(WorkRight.work_id).where(
            WorkRight.rights_holder_id == self.rights_holder_id, rights_known(self.as_of)
        )
        if self.as_of is not None:
            held = held.where(
                WorkRight.valid_from <= self.as_of,
                or_(WorkRight.valid_until.is_(None), WorkRight.valid_until > self.as_of),
            )
        return work_id.in_(held)


def rights_known(as_of: datetime | None) -> ColumnElement[bool]:
    """Build the SQL condition that a share was on record at ``as_of``; None is now."""
    if as_of is None:
        return WorkRight.ended_at.is_(None)
    return (WorkRight.recorded_at <= as_of) & or_(
        WorkRight.ended_at.is_(None), WorkRight.ended_at > as_of
    )


def covered_works(scope: AuditScope) -> ColumnElement[bool]:
    """Build the SQL condition for queries that select from ``works``."""
    return scope.covers_work(Work.id.expression)
