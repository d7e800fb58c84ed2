"""Which license, if any, covers what a sound quotes, and what does it oblige to?"""

from collections.abc import Collection, Iterable
from datetime import datetime

from sqlalchemy.orm import Session

from detectors.base import Match
from registry import catalog
from registry.catalog import WorkRow
from registry.licensing import LicenseRow
from safegen.policy import Policy
from safegen.recording import LicensedMatch, Terms


def licensed_matches(
    session: Session,
    matches: Iterable[Match],
    *,
    at: datetime,
    policy: Policy,
    as_of: datetime | None = None,
) -> tuple[LicensedMatch, ...]:
    """Look up every match's work and its license in force, in the order of the matches.

    Args:
        session: A reader's.
        matches: What was heard.
        at: When the quotation was made; a license must be in force then.
        policy: Names the territory and the use that must be licensed.
        as_of: Judge by what was on record at this moment; None is now.
    """
    found: list[LicensedMatch] = []
    for match in matches:
        work = catalog.get_work(session, match.work_id, as_of=as_of)
        license_ = catalog.license_in_force(
            session,
            match.work_id,
            at=at,
            territory=policy.catalog_match.territory,
            use=policy.catalog_match.use,
            as_of=as_of,
        )
        found.append(
            LicensedMatch(
                match=match,
                terms=terms_of(work, license_) if license_ else None,
                title=work.title,
                isrc=work.isrc,
                rights_holder=work.rights_holder,
            )
        )
    return tuple(found)


def terms_of(work: WorkRow, license_: LicenseRow) -> Terms:
    """Say what a license of a work obliges to; an attribution gets its words if it has none."""
    attribution = ""
    if "attribution" in license_.obligations:
        by = work.artist or work.rights_holder
        attribution = license_.attribution_text or f"{work.title} by {by} ({license_.name})"
    return Terms(
        license_id=license_.license_id,
        name=license_.name,
        terms_sha256=license_.terms_sha256,
        obligations=license_.obligations,
        attribution=attribution,
    )


def owed(matches: Iterable[LicensedMatch], works: Collection[str]) -> tuple[str, ...]:
    """Write what the licenses of quoted works oblige to, a sentence each.

    Args:
        matches: All that were found.
        works: Ids of the works that count as quoted.
    """
    sentences: dict[str, None] = {}
    for found in matches:
        if found.terms is None or found.match.work_id not in works:
            continue
        terms = found.terms
        if "attribution" in terms.obligations:
            sentences[f"attribution is owed: {terms.attribution}"] = None
        if "share_alike" in terms.obligations:
            sentences[
                f"share-alike: {terms.name} (terms {terms.terms_sha256[:16]}) of work "
                f"{found.match.work_id} binds whoever passes this on"
            ] = None
    return tuple(sentences)
