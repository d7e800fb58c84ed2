"""Was this upload judged before, under this very policy?"""

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.releases import OutputRow, get_output
from registry.tables import Output


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
