"""How is the log written so that a change to what was said can be shown?

Every entry is a leaf of a Merkle tree kept in the registry's database. Appending
happens inside the caller's transaction and ends with a checkpoint: size and root,
signed. Record, entry and checkpoint are therefore committed together or not at all.

What this finds alone: any edit by someone without the log's key. Someone who holds
the key can rewrite everything consistently; that shows only against a checkpoint
that was saved elsewhere (``Log.check_against``), so auditors keep theirs.
"""

import hmac
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sqlalchemy.orm import Session

from registry import log as rows
from registry.log import CheckpointRow, EntryRow, NodeRow
from registry.session import Database
from safegen.errors import InputError, IntegrityError, SafegenError
from safegen.provenance import merkle
from safegen.provenance.keys import KeyStore
from safegen.provenance.merkle import Node, Peaks, Span
from safegen.provenance.notes import Checkpoint, NoteSigner, NoteVerifier, open_checkpoint
from safegen.provenance.record import MAX_ENTRY_BYTES

_BATCH: Final = 4096

log_ = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedCheckpoint:
    """A checkpoint and the note that carries it.

    Attributes:
        size: Number of entries.
        root: 32 bytes.
        note: The C2SP signed note.
    """

    size: int
    root: bytes
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InclusionProof:
    """That an entry is in the log of one checkpoint.

    Attributes:
        position: Of the entry.
        leaf_hash: Of the entry.
        hashes: Siblings from the leaf up.
        checkpoint: The one whose root they lead to.
    """

    position: int
    leaf_hash: bytes
    hashes: tuple[bytes, ...]
    checkpoint: SignedCheckpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class LogReport:
    """What a full verification went through, all of it sound.

    Attributes:
        size: Entries hashed again.
        root: Over them.
        nodes: Stored subtree hashes compared.
        checkpoints: Stored checkpoints whose signature and root were checked.
        note: The last checkpoint, "" for an empty log.
    """

    size: int
    root: bytes
    nodes: int
    checkpoints: int
    note: str


