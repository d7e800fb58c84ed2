"""What the tests of screening and audit share: a catalog, ears, a clock."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

from detectors import decoder_mark
from detectors.synthetic.finding import SynthesisVerdict, SyntheticFinding
from registry import catalog, schema
from registry.catalog import NewRight, NewWork
from registry.licensing import NewLicense
from registry.session import Database
from safegen import policy, watermark
from safegen.audio import Audio
from safegen.config import Config, from_environment
from safegen.listening import Ears
from safegen.matching import CatalogMatcher, Scan, catalog_fingerprints
from safegen.provenance import c2pa
from safegen.provenance.keys import KeyStore
from safegen.provenance.log import open_log
from safegen.screening import Screener

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def config_of(home: Path) -> Config:
    return from_environment({"SAFEGEN_HOME": str(home)})


def open_home(home: Path) -> Database:
    return schema.open_database(config_of(home).database_url)


def add_work(
    database: Database,
    audio: Audio,
    *,
    title: str,
    holders: tuple[str, ...],
    uses: tuple[str, ...] = (),
    until: datetime | None = None,
    at: datetime = NOON,
    obligations: tuple[str, ...] = (),
) -> str:
    """Put a sound into the catalog; without uses nothing is allowed with it."""
    share = 100.0 / len(holders)
    work = NewWork(
        title=title,
        rights=tuple(NewRight(rights_holder=name, share_percent=share) for name in holders),
        licenses=(
            NewLicense(
                name="Test license",
                territories=("*",),
                uses=uses,
                valid_from=NOON - timedelta(days=30),
                valid_until=until,
                obligations=obligations,
            ),
        ),
        fingerprints=catalog_fingerprints(audio),
        seconds=audio.seconds,
        content_sha256=hashlib.sha256(audio.waveform.tobytes()).hexdigest(),
        source_name=f"{title}.wav",
    )
    with database.begin() as session:
        return catalog.add_work(session, work, at=at).work_id


def quiet_classifier(audio: Audio) -> SyntheticFinding:
    """Know nothing: what every upload gets unless a test says otherwise."""
    return SyntheticFinding(
        probability=0.1,
        abstained=False,
        reason="",
        segments=(),
        model_id="test",
        verdict=SynthesisVerdict.NO_SYNTHESIS_EVIDENCE,
    )


def ears_of(home: Path, database: Database, *, scan: Scan = Scan.PLAIN) -> Ears:
    """Real ears, except for the classifier, whose weights are another matter."""
    keys = KeyStore(config_of(home).keys)
    matcher = CatalogMatcher(database)
    return Ears(
        match=lambda prints: matcher.match_prints(prints, deep=scan is Scan.DEEP),
        compare_notes=lambda prints: matcher.compositions_prints(prints, deep=scan is Scan.DEEP),
        classify=quiet_classifier,
        detect=lambda audio: watermark.detect(audio, keys=keys.watermark_keys()),
        hear_root=lambda audio: decoder_mark.hear(audio.waveform, audio.sample_rate),
        read_manifest=lambda path: c2pa.read(path, trust_anchors=keys.trust_anchors()),
        scan=scan,
    )


def screener_of(home: Path, database: Database, *, policy_name: str = "standard") -> Screener:
    return Screener(
        database=database,
        log=open_log(database, KeyStore(config_of(home).keys)),
        policy=policy.load(policy_name),
        now=lambda: NOON,
        version="0",
    )
