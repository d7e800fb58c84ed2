"""The log on both databases: what it proves, and what a forger cannot hide."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from scitt_cose import merkle as oracle
from sqlalchemy.orm import Session

from registry import log as rows
from registry.session import Database, connect
from registry.tables import Base
from safegen.errors import InputError, IntegrityError, SafegenError
from safegen.provenance import merkle
from safegen.provenance.log import Log
from safegen.provenance.notes import Checkpoint
from tests.safegen.provenance.conftest import ORIGIN, add, new_log, signer

Tamper = Callable[[Session], None]


def sql(text: str, **values: object) -> Tamper:
    def run(session: Session) -> None:
        session.execute(sqlalchemy.text(text), values)

    return run


def move(session: Session, *steps: tuple[int, int]) -> None:
    for old, new in steps:
        text = "UPDATE log_entries SET position = :new WHERE position = :old"
        sql(text, old=old, new=new)(session)


def verify(log: Log) -> str:
    """Verify everything; returns what is wrong, "" if nothing is."""
    with log.database.read() as session:
        try:
            log.verify(session)
        except IntegrityError as error:
            return error.problem
    return ""


def add_and_fail(log: Log, entry: bytes) -> None:
    with log.database.begin() as session:
        log.append(session, [entry])
        raise ZeroDivisionError


def fill(log: Log) -> Log:
    """Append 20 entries, signed at 1, 2, 3, 10 and 20."""
    for count in (1, 1, 1, 7, 10):
        add(log, *[f"entry {i}".encode() for i in range(count)])
    return log


@pytest.fixture
def log(sqlite_database: Database) -> Log:
    """A log of 20 entries, where the database does not matter."""
    return fill(new_log(sqlite_database))


def test_both_databases_keep_and_prove_the_same_log(database: Database) -> None:
    log = fill(new_log(database))

    assert verify(log) == ""
    with database.read() as session:
        entries = [log.entry(session, position).hex() for position in range(20)]
        for position in range(20):
            proof = log.prove_inclusion(session, position)
            assert oracle.inclusion_proof(entries, position) == [h.hex() for h in proof.hashes]
        assert log.root_at(session, 20).hex() == oracle.merkle_root(entries)
        log.check_against(session, log.checkpoint(session).note)

    with database.begin() as session:
        sql("UPDATE log_entries SET entry = :e WHERE position = 7", e=b"forged")(session)
        insert_output(session, "0197-a", b"not logged", 3)
    assert "log entry 7" in verify(log)
    assert add(log, b"next") == (20,)


def test_an_empty_log_verifies_and_has_no_checkpoint(sqlite_database: Database) -> None:
    log = new_log(sqlite_database)

    assert verify(log) == ""
    with sqlite_database.read() as session, pytest.raises(SafegenError, match="log is empty"):
        log.checkpoint(session)


def test_positions_have_no_gaps(sqlite_database: Database) -> None:
    log = new_log(sqlite_database)

    assert add(log, b"a") == (0,)
    assert add(log, b"b", b"c") == (1, 2)
    assert add(log) == ()
    assert add(log, b"a") == (3,)


def test_a_full_verification_says_what_it_went_through(log: Log) -> None:
    with log.database.read() as session:
        report = log.verify(session)
        checkpoint = log.checkpoint(session)

    assert (report.size, report.nodes, report.checkpoints) == (20, 10 + 5 + 2 + 1, 5)
    assert (report.note, report.root) == (checkpoint.note, checkpoint.root)


def test_every_entry_is_proved_under_the_newest_checkpoint(log: Log) -> None:
    with log.database.read() as session:
        entries = [log.entry(session, position).hex() for position in range(20)]
        for position in range(20):
            proof = log.prove_inclusion(session, position)
            assert oracle.inclusion_proof(entries, position) == [h.hex() for h in proof.hashes]
            assert oracle.merkle_root(entries) == proof.checkpoint.root.hex()


@pytest.mark.parametrize("position", [-1, 20, 2**70])
def test_a_position_outside_the_log_is_wrong_use(log: Log, position: int) -> None:
    with log.database.read() as session, pytest.raises(InputError, match="it has 20 entries"):
        log.prove_inclusion(session, position)


def test_consistency_is_proved_between_all_sizes(log: Log) -> None:
    with log.database.read() as session:
        roots = [log.root_at(session, size) for size in range(21)]
        for old in range(21):
            for new in range(old, 21):
                merkle.verify_consistency(
                    old,
                    roots[old],
                    new_size=new,
                    new_root=roots[new],
                    proof=log.prove_consistency(session, old, new),
                )
        with pytest.raises(InputError):
            log.prove_consistency(session, 5, 21)


def test_a_rolled_back_append_leaves_nothing(log: Log) -> None:
    with pytest.raises(ZeroDivisionError):
        add_and_fail(log, b"never")

    assert verify(log) == ""
    assert add(log, b"next") == (20,)


@pytest.mark.parametrize("entry", [b"", b"x" * 65_536])
def test_an_entry_that_no_bundle_can_hold_is_refused(log: Log, entry: bytes) -> None:
    with pytest.raises(SafegenError, match=f"entry of {len(entry)} bytes"):
        add(log, b"fine", entry)

    assert verify(log) == ""
    assert add(log, b"x" * 65_535) == (20,)


def test_a_log_without_its_key_is_only_read(log: Log) -> None:
    reader = Log(log.database, None, ORIGIN, verifiers=log.verifiers)

    assert verify(reader) == ""
    with pytest.raises(SafegenError, match="without its signing key"):
        add(reader, b"entry")


TAMPERINGS: dict[str, tuple[Tamper, str]] = {
    "an entry is edited": (
        sql("UPDATE log_entries SET entry = :e WHERE position = 7", e=b"forged"),
        "log entry 7: its bytes hash to",
    ),
    "an entry is edited together with its leaf hash": (
        sql(
            "UPDATE log_entries SET entry = :e, leaf_hash = :h WHERE position = 7",
            e=b"forged",
            h=merkle.leaf_hash(b"forged"),
        ),
        "log node 1/3",
    ),
    "the first entry, signed alone, is edited together with its leaf hash": (
        sql(
            "UPDATE log_entries SET entry = :e, leaf_hash = :h WHERE position = 0",
            e=b"forged",
            h=merkle.leaf_hash(b"forged"),
        ),
        "log checkpoint of 1 entries",
    ),
    "an entry is deleted from the middle": (
        sql("DELETE FROM log_entries WHERE position = 4"),
        "log entry 4 is missing",
    ),
    "the last entry is deleted": (
        sql("DELETE FROM log_entries WHERE position = 19"),
        "log node 1/9: a log of 19 entries has no such subtree",
    ),
    "an entry is slipped in at the end": (
        sql(
            "INSERT INTO log_entries (position, entry, leaf_hash) VALUES (20, :e, :h)",
            e=b"more",
            h=merkle.leaf_hash(b"more"),
        ),
        "log entry 20 is covered by no checkpoint",
    ),
    "two entries change places": (
        lambda session: move(session, (11, 99), (12, 11), (99, 12)),
        "log node 1/5",
    ),
    "a node is edited": (
        sql("UPDATE log_nodes SET hash = :h WHERE level = 3 AND position = 1", h=b"\x00" * 32),
        "log node 3/1: 00000000",
    ),
    "a node is deleted": (
        sql("DELETE FROM log_nodes WHERE level = 2 AND position = 0"),
        "log node 2/0 is missing",
    ),
    "a node is added": (
        sql("INSERT INTO log_nodes (level, position, hash) VALUES (5, 0, :h)", h=b"\x00" * 32),
        "log node 5/0: a log of 20 entries has no such subtree",
    ),
    "a checkpoint's note is edited": (
        sql("UPDATE log_checkpoints SET note = replace(note, '10', '11') WHERE size = 10"),
        "log checkpoint of 10 entries",
    ),
    "a checkpoint's root column is edited": (
        sql("UPDATE log_checkpoints SET root = :h WHERE size = 3", h=b"\x00" * 32),
        "log checkpoint of 3 entries: its note speaks of",
    ),
    "a checkpoint is signed with another key": (
        sql(
            "UPDATE log_checkpoints SET note = :n WHERE size = 2",
            n=signer(2).sign(Checkpoint(origin=ORIGIN, size=2, root=b"\x00" * 32).text),
        ),
        "log checkpoint of 2 entries: note: signed by no key",
    ),
    "a checkpoint takes the place of another": (
        sql(
            "UPDATE log_checkpoints SET note = "
            "(SELECT note FROM log_checkpoints WHERE size = 2) WHERE size = 3"
        ),
        "log checkpoint of 3 entries: its note speaks of 2",
    ),
    "the last checkpoint is deleted": (
        sql("DELETE FROM log_checkpoints WHERE size = 20"),
        "log entry 10 is covered by no checkpoint: 10 entries were signed, 20 are there",
    ),
    "a checkpoint over nothing is added": (
        sql(
            "INSERT INTO log_checkpoints (size, root, note, created_at) "
            "SELECT 0, root, note, created_at FROM log_checkpoints WHERE size = 1"
        ),
        "checkpoint over no entries",
    ),
}


@pytest.mark.parametrize(("tamper", "problem"), TAMPERINGS.values(), ids=TAMPERINGS.keys())
def test_tampering_is_found_and_its_place_is_named(log: Log, tamper: Tamper, problem: str) -> None:
    assert verify(log) == ""
    with log.database.begin() as session:
        tamper(session)

    assert problem in verify(log)


@pytest.mark.parametrize(
    "name",
    [
        "the last entry is deleted",
        "an entry is slipped in at the end",
        "the last checkpoint is deleted",
    ],
)
def test_a_damaged_log_is_not_signed_again(log: Log, name: str) -> None:
    tamper, _ = TAMPERINGS[name]
    with log.database.begin() as session:
        tamper(session)

    with pytest.raises(IntegrityError):
        add(log, b"next")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("UPDATE log_nodes SET hash = leaf_hash FROM log_entries WHERE level = 4", "do not carry"),
        ("DELETE FROM log_nodes WHERE level = 4", "log node 4/0 is missing"),
    ],
    ids=["changed", "missing"],
)
def test_a_damaged_edge_of_the_tree_is_not_signed_over(log: Log, text: str, problem: str) -> None:
    with log.database.begin() as session:
        sql(text)(session)

    with pytest.raises(IntegrityError, match=problem):
        add(log, b"next")


def test_no_proof_comes_from_a_damaged_tree(log: Log) -> None:
    with log.database.begin() as session:
        sql("UPDATE log_nodes SET hash = :h WHERE level = 1 AND position = 1", h=b"\x01" * 32)(
            session
        )

    with log.database.read() as session, pytest.raises(IntegrityError):
        log.prove_inclusion(session, 0)


def test_an_output_whose_record_is_not_the_logged_one_is_found(log: Log) -> None:
    with log.database.begin() as session:
        position = log.append(session, [b"the record"])[0]
        insert_output(session, "0197-a", b"the record", position)
    assert verify(log) == ""

    with log.database.begin() as session:
        sql("UPDATE outputs SET record = :r", r=b"another record")(session)

    assert verify(log) == "output 0197-a: its record is not the one in the log"


def rewrite(log: Log, entries: list[bytes]) -> None:
    """Do what a thief of the log's key would: a new history, everything signed anew."""
    with log.database.begin() as session:
        for table in ("log_entries", "log_nodes", "log_checkpoints"):
            sql(f"DELETE FROM {table}")(session)  # noqa: S608
        Log(log.database, signer(), ORIGIN).append(session, entries)


