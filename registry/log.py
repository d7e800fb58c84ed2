"""Rows of the tamper-evident log: entries, the hashes above them, signed checkpoints.

Only storage: what is hashed, signed and proved is ``safegen.provenance.log``'s. Rows
are added and read, never changed; every function works inside the caller's session.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Insert, func, insert, or_, select
from sqlalchemy.orm import Session

from registry.tables import LogCheckpoint, LogEntry, LogNode, Output

_ROWS_PER_STATEMENT: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryRow:
    """One leaf.

    Attributes:
        position: From 0, without gaps.
        entry: The bytes that are hashed.
        leaf_hash: 32 bytes.
    """

    position: int
    entry: bytes
    leaf_hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRow:
    """Hash of the complete subtree ``position`` of ``2**level`` leaves; level 0 is a leaf."""

    level: int
    position: int
    hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointRow:
    """A signed statement of size and root, as it was stored."""

    size: int
    root: bytes
    note: str


def size(session: Session) -> int:
    """Count the entries, trusting that positions have no gaps."""
    last = session.scalar(select(func.max(LogEntry.position)))
    return 0 if last is None else last + 1


def add_entries(session: Session, rows: Sequence[EntryRow]) -> None:
    """Store leaves; a position that is taken raises the database's integrity error."""
    _add(
        session,
        insert(LogEntry),
        [{"position": r.position, "entry": r.entry, "leaf_hash": r.leaf_hash} for r in rows],
    )


def add_nodes(session: Session, rows: Sequence[NodeRow]) -> None:
    """Store hashes of level 1 and above."""
    _add(
        session,
        insert(LogNode),
        [{"level": r.level, "position": r.position, "hash": r.hash} for r in rows],
    )


def add_checkpoint(session: Session, row: CheckpointRow, *, at: datetime) -> None:
    """Store a checkpoint; there is one for each size that was ever signed."""
    session.execute(
        insert(LogCheckpoint),
        [{"size": row.size, "root": row.root, "note": row.note, "created_at": at}],
    )


def find_nodes(session: Session, wanted: Sequence[tuple[int, int]]) -> tuple[NodeRow, ...]:
    """Fetch the hashes at (level, position), in no order; what is missing is left out."""
    by_level: dict[int, list[int]] = {}
    for level, position in wanted:
        by_level.setdefault(level, []).append(position)
    found: list[NodeRow] = []
    if leaves := by_level.pop(0, []):
        entries = session.execute(
            select(LogEntry.position, LogEntry.leaf_hash).where(LogEntry.position.in_(leaves))
        )
        found += [NodeRow(level=0, position=row[0], hash=_bytes(row[1])) for row in entries]
    if by_level:
        # Not a row-value IN: SQLite answers that one by reading the whole table.
        here = [
            (LogNode.level == level) & LogNode.position.in_(positions)
            for level, positions in sorted(by_level.items())
        ]
        nodes = session.execute(
            select(LogNode.level, LogNode.position, LogNode.hash).where(or_(*here))
        )
        found += [NodeRow(level=r[0], position=r[1], hash=_bytes(r[2])) for r in nodes]
    return tuple(found)


def nodes_of_level(session: Session, level: int, *, start: int, end: int) -> tuple[NodeRow, ...]:
    """Fetch the hashes of one level, positions [start, end), in order."""
    if level == 0:
        rows = session.execute(
            select(LogEntry.position, LogEntry.leaf_hash)
            .where(LogEntry.position >= start, LogEntry.position < end)
            .order_by(LogEntry.position)
        )
    else:
        rows = session.execute(
            select(LogNode.position, LogNode.hash)
            .where(LogNode.level == level, LogNode.position >= start, LogNode.position < end)
            .order_by(LogNode.position)
        )
    return tuple(NodeRow(level=level, position=r[0], hash=_bytes(r[1])) for r in rows)


def surplus_nodes(session: Session, log_size: int) -> tuple[tuple[int, int], ...]:
    """List up to ten (level, position) that a log of this size cannot have."""
    levels = range(1, max(1, log_size.bit_length()) + 1)
    beyond = [(LogNode.level == n) & (LogNode.position >= log_size >> n) for n in levels]
    rows = session.execute(
        select(LogNode.level, LogNode.position)
        .where(
            or_(
                *beyond,
                LogNode.level > levels[-1],
                LogNode.level < 1,
                LogNode.position < 0,
            )
        )
        .order_by(LogNode.level, LogNode.position)
        .limit(10)
    )
    return tuple((row[0], row[1]) for row in rows)


def entries(session: Session, *, start: int, end: int) -> tuple[EntryRow, ...]:
    """Fetch the entries [start, end), in order."""
    rows = session.execute(
        select(LogEntry.position, LogEntry.entry, LogEntry.leaf_hash)
        .where(LogEntry.position >= start, LogEntry.position < end)
        .order_by(LogEntry.position)
    )
    return tuple(EntryRow(position=r[0], entry=_bytes(r[1]), leaf_hash=_bytes(r[2])) for r in rows)


def last_checkpoint(session: Session) -> CheckpointRow | None:
    """Fetch the checkpoint of the largest size; None for a log that was never written."""
    row = session.execute(
        select(LogCheckpoint.size, LogCheckpoint.root, LogCheckpoint.note)
        .order_by(LogCheckpoint.size.desc())
        .limit(1)
    ).one_or_none()
    return (
        None if row is None else CheckpointRow(size=row[0], root=_bytes(row[1]), note=_text(row[2]))
    )


def checkpoints(session: Session, *, start: int, end: int) -> tuple[CheckpointRow, ...]:
    """Fetch the checkpoints of sizes [start, end), in order."""
    rows = session.execute(
        select(LogCheckpoint.size, LogCheckpoint.root, LogCheckpoint.note)
        .where(LogCheckpoint.size >= start, LogCheckpoint.size < end)
        .order_by(LogCheckpoint.size)
    )
    return tuple(CheckpointRow(size=r[0], root=_bytes(r[1]), note=_text(r[2])) for r in rows)


def position_of_output(session: Session, output_id: str) -> int | None:
    """Say where an output's record is in the log; None if there is no such output."""
    return session.scalar(select(Output.log_index).where(Output.id == output_id))


def unlogged_outputs(session: Session) -> Iterator[str]:
    """Yield outputs whose stored record is not the entry at their position in the log."""
    rows = session.execute(
        select(Output.id)
        .outerjoin(LogEntry, LogEntry.position == Output.log_index)
        .where(or_(LogEntry.entry.is_(None), LogEntry.entry != Output.record))
        .order_by(Output.log_index)
    )
    for row in rows:
        yield str(row[0])


def _add(session: Session, statement: Insert, values: Sequence[Mapping[str, object]]) -> None:
    """Insert rows; a server gets many at once, because each statement is a round trip."""
    if session.connection().dialect.name == "sqlite" or len(values) == 1:
        if values:
            session.execute(statement, values)
        return
    for start in range(0, len(values), _ROWS_PER_STATEMENT):
        session.execute(statement.values(values[start : start + _ROWS_PER_STATEMENT]))


def _bytes(value: object) -> bytes:
    """Take what a tampered SQLite row holds as it is: any type fits any column there."""
    return bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode()


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
