"""Whose works may a question see?

Every audit query takes an ``AuditScope``, so that no question is asked of
"everything" by leaving an argument out.
"""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, select, true

from registry.tables import Work, WorkRight


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditScope:
    """One rights-holder's works, or all of them.

    Attributes:
        rights_holder_id: Whose works are seen; None only together with ``is_everything``.
        is_everything: The operator's own view.
    """

    rights_holder_id: str | None
    is_everything: bool

    def __post_init__(self) -> None:
        if self.is_everything == (self.rights_holder_id is not None):
            msg = "a scope is either one rights-holder or everything"
            raise ValueError(msg)

    @classmethod
    def everything(cls) -> "AuditScope":
        """See all works: the operator of this registry."""
        return cls(rights_holder_id=None, is_everything=True)

    @classmethod
    def of(cls, rights_holder_id: str) -> "AuditScope":
        """See the works of one rights-holder."""
        return cls(rights_holder_id=rights_holder_id, is_everything=False)

    def covers_work(self, work_id: ColumnElement[str]) -> ColumnElement[bool]:
        """Build the SQL condition that ``work_id`` lies in this scope."""
        if self.is_everything:
            return true()
        held = select(WorkRight.work_id).where(WorkRight.rights_holder_id == self.rights_holder_id)
        return work_id.in_(held)


def covered_works(scope: AuditScope) -> ColumnElement[bool]:
    """Build the SQL condition for queries that select from ``works``."""
    return scope.covers_work(Work.id.expression)
