"""Rows for the tests of the registry; every value is fixed, so failures repeat."""

from datetime import UTC, datetime

from registry.catalog import NewFingerprint, NewRight, NewWork
from registry.licensing import NewLicense
from registry.releases import CheckRow, MatchRow, NewModel, NewOutput

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def a_license(
    *,
    name: str = "CC0-1.0",
    territories: tuple[str, ...] = ("*",),
    uses: tuple[str, ...] = ("sync",),
    valid_from: datetime | None = NOON,
    valid_until: datetime | None = None,
    obligations: tuple[str, ...] = (),
    attribution_text: str = "",
) -> NewLicense:
    return NewLicense(
        name=name,
        territories=territories,
        uses=uses,
        valid_from=valid_from,
        valid_until=valid_until,
        obligations=obligations,
        attribution_text=attribution_text,
    )


def a_work(
    number: int,
    *,
    title: str = "Song",
    rights: tuple[NewRight, ...] = (NewRight(rights_holder="Acme"),),
    licenses: tuple[NewLicense, ...] | None = None,
    artist: str = "Ann",
    isrc: str = "",
    seconds: float = 60.0,
    content_sha256: str | None = None,
    items: bytes = b"\x01\x02\x03\x04",
) -> NewWork:
    return NewWork(
        title=title,
        artist=artist,
        isrc=isrc,
        rights=rights,
        licenses=(a_license(),) if licenses is None else licenses,
        fingerprints=(NewFingerprint(engine="chromaprint", items=items),),
        seconds=seconds,
        content_sha256=f"{number:064x}" if content_sha256 is None else content_sha256,
        source_name=f"song{number}.wav",
    )


def a_match(work_id: str, *, p_value: float = 1e-9, license_id: str | None = None) -> MatchRow:
    return MatchRow(
        work_id=work_id,
        engine="chromaprint",
        query_start_seconds=1.0,
        query_end_seconds=9.0,
        reference_start_seconds=31.0,
        reference_end_seconds=39.0,
        score=0.93,
        p_value=p_value,
        license_id=license_id,
    )


def an_output(
    number: int,
    *,
    state: str = "prepared",
    kind: str = "release",
    created_at: datetime = NOON,
    payload: str | None = None,
    checks: tuple[CheckRow, ...] = (),
    matches: tuple[MatchRow, ...] = (),
    model_id: str | None = None,
    other_fingerprints: tuple[NewFingerprint, ...] = (),
) -> NewOutput:
    return NewOutput(
        output_id=f"output-{number}",
        kind=kind,
        state=state,
        decision="release",
        created_at=created_at,
        policy_name="strict",
        policy_sha256="b" * 64,
        model_id=model_id,
        file_name=f"{number}.wav",
        path="",
        sha256=f"{number:064x}",
        seconds=10.0,
        watermark_payload=payload,
        watermark_key_id="key-1",
        fingerprint=b"",
        record=b'{"n": 1}',
        log_index=number,
        checks=checks,
        matches=matches,
        other_fingerprints=other_fingerprints,
    )


A_MODEL = NewModel(
    name="music-flow",
    version="1",
    license="Apache-2.0",
    weights_sha256="c" * 64,
    training_manifest_sha256="d" * 64,
)