class Log:
    """The tamper-evident log in one database.

    Args:
        database: Where its rows are; only commands that open their own session use it.
        signer: Signs checkpoints; None for a log that is only read.
        origin: Name of the log, the first line of its checkpoints.
        verifiers: Every public key that ever signed for it. Without, the signer's.
        now: Gives the current UTC time, for the checkpoint's row.
    """

    def __init__(
        self,
        database: Database,
        signer: NoteSigner | None,
        origin: str,
        *,
        verifiers: Sequence[NoteVerifier] = (),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.database = database
        self.origin = origin
        self.verifiers = tuple(verifiers) or ((signer.verifier,) if signer else ())
        self._signer = signer
        self._now = now

    def append(self, session: Session, entries: Iterable[bytes]) -> tuple[int, ...]:
        """Add entries and sign the log's new checkpoint, inside the caller's transaction.

        Args:
            session: From ``Database.begin``, which lets one writer in at a time.
            entries: Canonical bytes, each at most 65,535.

        Returns:
            Their positions, in order.

        Raises:
            IntegrityError: If what is stored does not carry the last checkpoint; a
                damaged log must not be signed again.
            SafegenError: If an entry is empty or too large, or there is no signing key.

        Cost: six statements and O(log n) hashes for one entry.
        """
        items = tuple(entries)
        if not items:
            return ()
        if self._signer is None:
            raise SafegenError(
                "the log was opened without its signing key", remedy="Run `safegen keys init`."
            )
        for entry in items:
            if not 0 < len(entry) <= MAX_ENTRY_BYTES:
                raise SafegenError(
                    f"log entry of {len(entry)} bytes, 1 to {MAX_ENTRY_BYTES} are possible",
                    remedy="Shorten the evidence of its checks.",
                )
        peaks = self._peaks(session)
        first = peaks.size
        leaves: list[EntryRow] = []
        nodes: list[NodeRow] = []
        for position, entry in enumerate(items, start=first):
            leaf = merkle.leaf_hash(entry)
            leaves.append(EntryRow(position=position, entry=entry, leaf_hash=leaf))
            nodes += [
                NodeRow(level=node.level, position=node.position, hash=joined)
                for node, joined in peaks.push(leaf)
            ]
        rows.add_entries(session, leaves)
        rows.add_nodes(session, nodes)
        statement = Checkpoint(origin=self.origin, size=peaks.size, root=peaks.root())
        note = self._signer.sign(statement.text)
        rows.add_checkpoint(
            session,
            CheckpointRow(size=statement.size, root=statement.root, note=note),
            at=self._now(),
        )
        log_.debug("appended %d entries at %d", len(items), first)
        return tuple(range(first, peaks.size))

    def size(self, session: Session) -> int:
        """Count the entries."""
        return rows.size(session)

    def checkpoint(self, session: Session) -> SignedCheckpoint:
        """Fetch the newest checkpoint, its signature checked.

        Raises:
            SafegenError: If nothing was ever logged.
            IntegrityError: If its signature does not hold or its columns differ from it.
        """
        row = rows.last_checkpoint(session)
        if row is None:
            raise SafegenError(
                "the log is empty, there is no checkpoint yet",
                remedy="Run `safegen generate` or `safegen release` first.",
            )
        self._open(row)
        return SignedCheckpoint(size=row.size, root=row.root, note=row.note)

    def prove_inclusion(self, session: Session, position: int) -> InclusionProof:
        """Prove that an entry is in the log of the newest checkpoint.

        The proof is checked before it is handed out, so a damaged log gives none.

        Raises:
            InputError: If the log has no such position.
            IntegrityError: If stored hashes are missing or do not carry the checkpoint.

        Cost: O(log n) rows.
        """
        checkpoint = self.checkpoint(session)
        if not 0 <= position < checkpoint.size:
            raise InputError(
                f"position {position} is not in the log, it has {checkpoint.size} entries",
                remedy="Positions start at 0.",
            )
        entry = rows.entries(session, start=position, end=position + 1)
        if not entry:
            raise IntegrityError(f"log entry {position} is missing")
        leaf = merkle.leaf_hash(entry[0].entry)
        spans = merkle.inclusion_spans(position, checkpoint.size)
        hashes = self._span_hashes(session, spans)
        merkle.verify_inclusion(
            leaf, position, size=checkpoint.size, proof=hashes, expected_root=checkpoint.root
        )
        return InclusionProof(
            position=position, leaf_hash=leaf, hashes=hashes, checkpoint=checkpoint
        )

    def prove_consistency(
        self, session: Session, old_size: int, new_size: int
    ) -> tuple[bytes, ...]:
        """Prove that the log of ``new_size`` entries extends that of ``old_size``.

        Raises:
            InputError: If the log does not have those sizes.
            IntegrityError: If stored hashes are missing.
        """
        size = rows.size(session)
        if not 0 <= old_size <= new_size <= size:
            raise InputError(
                f"no consistency proof from {old_size} to {new_size}: the log has {size} entries",
                remedy="Give an older size first, then a newer one.",
            )
        return self._span_hashes(session, merkle.consistency_spans(old_size, new_size))

    def root_at(self, session: Session, size: int) -> bytes:
        """Compute the root the log had when it held ``size`` entries, from stored hashes."""
        return self._span_hashes(session, (Span(start=0, end=size),))[0]

    def entry(self, session: Session, position: int) -> bytes:
        """Fetch an entry's bytes.

        Raises:
            InputError: If the log has no such position.
        """
        found = rows.entries(session, start=position, end=position + 1)
        if not found:
            raise InputError(
                f"position {position} is not in the log", remedy="Run `safegen log checkpoint`."
            )
        return found[0].entry

    def check_against(self, session: Session, note: str) -> Checkpoint:
        """Compare with a checkpoint that was saved elsewhere: is it a beginning of this log?

        Call ``verify`` first: this looks at stored hashes, not at entries.

        Returns:
            The saved checkpoint.

        Raises:
            IntegrityError: If it was not signed by this log, or if the log since lost
                or changed entries that it had then.
        """
        saved = open_checkpoint(note, self.verifiers, origin=self.origin)
        size = rows.size(session)
        if size < saved.size:
            raise IntegrityError(
                f"the log has {size} entries, the saved checkpoint has {saved.size}: "
                "entries were removed"
            )
        merkle.verify_consistency(
            saved.size,
            saved.root,
            new_size=size,
            new_root=self.root_at(session, size),
            proof=self.prove_consistency(session, saved.size, size),
        )
        return saved

    def verify(
        self, session: Session, *, progress: Callable[[int, int], None] | None = None
    ) -> LogReport:
        """Hash everything again and compare; stop at the first thing that is wrong.

        1. Entries: positions without gaps, each entry's hash as stored.
        2. Nodes: every stored subtree hash, none missing, none too many.
        3. Checkpoints: each signature, each root, the last one over all entries.
        4. Outputs: each one's record is the entry at its position.

        Args:
            session: A snapshot.
            progress: Called with entries done and entries in all.

        Raises:
            IntegrityError: At the first broken position, which the message names.

        Cost: O(n) hashes and signatures; memory for one batch.
        """
        size = rows.size(session)
        peaks = Peaks()
        nodes = checkpoints = 0
        last_note = ""
        if rows.checkpoints(session, start=-(2**62), end=1):
            raise IntegrityError("log: there is a checkpoint over no entries")
        for start in range(0, size, _BATCH):
            end = min(size, start + _BATCH)
            stored = self._stored_nodes(session, start, end)
            signed = {r.size: r for r in rows.checkpoints(session, start=start + 1, end=end + 1)}
            batch = {row.position: row for row in rows.entries(session, start=start, end=end)}
            for position in range(start, end):
                # 1 The entry.
                leaf = _check_entry(batch.get(position), position)
                # 2 The subtrees that it completes.
                for node, joined in peaks.push(leaf):
                    _check_node(node, joined, stored)
                    nodes += 1
                # 3 What was signed at this size.
                row = signed.get(position + 1)
                if row is not None:
                    self._check_checkpoint(row, peaks)
                    checkpoints, last_note = checkpoints + 1, row.note
            if progress is not None:
                progress(end, size)
        self._check_ends(session, size)
        # 4 What the registry says was logged.
        for output_id in rows.unlogged_outputs(session):
            raise IntegrityError(f"output {output_id}: its record is not the one in the log")
        return LogReport(
            size=size, root=peaks.root(), nodes=nodes, checkpoints=checkpoints, note=last_note
        )

    def _peaks(self, session: Session) -> Peaks:
        """Load the right edge of the tree; refuse to go on from one that was not signed."""
        row = rows.last_checkpoint(session)
        size = rows.size(session)
        signed_size = row.size if row is not None else 0
        if signed_size != size:
            raise IntegrityError(
                f"the log has {size} entries, its last checkpoint {signed_size}",
                remedy="Run `safegen log verify`; nothing is released until it holds.",
            )
        if row is None:
            return Peaks()
        nodes = merkle.cover(Span(start=0, end=size))
        found = self._fetch(session, nodes)
        peaks = Peaks(size, [found[node] for node in nodes])
        statement = self._open(row)
        if not hmac.compare_digest(peaks.root(), statement.root):
            raise IntegrityError(
                f"the log's stored hashes do not carry its checkpoint of {size} entries",
                remedy="Run `safegen log verify`; nothing is released until it holds.",
            )
        return peaks

    def _open(self, row: CheckpointRow) -> Checkpoint:
        try:
            statement = open_checkpoint(row.note, self.verifiers, origin=self.origin)
        except IntegrityError as error:
            raise IntegrityError(
                f"log checkpoint of {row.size} entries: {error.problem}", remedy=error.remedy
            ) from error
        if (statement.size, statement.root) != (row.size, row.root):
            raise IntegrityError(
                f"log checkpoint of {row.size} entries: its note speaks of {statement.size} "
                f"entries and root {statement.root.hex()}, its row of {row.root.hex()}"
            )
        return statement

    def _check_checkpoint(self, row: CheckpointRow, peaks: Peaks) -> None:
        statement = self._open(row)
        if statement.root != peaks.root():
            raise IntegrityError(
                f"log checkpoint of {row.size} entries: root {statement.root.hex()} was signed, "
                f"the entries give {peaks.root().hex()}"
            )

    def _check_ends(self, session: Session, size: int) -> None:
        for level, position in rows.surplus_nodes(session, size):
            raise IntegrityError(
                f"log node {level}/{position}: a log of {size} entries has no such subtree"
            )
        row = rows.last_checkpoint(session)
        signed_size = row.size if row is not None else 0
        if signed_size > size:
            raise IntegrityError(
                f"log entry {size} is missing: {signed_size} entries were signed, {size} are there"
            )
        if signed_size < size:
            raise IntegrityError(
                f"log entry {signed_size} is covered by no checkpoint: {signed_size} entries "
                f"were signed, {size} are there"
            )

    def _stored_nodes(self, session: Session, start: int, end: int) -> Mapping[Node, bytes]:
        """Fetch the subtree hashes that the entries [start, end) complete."""
        found: dict[Node, bytes] = {}
        level = 1
        while end >> level:
            for row in rows.nodes_of_level(session, level, start=start >> level, end=end >> level):
                found[Node(level=row.level, position=row.position)] = row.hash
            level += 1
        return found

    def _span_hashes(self, session: Session, spans: Sequence[Span]) -> tuple[bytes, ...]:
        wanted = {node for span in spans for node in merkle.cover(span)}
        found = self._fetch(session, tuple(wanted))
        return tuple(merkle.span_hash(span, found.__getitem__) for span in spans)

    def _fetch(self, session: Session, nodes: Sequence[Node]) -> Mapping[Node, bytes]:
        stored = rows.find_nodes(session, [(node.level, node.position) for node in nodes])
        found = {Node(level=row.level, position=row.position): row.hash for row in stored}
        for node in nodes:
            if node not in found:
                raise IntegrityError(
                    f"log node {node.level}/{node.position} is missing "
                    f"(entries {node.position << node.level} on)",
                    remedy="Run `safegen log verify`.",
                )
        return found


def open_log(database: Database, keys: KeyStore) -> Log:
    """Open the log for writing, with every key that ever signed for it.

    Raises:
        SafegenError: If there are no keys, or others may read them.
    """
    return Log(database, keys.log_signer(), keys.log_origin(), verifiers=keys.log_verifiers())


def _check_entry(row: EntryRow | None, position: int) -> bytes:
    if row is None:
        raise IntegrityError(f"log entry {position} is missing")
    leaf = merkle.leaf_hash(row.entry)
    if leaf != row.leaf_hash:
        raise IntegrityError(
            f"log entry {position}: its bytes hash to {leaf.hex()}, "
            f"{row.leaf_hash.hex()} was stored"
        )
    return leaf


def _check_node(node: Node, expected: bytes, stored: Mapping[Node, bytes]) -> None:
    found = stored.get(node)
    first = node.position << node.level
    if found is None:
        raise IntegrityError(
            f"log node {node.level}/{node.position} is missing (entries {first} on)"
        )
    if found != expected:
        raise IntegrityError(
            f"log node {node.level}/{node.position}: {found.hex()} is stored, entries {first} "
            f"to {first + (1 << node.level) - 1} give {expected.hex()}"
        )