def test_a_history_rewritten_with_the_stolen_key_shows_only_against_a_saved_checkpoint(
    log: Log,
) -> None:
    with log.database.read() as session:
        saved = log.checkpoint(session).note
        entries = [log.entry(session, position) for position in range(20)]
    entries[7] = b"forged"
    rewrite(log, [*entries, b"later"])

    assert verify(log) == ""
    with (
        log.database.read() as session,
        pytest.raises(IntegrityError, match="first 20 entries are not what they were"),
    ):
        log.check_against(session, saved)


def test_a_tail_cut_with_the_stolen_key_shows_against_a_saved_checkpoint(log: Log) -> None:
    with log.database.read() as session:
        saved = log.checkpoint(session).note
        entries = [log.entry(session, position) for position in range(19)]
    rewrite(log, entries)

    assert verify(log) == ""
    with (
        log.database.read() as session,
        pytest.raises(IntegrityError, match="has 19 entries, the saved checkpoint has 20"),
    ):
        log.check_against(session, saved)


def test_an_honest_log_extends_every_checkpoint_that_was_saved(log: Log) -> None:
    with log.database.read() as session:
        saved = [row.note for row in rows.checkpoints(session, start=0, end=100)]
    add(log, b"more", b"and more")

    with log.database.read() as session:
        assert [log.check_against(session, note).size for note in saved] == [1, 2, 3, 10, 20]


