"""Does a license allow this use, here and now?

Territories are ISO 3166-1 alpha-2 codes; ``*`` is the whole world, and ``-US`` beside
it takes a country out. Windows are half-open and in UTC. No uses means that nothing
is allowed: the work is only known, so that quoting it is noticed.

A license has two times: the window in which it holds, and since when and until when
this registry knew it to. ``end`` cuts the window at the moment a license was replaced,
but only for questions that may know of it: asked as of an earlier day, the window is
whole.
"""

import hashlib
import json
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from registry.errors import InvalidError
from registry.tables import License

USES: Final = ("train", "style_reference", "sample", "sync")
OBLIGATIONS: Final = ("attribution", "share_alike")
WORLD: Final = "*"
MAX_ATTRIBUTION: Final = 500

_NAMESPACE: Final = uuid.UUID("0b0d3a63-6c0a-5b0f-8a0d-61f4f7c3f0de")
_COUNTRIES: Final = frozenset(
    # ISO 3166-1 alpha-2, officially assigned codes.
    """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR
    BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ
    EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW
    GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY
    KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV
    MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY
    QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG
    TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM
    ZW
    """.split()  # noqa: SIM905, a list of 249 strings is unreadable
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewLicense:
    """What may be done with a work, where and when.

    Attributes:
        name: As people call it: "CC0-1.0", "Acme blanket 2026".
        territories: Country codes, or "*" with exclusions such as "-US".
        uses: Some of ``USES``; empty allows nothing.
        valid_from: Aware, inclusive; None is the moment at which it is recorded.
        valid_until: Aware, exclusive; None is open-ended.
        terms_sha256: Hash of the license document; empty takes the hash of the fields.
        obligations: Some of ``OBLIGATIONS``: what is owed for every use.
        attribution_text: The line to be shown, only with the obligation "attribution";
            empty leaves the wording to whoever shows it.

    Raises:
        InvalidError: On an unknown code, use or obligation, a naive time, an empty
            window, or an attribution text of several lines.
    """

    name: str
    territories: tuple[str, ...]
    uses: tuple[str, ...]
    valid_from: datetime | None
    valid_until: datetime | None
    terms_sha256: str = ""
    obligations: tuple[str, ...] = ()
    attribution_text: str = ""

    def __post_init__(self) -> None:
        if not self.name.strip():
            msg = "a license needs a name"
            raise InvalidError(msg)
        refuse_territories(self.territories)
        unknown = [use for use in self.uses if use not in USES]
        if unknown or len(set(self.uses)) != len(self.uses):
            msg = f"uses {list(self.uses)}: each at most once of {', '.join(USES)}"
            raise InvalidError(msg)
        refuse_window(self.valid_from, self.valid_until, of="license")
        self._refuse_obligations()

    def _refuse_obligations(self) -> None:
        unknown = [owed for owed in self.obligations if owed not in OBLIGATIONS]
        if unknown or len(set(self.obligations)) != len(self.obligations):
            msg = (
                f"obligations {list(self.obligations)}: each at most once of "
                f"{', '.join(OBLIGATIONS)}"
            )
            raise InvalidError(msg)
        text = self.attribution_text
        if text and "attribution" not in self.obligations:
            msg = f"attribution text {text[:80]!r} needs the obligation attribution"
            raise InvalidError(msg)
        if len(text) > MAX_ATTRIBUTION or not text.isprintable():
            msg = (
                f"attribution text {text[:80]!r}: one line of at most {MAX_ATTRIBUTION} "
                f"printable characters, not {len(text)}"
            )
            raise InvalidError(msg)

    def terms_digest(self) -> str:
        """Hash of the license document, else of what the fields say."""
        if self.terms_sha256:
            return self.terms_sha256
        fields: list[object] = [
            self.name,
            sorted(self.territories),
            sorted(self.uses),
            None if self.valid_from is None else self.valid_from.timestamp(),
            None if self.valid_until is None else self.valid_until.timestamp(),
        ]
        if self.obligations:  # without any, the hash is what it was before there were some
            fields += [sorted(self.obligations), self.attribution_text]
        return hashlib.sha256(json.dumps(fields).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class LicenseRow:
    """A license on record, as known at the moment it was asked about.

    Attributes:
        valid_until: End of the window; where the license was replaced before it, and the
            question may know of that, the moment it was.
        ended_at: When it was replaced, None if it was not by then.
    """

    license_id: str
    work_id: str
    name: str
    terms_sha256: str
    territories: tuple[str, ...]
    uses: tuple[str, ...]
    valid_from: datetime
    valid_until: datetime | None
    recorded_at: datetime
    ended_at: datetime | None = None
    obligations: tuple[str, ...] = ()
    attribution_text: str = ""


def covers(row: LicenseRow, *, at: datetime, territory: str, use: str) -> bool:
    """Whether a license allows ``use`` in ``territory`` at ``at``.

    Asking for "*" is answered yes only by a license without exclusions.

    Raises:
        InvalidError: If the territory or the use is not one that exists.
    """
    if use not in USES:
        msg = f"use {use!r} is none of {', '.join(USES)}"
        raise InvalidError(msg)
    if territory != WORLD and territory not in _COUNTRIES:
        msg = f"territory {territory!r} is no ISO 3166-1 code such as DE, nor * for the world"
        raise InvalidError(msg)
    in_window = holds(at, row.valid_from, row.valid_until)
    return in_window and use in row.uses and is_inside(territory, row.territories)


def holds(at: datetime, since: datetime, until: datetime | None) -> bool:
    """Whether a moment lies in the half-open window [since, until)."""
    return since <= at and (until is None or at < until)


def end(
    valid_from: datetime, valid_until: datetime | None, ended_at: datetime | None
) -> datetime | None:
    """Cut a window at the moment its row ended; one that had not begun becomes empty."""
    if ended_at is None or (valid_until is not None and valid_until <= ended_at):
        return valid_until
    return max(ended_at, valid_from)


def license_id(work_id: str, new: NewLicense, recorded_at: datetime) -> str:
    """Derive an id from what was recorded, so that the same import gives the same rows."""
    moment = f"{recorded_at.timestamp():.6f}"
    return str(uuid.uuid5(_NAMESPACE, f"{work_id}:{new.name}:{new.terms_digest()}:{moment}"))


def license_row(row: License, *, as_of: datetime | None = None) -> LicenseRow:
    """Copy a stored license out of its session, as it was known at ``as_of``; None is now."""
    ended_at = row.ended_at
    if as_of is not None and ended_at is not None and ended_at > as_of:
        ended_at = None
    return LicenseRow(
        license_id=row.id,
        work_id=row.work_id,
        name=row.name,
        terms_sha256=row.terms_sha256,
        territories=tuple(row.territories),
        uses=tuple(row.uses),
        valid_from=row.valid_from,
        valid_until=end(row.valid_from, row.valid_until, ended_at),
        recorded_at=row.recorded_at,
        ended_at=ended_at,
        obligations=tuple(row.obligations),
        attribution_text=row.attribution_text,
    )


def is_inside(territory: str, territories: tuple[str, ...]) -> bool:
    """Whether a country, or with "*" the whole world, is among ``territories``."""
    if WORLD not in territories:
        return territory in territories
    if territory == WORLD:
        return territories == (WORLD,)
    return f"-{territory}" not in territories


def refuse_window(since: datetime | None, until: datetime | None, *, of: str) -> None:
    """Check the ends of a half-open window.

    Raises:
        InvalidError: If one has no time zone, or nothing lies between them.
    """
    for moment in (since, until):
        if moment is not None and moment.tzinfo is None:
            msg = f"{moment.isoformat()}: a {of} window needs a time zone, best Z"
            raise InvalidError(msg)
    if since and until and until <= since:
        msg = f"the {of} window ends ({until.isoformat()}) before it begins ({since.isoformat()})"
        raise InvalidError(msg)


def refuse_territories(territories: tuple[str, ...]) -> None:
    """Check country codes.

    Raises:
        InvalidError: If one is unknown, or they contradict each other.
    """
    if not territories:
        msg = "a license needs a territory: country codes such as DE, or * for the world"
        raise InvalidError(msg)
    for code in territories:
        if code != WORLD and code.removeprefix("-") not in _COUNTRIES:
            msg = f"territory {code!r} is no ISO 3166-1 code such as DE, -US, nor *"
            raise InvalidError(msg)
    excluded = [code for code in territories if code.startswith("-")]
    if excluded and WORLD not in territories:
        msg = f"territories {list(territories)}: {excluded[0]} only makes sense beside *"
        raise InvalidError(msg)
    if WORLD in territories and len(territories) != len(excluded) + 1:
        msg = f"territories {list(territories)}: * already contains every country"
        raise InvalidError(msg)
