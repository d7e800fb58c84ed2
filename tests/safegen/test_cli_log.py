"""``safegen log``: verify, prove, checkpoint, export, and their exit status."""

import json
from pathlib import Path

import pytest
import sqlalchemy
from click.testing import CliRunner, Result

from registry.session import connect
from safegen.cli import main
from safegen.config import from_environment
from safegen.provenance import receipts
from safegen.provenance.keys import KeyStore
from safegen.provenance.log import open_log
from safegen.provenance.record import canonical
from tests.safegen.provenance.test_log import insert_output

RECORD_ID = "01980000-0000-7000-8000-00000000000a"
SHA256 = "ab" * 32


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["log", *arguments])


def execute(home: Path, statement: str) -> None:
    database = connect(from_environment({"SAFEGEN_HOME": str(home)}).database_url)
    with database.begin() as session:
        session.execute(sqlalchemy.text(statement))
    database.close()


@pytest.fixture
def logged(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation whose log holds three entries, the second an output's record."""
    monkeypatch.setenv("SAFEGEN_HOME", str(home))
    monkeypatch.delenv("SAFEGEN_DATABASE_URL", raising=False)
    config = from_environment({"SAFEGEN_HOME": str(home)})
    database = connect(config.database_url)
    log = open_log(database, KeyStore(config.keys))
    record = canonical({"record_id": RECORD_ID, "output": {"sha256": SHA256}})
    for entry in (b'{"n":0}', record, b'{"n":2}'):
        with database.begin() as session:
            position = log.append(session, [entry])[0]
            if entry == record:
                insert_output(session, RECORD_ID, record, position)
    database.close()
    return home


def test_verify_says_what_holds(logged: Path) -> None:
    text = run("verify")
    row = json.loads(run("verify", "--format", "jsonl").stdout)

    assert text.exit_code == 0
    assert text.stdout == "3 entries, 1 subtree hashes and 3 signed checkpoints hold\n"
    assert (row["size"], row["nodes"], row["checkpoints"], row["against"]) == (3, 1, 3, None)


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("UPDATE log_entries SET entry = 'x' WHERE position = 1", "log entry 1"),
        ("DELETE FROM log_nodes", "log node 1/0"),
        ("DELETE FROM log_checkpoints WHERE size = 3", "log entry 2"),
        ("UPDATE log_checkpoints SET note = 7, root = 'x', created_at = 'y'", "log checkpoint"),
        ("UPDATE outputs SET record = 'x'", f"output {RECORD_ID}"),
    ],
    ids=["entry", "node", "checkpoint", "other types", "record"],
)
def test_verify_ends_with_4_where_evidence_is_broken(
    logged: Path, statement: str, problem: str
) -> None:
    execute(logged, statement)
    result = run("verify")

    assert result.exit_code == 4
    assert problem in result.stderr
    assert result.stdout == ""


def test_a_saved_checkpoint_finds_a_rewritten_history(logged: Path, tmp_path: Path) -> None:
    saved = tmp_path / "monday.txt"
    saved.write_text(run("checkpoint").stdout)
    honest = run("verify", "--against", str(saved))
    execute(logged, "DELETE FROM outputs")
    for table in ("log_entries", "log_nodes", "log_checkpoints"):
        execute(logged, f"DELETE FROM {table}")  # noqa: S608
    config = from_environment({"SAFEGEN_HOME": str(logged)})
    database = connect(config.database_url)
    with database.begin() as session:
        log = open_log(database, KeyStore(config.keys))
        log.append(session, [b'{"n":0}', b'{"forged":1}', b'{"n":2}'])
    database.close()
    alone, against = run("verify"), run("verify", "--against", str(saved))

    assert honest.exit_code == 0
    assert f"the first 3 entries are those of {saved}" in honest.stdout
    assert alone.exit_code == 0
    assert against.exit_code == 4
    assert "first 3 entries are not what they were" in against.stderr


def test_a_checkpoint_that_is_no_checkpoint_is_no_proof(logged: Path, tmp_path: Path) -> None:
    saved = tmp_path / "monday.txt"
    saved.write_text("hello\n")

    assert run("verify", "--against", str(saved)).exit_code == 4


@pytest.mark.parametrize("entry", ["1", RECORD_ID, RECORD_ID.upper()])
def test_prove_takes_an_index_or_a_record_id(logged: Path, entry: str) -> None:
    result = run("prove", entry, "--format", "jsonl")
    row = json.loads(result.stdout)

    assert result.exit_code == 0
    assert (row["index"], row["tree_size"], len(row["proof"])) == (1, 3, 2)
    assert row["entry"]["record_id"] == RECORD_ID
    assert row["checkpoint"].startswith("safegen/")


def test_prove_writes_a_receipt_that_holds_offline(logged: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.wav.receipt.json"
    result = run("prove", RECORD_ID, "--receipt", str(path))
    public_key = KeyStore(logged / "keys").log_public_key()

    assert result.exit_code == 0
    assert "entry 1 of 3 is in the log" in result.stdout
    assert receipts.verify(path, sha256=SHA256, log_public_key=public_key).position == 1


@pytest.mark.parametrize("entry", ["3", "9" * 40, "no-record", RECORD_ID[:-1] + "b"])
def test_an_entry_that_is_not_there_is_wrong_use(logged: Path, entry: str) -> None:
    assert run("prove", entry).exit_code == 2


def test_checkpoint_prints_exactly_the_signed_note(logged: Path) -> None:
    text = run("checkpoint").stdout
    row = json.loads(run("checkpoint", "--format", "jsonl").stdout)

    assert text == row["checkpoint"]
    assert row["size"] == 3
    assert text.startswith(f"{row['origin']}\n3\n")


def test_an_empty_log_has_no_checkpoint(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAFEGEN_HOME", str(home))
    monkeypatch.delenv("SAFEGEN_DATABASE_URL", raising=False)

    assert run("checkpoint").exit_code == 1
    assert run("verify").exit_code == 0


def test_export_writes_the_static_log_and_repeats(logged: Path, tmp_path: Path) -> None:
    out = tmp_path / "public"
    first = json.loads(run("export", str(out), "--format", "jsonl").stdout)
    again = run("export", str(out))

    assert (first["size"], first["written"]) == (3, 2)
    assert "0 files written, 2 kept" in again.stdout
    assert (out / "checkpoint").read_text() == run("checkpoint").stdout
    assert (out / "tile" / "entries" / "000.p" / "3").is_file()


def test_the_public_key_alone_is_enough_to_verify(logged: Path, tmp_path: Path) -> None:
    key = tmp_path / "log.pub"
    key.write_text(KeyStore(logged / "keys").log_public_key())
    (logged / "keys").rename(tmp_path / "taken away")

    assert run("verify").exit_code == 1
    assert run("verify", "--public-key", str(key)).exit_code == 0


def test_a_public_key_of_another_log_proves_nothing(logged: Path, tmp_path: Path) -> None:
    other = KeyStore(tmp_path / "keys")
    other.init()
    key = tmp_path / "log.pub"
    key.write_text(other.log_public_key())

    assert run("verify", "--public-key", str(key)).exit_code == 4
