"""Was this upload judged before, under this very policy? And what was judged in a period?"""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.releases import OutputRow, get_output
from registry.tables import Output

_AT_ONCE: Final = 500


def find_screening(session: Session, *, sha256: str, policy_sha256: str) -> OutputRow | None:
    """Read the newest screening of a file with this hash under this policy."""
    query = (
        select(Output.id)
        .where(
            Output.sha256 == sha256,
            Output.kind == "screening",
            Output.policy_sha256 == policy_sha256,
        )
        .order_by(Output.log_index.desc())
        .limit(1)
    )
    found = session.scalar(query)
    return None if found is None else get_output(session, found)


def records_between(session: Session, since: datetime, until: datetime) -> Iterator[bytes]:
    """Read the records of screenings made from one moment until before another, in log order.

    Only the records: fingerprints of many uploads would fill the memory.
    """
    query = (
        select(Output.record)
        .where(Output.kind == "screening", Output.created_at >= since, Output.created_at < until)
        .order_by(Output.log_index)
        .execution_options(yield_per=_AT_ONCE)
    )
    yield from session.scalars(query)