def test_a_saved_checkpoint_under_another_key_proves_nothing(log: Log) -> None:
    forged = signer(2).sign(Checkpoint(origin=ORIGIN, size=1, root=b"\x00" * 32).text)

    with log.database.read() as session, pytest.raises(IntegrityError, match="no key"):
        log.check_against(session, forged)


def test_after_a_rotation_both_keys_are_checked(log: Log) -> None:
    verifiers = (signer(1).verifier, signer(2).verifier)
    rotated = Log(log.database, signer(2), ORIGIN, verifiers=verifiers)
    add(rotated, b"under the new key")

    assert verify(rotated) == ""
    assert "signed by no key that is known here" in verify(log)


def test_many_entries_go_over_the_edges_of_batches(sqlite_database: Database) -> None:
    log = new_log(sqlite_database)
    for _ in range(3):
        add(log, *[f"{i}".encode() for i in range(3000)])

    seen: list[int] = []
    with sqlite_database.read() as session:
        report = log.verify(session, progress=lambda done, _: seen.append(done))
        proof = log.prove_inclusion(session, 4096)

    assert seen == [4096, 8192, 9000]
    assert report.nodes == sum(9000 >> level for level in range(1, 14))
    assert len(proof.hashes) == 14


def test_no_append_or_proof_reads_a_whole_table(sqlite_database: Database) -> None:
    # Found by measuring: a row-value IN made every append as slow as the log is long.
    log = new_log(sqlite_database)
    add(log, *[b"entry"] * 700)
    statements: list[tuple[str, Any]] = []
    engine = sqlite_database._readers

    @sqlalchemy.event.listens_for(sqlalchemy.Engine, "before_cursor_execute")
    def note(_c: object, _r: object, text: str, values: Any, *_: object) -> None:
        statements.append((text, values))

    try:
        add(log, b"one more")
        with sqlite_database.read() as session:
            log.prove_inclusion(session, 300)
            log.prove_consistency(session, 300, 701)
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", note)
    queries = [(text, values) for text, values in statements if text.startswith("SELECT")]
    with engine.connect() as connection:
        plans = [
            str(step)
            for text, values in queries
            for step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values)
        ]

    assert len(queries) >= 8
    assert not [plan for plan in plans if "SCAN" in plan and "USING" not in plan]


