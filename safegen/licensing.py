"""Which license, if any, covers what a sound quotes, and what does it oblige to?"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from detectors.base import Match
from detectors.composition import CompositionMatch
from registry import catalog
from registry.catalog import WorkRow
from registry.licensing import LicenseRow
from safegen.policy import Policy
from safegen.recording import LicensedComposition, LicensedMatch, Terms


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """What a release owes for a work that it quotes, as its record says.

    Attributes:
        work_id: Of the catalog.
        title: Of the work.
        isrc: Of the work, "" if unknown.
        rights_holder: Names joined by ", ".
        terms: Of the license that covered the quotation.
    """

    work_id: str
    title: str
    isrc: str
    rights_holder: str
    terms: Terms

    def to_json(self) -> dict[str, Any]:
        """Give the row that ``verify`` prints."""
        terms = self.terms.to_json()
        return {
            "work_id": self.work_id,
            "title": self.title,
            "isrc": self.isrc,
            "rights_holder": self.rights_holder,
            "license": {"name": terms["name"], "terms_sha256": terms["terms_sha256"]},
            "obligations": terms["obligations"],
            "attribution": terms["attribution"],
        }


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
        found.append(
            LicensedMatch(
                match=match,
                terms=_in_force(session, work, at=at, policy=policy, as_of=as_of),
                title=work.title,
                isrc=work.isrc,
                rights_holder=work.rights_holder,
            )
        )
    return tuple(found)


def licensed_compositions(
    session: Session, hints: Iterable[CompositionMatch], *, at: datetime, policy: Policy
) -> tuple[LicensedComposition, ...]:
    """Do the same for hints at works whose notes are played; those without a license first."""
    found: list[LicensedComposition] = []
    for match in hints:
        work = catalog.get_work(session, match.work_id)
        found.append(
            LicensedComposition(
                match=match,
                terms=_in_force(session, work, at=at, policy=policy),
                title=work.title,
                rights_holder=work.rights_holder,
            )
        )
    return tuple(sorted(found, key=lambda hint: hint.terms is not None))


def _in_force(
    session: Session,
    work: WorkRow,
    *,
    at: datetime,
    policy: Policy,
    as_of: datetime | None = None,
) -> Terms | None:
    """Find the license of a work for what the policy asks, None if there is none."""
    license_ = catalog.license_in_force(
        session,
        work.work_id,
        at=at,
        territory=policy.catalog_match.territory,
        use=policy.catalog_match.use,
        as_of=as_of,
    )
    return terms_of(work, license_) if license_ else None


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
        sentences |= dict.fromkeys(_demands(found.match.work_id, found.terms))
    return tuple(sentences)


def _demands(work_id: str, terms: Terms) -> tuple[str, ...]:
    demands: list[str] = []
    if "attribution" in terms.obligations:
        demands.append(f"attribution is owed: {terms.attribution}")
    if "share_alike" in terms.obligations:
        demands.append(
            f"share-alike: {terms.name} (terms {terms.terms_sha256[:16]}) of work "
            f"{work_id} binds whoever passes this on"
        )
    return tuple(demands)


def owed_by(body: Mapping[str, Any]) -> tuple[Owed, ...]:
    """Read from the record of a release what it owes, each work once.

    A record lists every match; a demand is owed where the decision names it, which it
    does for the quotations that counted under the policy.

    Args:
        body: The record, of a log entry that was proved.
    """
    named = {reason["problem"] for reason in body["decision"]["reasons"]}
    found: dict[str, Owed] = {}
    of_inputs = [match for each in body.get("inputs", []) for match in each["matches"]]
    for match in [*body["matches"], *of_inputs]:
        license_ = match.get("license")  # records from before obligations have none
        if not license_:
            continue
        terms = Terms(
            license_id=match["license_id"],
            name=license_["name"],
            terms_sha256=license_["terms_sha256"],
            obligations=tuple(license_["obligations"]),
            attribution=license_["attribution"],
        )
        if not named.isdisjoint(_demands(match["work_id"], terms)):
            found[match["work_id"]] = Owed(
                work_id=match["work_id"],
                title=match["title"],
                isrc=match["isrc"],
                rights_holder=match["rights_holder"],
                terms=terms,
            )
    return tuple(found.values())
