"""Do past outputs and uploads quote works that came into the catalog later?

What was released or screened was compared with the catalog of that day. A re-scan
compares what is kept of it with the works added since:

1. take up the run that was interrupted, or begin one at today's catalog change
2. match a batch of outputs, outside any transaction
3. log what is new and move the cursor, in one transaction
4. close the run when the last output is done

A finding is a log entry of its own, type ``rescan``, one for each pair of output and
work, and match rows that name the entry. The record of the output is what was known
when it was judged; it is never touched, and nothing is released or withdrawn here.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy.orm import Session

from detectors.base import Match
from registry import catalog, rescans
from registry.rescans import Addition, NewMatches, PastOutput, RescanRow
from registry.session import Database
from safegen.kept import match_again
from safegen.licensing import licensed_matches
from safegen.matching import CatalogMatcher
from safegen.policy import Policy
from safegen.provenance import record
from safegen.provenance.log import Log
from safegen.recording import LicensedMatch

ENTRY_TYPE: Final = "rescan"
BATCH: Final = 50
MAX_STRETCHES: Final = 64
"""Strongest matches of one output with one work that are kept; an entry must fit the log."""
LISTENING_TAKES: Final = timedelta(hours=1)
"""A work added this long before an output was made may have missed its matching."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A past output that quotes a work which came later.

    Attributes:
        body: The log entry as JSON values.
        position: Of the entry in the log.
    """

    body: Mapping[str, Any]
    position: int

    @property
    def is_licensed(self) -> bool:
        """Whether a license covered every stretch when the output was made."""
        return all(match["license_id"] for match in self.body["matches"])

    def to_json(self) -> dict[str, Any]:
        """Give the object that ``catalog rescan`` prints."""
        names = ("record_id", "kind", "work_id", "title", "rights_holder", "catalog", "matches")
        return {name: self.body[name] for name in names} | {"log": {"index": self.position}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is after a batch.

    Attributes:
        run: As it is in the registry.
        compared: Outputs of this batch.
        findings: Of this batch, as they were logged.
    """

    run: RescanRow
    compared: int
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """An output, a work that is new to it, and where they agree."""

    output: PastOutput
    addition: Addition
    matches: tuple[Match, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far the outputs of an installation are compared with its catalog.

    Attributes:
        unfinished: A run that is under way or was interrupted.
        finished: The newest run that reached its end.
        is_behind: Whether past outputs are still to be compared with works.
        findings: Pairs of output and work that all runs have found.
    """

    unfinished: RescanRow | None
    finished: RescanRow | None
    is_behind: bool
    findings: int


def standing(session: Session) -> Standing:
    """Tell how far past outputs are compared with the catalog as it is now."""
    run, before = rescans.unfinished(session), rescans.last_finished(session)
    has_news = before is None or catalog.last_change(session) > before.change_to
    is_due = has_news and catalog.last_change(session) > 0 and rescans.next_output(session) > 0
    return Standing(
        unfinished=run,
        finished=before,
        is_behind=run is not None or is_due,
        findings=rescans.total_findings(session),
    )


class Rescanner:
    """Compares past outputs with later works; safe to run beside gates and screeners.

    Args:
        database: Holds the catalog, the outputs and the log.
        log: Appends inside this class's transactions.
        matcher: Of the catalog.
        policy: Says which matches count, and for which territory and use a license is asked.
        now: Gives the current UTC time.
        version: Of safegen, for the log entries.
    """

    def __init__(
        self,
        *,
        database: Database,
        log: Log,
        matcher: CatalogMatcher,
        policy: Policy,
        now: Callable[[], datetime],
        version: str,
    ) -> None:
        self._database = database
        self._log = log
        self._matcher = matcher
        self._policy = policy
        self._now = now
        self._version = version

    def remaining(self) -> int:
        """Count the outputs that ``run`` would read, for progress."""
        with self._database.read() as session:
            run = rescans.unfinished(session)
            if run is not None:
                return rescans.count_outputs(session, run)
            return rescans.next_output(session) if self._is_due(session) else 0

    def run(self) -> Iterator[Progress]:
        """Go through the outputs, a batch at a time; nothing if nothing is new.

        Stop after any batch: the next call goes on behind it.

        Raises:
            ConflictError: If another process re-scans the same outputs.
        """
        # 1 A run keeps its bounds, so that resuming it means the same work.
        run = self._take_up()
        if run is None:
            return
        with self._database.read() as session:
            additions = rescans.additions(session, until_change=run.change_to)
        while True:
            with self._database.read() as session:
                outputs = rescans.outputs_ahead(session, run, limit=BATCH)
            if not outputs:
                break
            # 2 The slow part holds no lock.
            pairs = [pair for output in outputs for pair in self._pairs(run, output, additions)]

            # 3 Entry, rows and cursor, or none of them.
            with self._database.begin() as session:
                findings, found = self._log_findings(session, pairs)
                run = rescans.advance(
                    session,
                    run,
                    cursor=outputs[-1].log_index,
                    compared=len(outputs),
                    found=found,
                )
            yield Progress(run=run, compared=len(outputs), findings=findings)

        # 4 What came meanwhile belongs to the next run.
        with self._database.begin() as session:
            rescans.finish(session, run, at=self._now())

    def _take_up(self) -> RescanRow | None:
        with self._database.begin() as session:
            run = rescans.unfinished(session)
            if run is None and self._is_due(session):
                change = catalog.last_change(session)
                run = rescans.start(session, change_to=change, at=self._now())
            return run

    def _is_due(self, session: Session) -> bool:
        """Whether a work or an output came since the last run."""
        before = rescans.last_finished(session)
        return (
            before is None
            or catalog.last_change(session) > before.change_to
            or rescans.next_output(session) > before.outputs_until
        )

    def _pairs(
        self, run: RescanRow, output: PastOutput, additions: dict[str, Addition]
    ) -> Iterator[_Pair]:
        # The last one is new to an output if any is; most outputs need not be matched.
        if not additions or not _is_new_to(output, next(reversed(additions.values())), run):
            return
        by_work: dict[str, list[Match]] = {}
        for match in match_again(self._matcher, output.fingerprint, output.others):
            addition = additions.get(match.work_id)
            is_known = match.work_id in output.known_works
            if addition is not None and not is_known and _is_new_to(output, addition, run):
                by_work.setdefault(match.work_id, []).append(match)
        for work, matches in sorted(by_work.items()):
            strongest = tuple(sorted(matches, key=lambda match: -match.score)[:MAX_STRETCHES])
            yield _Pair(output=output, addition=additions[work], matches=strongest)

    def _log_findings(
        self, session: Session, pairs: Sequence[_Pair]
    ) -> tuple[tuple[Finding, ...], tuple[NewMatches, ...]]:
        at = self._now()
        bodies: list[dict[str, Any]] = []
        kept: list[tuple[str, tuple[LicensedMatch, ...]]] = []
        for pair in pairs:
            work = pair.addition.work_id
            if work in rescans.known_works(session, pair.output.output_id):
                continue
            if catalog.get_work(session, work).removed_at is not None:
                continue  # taken down since it was matched: nothing is compared with it now
            # By the licenses of the day the output was made, as they are known today.
            matches = licensed_matches(
                session, pair.matches, at=pair.output.created_at, policy=self._policy
            )
            body = self._body(pair, matches, at)
            while len(record.canonical(body)) > record.MAX_ENTRY_BYTES and len(matches) > 1:
                matches = matches[: len(matches) // 2]
                body = self._body(pair, matches, at)
            bodies.append(body)
            kept.append((pair.output.output_id, matches))
        if not bodies:
            return (), ()
        entries = [record.seal(body, private=()) for body in bodies]
        positions = self._log.append(session, entries)
        findings = tuple(
            Finding(body=body, position=position)
            for body, position in zip(bodies, positions, strict=True)
        )
        found = tuple(
            NewMatches(
                output_id=output_id,
                matches=tuple(match.to_row(rescan_log_index=position) for match in matches),
            )
            for (output_id, matches), position in zip(kept, positions, strict=True)
        )
        return findings, found

    def _body(self, pair: _Pair, matches: Sequence[LicensedMatch], at: datetime) -> dict[str, Any]:
        """Write the log entry; ``record_id`` is the output's, as in its other later entries."""
        output, policy = pair.output, self._policy
        return {
            "v": 1,
            "type": ENTRY_TYPE,
            "record_id": output.output_id,
            "time": at.isoformat(timespec="milliseconds"),
            "code": {"name": "safegen", "version": self._version},
            "policy": {"name": policy.name, "version": policy.version, "sha256": policy.sha256},
            "kind": output.kind,
            "output": {"index": output.log_index, "sha256": output.sha256},
            "work_id": pair.addition.work_id,
            "title": matches[0].title,
            "isrc": matches[0].isrc,
            "rights_holder": matches[0].rights_holder,
            "catalog": {
                "change": pair.addition.change,
                "added_at": pair.addition.at.isoformat(timespec="milliseconds"),
            },
            "matches": [match.to_json() for match in matches],
        }


def _is_new_to(output: PastOutput, addition: Addition, run: RescanRow) -> bool:
    """Whether an output was not compared with a work yet, neither when judged nor by a run."""
    if output.log_index < run.outputs_from:
        return addition.change > run.change_from
    return addition.at >= output.created_at - LISTENING_TAKES
