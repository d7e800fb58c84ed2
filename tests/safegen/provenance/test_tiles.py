"""The exported log, read the way a stranger's client reads it."""

import hashlib
from pathlib import Path

import pytest
import sqlalchemy

from registry.session import Database
from safegen.errors import IntegrityError, SafegenError
from safegen.provenance import merkle, tiles
from safegen.provenance.log import Log
from safegen.provenance.notes import open_checkpoint
from safegen.provenance.tiles import Export, tile_path
from tests.safegen.provenance.conftest import ORIGIN, add, new_log, signer


def export(log: Log, folder: Path) -> Export:
    with log.database.read() as session:
        return tiles.export(session, log, folder)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def read_entries(folder: Path, size: int) -> list[bytes]:
    """Read bundles as C2SP tlog-tiles says, from the names up."""
    found: list[bytes] = []
    for index in range(-(-size // 256)):
        width = min(256, size - 256 * index)
        name = f"tile/entries/{index:03d}" + ("" if width == 256 else f".p/{width}")
        data = (folder / name).read_bytes()
        while data:
            length = int.from_bytes(data[:2])
            found.append(data[2 : 2 + length])
            data = data[2 + length :]
    return found


@pytest.fixture
def log(sqlite_database: Database) -> Log:
    opened = new_log(sqlite_database)
    add(opened, *[f"entry {i}".encode() for i in range(600)])
    return opened


@pytest.mark.parametrize(
    ("level", "index", "width", "name"),
    [
        (0, 0, 256, "tile/0/000"),
        (0, 5, 17, "tile/0/005.p/17"),
        (1, 1_000, 256, "tile/1/x001/000"),
        (0, 1_234_067, 256, "tile/0/x001/x234/067"),
        (None, 67, 3, "tile/entries/067.p/3"),
    ],
)
def test_a_tile_is_named_as_c2sp_names_it(
    level: int | None, index: int, width: int, name: str
) -> None:
    assert tile_path(level, index, width) == name


def test_the_layout_is_the_one_of_tlog_tiles(log: Log, tmp_path: Path) -> None:
    export(log, tmp_path / "out")

    assert files(tmp_path / "out") == {
        "checkpoint",
        "tile/entries/000",
        "tile/entries/001",
        "tile/entries/002.p/88",
        "tile/0/000",
        "tile/0/001",
        "tile/0/002.p/88",
        "tile/1/000.p/2",
    }


def test_a_client_finds_the_signed_root_in_the_files_alone(log: Log, tmp_path: Path) -> None:
    export(log, tmp_path)
    note = (tmp_path / "checkpoint").read_text()
    checkpoint = open_checkpoint(note, [signer().verifier], origin=ORIGIN)
    entries = read_entries(tmp_path, checkpoint.size)
    leaves = [hashlib.sha256(b"\x00" + entry).digest() for entry in entries]
    tile = b"".join(leaves[:256])

    assert entries == [f"entry {i}".encode() for i in range(600)]
    assert merkle.root(leaves) == checkpoint.root
    assert (tmp_path / "tile/0/000").read_bytes() == tile
    assert (tmp_path / "tile/1/000.p/2").read_bytes()[:32] == merkle.root(leaves[:256])


def test_exporting_again_adds_only_what_is_new(log: Log, tmp_path: Path) -> None:
    first = export(log, tmp_path)
    again = export(log, tmp_path)
    add(log, *[b"more"] * 200)
    later = export(log, tmp_path)

    assert (first.written, first.kept) == (7, 0)
    assert (again.written, again.kept) == (0, 7)
    # 800 entries: bundles and tiles 0 and 1 are kept, 2 is now full, 3 is new, 1/0 is wider.
    assert (later.size, later.written, later.kept) == (800, 5, 4)
    assert len(read_entries(tmp_path, 800)) == 800
    assert not list(tmp_path.rglob(".*"))


def test_another_history_is_not_written_over_an_export(log: Log, tmp_path: Path) -> None:
    export(log, tmp_path / "out")
    with log.database.begin() as session:
        for table in ("log_entries", "log_nodes", "log_checkpoints"):
            session.execute(sqlalchemy.text(f"DELETE FROM {table}"))  # noqa: S608
        log.append(session, [b"another history"] * 600)
    before = (tmp_path / "out" / "checkpoint").read_text()

    with pytest.raises(IntegrityError, match="holds other bytes than the log"):
        export(log, tmp_path / "out")
    assert (tmp_path / "out" / "checkpoint").read_text() == before


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE log_entries SET entry = 'forged' WHERE position = 7",
        "UPDATE log_nodes SET hash = zeroblob(32) WHERE level = 9",
        "DELETE FROM log_entries WHERE position = 300",
        "DELETE FROM log_nodes WHERE level = 8 AND position = 1",
    ],
)
def test_a_damaged_log_gets_no_new_checkpoint(log: Log, tmp_path: Path, statement: str) -> None:
    with log.database.begin() as session:
        session.execute(sqlalchemy.text(statement))

    with pytest.raises(IntegrityError):
        export(log, tmp_path)
    assert not (tmp_path / "checkpoint").exists()


def test_a_folder_that_cannot_be_written_is_an_error(log: Log, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(SafegenError, match="could not be written there"):
        export(log, tmp_path / "file")