def test_writers_at_the_same_time_never_share_a_position(database: Database) -> None:
    def write(number: int) -> list[int]:
        log = new_log(database)
        return [add(log, f"{number}/{i}".encode())[0] for i in range(8)]

    with ThreadPoolExecutor(4) as pool:
        positions = [position for row in pool.map(write, range(4)) for position in row]

    assert sorted(positions) == list(range(32))
    assert verify(new_log(database)) == ""


def insert_output(session: Session, output_id: str, record: bytes, position: int) -> None:
    sql(
        "INSERT INTO outputs (id, kind, state, decision, created_at, policy_name, policy_sha256,"
        " file_name, path, sha256, seconds, watermark_key_id, fingerprint, record, log_index)"
        " VALUES (:id, 'release', 'released', 'release', CURRENT_TIMESTAMP, 'strict', '',"
        " '', '', '', 1.0, '', :empty, :record, :position)",
        id=output_id,
        empty=b"",
        record=record,
        position=position,
    )(session)


class Appending(RuleBasedStateMachine):
    """Append, roll back, reopen, prove, in any order; a list of bytes is the model."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.url = f"sqlite:///{Path(self.folder.name) / 'log.db'}"
        (Path(self.folder.name) / "log.db").touch()
        self.log = new_log(connect(self.url))
        with self.log.database.ddl() as connection:
            Base.metadata.create_all(connection)
        self.model: list[bytes] = []
        self.saved: list[str] = []

    @rule(entries=st.lists(st.binary(min_size=1, max_size=4), min_size=1, max_size=9))
    def append(self, entries: list[bytes]) -> None:
        positions = add(self.log, *entries)
        assert positions == tuple(range(len(self.model), len(self.model) + len(entries)))
        self.model += entries

    @rule(entry=st.binary(min_size=1, max_size=4))
    def roll_back(self, entry: bytes) -> None:
        with pytest.raises(ZeroDivisionError):
            add_and_fail(self.log, entry)

    @rule()
    def reopen(self) -> None:
        self.log.database.close()
        self.log = new_log(connect(self.url))

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def prove(self, data: st.DataObject) -> None:
        position = data.draw(st.integers(0, len(self.model) - 1))
        with self.log.database.read() as session:
            proof = self.log.prove_inclusion(session, position)
            self.saved.append(proof.checkpoint.note)
            for note in self.saved:
                self.log.check_against(session, note)
        assert proof.leaf_hash == merkle.leaf_hash(self.model[position])

    @invariant()
    def holds(self) -> None:
        with self.log.database.read() as session:
            report = self.log.verify(session)
        assert report.root == merkle.root([merkle.leaf_hash(entry) for entry in self.model])

    def teardown(self) -> None:
        self.log.database.close()
        self.folder.cleanup()


TestAppending = Appending.TestCase
TestAppending.settings = settings(max_examples=6, stateful_step_count=10, deadline=None)
