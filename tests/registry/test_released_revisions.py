"""A database written by any released version can be upgraded and read."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from registry import catalog, releases, schema
from registry.scope import AuditScope
from registry.tables import Base
from tests.registry.build_asset import ASSETS, build
from tests.registry.samples import NOON

RELEASED = sorted(ASSETS.glob("registry-*.sqlite"))


@pytest.mark.parametrize("asset", RELEASED, ids=[path.stem for path in RELEASED])
def test_a_database_of_a_released_revision_is_upgraded_and_read(
    asset: Path, tmp_path: Path
) -> None:
    url = f"sqlite:///{shutil.copy(asset, tmp_path / 'old.db')}"
    before = schema.upgrade(url)

    assert before == asset.stem.removeprefix("registry-")
    with schema.open_database(url) as database, database.read() as session:
        (work,) = catalog.list_works(session, AuditScope.everything())
        assert (work.title, work.rights_holder) == ("Kept", "Acme, Bob")
        in_force = catalog.license_in_force(
            session, work.work_id, at=NOON, territory="DE", use="sync"
        )
        assert in_force is not None
        assert [row.event for row in catalog.changes_since(session, 0)] == [
            "added",
            "added",
            "removed",
        ]
        output = releases.find_by_payload(session, "00ff" * 4)
        assert output is not None
        assert (output.state, output.model_name, output.record) == (
            "released",
            "music-flow",
            b'{"n": 1}',
        )
        assert [check.evidence for check in output.checks] == [{"state": "trusted"}]
        assert [match.license_id for match in output.matches] == [in_force.license_id]


def test_the_newest_revision_is_kept_too() -> None:
    assert f"registry-{schema.HEAD}.sqlite" in [path.name for path in RELEASED]


def test_the_kept_database_is_what_the_script_builds(tmp_path: Path) -> None:
    fresh = tmp_path / "fresh.db"
    build(fresh)

    kept = ASSETS / f"registry-{schema.HEAD}.sqlite"
    assert contents(fresh) == contents(kept)


def contents(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Read the shape and every row; files differ in unused bytes."""
    connection = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
    found = {
        table: sorted(connection.execute(f'SELECT * FROM "{table}"').fetchall(), key=repr)  # noqa: S608
        for table in Base.metadata.tables
    }
    found["shape"] = sorted(
        connection.execute("SELECT name, sql FROM sqlite_schema").fetchall(), key=repr
    )
    connection.close()
    return found
