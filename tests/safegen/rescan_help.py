"""A house with past uploads, and works that come later."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from detectors import chromaprint
from detectors.base import WatermarkFinding
from detectors.decoder_mark import DecoderMarkFinding
from registry import catalog
from registry.catalog import NewFingerprint, NewRight, NewWork
from registry.licensing import NewLicense
from registry.scope import AuditScope
from registry.session import Database
from safegen import audit, policy
from safegen.audio import Audio, save
from safegen.audit import Window
from safegen.listening import listen_here
from safegen.matching import CatalogMatcher
from safegen.provenance.keys import KeyStore
from safegen.provenance.log import Log, open_log
from safegen.rescan import Finding, Rescanner
from tests.safegen.conftest import tones
from tests.safegen.screening_help import NOON, config_of, ears_of, open_home, screener_of

SONG = 5
UNMARKED = WatermarkFinding(
    detected=False, payload=None, p_value=1.0, z=0.0, key_id="", intervals=()
)
ROOTLESS = DecoderMarkFinding(
    detected=False, p_value=1.0, score=0.0, speed=1.0, semitones=0.0, intervals=()
)
LATER = NOON + timedelta(days=40)


@dataclass(kw_only=True)
class House:
    home: Path
    folder: Path
    database: Database
    log: Log
    now: datetime = LATER
    uploads: int = field(default=0)

    def upload(self, audio: Audio) -> str:
        """Screen a sound on the day NOON; give its record id."""
        path = self.folder / f"{self.uploads}.flac"
        self.uploads += 1
        save(audio, path)
        # What else can be heard in an upload takes seconds and is not asked here.
        ears = replace(
            ears_of(self.home, self.database),
            detect=lambda _: UNMARKED,
            hear_root=lambda _: ROOTLESS,
        )
        found = screener_of(self.home, self.database).screen(
            [path], lambda todo: listen_here(todo, ears, with_picture=False), resume=False
        )
        return str(next(iter(found)).body["record_id"])

    def add(
        self,
        number: int,
        *,
        uses: tuple[str, ...] = (),
        holder: str = "Acme",
        at: datetime = NOON,
    ) -> str:
        sound = tones(number, seconds=30)
        items = chromaprint.fingerprint(sound.waveform, sound.sample_rate)
        work = NewWork(
            title=f"Song {number}",
            rights=(NewRight(rights_holder=holder),),
            licenses=(
                NewLicense(
                    name="Test license",
                    territories=("*",),
                    uses=uses,
                    valid_from=NOON - timedelta(days=30),
                    valid_until=None,
                ),
            ),
            fingerprints=(
                NewFingerprint(engine=chromaprint.ENGINE, items=chromaprint.to_blob(items)),
            ),
            seconds=sound.seconds,
            content_sha256=f"{number:064x}",
            source_name="song.wav",
        )
        with self.database.begin() as session:
            return catalog.add_work(session, work, at=at).work_id

    def rescanner(self) -> Rescanner:
        return Rescanner(
            database=self.database,
            log=self.log,
            matcher=CatalogMatcher(self.database),
            policy=policy.load("standard"),
            now=lambda: self.now,
            version="0",
        )

    def rescan(self) -> list[Finding]:
        return [each for step in self.rescanner().run() for each in step.findings]

    def rows(self, *, as_of: datetime | None = None) -> list[dict[str, Any]]:
        scope = AuditScope.everything(as_of=as_of)
        with self.database.read() as session:
            found = audit.matches(session, self.log, scope, window=Window())
            return [each.to_json(scope) for each in found]


@contextmanager
def opened(home: Path, folder: Path) -> Iterator[House]:
    """Open the house; its uploads are written below the folder."""
    database = open_home(home)
    uploads = folder / "uploads"
    uploads.mkdir()
    log = open_log(database, KeyStore(config_of(home).keys))
    yield House(home=home, folder=uploads, database=database, log=log)
    database.close()


def quoting(number: int, *, start: float = 8.0) -> Audio:
    return tones(number, seconds=30).cut(start, start + 12.0)
