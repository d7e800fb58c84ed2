"""Receipts: enough to check a file offline, and nothing else passes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from registry.session import Database
from safegen.errors import InputError, IntegrityError
from safegen.provenance import receipts
from safegen.provenance.keys import KeyStore
from safegen.provenance.log import Log, open_log
from safegen.provenance.record import Json, canonical
from tests.safegen.provenance.conftest import add, signer

SHA256 = "ab" * 32
Edit = Callable[[dict[str, Any]], object]


def record(number: int) -> dict[str, Json]:
    return {
        "v": 1,
        "record_id": f"id-{number}",
        "score": 0.1 + number,
        "output": {"sha256": SHA256 if number == 3 else "cd" * 32},
    }


@pytest.fixture
def log(sqlite_database: Database, keys: KeyStore) -> Log:
    opened = open_log(sqlite_database, keys)
    for number in range(6):
        add(opened, canonical(record(number)))
    return opened


@pytest.fixture
def path(log: Log, tmp_path: Path) -> Path:
    path = receipts.sidecar(tmp_path / "a.wav")
    with log.database.read() as session:
        receipts.write(receipts.issue(session, log, position=3), path)
    return path


def test_a_receipt_lies_beside_its_file(path: Path, tmp_path: Path) -> None:
    assert path == tmp_path / "a.wav.receipt.json"
    assert not list(tmp_path.glob(".*"))


def test_a_receipt_is_checked_with_the_public_key_alone(path: Path, keys: KeyStore) -> None:
    receipt = receipts.verify(path, sha256=SHA256, log_public_key=keys.log_public_key())

    assert (receipt.record_id, receipt.position, receipt.tree_size) == ("id-3", 3, 6)


def test_a_receipt_outlives_growth_and_rotation(path: Path, log: Log, keys: KeyStore) -> None:
    keys.rotate("log")
    add(open_log(log.database, keys), canonical(record(6)))

    receipt = receipts.verify(path, sha256=SHA256, log_public_key=keys.log_public_key())
    assert receipt.tree_size == 6


def test_the_log_writes_a_lost_receipt_again(path: Path, log: Log, keys: KeyStore) -> None:
    path.unlink()
    add(log, b"later")
    with log.database.read() as session:
        receipts.write(receipts.issue(session, log, position=3), path)

    receipt = receipts.verify(path, sha256=SHA256, log_public_key=keys.log_public_key())
    assert receipt.tree_size == 7


EDITS: dict[str, tuple[Edit, str]] = {
    "the record": (
        lambda r: r["record"].update(score=0.0),
        "position 3 leads to root",
    ),
    "the file's hash": (
        lambda r: r["record"]["output"].update(sha256="ef" * 32),
        "position 3 leads to root",
    ),
    "the position": (lambda r: r["inclusion"].update(position=2), "leads to root"),
    "the size": (lambda r: r["inclusion"].update(tree_size=7), "checkpoint of 6"),
    "a hash": (
        lambda r: r["inclusion"]["hashes"].__setitem__(0, "00" * 32),
        "leads to root",
    ),
    "a missing hash": (lambda r: r["inclusion"]["hashes"].pop(), "2 hashes, 3 needed"),
    "a short hash": (
        lambda r: r["inclusion"]["hashes"].__setitem__(0, "00"),
        "must have 32 bytes",
    ),
    "the checkpoint": (
        lambda r: r.update(checkpoint=r["checkpoint"].replace("\n6\n", "\n5\n")),
        "signature",
    ),
    "another log's checkpoint": (
        lambda r: r.update(checkpoint=signer().sign("safegen/test\n6\n" + "A" * 43 + "=\n")),
        "no key that is known here",
    ),
}


@pytest.mark.parametrize(("edit", "problem"), EDITS.values(), ids=EDITS.keys())
def test_a_changed_receipt_does_not_hold(
    path: Path, keys: KeyStore, edit: Edit, problem: str
) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))

    with pytest.raises(IntegrityError, match=problem):
        receipts.verify(path, sha256=SHA256, log_public_key=keys.log_public_key())


def test_a_receipt_of_another_file_does_not_hold(path: Path, keys: KeyStore) -> None:
    with pytest.raises(IntegrityError, match="is about a file with SHA-256 abab"):
        receipts.verify(path, sha256="cd" * 32, log_public_key=keys.log_public_key())


def test_a_receipt_for_no_file_fits_no_file(log: Log, keys: KeyStore, tmp_path: Path) -> None:
    position = add(log, canonical({"record_id": "refused", "output": None}))[0]
    path = tmp_path / "receipt.json"
    with log.database.read() as session:
        receipts.write(receipts.issue(session, log, position=position), path)

    for sha256 in ("", SHA256):
        with pytest.raises(IntegrityError, match="SHA-256 none"):
            receipts.verify(path, sha256=sha256, log_public_key=keys.log_public_key())


def test_the_key_of_another_installation_does_not_open_it(path: Path, tmp_path: Path) -> None:
    other = KeyStore(tmp_path / "other")
    other.init()

    with pytest.raises(IntegrityError):
        receipts.verify(path, sha256=SHA256, log_public_key=other.log_public_key())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        '{"schema": "safegen.receipt/1"}',
        '{"schema": "safegen.receipt/1", "record": [], "inclusion": {}, "checkpoint": ""}',
        '{"schema": "safegen.receipt/1", "record": {}, "checkpoint": "",'
        ' "inclusion": {"position": "1", "tree_size": 2, "hashes": []}}',
        '{"schema": "safegen.receipt/1", "record": {}, "checkpoint": "",'
        ' "inclusion": {"position": 1, "tree_size": 2, "hashes": ["xyz"]}}',
        '{"schema": "safegen.receipt/1", "record": {"a": NaN}, "checkpoint": "",'
        ' "inclusion": {"position": 1, "tree_size": 2, "hashes": []}}',
        "[" * 100_000,
        "x" * 1_000_001,
    ],
    ids=["empty", "list", "object", "null", "bare", "record", "text", "hex", "nan", "deep", "big"],
)
def test_what_is_no_receipt_is_wrong_use(text: str, keys: KeyStore, tmp_path: Path) -> None:
    path = tmp_path / "receipt.json"
    path.write_text(text)

    with pytest.raises(InputError):
        receipts.verify(path, sha256=SHA256, log_public_key=keys.log_public_key())


def test_a_missing_receipt_is_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        receipts.load(tmp_path / "none.json")
