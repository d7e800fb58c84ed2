"""Which license, if any, covers what a sound quotes, at this moment, for this policy?"""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy.orm import Session

from detectors.base import Match
from registry import catalog
from safegen.policy import Policy
from safegen.recording import LicensedMatch


def licensed_matches(
    session: Session, matches: Iterable[Match], *, at: datetime, policy: Policy
) -> tuple[LicensedMatch, ...]:
    """Look up every match's work and its license in force, in the order of the matches."""
    found: list[LicensedMatch] = []
    for match in matches:
        work = catalog.get_work(session, match.work_id)
        license_ = catalog.license_in_force(
            session,
            match.work_id,
            at=at,
            territory=policy.catalog_match.territory,
            use=policy.catalog_match.use,
        )
        found.append(
            LicensedMatch(
                match=match,
                license_id=license_.license_id if license_ else "",
                title=work.title,
                isrc=work.isrc,
                rights_holder=work.rights_holder,
            )
        )
    return tuple(found)
