"""What the tests of audit share: works without sound, outputs without a gate."""

import hashlib
import itertools
from dataclasses import dataclass
from datetime import datetime, timedelta

from registry import catalog, releases
from registry.catalog import NewFingerprint, NewRight, NewWork
from registry.licensing import NewLicense
from registry.releases import MatchRow, NewOutput
from registry.session import Database
from safegen.provenance.log import Log
from safegen.provenance.record import Json, canonical, new_record_id
from tests.safegen.screening_help import NOON

_number = itertools.count()


@dataclass(frozen=True, kw_only=True)
class Quote:
    work_id: str
    holders: tuple[str, ...]
    license_id: str = ""


def put_work(
    database: Database, *holders: str, title: str = "Song", items: bytes = b"\1\2\3\4" * 200
) -> str:
    """Put a work into the catalog that nobody has heard; each call makes another one."""
    number = next(_number)
    work = NewWork(
        title=title,
        rights=tuple(
            NewRight(rights_holder=name, share_percent=100.0 / len(holders)) for name in holders
        ),
        licenses=(
            NewLicense(
                name="Blanket 2026",
                territories=("*",),
                uses=("sample",),
                valid_from=NOON - timedelta(days=1),
                valid_until=None,
            ),
        ),
        fingerprints=(NewFingerprint(engine="chromaprint", items=items),),
        seconds=60.0,
        content_sha256=hashlib.sha256(str(number).encode()).hexdigest(),
        source_name="song.wav",
    )
    with database.begin() as session:
        return catalog.add_work(session, work, at=NOON).work_id


def put_output(
    database: Database,
    log: Log,
    *quotes: Quote,
    state: str = "blocked",
    kind: str = "release",
    at: datetime = NOON,
    reasons: tuple[tuple[str, str], ...] = (("R4", "it quotes a work"),),
    file_name: str = "file.wav",
) -> str:
    """Log an output as the gate and the screener do, with a record that names its works."""
    number = next(_number)
    record_id = new_record_id(at, number.to_bytes(10))
    told: list[Json] = [
        {"rule": rule, "check": "catalog_match", "problem": text} for rule, text in reasons
    ]
    decision = {"release": "block", "screening": "flagged"}[kind]
    body: dict[str, Json] = {
        "v": 1,
        "type": "output" if kind == "release" else "screening",
        "record_id": record_id,
        "matches": [
            {"work_id": quote.work_id, "rights_holder": ", ".join(quote.holders)}
            for quote in quotes
        ],
    }
    if kind == "release":
        body["decision"] = {"action": decision, "reasons": told}
    else:
        body |= {"verdict": decision, "reasons": told}
    entry = canonical(body)
    with database.begin() as session:
        position = log.append(session, [entry])[0]
        releases.insert_output(
            session,
            NewOutput(
                output_id=record_id,
                kind=kind,
                state=state,
                decision=decision,
                created_at=at,
                policy_name="strict",
                policy_sha256="0" * 64,
                model_id=None,
                file_name=file_name,
                path="",
                sha256="ab" * 32,
                seconds=10.0,
                watermark_payload=None,
                watermark_key_id="",
                fingerprint=b"",
                record=entry,
                log_index=position,
                matches=tuple(
                    MatchRow(
                        work_id=quote.work_id,
                        engine="chromaprint",
                        query_start_seconds=1.0,
                        query_end_seconds=7.0,
                        reference_start_seconds=20.0,
                        reference_end_seconds=26.0,
                        score=0.9,
                        p_value=1e-9,
                        license_id=quote.license_id or None,
                    )
                    for quote in quotes
                ),
            ),
        )
    return record_id
