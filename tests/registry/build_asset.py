"""Rebuild ``tests/assets/registry-<revision>.sqlite``: ``python -m tests.registry.build_asset``.

One small database of every released revision is kept, to prove that upgrades read
what was really written. Run this once, when a revision is released; a file of an
older revision is never rebuilt.
"""

import shutil
import sqlite3
import tempfile
from datetime import timedelta
from pathlib import Path

from registry import catalog, releases, schema
from registry.catalog import NewFingerprint, NewRight
from registry.releases import CheckRow
from registry.session import connect
from registry.tables import LogCheckpoint, LogEntry, LogNode, Rescan
from tests.registry.samples import A_MODEL, NOON, a_license, a_match, a_work, an_output

ASSETS = Path(__file__).resolve().parent.parent / "assets"


def build(path: Path) -> None:
    """Write the same rows every time into a new database at the newest revision."""
    schema.upgrade(f"sqlite:///{path}")
    with connect(f"sqlite:///{path}") as database, database.begin() as session:
        license_ = a_license(
            name="Blanket",
            territories=("*", "-US"),
            uses=("sync", "train"),
            obligations=("attribution", "share_alike"),
            attribution_text="Kept by Ann",
        )
        shares = (
            NewRight(rights_holder="Acme", share_percent=60.0, isni="0000000121032683"),
            NewRight(rights_holder="Bob", share_percent=40.0, territories=("*", "-US")),
        )
        work = catalog.add_work(
            session, a_work(1, title="Kept", rights=shares, licenses=(license_,)), at=NOON
        ).work_id
        gone = catalog.add_work(session, a_work(2, title="Gone"), at=NOON).work_id
        catalog.remove_work(session, gone, at=NOON + timedelta(days=1))
        in_force = catalog.license_in_force(session, work, at=NOON, territory="DE", use="sync")
        model = releases.record_model(session, A_MODEL, at=NOON)
        output = an_output(
            0,
            state="released",
            payload="00ff" * 4,
            checks=(CheckRow(name="c2pa", outcome="pass", evidence={"state": "trusted"}),),
            matches=(a_match(work, license_id=in_force.license_id if in_force else None),),
            model_id=model,
            other_fingerprints=(NewFingerprint(engine="landmarks", items=bytes(range(16))),),
        )
        releases.insert_output(session, output)
        session.add(LogEntry(position=0, entry=output.record, leaf_hash=b"\x01" * 32))
        session.add(LogNode(level=1, position=0, hash=b"\x02" * 32))
        session.add(
            Rescan(
                started_at=NOON,
                finished_at=NOON + timedelta(seconds=1),
                change_from=0,
                change_to=3,
                outputs_from=0,
                outputs_until=1,
                cursor=0,
                compared=1,
                findings=0,
            )
        )
        session.add(LogCheckpoint(size=1, root=b"\x01" * 32, note="origin\n1\n", created_at=NOON))
    # One file without side files, as small as it gets.
    plain = sqlite3.connect(path)
    plain.execute("PRAGMA journal_mode = DELETE")
    plain.execute("PRAGMA page_size = 512")
    plain.execute("VACUUM")
    plain.close()


def main() -> None:
    """Build the file of the newest revision beside the others."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "registry.sqlite"
        build(path)
        shutil.copyfile(path, ASSETS / f"registry-{schema.HEAD}.sqlite")


if __name__ == "__main__":
    main()
